//! Did the rollback take effect? Asked of the data plane: the filters see the split that callers really get.
//!
//! Each proxy that sends requests takes new routes over by itself, or does not. So each one whose requests are enough for that has to
//! be silent for long enough by itself; the others are silent together, and so is each of them that is seen to send some afterwards.
//! What came of it is told by workload, where proxies say theirs.

mod known;
mod silence;
mod sources;
mod told;
mod unit;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use serin_sketch::{Bucket, Counts};

use super::shares::{Recent, Shares, Split};
use crate::time::UnixMicros;
use known::Known;
use silence::{EXPECTED_MIN, Silence};
pub(super) use told::few;

/// Proxies that have to be silent each by itself; of more, those that sent the candidate the most.
const ALONE_MAX: usize = 100;

/// Who sends requests now is told of so many seconds, and of half the time allowed at the most: before that everybody did.
const NOW_S: usize = 5;

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
    /// The time allowed is over without a proof.
    NotInEffect,
}

/// Watches the shares after a write.
#[derive(Clone, Debug)]
pub(super) struct Confirm {
    written: UnixMicros,
    within: Duration,
    /// Whether the whole is what those proxies send that are told apart.
    is_theirs: bool,
    before: Shares,
    seconds: usize,
    known: Known,
    alone: BTreeMap<Arc<str>, Silence>,
    /// All others together.
    rest: Silence,
    /// Whether they have been silent for long enough once.
    rest_was_proven: bool,
    overdue: bool,
}

impl Confirm {
    /// `is_theirs`: whether the whole is what the proxies send, and not what the release's own sidecars receive.
    pub(super) fn new(written: UnixMicros, within: Duration, before: &Recent, is_theirs: bool) -> Self {
        let (seconds, before) = (before.seconds(), before.sum());
        let sent = before.by.iter().map(|(node, sent)| (node, sent.split));
        let mut by_itself: Vec<(&Arc<str>, Split)> =
            sent.filter(|(_, split)| Silence::expects(*split, seconds, within) >= EXPECTED_MIN).collect();
        by_itself.sort_by_key(|(_, split)| std::cmp::Reverse(split.candidate));
        by_itself.truncate(ALONE_MAX);
        let silence = |(node, split): (&Arc<str>, Split)| (Arc::clone(node), Silence::new(split, seconds));
        let alone: BTreeMap<_, _> = by_itself.into_iter().map(silence).collect();
        let theirs = alone.values().fold(Split::default(), |sum, silence| sum.plus(silence.before));
        let rest = if is_theirs { before.whole.minus(theirs) } else { before.whole };
        let rest = Silence::new(rest, seconds);
        let known = Known::before(&before);
        let (rest_was_proven, overdue) = (false, false);
        Confirm { written, within, is_theirs, before, seconds, known, alone, rest, rest_was_proven, overdue }
    }

    /// Takes one complete second. Says `NotInEffect` once.
    pub(super) fn observe(&mut self, second: u64, shares: &Shares) -> Seen {
        let begin = UnixMicros::from_second(second).max(self.written);
        let end = UnixMicros::from_second(second + 1);
        if end <= self.written {
            return Seen::Waiting;
        }
        self.known.observe(begin, shares);
        if self.rest_was_proven {
            self.single_out(shares);
        }
        let after = begin.since(self.written);
        let (mut theirs, mut hidden_of_them) = (Split::default(), 0);
        for (node, silence) in &mut self.alone {
            let hidden = self.before.by.get(node).map_or(0, |sent| hidden(&sent.unanswered, after));
            silence.observe(begin, shares.of(node), hidden);
            (theirs, hidden_of_them) = (theirs.plus(shares.of(node)), hidden_of_them + hidden);
        }
        let all_hidden = hidden(&self.before.unanswered, after);
        let (rest, hidden) = match self.is_theirs {
            true => (shares.whole.minus(theirs), all_hidden.saturating_sub(hidden_of_them)),
            false => (shares.whole, all_hidden),
        };
        // Where nothing is known of before, it may have answered none.
        let is_unknown = self.before.whole.all() == 0 && after < self.within / 2;
        self.rest.observe(begin, rest, if is_unknown { u64::MAX } else { hidden });
        self.rest_was_proven |= self.rest.is_proven();
        let is_late = end.since(self.written) >= self.within;
        if self.is_settled() || is_late && self.is_silent_together(end) {
            return Seen::Zero { after: self.after() };
        }
        if !self.overdue && is_late {
            self.overdue = true;
            return Seen::NotInEffect;
        }
        Seen::Waiting
    }

    pub(super) fn overdue(&self) -> bool {
        self.overdue
    }

    /// What was sent a moment ago.
    pub(super) fn lately(&self, recent: &Recent) -> Shares {
        let half = usize::try_from(self.within.as_secs() / 2).unwrap_or(NOW_S);
        recent.last(half.clamp(1, NOW_S))
    }

    /// One of the rest that sends the candidate requests after the rest was silent did not follow.
    fn single_out(&mut self, shares: &Shares) {
        for (node, _) in shares.senders() {
            if self.alone.len() < ALONE_MAX && !self.alone.contains_key(node) {
                let before = self.before.of(node);
                self.alone.insert(Arc::clone(node), Silence::new(before, self.seconds));
            }
        }
    }

    /// Whether the rest has anything to say: it sent the candidate requests, or nobody else can tell.
    fn asks_rest(&self) -> bool {
        self.rest.before.candidate > 0 || self.rest.sent > 0 || !self.alone.values().any(Silence::is_proven)
    }

    fn is_settled(&self) -> bool {
        let is_proven = self.rest.is_proven() || self.alone.values().any(Silence::is_proven);
        is_proven && self.alone.values().all(Silence::is_settled) && (!self.asks_rest() || self.rest.is_settled())
    }

    /// When the time is over, those whose requests became too few to tell by themselves count together with the others: if none of them
    /// sent the candidate any for half of the time.
    fn is_silent_together(&self, now: UnixMicros) -> bool {
        let all = || self.alone.values().chain(self.asks_rest().then_some(&self.rest));
        let expected: f64 = all().map(|silence| silence.expected).sum();
        all().all(|silence| silence.is_settled() || silence.lasts(now) >= self.within / 2) && expected >= EXPECTED_MIN
    }

    /// When the last of them became silent.
    fn after(&self) -> Duration {
        let all = self.alone.values().chain(self.asks_rest().then_some(&self.rest));
        all.filter_map(|silence| silence.from).max().unwrap_or(self.written).since(self.written)
    }
}

/// Of the candidate's requests that were not answered, how many would not have been seen yet so long after they were sent: they show when
/// they have timed out.
fn hidden(unanswered: &Counts, after: Duration) -> u64 {
    let lasts_longer = |(bucket, _): &(Bucket, u64)| Duration::from(bucket.lower()) > after;
    unanswered.iter().filter(lasts_longer).map(|(_, n)| n).sum()
}

#[cfg(test)]
mod tests;
