//! What was applied and is not on disk yet (pure): how much it is, and since when the oldest of it waits.

use std::{collections::VecDeque, time::Duration};

use crate::time::UnixMicros;

/// Memory of reports that wait for the disk, at most; nothing more is read from the streams then. Some thousand usual reports, which is
/// several transactions.
const BYTES_MAX: usize = 64 << 20;

/// Reports that wait for the disk, oldest first.
#[derive(Debug, Default)]
pub(crate) struct Backlog {
    waiting: VecDeque<(UnixMicros, usize)>,
    bytes: usize,
}

impl Backlog {
    /// Another one.
    pub(crate) fn push(&mut self, bytes: usize, now: UnixMicros) {
        self.waiting.push_back((now, bytes));
        self.bytes += bytes;
    }

    /// So many are done. They are taken to be the oldest ones; where they are not, the sum is right again when all are done.
    pub(crate) fn done(&mut self, reports: usize) {
        let reports = reports.min(self.waiting.len());
        self.bytes -= self.waiting.drain(..reports).map(|(_, bytes)| bytes).sum::<usize>();
    }

    /// How long the oldest one has waited.
    pub(crate) fn age(&self, now: UnixMicros) -> Duration {
        self.waiting.front().map_or(Duration::ZERO, |(since, _)| now.since(*since))
    }

    /// What they take in memory, nearly.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether there is no room for more.
    pub(crate) fn is_full(&self) -> bool {
        self.bytes >= BYTES_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_goes_first_and_the_sum_follows() {
        let mut backlog = Backlog::default();
        let at = UnixMicros::from_second;
        assert_eq!((backlog.age(at(9)), backlog.bytes()), (Duration::ZERO, 0));
        (1..=3).for_each(|second| backlog.push(BYTES_MAX / 3, at(second)));
        assert!(!backlog.is_full());
        backlog.push(3, at(4));
        assert!(backlog.is_full());
        assert_eq!(backlog.age(at(9)), Duration::from_secs(8));
        backlog.done(2);
        assert_eq!((backlog.age(at(9)), backlog.bytes()), (Duration::from_secs(6), BYTES_MAX / 3 + 3));
        backlog.done(7);
        assert_eq!((backlog.age(at(9)), backlog.bytes()), (Duration::ZERO, 0));
    }
}
