//! Whether the right thing happened, and `result.json`.

use std::{fs, path::PathBuf};

use anyhow::{Context, Result};
use serde::Serialize;
use support::{artifacts, load::Tally};

use serin_sketch::thousands;

use crate::{scenario::Scenario, timeline::Timeline};

/// What a run came to.
pub(crate) struct Outcome {
    pub(crate) scenario: Scenario,
    pub(crate) timeline: Timeline,
    /// By `serin`, and by Envoy (`downstream_rq_total - downstream_rq_active`).
    pub(crate) counted: u64,
    pub(crate) envoy: u64,
    pub(crate) tally: Tally,
}

#[derive(Serialize)]
struct Record {
    scenario: Scenario,
    decision: &'static str,
    onset_to_decision_s: Option<f64>,
    onset_to_zero_share_s: Option<f64>,
    requests_counted: u64,
    requests_sent: u64,
}

impl Outcome {
    /// Whether it was right, and why.
    pub(crate) fn judge(&self) -> (bool, String) {
        let at = |unix_us: Option<u64>| unix_us.map(|at| self.timeline.since_onset_s(at));
        let (decided, zero) = (at(self.timeline.decided), at(self.timeline.zero_share));
        let rolled_back = match (self.scenario.is_bad(), decided) {
            (_, Some(s)) if s < 0.0 => return (false, format!("rolled back {:.1} s before anything was wrong", -s)),
            (false, Some(s)) => return (false, format!("rolled back after {s:.1} s, although v2 is no worse than v1")),
            (true, None) => return (false, "v2 was not rolled back".to_owned()),
            (true, Some(_)) if self.timeline.confirmed.is_none() => {
                return (false, "the rollback was not confirmed".to_owned());
            }
            (false, None) => "v2 was left alone".to_owned(),
            (true, Some(s)) => {
                let zero = zero.map_or(String::new(), |zero| format!(" and without traffic after {zero:.1} s"));
                format!("v2 was condemned {s:.1} s after onset{zero}")
            }
        };
        let counted = thousands(self.counted);
        if self.counted != self.envoy {
            return (false, format!("serin counted {counted} requests, Envoy {}", thousands(self.envoy)));
        }
        (true, format!("{rolled_back}; all {counted} requests counted once"))
    }

    /// Writes `target/demo/result.json`; returns where that is.
    pub(crate) fn write(&self) -> Result<PathBuf> {
        let rounded = |at: Option<u64>| at.map(|at| (self.timeline.since_onset_s(at) * 1e3).round() / 1e3);
        let record = Record {
            scenario: self.scenario,
            decision: if self.timeline.decided.is_some() { "rolled_back" } else { "none" },
            onset_to_decision_s: rounded(self.timeline.decided),
            onset_to_zero_share_s: rounded(self.timeline.zero_share),
            requests_counted: self.counted,
            requests_sent: self.tally.sent,
        };
        let dir = artifacts::root().join("target/demo");
        fs::create_dir_all(&dir).with_context(|| format!("cannot create {}", dir.display()))?;
        let file = dir.join("result.json");
        fs::write(&file, serde_json::to_string_pretty(&record)? + "\n")
            .with_context(|| format!("cannot write {}", file.display()))?;
        Ok(file)
    }
}
