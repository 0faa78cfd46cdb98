//! What was counted in an interval that is over: how it is merged with its neighbour, within limits.

use std::rc::Rc;

use serin_sketch::Counts;

use crate::{
    labels::{outcome_of, overflow_key},
    recorder::SERIES_MAX,
};

/// The number of outcomes on the wire, each with an overflow series.
const OUTCOMES: usize = 8;

/// What one report takes in memory, at most, as [`Sealed::bytes`] counts it: 290 series with the longest labels and 40
/// buckets each, or 512 with labels of 40 bytes and 45 buckets. Only overflow series, which take everything else, can
/// exceed it: 8 outcomes x 2 timings x 2,960 buckets x 16 B = 758 kB, were every bucket in use.
///
/// On the wire a bucket takes at most 2 B (gap) + 6 B (count to 2^40), and a label its length, so a report takes less than in memory,
/// and is below the aggregator's limit of 1 MiB.
pub const REPORT_BYTES_MAX: usize = 512 << 10;
/// A bucket and its count.
const CELL_BYTES: usize = 16;
/// A series without its key and buckets: two vectors, a shared pointer and their headers.
const SERIES_BYTES: usize = 112;

const MS_MAX: u64 = 86_400_000;

/// A stretch of the reporter's wall clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interval {
    /// When it began, in microseconds since 1970.
    pub start_us: u64,
    /// Its length in milliseconds: 1 to 86,400,000.
    pub ms: u32,
}

impl Interval {
    /// From `start_us` to `end_us`, to the nearest millisecond within the range of a length. A clock that stepped back
    /// gives the shortest one.
    pub fn between(start_us: u64, end_us: u64) -> Self {
        let ms = (end_us.saturating_sub(start_us) + 500) / 1_000;
        Interval { start_us, ms: ms.clamp(1, MS_MAX) as u32 }
    }

    fn end_us(self) -> u64 {
        self.start_us.saturating_add(u64::from(self.ms) * 1_000)
    }

    fn hull(self, other: Self) -> Self {
        Interval::between(self.start_us.min(other.start_us), self.end_us().max(other.end_us()))
    }
}

/// What was counted in one series.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeriesCounts {
    /// Labels and outcome (see [`crate::labels`]).
    pub key: Rc<[u8]>,
    /// Latencies of the upstream.
    pub upstream: Counts,
    /// Durations of the requests, each exactly once.
    pub total: Counts,
    /// Attempts beyond the first.
    pub retries: u64,
}

impl SeriesCounts {
    /// Without any counts.
    pub fn new(key: Rc<[u8]>) -> Self {
        SeriesCounts { key, upstream: Counts::new(), total: Counts::new(), retries: 0 }
    }

    fn merge(&mut self, other: &SeriesCounts) {
        self.upstream.merge(&other.upstream);
        self.total.merge(&other.total);
        self.retries = self.retries.saturating_add(other.retries);
    }

    fn bytes(&self) -> usize {
        SERIES_BYTES + self.key.len() + CELL_BYTES * (self.upstream.iter().len() + self.total.iter().len())
    }
}

/// What was counted in an interval that is over. At most [`SERIES_MAX`] series and an overflow series per outcome,
/// in at most [`REPORT_BYTES_MAX`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sealed {
    interval: Interval,
    /// In ascending order of their keys, without repetition.
    series: Vec<SeriesCounts>,
    requests: u64,
    overflow: u64,
    bytes: usize,
}

impl Sealed {
    /// `requests` is the sum of all `total`s, `overflow` those of them that were put into an overflow series.
    pub(crate) fn new(interval: Interval, mut series: Vec<SeriesCounts>, requests: u64, overflow: u64) -> Self {
        series.sort_unstable_by(|a, b| a.key.cmp(&b.key));
        let mut sealed = Sealed { interval, series, requests, overflow, bytes: 0 };
        sealed.fold(SERIES_MAX, REPORT_BYTES_MAX);
        sealed
    }

    /// When it was counted.
    pub fn interval(&self) -> Interval {
        self.interval
    }

    /// What was counted, by series.
    pub fn series(&self) -> &[SeriesCounts] {
        &self.series
    }

    /// How many requests there are.
    pub fn requests(&self) -> u64 {
        self.requests
    }

    /// How many of them were put into an overflow series for want of room.
    pub fn overflow(&self) -> u64 {
        self.overflow
    }

    /// About what it takes in memory. Keys that other reports share are counted in each.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Adds a neighbour. No request is lost; where the sum exceeds the limits the series with the fewest requests are
    /// folded into the overflow series of their outcome.
    pub fn merge(&mut self, other: Sealed) {
        self.interval = self.interval.hull(other.interval);
        self.requests = self.requests.saturating_add(other.requests);
        self.overflow = self.overflow.saturating_add(other.overflow);
        for series in other.series {
            self.add(series);
        }
        self.fold(SERIES_MAX, REPORT_BYTES_MAX);
    }

    fn add(&mut self, series: SeriesCounts) {
        match self.series.binary_search_by(|s| s.key.cmp(&series.key)) {
            Ok(at) => {
                if let Some(mine) = self.series.get_mut(at) {
                    mine.merge(&series);
                }
            }
            Err(at) => self.series.insert(at, series),
        }
    }

    /// In one pass over the series, sorted by their requests: this runs on the worker's event loop.
    fn fold(&mut self, series_max: usize, bytes_max: usize) {
        self.bytes = self.series.iter().map(SeriesCounts::bytes).sum();
        if self.series.len() <= series_max && self.bytes <= bytes_max {
            return;
        }
        let overflow_keys: Vec<Rc<[u8]>> = (0..=OUTCOMES as u8).map(|outcome| overflow_key(outcome).into()).collect();
        let (mut overflow, mut named): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.series).into_iter().partition(|s| overflow_keys.contains(&s.key));
        // The largest first, so that the smallest are taken off the end; among equals the first key goes first.
        named.reverse();
        named.sort_by_key(|s| std::cmp::Reverse(s.total.total()));
        while named.len() > series_max || self.bytes > bytes_max {
            let Some(smallest) = named.pop() else { break };
            self.overflow = self.overflow.saturating_add(smallest.total.total());
            self.bytes -= smallest.bytes();
            let key: Rc<[u8]> = overflow_key(outcome_of(&smallest.key)).into();
            let at = overflow.iter().position(|s: &SeriesCounts| s.key == key).unwrap_or_else(|| {
                self.bytes += SeriesCounts::new(key.clone()).bytes();
                overflow.push(SeriesCounts::new(key));
                overflow.len() - 1
            });
            let Some(of_outcome) = overflow.get_mut(at) else { break };
            self.bytes -= of_outcome.bytes();
            of_outcome.merge(&smallest);
            self.bytes += of_outcome.bytes();
        }
        self.series = named;
        self.series.append(&mut overflow);
        self.series.sort_unstable_by(|a, b| a.key.cmp(&b.key));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serin_sketch::{Bucket, Micros};

    fn sealed(start_us: u64, series: &[(&[u8], u64, u64)]) -> Sealed {
        let of = |(key, us, n): &(&[u8], u64, u64)| SeriesCounts {
            total: Counts::from_iter([(Bucket::of(Micros(*us)), *n)]),
            ..SeriesCounts::new((*key).into())
        };
        let requests = series.iter().map(|s| s.2).sum();
        Sealed::new(Interval { start_us, ms: 1_000 }, series.iter().map(of).collect(), requests, 0)
    }

    #[test]
    fn merging_adds_counts_and_spans_both_intervals() {
        let mut sum = sealed(1_000_000, &[(b"\x01b", 5, 2), (b"\x01a", 5, 1)]);
        sum.merge(sealed(2_000_000, &[(b"\x01b", 5, 3), (b"\x01c", 7, 4)]));
        assert_eq!(sum.interval(), Interval { start_us: 1_000_000, ms: 2_000 });
        assert_eq!((sum.requests(), sum.overflow()), (10, 0));
        let totals: Vec<_> = sum.series().iter().map(|s| (s.key.to_vec(), s.total.total())).collect();
        assert_eq!(totals, [(b"\x01a".to_vec(), 1), (b"\x01b".to_vec(), 5), (b"\x01c".to_vec(), 4)]);
    }

    #[test]
    fn the_smallest_series_are_folded_first() {
        let mut sum = sealed(0, &[(b"\x01a", 5, 9), (b"\x01b", 6, 1), (b"\x04c", 7, 2), (b"\x01d", 5, 8)]);
        sum.fold(2, REPORT_BYTES_MAX);
        let totals: Vec<_> = sum.series().iter().map(|s| (s.key.to_vec(), s.total.total())).collect();
        assert_eq!(
            totals,
            [(overflow_key(1), 1), (b"\x01a".to_vec(), 9), (b"\x01d".to_vec(), 8), (overflow_key(4), 2)]
        );
        assert_eq!((sum.requests(), sum.overflow()), (20, 3));
    }

    #[test]
    fn intervals_stay_within_the_wires_range() {
        assert_eq!(Interval::between(5_000_000, 4_000_000).ms, 1);
        assert_eq!(Interval::between(5_000_000, 5_000_100).ms, 1);
        assert_eq!(Interval::between(0, 1_000_400).ms, 1_000);
        assert_eq!(Interval::between(0, u64::MAX / 2).ms, 86_400_000);
    }

    proptest! {
        #[test]
        fn no_limit_loses_a_request(
            series in prop::collection::vec((1u8..8, 0u8..30, 0u64..1_000, 1u64..9), 0..60), named in 0usize..20, bytes in 0usize..4_000,
        ) {
            let mut sum = sealed(0, &[]);
            for (outcome, label, us, n) in &series {
                sum.merge(sealed(0, &[(&[*outcome, *label], *us, *n)]));
            }
            sum.fold(named, bytes);
            let counted: u64 = sum.series().iter().map(|s| s.total.total()).sum();
            prop_assert_eq!(counted, sum.requests());
            prop_assert_eq!(counted, series.iter().map(|s| s.3).sum::<u64>());
            let folded: u64 = sum.series().iter().filter(|s| s.key.len() > 2).map(|s| s.total.total()).sum();
            prop_assert_eq!(folded, sum.overflow());
            let left = sum.series().iter().filter(|s| s.key.len() == 2).count();
            prop_assert!(left <= named);
            prop_assert!(left == 0 || sum.bytes() <= bytes);
            prop_assert_eq!(sum.bytes(), sum.series().iter().map(SeriesCounts::bytes).sum::<usize>());
        }
    }
}
