//! When a silence towards the candidate is no chance.

use std::time::Duration;

use super::super::shares::Split;
use crate::time::UnixMicros;

/// A candidate that is still served would have shown itself: the silence counts once its probability by chance
/// is below 1 in 1,000, that is once e^-expected < 0.001.
pub(super) const EXPECTED_MIN: f64 = 6.9;
/// Share assumed when the split before the write is not known (1%): the longest silence is asked for.
const SHARE_UNKNOWN: f64 = 0.01;
/// Requests a second assumed when they are not known: one that sends none at all is gone after 69 s.
const RATE_UNKNOWN: f64 = 0.1;

/// What those did whose requests are counted together: one proxy, or several.
#[derive(Clone, Debug)]
pub(super) struct Silence {
    pub(super) before: Split,
    /// All requests a second, before.
    rate: f64,
    /// The candidate's requests for each one of the others, before.
    odds: f64,
    /// Since its last request to the candidate; `None`: that was in the last second.
    pub(super) from: Option<UnixMicros>,
    /// How many would have been expected since then.
    pub(super) expected: f64,
    /// How many of any kind would have been expected since the last one.
    absent: f64,
    /// Requests to the candidate since the write.
    pub(super) sent: u64,
}

impl Silence {
    /// `before`: of so many seconds before the write.
    pub(super) fn new(before: Split, seconds: usize) -> Self {
        let share = before.share().filter(|share| *share > 0.0).unwrap_or(SHARE_UNKNOWN);
        let odds = share / (1.0 - share).max(0.01);
        let rate = (before.all() as f64 / seconds.max(1) as f64).max(RATE_UNKNOWN);
        Silence { before, rate, odds, from: None, expected: 0.0, absent: 0.0, sent: 0 }
    }

    /// How many requests to the candidate it would send in a time if nothing changed.
    pub(super) fn expects(before: Split, seconds: usize, within: Duration) -> f64 {
        before.candidate as f64 / seconds.max(1) as f64 * within.as_secs_f64()
    }

    /// Takes the second that began then, or the rest of it after the write. `shown`: which part of the requests to the candidate, if there were
    /// any, would be seen by now.
    pub(super) fn observe(&mut self, begin: UnixMicros, split: Split, shown: f64) {
        if split.candidate > 0 {
            (self.from, self.expected, self.absent) = (None, 0.0, 0.0);
            self.sent = self.sent.saturating_add(split.candidate);
            return;
        }
        self.from.get_or_insert(begin);
        self.expected += split.others as f64 * self.odds * shown;
        self.absent = if split.others > 0 { 0.0 } else { self.absent + self.rate };
    }

    pub(super) fn is_proven(&self) -> bool {
        self.expected >= EXPECTED_MIN
    }

    /// It sends nothing to anybody, and that is no chance either.
    pub(super) fn is_gone(&self) -> bool {
        !self.is_proven() && self.absent >= EXPECTED_MIN
    }

    pub(super) fn is_settled(&self) -> bool {
        self.is_proven() || self.is_gone()
    }

    pub(super) fn lasts(&self, now: UnixMicros) -> Duration {
        self.from.map_or(Duration::ZERO, |from| now.since(from))
    }
}
