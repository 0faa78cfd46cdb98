//! Reports on their way: kept until the aggregator acknowledged them.
//!
//! A report gets its number when it is first sent, and from then on it never changes: the aggregator may have
//! applied it, so it must come again under the same number with the same content. Before that, reports may be
//! merged: when the aggregator is away, the oldest ones become coarser.

use std::collections::VecDeque;

use crate::{report::Delivered, sealed::Sealed};

/// Reports that were sent and not acknowledged, at most. Nothing else bounds what Envoy buffers for a stream
/// whose reader is stuck.
pub const IN_FLIGHT_MAX: usize = 8;
/// What they take in memory, at most, unless it is one report alone: 8 of the largest common ones, 100 series with 50
/// buckets and names of 60 bytes.
const IN_FLIGHT_BYTES_MAX: usize = 1 << 20;

/// Reports that wait, at most, before the two oldest are merged: half a minute at one second each.
pub const PENDING_MAX: usize = 30;
/// What they take in memory, at most, unless it is one report alone (below 0.8 MB): they are merged earlier when labels
/// are long and many. Merged ones hold each series once.
const PENDING_BYTES_MAX: usize = 1 << 20;

/// A report with its number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Numbered {
    /// 1, 2, 3, ...
    pub sequence: u64,
    /// Requests in all reports with a lower number.
    pub requests_before: u64,
    /// Requests in this report and all lower ones that were put into an overflow series.
    pub overflow_requests: u64,
    /// What was counted.
    pub sealed: Sealed,
}

/// Reports that were not acknowledged yet.
#[derive(Debug, Default)]
pub struct Outbox {
    pending: VecDeque<Sealed>,
    in_flight: VecDeque<Numbered>,
    /// How many of `in_flight`, from the front, were sent on the current stream.
    sent: usize,
    numbered: u64,
    requests_numbered: u64,
    overflow_numbered: u64,
}

impl Outbox {
    /// Takes a report to deliver.
    pub fn push(&mut self, sealed: Sealed) {
        self.pending.push_back(sealed);
        while self.pending.len() > 1
            && (self.pending.len() > PENDING_MAX || bytes(&self.pending) > PENDING_BYTES_MAX)
            && let (Some(mut oldest), Some(next)) = (self.pending.pop_front(), self.pending.pop_front())
        {
            oldest.merge(next);
            self.pending.push_front(oldest);
        }
    }

    /// The next report for the current stream: first those of an earlier stream again, then new ones, while
    /// fewer than [`IN_FLIGHT_MAX`] are unacknowledged.
    pub fn next_to_send(&mut self) -> Option<&Numbered> {
        if self.sent == self.in_flight.len() && self.has_room() {
            let sealed = self.pending.pop_front()?;
            self.numbered += 1;
            let requests_before = self.requests_numbered;
            self.requests_numbered = requests_before.saturating_add(sealed.requests());
            self.overflow_numbered = self.overflow_numbered.saturating_add(sealed.overflow());
            let overflow_requests = self.overflow_numbered;
            self.in_flight.push_back(Numbered { sequence: self.numbered, requests_before, overflow_requests, sealed });
        }
        let next = self.in_flight.get(self.sent)?;
        self.sent += 1;
        Some(next)
    }

    /// Forgets all reports up to this number. Says whether there were any; a number that was never given is
    /// not believed.
    pub fn acknowledge(&mut self, sequence: u64) -> bool {
        let before = self.in_flight.len();
        while sequence <= self.numbered && self.in_flight.front().is_some_and(|r| r.sequence <= sequence) {
            self.in_flight.pop_front();
            self.sent = self.sent.saturating_sub(1);
        }
        self.in_flight.len() < before
    }

    /// The stream is gone: all unacknowledged reports must be sent again on the next one.
    pub fn rewind(&mut self) {
        self.sent = 0;
    }

    /// The lowest number still held, or the next one.
    pub fn first_sequence(&self) -> u64 {
        self.in_flight.front().map_or(self.numbered + 1, |r| r.sequence)
    }

    /// Whether reports wait for acknowledgements of others.
    pub fn is_stuck(&self) -> bool {
        self.sent > 0 && !self.has_room()
    }

    /// Whether the next report may be sent before another one is acknowledged.
    fn has_room(&self) -> bool {
        let next = self.pending.front().map_or(0, Sealed::bytes);
        let bytes = bytes(self.in_flight.iter().map(|report| &report.sealed)) + next;
        self.in_flight.is_empty() || (self.in_flight.len() < IN_FLIGHT_MAX && bytes <= IN_FLIGHT_BYTES_MAX)
    }

    /// How many reports are not acknowledged, and about what they take in memory.
    pub fn backlog(&self) -> (usize, usize) {
        let in_flight = self.in_flight.iter().map(|report| &report.sealed);
        (self.in_flight.len() + self.pending.len(), bytes(in_flight.chain(&self.pending)))
    }

    /// Whether something was sent on the current stream and not acknowledged.
    pub fn awaits_ack(&self) -> bool {
        self.sent > 0
    }

    /// Whether everything was delivered.
    pub fn is_empty(&self) -> bool {
        self.in_flight.is_empty() && self.pending.is_empty()
    }

    /// Requests that were not acknowledged.
    pub fn undelivered(&self) -> u64 {
        let in_flight = self.in_flight.iter().map(|report| &report.sealed);
        in_flight.chain(&self.pending).fold(0, |sum, sealed| sum.saturating_add(sealed.requests()))
    }

    /// What all numbered reports hold.
    pub fn numbered(&self) -> Delivered {
        Delivered { requests: self.requests_numbered, overflow: self.overflow_numbered }
    }
}

fn bytes<'a>(reports: impl IntoIterator<Item = &'a Sealed>) -> usize {
    reports.into_iter().map(Sealed::bytes).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sealed::{Interval, SeriesCounts};
    use serin_sketch::{Bucket, Counts};

    fn sealed(second: u64) -> Sealed {
        Sealed::new(Interval { start_us: second * 1_000_000, ms: 1_000 }, Vec::new(), second, second % 2)
    }

    fn sent(outbox: &mut Outbox) -> Vec<(u64, u64, u64)> {
        std::iter::from_fn(|| outbox.next_to_send().map(|r| (r.sequence, r.requests_before, r.sealed.requests())))
            .collect()
    }

    #[test]
    fn numbers_are_given_at_first_sending_and_stay() {
        let mut outbox = Outbox::default();
        assert_eq!(outbox.first_sequence(), 1);
        (1..=3).for_each(|s| outbox.push(sealed(s)));
        assert_eq!(outbox.first_sequence(), 1);
        assert_eq!(sent(&mut outbox), [(1, 0, 1), (2, 1, 2), (3, 3, 3)]);
        assert!(outbox.acknowledge(2));
        assert!(!outbox.acknowledge(2));
        outbox.push(sealed(4));
        outbox.rewind();
        assert_eq!(outbox.first_sequence(), 3);
        assert_eq!(sent(&mut outbox), [(3, 3, 3), (4, 6, 4)]);
        assert_eq!(outbox.numbered(), Delivered { requests: 10, overflow: 2 });
        assert!(outbox.acknowledge(4) && outbox.is_empty());
        assert_eq!(outbox.first_sequence(), 5);
    }

    #[test]
    fn the_window_holds_new_reports_back_and_the_oldest_of_them_are_merged() {
        let mut outbox = Outbox::default();
        let total: u64 = (1..=50).sum();
        (1..=8).for_each(|s| outbox.push(sealed(s)));
        assert_eq!(sent(&mut outbox).len(), 8);
        (9..=50).for_each(|s| outbox.push(sealed(s)));
        assert!(sent(&mut outbox).is_empty() && outbox.is_stuck());
        assert_eq!((outbox.in_flight.len(), outbox.pending.len()), (8, PENDING_MAX));
        assert_eq!(outbox.pending[0].interval(), Interval { start_us: 9_000_000, ms: 13_000 });
        assert_eq!(outbox.pending[1].interval(), Interval { start_us: 22_000_000, ms: 1_000 });
        for _ in 0..10 {
            outbox.acknowledge(outbox.numbered);
            sent(&mut outbox);
        }
        assert!(outbox.is_empty());
        assert_eq!(outbox.numbered().requests, total);
    }

    /// Labels of 1,000 bytes that are new in every interval: 40 kB a report.
    #[test]
    fn large_reports_are_merged_earlier_and_fewer_are_in_flight() {
        let mut outbox = Outbox::default();
        let large = |second: u64| {
            let key = |i: u64| format!("\u{1}{}", (second * 400 + i).to_string().repeat(200)).into_bytes();
            let series = (0..400).map(|i| SeriesCounts {
                total: Counts::from_iter([(Bucket::FIRST, 1)]),
                ..SeriesCounts::new(key(i).into())
            });
            Sealed::new(Interval { start_us: second * 1_000_000, ms: 1_000 }, series.collect(), 400, 0)
        };
        for second in 1..=60 {
            outbox.push(large(second));
            assert!(outbox.backlog().1 <= IN_FLIGHT_BYTES_MAX + PENDING_BYTES_MAX, "{second}");
            sent(&mut outbox);
        }
        assert!(outbox.is_stuck() && outbox.in_flight.len() < IN_FLIGHT_MAX);
        for _ in 0..60 {
            outbox.acknowledge(outbox.numbered);
            sent(&mut outbox);
        }
        assert!(outbox.is_empty());
        assert_eq!(outbox.numbered().requests, 60 * 400);
    }

    #[test]
    fn what_was_never_sent_cannot_be_acknowledged() {
        let mut outbox = Outbox::default();
        outbox.push(sealed(1));
        assert!(!outbox.acknowledge(1));
        sent(&mut outbox);
        assert!(!outbox.acknowledge(2) && !outbox.is_empty());
    }

    #[test]
    fn an_acknowledgement_on_a_new_stream_spares_the_resending() {
        let mut outbox = Outbox::default();
        (1..=3).for_each(|s| outbox.push(sealed(s)));
        sent(&mut outbox);
        outbox.rewind();
        assert_eq!(outbox.next_to_send().map(|r| r.sequence), Some(1));
        assert!(outbox.acknowledge(2));
        assert_eq!(sent(&mut outbox), [(3, 3, 3)]);
    }
}
