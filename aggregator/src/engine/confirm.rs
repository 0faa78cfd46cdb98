//! Did the rollback take effect? Asked of the data plane: the filters see the split that callers really get.

use std::{collections::VecDeque, time::Duration};

use crate::time::UnixMicros;

/// A candidate that is still served would have shown itself: the silence counts once its probability by chance
/// is below 1 in 1,000, that is once e^-expected < 0.001.
const EXPECTED_MIN: f64 = 6.9;
/// Share assumed when the split before the write is not known (1%): the longest silence is asked for.
const SHARE_UNKNOWN: f64 = 0.01;

/// Seconds that the split is told of when the time allowed is over.
const RECENT_S: usize = 10;

/// Requests of one second, or of several.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Split {
    pub(super) candidate: u64,
    pub(super) others: u64,
}

impl Split {
    pub(super) fn share(self) -> Option<f64> {
        let all = self.candidate.saturating_add(self.others);
        (all > 0).then(|| self.candidate as f64 / all as f64)
    }

    pub(super) fn plus(self, other: Split) -> Split {
        Split {
            candidate: self.candidate.saturating_add(other.candidate),
            others: self.others.saturating_add(other.others),
        }
    }
}

/// What the data plane shows after a write.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Seen {
    /// Not enough yet.
    Waiting,
    /// The candidate gets nothing any more.
    Zero {
        /// From the write until its last response, at the resolution of a second.
        after: Duration,
    },
    /// The time allowed is over without a proof; this is how the last seconds were split.
    NotInEffect { recent: Split },
}

/// Watches the split after a write.
#[derive(Clone, Debug)]
pub(super) struct Confirm {
    written: UnixMicros,
    within: Duration,
    share_before: f64,
    silent_from: Option<UnixMicros>,
    expected: f64,
    recent: VecDeque<Split>,
    overdue: bool,
}

impl Confirm {
    pub(super) fn new(written: UnixMicros, within: Duration, before: Split) -> Self {
        let share_before = before.share().filter(|share| *share > 0.0).unwrap_or(SHARE_UNKNOWN);
        Confirm {
            written,
            within,
            share_before,
            silent_from: None,
            expected: 0.0,
            recent: VecDeque::new(),
            overdue: false,
        }
    }

    /// Takes one complete second. Says `NotInEffect` once.
    pub(super) fn observe(&mut self, second: u64, split: Split) -> Seen {
        let start = UnixMicros::from_second(second);
        let end = UnixMicros::from_second(second + 1);
        if end <= self.written {
            return Seen::Waiting;
        }
        if split.candidate > 0 {
            (self.silent_from, self.expected) = (None, 0.0);
        } else {
            self.silent_from.get_or_insert(start.max(self.written));
            // Before, each request that went elsewhere came with share / (1 - share) that went to the candidate.
            let odds = self.share_before / (1.0 - self.share_before).max(0.01);
            self.expected += split.others as f64 * odds;
        }
        self.recent.push_back(split);
        self.recent.drain(..self.recent.len().saturating_sub(RECENT_S));
        if let Some(from) = self.silent_from
            && self.expected >= EXPECTED_MIN
        {
            return Seen::Zero { after: from.since(self.written) };
        }
        if !self.overdue && end.since(self.written) >= self.within {
            self.overdue = true;
            return Seen::NotInEffect { recent: self.recent.iter().fold(Split::default(), |sum, s| sum.plus(*s)) };
        }
        Seen::Waiting
    }

    pub(super) fn overdue(&self) -> bool {
        self.overdue
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WRITTEN: UnixMicros = UnixMicros(100_300_000);

    fn confirm() -> Confirm {
        Confirm::new(WRITTEN, Duration::from_secs(5), Split { candidate: 50, others: 50 })
    }

    fn split(candidate: u64, others: u64) -> Split {
        Split { candidate, others }
    }

    #[test]
    fn silence_while_others_are_served_is_zero() {
        let mut c = confirm();
        assert_eq!(c.observe(99, split(0, 500)), Seen::Waiting, "before the write");
        assert_eq!(c.observe(100, split(40, 60)), Seen::Waiting);
        assert_eq!(c.observe(101, split(1, 99)), Seen::Waiting, "one that was in flight");
        assert_eq!(c.observe(102, split(0, 100)), Seen::Zero { after: Duration::from_millis(1_700) });
    }

    #[test]
    fn a_silence_that_chance_explains_is_waited_out() {
        let mut c = Confirm::new(WRITTEN, Duration::from_secs(60), split(1, 99));
        // 100 requests a second bring about one of the candidate's: 7 s of silence are below 1 in 1,000.
        for second in 101..107 {
            assert_eq!(c.observe(second, split(0, 100)), Seen::Waiting, "{second}");
        }
        assert_eq!(c.observe(107, split(0, 100)), Seen::Zero { after: Duration::from_millis(700) });
    }

    #[test]
    fn says_once_that_nothing_changed_and_goes_on_watching() {
        let mut c = confirm();
        let seen: Vec<_> = (101..108).map(|second| c.observe(second, split(25, 75))).collect();
        assert_eq!(seen.iter().filter(|s| **s != Seen::Waiting).count(), 1);
        assert_eq!(seen[4], Seen::NotInEffect { recent: split(5 * 25, 5 * 75) });
        assert!(matches!(c.observe(108, split(0, 100)), Seen::Zero { .. }));
    }

    #[test]
    fn no_requests_at_all_prove_nothing() {
        let mut c = confirm();
        let seen: Vec<_> = (101..106).map(|second| c.observe(second, split(0, 0))).collect();
        assert_eq!(seen.last(), Some(&Seen::NotInEffect { recent: Split::default() }));
    }
}
