//! When what happened, relative to the onset.

use serin_proto::v1::{Decision, DecisionStage};

use crate::screen;

/// The moments of a run, in microseconds since 1970.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Timeline {
    pub(crate) onset: u64,
    pub(crate) first_evidence: Option<u64>,
    pub(crate) decided: Option<u64>,
    pub(crate) written: Option<u64>,
    /// The last request that any instance of the candidate received, or the write where that was later.
    pub(crate) zero_share: Option<u64>,
    pub(crate) confirmed: Option<u64>,
}

impl Timeline {
    /// Takes in what a decision tells.
    pub(crate) fn read(&mut self, decision: &Decision) {
        let at = |stage| decision.events.iter().find(|event| event.stage() == stage).map(|event| event.unix_us);
        self.decided = at(DecisionStage::Decided);
        self.written = at(DecisionStage::Written);
        self.confirmed = at(DecisionStage::Confirmed);
        let since = decision.verdict.as_ref().map(|verdict| verdict.evidence_since_unix_us);
        self.first_evidence = since.filter(|since| *since > 0).or(self.first_evidence);
    }

    /// Seconds from the onset; negative before it.
    pub(crate) fn since_onset_s(&self, unix_us: u64) -> f64 {
        (unix_us as f64 - self.onset as f64) / 1e6
    }

    /// Prints the table.
    pub(crate) fn print(&self, what: &str) {
        screen::line("\n  timeline");
        let rows = [
            (what, Some(self.onset)),
            ("first evidence (above 20 to 1 from here on)", self.first_evidence),
            ("decision", self.decided),
            ("route file written", self.written),
            ("last request to v2: its share is zero", self.zero_share),
            ("rollback confirmed from Envoy's reports", self.confirmed),
        ];
        for (name, at) in rows {
            let at = at.map_or("-".to_owned(), |at| format!("{:+.1} s", self.since_onset_s(at)));
            screen::line(&format!("  {at:>10}  {name}"));
        }
    }
}
