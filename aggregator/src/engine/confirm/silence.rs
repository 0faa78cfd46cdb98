//! When a silence towards the candidate is no chance.

use std::time::Duration;

use super::super::shares::Split;
use crate::{report::REPORTS_EVERY_MAX, time::UnixMicros};

/// A candidate that is still served would have shown itself: the silence counts once its probability by chance
/// is below 1 in 1,000, that is once e^-expected < 0.001.
pub(super) const EXPECTED_MIN: f64 = 6.9;
/// A report of a longer interval belongs to its last second: the seconds before it are empty.
const ABSENT_S_MIN: u32 = REPORTS_EVERY_MAX.as_secs() as u32;
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
    /// Seconds without one.
    absent_s: u32,
    /// Requests to the candidate since the write.
    pub(super) sent: u64,
}

impl Silence {
    /// `before`: of so many seconds before the write.
    pub(super) fn new(before: Split, seconds: usize) -> Self {
        let share = before.share().filter(|share| *share > 0.0).unwrap_or(SHARE_UNKNOWN);
        let odds = share / (1.0 - share).max(0.01);
        let rate = (before.all() as f64 / seconds.max(1) as f64).max(RATE_UNKNOWN);
        Silence { before, rate, odds, from: None, expected: 0.0, absent: 0.0, absent_s: 0, sent: 0 }
    }

    /// How many requests to the candidate it would send in a time if nothing changed.
    pub(super) fn expects(before: Split, seconds: usize, within: Duration) -> f64 {
        before.candidate as f64 / seconds.max(1) as f64 * within.as_secs_f64()
    }

    /// Takes the second that began then, or the rest of it after the write. `hidden`: how many of the candidate's requests
    /// before would not have been seen by now.
    pub(super) fn observe(&mut self, begin: UnixMicros, split: Split, hidden: u64) {
        if split.candidate > 0 {
            (self.from, self.expected) = (None, 0.0);
            (self.absent, self.absent_s) = (0.0, 0);
            self.sent = self.sent.saturating_add(split.candidate);
            return;
        }
        self.from.get_or_insert(begin);
        self.expected += split.others as f64 * self.odds * self.shown(hidden);
        let is_absent = split.others == 0;
        self.absent = if is_absent { self.absent + self.rate } else { 0.0 };
        self.absent_s = if is_absent { self.absent_s + 1 } else { 0 };
    }

    fn shown(&self, hidden: u64) -> f64 {
        1.0 - (hidden as f64 / self.before.candidate.max(1) as f64).min(1.0)
    }

    pub(super) fn is_proven(&self) -> bool {
        self.expected >= EXPECTED_MIN
    }

    /// It sends nothing to anybody, and that is no chance either, nor does it only report that seldom.
    pub(super) fn is_gone(&self) -> bool {
        !self.is_proven() && self.absent >= EXPECTED_MIN && self.absent_s > ABSENT_S_MIN
    }

    pub(super) fn is_settled(&self) -> bool {
        self.is_proven() || self.is_gone()
    }

    pub(super) fn lasts(&self, now: UnixMicros) -> Duration {
        self.from.map_or(Duration::ZERO, |from| now.since(from))
    }
}
