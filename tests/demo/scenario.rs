//! What happens to the releases, and what should come of it.

use std::time::Duration;

use support::service::{Behaviour, Release};

/// What happens to the releases.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Scenario {
    /// v2's slowest requests get slower: p99 +50%.
    Regressed,
    /// Nothing.
    Healthy,
    /// Both releases get slower, as when a shared database does.
    Common,
    /// v2 answers a part of its requests with 503.
    Errors,
    /// A part of v2's requests is never answered.
    Hang,
}

impl Scenario {
    /// What this demo is about.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Scenario::Regressed => "a release whose slowest requests get slower is rolled back",
            Scenario::Healthy => "a release that is as good as the one before is left alone",
            Scenario::Common => "both releases get slower at once: that is no release's fault",
            Scenario::Errors => "a release that answers with errors is rolled back",
            Scenario::Hang => "a release that stops answering some requests is rolled back",
        }
    }

    /// Whether `serin` should roll back.
    pub(crate) fn is_bad(self) -> bool {
        matches!(self, Scenario::Regressed | Scenario::Errors | Scenario::Hang)
    }

    /// Makes it happen; says what happened.
    pub(crate) fn begin(self, v1: &Release, v2: &Release) -> &'static str {
        match self {
            Scenario::Regressed => {
                v2.behave(Behaviour::TailSlow(1.5));
                "v2 is slower now: p99 +50%, p50 unchanged"
            }
            Scenario::Healthy => "nothing changes: v2 stays as good as v1",
            Scenario::Common => {
                v1.behave(Behaviour::AllSlow(1.5));
                v2.behave(Behaviour::AllSlow(1.5));
                "v1 and v2 are both slower now: all latencies +50%"
            }
            Scenario::Errors => {
                v2.behave(Behaviour::Errors(0.3));
                "v2 answers 30% of its requests with 503 now"
            }
            Scenario::Hang => {
                v2.behave(Behaviour::Hang(0.15));
                "v2 never answers 15% of its requests now (Envoy gives up after 3 s)"
            }
        }
    }

    /// How long to look on after that: until a decision at the latest where there should be one.
    pub(crate) fn look_on(self) -> Duration {
        Duration::from_secs(if self.is_bad() { 180 } else { 75 })
    }
}
