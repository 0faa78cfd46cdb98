//! The door (pure): turns one stream's messages into [`Report`]s, or says which rule of `ingest.proto` they break.
//!
//! Nothing of a refused message is kept. All that a peer can make us hold is bounded here.

use std::{collections::HashMap, sync::Arc, time::Duration};

use prost::{DecodeError, bytes::Bytes};
use serin_history::Packed;
use serin_proto::{
    convert::{self, COUNT_MAX, DistributionError},
    raw::ReportRequest,
    v1::{self, Outcome, Vantage},
};

use super::delta::{Distribution, Problem, Wire};
use crate::{
    report::{Deltas, REPORTS_EVERY_MAX, Report, Reporter, ReporterId, SeriesKey, Waiting},
    time::UnixMicros,
};

/// The largest message taken. A worker's second is a few kB; 512 series with 60 buckets each in both timings
/// are about 250 kB.
pub const MESSAGE_BYTES_MAX: usize = 1 << 20;
/// Series a stream may define: eight times a filter's default limit.
const SERIES_MAX: usize = 4_096;
/// Of each string.
const LABEL_BYTES_MAX: usize = 256;
const SERIES_ID_LIMIT: u32 = 1 << 16;
const INTERVAL_MS_MAX: u32 = 86_400_000;
/// Kinds of requests under way in one message.
const IN_FLIGHT_MAX: usize = 64;

/// Why a message was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum Refusal {
    #[error("the first message of a stream must say who reports (field reporter)")]
    NoReporter,
    #[error("reporter came again: it belongs in the first message of a stream only")]
    ReporterAgain,
    #[error("{field} must be 1 to 256 bytes long, not {len}")]
    Length { field: &'static str, len: usize },
    #[error("{field} must be one of the values that ingest.proto names, and not 0, but is {value}")]
    Enum { field: &'static str, value: i32 },
    #[error("sequence {got} does not follow {before}: numbers have no gaps and do not go back within a stream")]
    Sequence { before: u64, got: u64 },
    #[error("a heartbeat (sequence 0) must not carry series or deltas")]
    HeartbeatWithData,
    #[error("interval_ms must be 1 to 86,400,000, not {0}")]
    Interval(u32),
    #[error("series id {0} must be below 65,536 and new to this stream")]
    SeriesId(u32),
    #[error("more than 4,096 series on one stream: begin a new stream, which starts with none")]
    TooManySeries,
    #[error("delta for series {0}, which this stream has not defined")]
    UnknownSeries(u32),
    #[error("two deltas for series {0} in one report")]
    RepeatedSeries(u32),
    #[error("series {series}, {timing}: {problem}")]
    Distribution { series: u32, timing: &'static str, problem: DistributionError },
    #[error("a delta is no message of serin.v1: {0}")]
    Malformed(#[from] DecodeError),
    #[error("series {0} has an upstream timing for more requests than it counts in total")]
    UpstreamExceedsTotal(u32),
    #[error("series {series} has {retries} retries: more than 2^40")]
    Retries { series: u32, retries: u64 },
    #[error("{0} kinds of requests in flight in one message: at most 64")]
    TooManyInFlight(usize),
    #[error("in_flight {at}, ages: {problem}")]
    Ages { at: usize, problem: DistributionError },
}

/// A message that was let in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Accepted {
    /// It is alive, and had nothing new to say.
    Heartbeat(Heartbeat),
    /// It counted something.
    Report(Report),
}

/// What a reporter says without a report.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Heartbeat {
    /// Requests in all reports it has numbered.
    pub requests_before: u64,
    /// Requests since it started that went to its overflow series.
    pub overflow_requests: u64,
    /// What it says of itself.
    pub own: v1::ReporterState,
    /// What waits at its worker, where it knows.
    pub waiting: Option<Waiting>,
}

/// What one stream has told so far.
#[derive(Debug)]
pub struct Session {
    vantage: Vantage,
    workload: Arc<str>,
    last_sequence: Option<u64>,
    series: HashMap<u32, Known>,
}

#[derive(Debug)]
struct Known {
    key: Arc<SeriesKey>,
    /// The last report that it was in.
    told_in: u64,
}

impl Session {
    /// Takes the introduction out of a stream's first message.
    ///
    /// # Errors
    /// When it is missing or breaks a rule.
    pub fn open(first: &mut ReportRequest) -> Result<(Session, Reporter), Refusal> {
        let hello = first.reporter.take().ok_or(Refusal::NoReporter)?;
        if hello.node_id.is_empty() {
            return Err(Refusal::Length { field: "reporter.node_id", len: 0 });
        }
        label("reporter.node_id", &hello.node_id)?;
        label("reporter.filter_version", &hello.filter_version)?;
        label("reporter.workload", &hello.workload)?;
        let vantage = match hello.vantage() {
            Vantage::Unspecified => return Err(Refusal::Enum { field: "reporter.vantage", value: hello.vantage }),
            known => known,
        };
        if hello.attachment() == v1::Attachment::Unspecified {
            return Err(Refusal::Enum { field: "reporter.attachment", value: hello.attachment });
        }
        let workload: Arc<str> = hello.workload.into();
        let reporter = Reporter {
            id: ReporterId {
                node_id: hello.node_id.into(),
                boot_nonce: hello.boot_nonce,
                context_id: hello.context_id,
            },
            vantage,
            version: hello.filter_version.into(),
            first_sequence: hello.first_sequence.max(1),
            workload: Arc::clone(&workload),
        };
        Ok((Session { vantage, workload, last_sequence: None, series: HashMap::new() }, reporter))
    }

    /// Checks one message (the first one after [`Session::open`] has taken its introduction).
    ///
    /// # Errors
    /// When it breaks a rule; the stream must then be closed.
    pub fn accept(&mut self, message: ReportRequest) -> Result<Accepted, Refusal> {
        if message.reporter.is_some() {
            return Err(Refusal::ReporterAgain);
        }
        if message.interval_ms == 0 || message.interval_ms > INTERVAL_MS_MAX {
            return Err(Refusal::Interval(message.interval_ms));
        }
        let interval_ms = message.state.as_ref().map_or(message.interval_ms, |state| state.interval_ms);
        let waiting = self.waiting(message.in_flight_unix_us, interval_ms, message.in_flight)?;
        if message.sequence == 0 {
            let empty = message.new_series.is_empty() && message.deltas.is_empty();
            let ReportRequest { requests_before, overflow_requests, state, .. } = message;
            let heartbeat = Heartbeat { requests_before, overflow_requests, own: state.unwrap_or_default(), waiting };
            return if empty { Ok(Accepted::Heartbeat(heartbeat)) } else { Err(Refusal::HeartbeatWithData) };
        }
        if let Some(before) = self.last_sequence
            && before.checked_add(1) != Some(message.sequence)
        {
            return Err(Refusal::Sequence { before, got: message.sequence });
        }
        for series in message.new_series {
            self.define(series)?;
        }
        let deltas = self.deltas(message.sequence, &message.deltas)?;
        self.last_sequence = Some(message.sequence);
        let interval = Duration::from_millis(message.interval_ms.into());
        Ok(Accepted::Report(Report {
            sequence: message.sequence,
            interval_end: UnixMicros(message.interval_start_unix_us).plus(interval),
            interval,
            deltas: Arc::new(deltas),
            requests_before: message.requests_before,
            overflow_requests: message.overflow_requests,
            own: message.state.unwrap_or_default(),
            waiting,
        }))
    }

    fn waiting(&self, at_us: u64, interval_ms: u32, wire: Vec<v1::InFlight>) -> Result<Option<Waiting>, Refusal> {
        if wire.len() > IN_FLIGHT_MAX {
            return Err(Refusal::TooManyInFlight(wire.len()));
        }
        let ages = wire.into_iter().enumerate().map(|(at, kind)| {
            let ages = convert::from_wire(&kind.ages.unwrap_or_default());
            let key = SeriesKey {
                service: label("in_flight.service", &kind.service)?.to_owned(),
                route: label("in_flight.route", &kind.route)?.to_owned(),
                release: label("in_flight.release", &kind.release)?.to_owned(),
                pod: label("in_flight.pod", &kind.pod)?.to_owned(),
                outcome: Outcome::Unspecified,
                vantage: self.vantage,
            };
            Ok((key, ages.map_err(|problem| Refusal::Ages { at, problem })?))
        });
        let ages = ages.collect::<Result<Vec<_>, Refusal>>()?;
        let (at, workload) = (UnixMicros(at_us), Arc::clone(&self.workload));
        let interval = Duration::from_millis(interval_ms.into()).clamp(Duration::from_secs(1), REPORTS_EVERY_MAX);
        Ok((at_us > 0).then_some(Waiting { at, interval, workload, ages }))
    }

    fn define(&mut self, series: v1::Series) -> Result<(), Refusal> {
        let outcome = match series.outcome() {
            Outcome::Unspecified => return Err(Refusal::Enum { field: "series.outcome", value: series.outcome }),
            known => known,
        };
        if series.id >= SERIES_ID_LIMIT || self.series.contains_key(&series.id) {
            return Err(Refusal::SeriesId(series.id));
        }
        if self.series.len() >= SERIES_MAX {
            return Err(Refusal::TooManySeries);
        }
        let key = SeriesKey {
            service: label("series.service", &series.service)?.to_owned(),
            route: label("series.route", &series.route)?.to_owned(),
            release: label("series.release", &series.release)?.to_owned(),
            pod: label("series.pod", &series.pod)?.to_owned(),
            outcome,
            vantage: self.vantage,
        };
        self.series.insert(series.id, Known { key: Arc::new(key), told_in: 0 });
        Ok(())
    }

    fn deltas(&mut self, sequence: u64, wire: &[Bytes]) -> Result<Deltas, Refusal> {
        // The form that is kept is a little shorter than what is sent.
        let mut deltas = Deltas::with_capacity(wire.len().min(SERIES_MAX), wire.iter().map(Bytes::len).sum());
        for bytes in wire {
            let Wire { series: id, upstream, total, retries } = Wire::read(bytes)?;
            let known = self.series.get_mut(&id).ok_or(Refusal::UnknownSeries(id))?;
            if std::mem::replace(&mut known.told_in, sequence) == sequence {
                return Err(Refusal::RepeatedSeries(id));
            }
            deltas.push(&known.key, |out| {
                Packed::begin(out, retries);
                let upstream = pack(id, "upstream", &upstream, out)?;
                let total = pack(id, "total", &total, out)?;
                match () {
                    () if upstream > total => Err(Refusal::UpstreamExceedsTotal(id)),
                    () if retries > COUNT_MAX => Err(Refusal::Retries { series: id, retries }),
                    () => Ok(total),
                }
            })?;
        }
        Ok(deltas)
    }
}

fn pack(series: u32, timing: &'static str, wire: &Distribution<'_>, out: &mut Vec<u8>) -> Result<u64, Refusal> {
    wire.pack(out).map_err(|problem| match problem {
        Problem::Malformed(error) => Refusal::Malformed(error),
        Problem::Rule(problem) => Refusal::Distribution { series, timing, problem },
    })
}

fn label<'a>(field: &'static str, text: &'a str) -> Result<&'a str, Refusal> {
    if text.len() > LABEL_BYTES_MAX { Err(Refusal::Length { field, len: text.len() }) } else { Ok(text) }
}

#[cfg(test)]
mod tests;
