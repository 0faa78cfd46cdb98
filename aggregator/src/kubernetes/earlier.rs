//! The trial that an earlier run left, as the status of its ReleaseGuard tells: pure.

use serin_kubernetes::{discover::Pair, release_guard::ReleaseGuard};

/// What was on trial, and since when.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Earlier {
    pair: Pair,
    /// Of the spec whose rules it was judged by.
    generation: Option<i64>,
    began: u64,
}

impl Earlier {
    /// `None`: nothing was on trial.
    pub(super) fn of(guard: &ReleaseGuard) -> Option<Self> {
        let status = guard.status.as_ref()?;
        let began = u64::try_from(status.trial_start_time.as_ref()?.0.as_second()).ok()?;
        let pair = Pair { baseline: status.baseline.clone()?, candidate: status.candidate.clone()? };
        Some(Earlier { pair, generation: status.observed_generation, began })
    }

    /// The second in which the trial began that goes on, or why it does not. A spec that changed at all may have other rules: to begin
    /// anew costs some minutes, and to judge by other rules what was looked at before could condemn a good release.
    pub(super) fn goes_on(self, pair: &Pair, guard: &ReleaseGuard) -> Result<u64, String> {
        if self.pair != *pair {
            let Pair { baseline, candidate } = self.pair;
            return Err(format!(
                "before serin was started again {candidate} was on trial against {baseline}, judged anew"
            ));
        }
        if self.generation != guard.metadata.generation {
            return Err("the ReleaseGuard was changed before serin was started again, judged anew".to_owned());
        }
        Ok(self.began)
    }
}
