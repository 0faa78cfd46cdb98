//! What a filter reported, as types that cannot be wrong: made by [`crate::ingest::validate`] alone.

mod deltas;

use std::{sync::Arc, time::Duration};

use serin_proto::v1::{Outcome, ReporterState, Vantage};
use serin_sketch::Counts;

use crate::time::UnixMicros;
pub use deltas::{Counted, Delta, Deltas};

/// Methods that the filter tells before a route (`filter/src/labels/key.rs`).
const METHODS: [&str; 10] = ["GET", "POST", "PUT", "DELETE", "HEAD", "PATCH", "OPTIONS", "CONNECT", "TRACE", "_OTHER"];

/// The longest interval that a filter is configured with, or takes by itself.
pub const REPORTS_EVERY_MAX: Duration = Duration::from_secs(10);

/// One Envoy worker's filter, unique for ever.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ReporterId {
    /// Envoy's node id.
    pub node_id: Arc<str>,
    /// Different for every Wasm VM that was ever started on that node.
    pub boot_nonce: u64,
    /// The root context in that VM.
    pub context_id: u32,
}

/// A reporter as it introduced itself on a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reporter {
    /// Who it is.
    pub id: ReporterId,
    /// Where it measures.
    pub vantage: Vantage,
    /// The filter's version.
    pub version: Arc<str>,
    /// The lowest sequence it still holds.
    pub first_sequence: u64,
    /// The workload that its proxy is of; empty where it is not known.
    pub workload: Arc<str>,
}

/// Whose counts these are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// Envoy's node id; empty where it is not known.
    pub node: Arc<str>,
    /// The workload that this proxy is of, mostly `namespace/name`; empty where it is not known.
    pub workload: Arc<str>,
}

impl Origin {
    /// What was read from disk does not say whose it is.
    pub fn unknown() -> Self {
        Origin { node: Arc::from(""), workload: Arc::from("") }
    }
}

/// What a histogram is kept for.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SeriesKey {
    /// What callers address.
    pub service: String,
    /// Envoy's route name.
    pub route: String,
    /// The label that tells versions apart.
    pub release: String,
    /// Who served it; empty when the vantage does not tell.
    pub pod: String,
    /// How the requests ended.
    pub outcome: Outcome,
    /// Where they were measured.
    pub vantage: Vantage,
}

/// Requests that wait for a response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// When they did.
    pub at: UnixMicros,
    /// How often their reporter says so.
    pub interval: Duration,
    /// The workload that their proxy is of; empty where it is not known.
    pub workload: Arc<str>,
    /// By the series they will be counted in, whose outcome is not known yet: how long they have waited, 1 s and longer.
    pub ages: Vec<(SeriesKey, Counts)>,
}

impl Waiting {
    /// Of these, the requests that were sent since the reporter told of others: it tells of a request once that has waited for a second.
    pub fn sent_lately(&self, ages: &Counts) -> u64 {
        let told_before = Duration::from_secs(1) + self.interval;
        ages.iter().filter(|(age, _)| Duration::from(age.lower()) < told_before).map(|(_, n)| n).sum()
    }
}

/// One numbered report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// 1 and up, without gaps.
    pub sequence: u64,
    /// The end of the interval by the reporter's clock.
    pub interval_end: UnixMicros,
    /// How long the interval was.
    pub interval: Duration,
    /// What was counted: it is judged and kept, so both have it.
    pub deltas: Arc<Deltas>,
    /// Requests in all earlier reports of this reporter.
    pub requests_before: u64,
    /// Requests since the reporter started that went to its overflow series.
    pub overflow_requests: u64,
    /// What the reporter says of itself: no part of what is numbered.
    pub own: ReporterState,
    /// What waits at its worker, where it knows: no part of what is numbered.
    pub waiting: Option<Waiting>,
}

impl Report {
    /// How many requests it counts.
    pub fn requests(&self) -> u64 {
        self.deltas.requests()
    }
}

/// The route of a label with a method before it; `None` where there is none.
pub fn without_method(label: &str) -> Option<&str> {
    label.split_once(' ').filter(|(method, _)| METHODS.contains(method)).map(|(_, route)| route)
}

/// Whether an outcome is an error of the release: server errors, timeouts and resets.
pub fn is_error(outcome: Outcome) -> bool {
    matches!(outcome, Outcome::ServerError | Outcome::Timeout | Outcome::Reset)
}

/// Whether an outcome says something about the release: a stream's lifetime does not, and a redirect that Envoy followed by
/// itself is no request of its own.
pub fn is_judged(outcome: Outcome) -> bool {
    !matches!(outcome, Outcome::Upgrade | Outcome::Redirected | Outcome::Unspecified)
}

/// Whether an outcome's durations say how slow the release is. Server errors do not: failing fast is not
/// being fast, and they count as errors. Timeouts, resets and aborts
/// do, with what they are known to have lasted at least: a release whose slowest requests never finish must
/// not look fast.
pub fn counts_for_latency(outcome: Outcome) -> bool {
    is_judged(outcome) && outcome != Outcome::ServerError
}

/// Whether an outcome is the caller's fault: such requests are compared with their like, being commonly faster.
pub fn is_callers_fault(outcome: Outcome) -> bool {
    outcome == Outcome::ClientError
}

/// Whether the request got its response, whatever it was: what ended otherwise may have started long ago.
pub fn was_answered(outcome: Outcome) -> bool {
    matches!(outcome, Outcome::Success | Outcome::ClientError | Outcome::ServerError)
}
