//! A ReleaseGuard in the words of `serin.yaml`: pure.

use serde_json::{Value, json};

use super::{Action, ReleaseGuardSpec};
use crate::discover::Pair;

impl ReleaseGuardSpec {
    /// The entry of `services` in a `serin.yaml` that says the same, for the parser of that file: there is one place where
    /// defaults and ranges are decided. `pair`: as said in the spec, or as found. Targets are not in it: the file's are
    /// files.
    pub fn service(&self, pair: &Pair) -> Value {
        json!({
            "name": self.service,
            "vantage": self.vantage,
            "baseline": pair.baseline,
            "candidate": pair.candidate,
            "routes": self.routes,
            "timing": self.timing,
            "judge": self.rules,
            "rollback": {
                "action": if self.action == Action::Notify { "notify" } else { "rollback" },
                "dry_run": self.action == Action::DryRun,
                "confirm_within": self.confirm_within,
                "hold": self.hold,
            },
        })
    }

    /// Baseline and candidate where the spec says both.
    pub fn pair(&self) -> Option<Pair> {
        Some(Pair { baseline: self.baseline.clone()?, candidate: self.candidate.clone()? })
    }
}
