//! Trials that an earlier run left, of services that come at run time: they go on once it is known which trial it was.

use std::time::Duration;

use super::{Effect, Engine, decision};
use crate::time::UnixMicros;

/// How long after seconds were read from disk a service may come to find them as they were counted. ReleaseGuards come in two or three
/// seconds where the API server answers; one that is itself being restarted takes a minute. It costs memory: 1,020 s of seconds at the
/// most, in place of the 900 that are there after reading.
const COME_WITHIN: Duration = Duration::from_secs(120);

impl Engine {
    /// Seconds were read from disk, or from a log: those who may come to ask for them are waited for.
    pub(super) fn wait_for_guards(&mut self, now: UnixMicros) {
        if self.guards_come {
            self.whole_until = now.plus(COME_WITHIN);
        }
    }

    /// A service that came is one that an earlier run guarded. `trial`: the second in which its running trial began, or why another one
    /// begins. It is judged again from what is kept of its seconds, so that each is evidence once.
    pub(super) fn restarted(&mut self, service: &str, trial: Result<u64, String>, now: UnixMicros) -> Vec<Effect> {
        let Some(at) = self.guards.iter().position(|guard| guard.service().name == service) else { return Vec::new() };
        let Some(guard) = self.guards.get_mut(at).filter(|guard| !guard.is_condemned()) else { return Vec::new() };
        let began = match trial {
            Ok(began) => began,
            Err(why) => {
                guard.begin_anew(&why, now);
                return Vec::new();
            }
        };
        // What a person lifted is over, whether or not that came to be known of the trial.
        let candidate = guard.service().candidate.clone();
        let cleared = self.decisions.values().filter_map(|kept| decision::cleared(kept, service, &candidate)).max();
        // Another machine's clock may have been ahead.
        let began = began.max(cleared.map_or(0, UnixMicros::second)).min(now.second());
        guard.goes_on(began);
        let mut effects = Vec::new();
        for second in began.max(self.slices.first_second().unwrap_or(u64::MAX))..=self.judged {
            if self.guards.get(at).is_none_or(|guard| guard.is_condemned()) {
                break;
            }
            effects.extend(self.judge_one(at, second, now));
        }
        effects
    }
}
