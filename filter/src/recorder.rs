//! Counts of the running interval: bounded memory, no allocation for a series that is known.

mod cells;

use std::rc::Rc;

use hashbrown::HashTable;
use serin_sketch::Bucket;

use crate::{
    labels::{outcome_of, overflow_key},
    measure::Timings,
    sealed::{Interval, Sealed, SeriesCounts},
};
use cells::Cells;

/// Series of one interval in one worker, without the overflow series. 512 are 8 pods x 2 releases x 8 routes x 4
/// outcomes; at 4 labels of 256 bytes their keys take at most 512 x 1,033 B = 529 kB, commonly 40 kB.
pub const SERIES_MAX: usize = 512;

/// What was counted since the last seal.
///
/// Series live for one interval: what is not used any more takes no room, and a limit on series needs no ageing.
pub struct Recorder {
    series_max: usize,
    /// Keys that reports on their way still hold, so that each is in memory once.
    pool: HashTable<Rc<[u8]>>,
    keys: Vec<Rc<[u8]>>,
    /// By series, only as long as the last one that has any.
    retries: Vec<u64>,
    by_key: HashTable<u16>,
    cells: Cells,
    requests: u64,
    overflow: u64,
}

impl Recorder {
    /// Empty, with room for `series_max` series (at most [`SERIES_MAX`]) and the overflow series of each outcome.
    pub fn new(series_max: usize) -> Self {
        Recorder {
            series_max: series_max.min(SERIES_MAX),
            pool: HashTable::new(),
            keys: Vec::new(),
            retries: Vec::new(),
            by_key: HashTable::new(),
            cells: Cells::new(),
            requests: 0,
            overflow: 0,
        }
    }

    /// Whether there may be no room for another request until the next [`Recorder::seal`].
    pub fn is_full(&self) -> bool {
        self.cells.is_full()
    }

    /// Whether nothing was counted since the last seal.
    pub fn is_empty(&self) -> bool {
        self.requests == 0
    }

    /// Counts one request and its attempts beyond the first in the series with this key. Call [`Recorder::seal`] first when it [is
    /// full](Recorder::is_full).
    pub fn record(&mut self, key: &[u8], timings: Timings, retries: u64) {
        let id = match self.find(key) {
            Some(id) => id,
            None if self.keys.len() < self.series_max => self.insert(key),
            None => {
                self.overflow += 1;
                let key = overflow_key(outcome_of(key));
                self.find(&key).unwrap_or_else(|| self.insert(&key))
            }
        };
        self.cells.add(id, TOTAL, Bucket::of(timings.total));
        if let Some(upstream) = timings.upstream {
            self.cells.add(id, UPSTREAM, Bucket::of(upstream));
        }
        if retries > 0 {
            let series = usize::from(id);
            self.retries.resize(self.retries.len().max(series + 1), 0);
            if let Some(sum) = self.retries.get_mut(series) {
                *sum = sum.saturating_add(retries);
            }
        }
        self.requests += 1;
    }

    /// Takes what was counted as a report of `interval`, and starts anew. `None` when nothing was counted.
    pub fn seal(&mut self, interval: Interval) -> Option<Sealed> {
        if self.requests == 0 {
            return None;
        }
        let mut series: Vec<_> = self.keys.drain(..).map(SeriesCounts::new).collect();
        self.cells.drain(|id, timing, bucket, count| {
            if let Some(series) = series.get_mut(usize::from(id)) {
                let counts = if timing == TOTAL { &mut series.total } else { &mut series.upstream };
                counts.add(bucket, u64::from(count));
            }
        });
        for (series, retries) in series.iter_mut().zip(self.retries.drain(..)) {
            series.retries = retries;
        }
        self.by_key.clear();
        self.pool.retain(|key| Rc::strong_count(key) > 1);
        let requests = std::mem::take(&mut self.requests);
        let overflow = std::mem::take(&mut self.overflow);
        Some(Sealed::new(interval, series, requests, overflow))
    }

    fn find(&self, key: &[u8]) -> Option<u16> {
        let same = |id: &u16| self.keys.get(usize::from(*id)).is_some_and(|k| **k == *key);
        self.by_key.find(hash(key), same).copied()
    }

    /// There are at most `series_max` + 256 series (an overflow key per outcome byte), so ids fit.
    fn insert(&mut self, key: &[u8]) -> u16 {
        let id = self.keys.len() as u16;
        let pooled = self.pool.entry(hash(key), |known| **known == *key, |known| hash(known));
        self.keys.push(pooled.or_insert_with(|| key.into()).get().clone());
        let keys = &self.keys;
        self.by_key.insert_unique(hash(key), id, |id| keys.get(usize::from(*id)).map_or(0, |k| hash(k)));
        id
    }
}

const TOTAL: bool = true;
const UPSTREAM: bool = false;

/// FxHash over eight bytes at a time (Firefox's hash: rotate, xor, multiply), finished so that the upper bits,
/// which the table looks at too, depend on all. Keys are names from Envoy's configuration, not a caller's
/// choice, so nobody can provoke collisions; and without random keys the module needs no source of randomness.
fn hash(bytes: &[u8]) -> u64 {
    let mix = |hash: u64, word: u64| (hash.rotate_left(5) ^ word).wrapping_mul(0x517c_c1b7_2722_0a95);
    let (words, rest) = bytes.as_chunks::<8>();
    let hash = words.iter().fold(bytes.len() as u64, |hash, word| mix(hash, u64::from_le_bytes(*word)));
    let hash = rest.iter().fold(hash, |hash, byte| mix(hash, u64::from(*byte)));
    hash ^ (hash >> 32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serin_sketch::Micros;

    const INTERVAL: Interval = Interval { start_us: 1_000_000, ms: 1_000 };

    fn timings(upstream: Option<u64>, total: u64) -> Timings {
        Timings { upstream: upstream.map(Micros), total: Micros(total) }
    }

    #[test]
    fn nothing_counted_is_nothing_to_report() {
        assert_eq!(Recorder::new(4).seal(INTERVAL), None);
    }

    #[test]
    fn counts_both_timings_and_starts_anew() {
        let mut recorder = Recorder::new(4);
        recorder.record(b"\x01a", timings(Some(100), 200), 0);
        recorder.record(b"\x01a", timings(None, 200), 0);
        recorder.record(b"\x01b", timings(Some(0), 10_000_000_000), 0);
        let sealed = recorder.seal(INTERVAL).unwrap();
        assert_eq!(sealed.requests(), 3);
        let [a, b] = sealed.series() else { panic!("{sealed:?}") };
        assert_eq!((&*a.key, a.upstream.total(), a.total.total()), (&b"\x01a"[..], 1, 2));
        assert_eq!(a.total.iter().collect::<Vec<_>>(), [(Bucket::of(Micros(200)), 2)]);
        assert_eq!(b.upstream.iter().collect::<Vec<_>>(), [(Bucket::FIRST, 1)]);
        assert_eq!(b.total.iter().collect::<Vec<_>>(), [(Bucket::LAST, 1)]);
        assert!(recorder.is_empty() && recorder.seal(INTERVAL).is_none());
    }

    #[test]
    fn retries_belong_to_their_series() {
        let mut recorder = Recorder::new(2);
        for (key, retries) in [(b"\x01a", 0), (b"\x01b", 2), (b"\x01b", 1), (b"\x01c", 3)] {
            recorder.record(key, timings(None, 5), retries);
        }
        let sealed = recorder.seal(INTERVAL).unwrap();
        let retries: Vec<_> = sealed.series().iter().map(|s| (s.key.to_vec(), s.retries)).collect();
        assert_eq!(retries, [(overflow_key(1), 3), (b"\x01a".to_vec(), 0), (b"\x01b".to_vec(), 3)]);
        recorder.record(b"\x01b", timings(None, 5), 0);
        assert_eq!(recorder.seal(INTERVAL).unwrap().series()[0].retries, 0);
    }

    #[test]
    fn series_beyond_the_limit_are_counted_as_overflow_of_their_outcome() {
        let mut recorder = Recorder::new(2);
        for key in [b"\x01a", b"\x01b", b"\x01c", b"\x04d", b"\x01e", b"\x01a"] {
            recorder.record(key, timings(None, 5), 0);
        }
        let sealed = recorder.seal(INTERVAL).unwrap();
        assert_eq!((sealed.requests(), sealed.overflow()), (6, 3));
        let counted: Vec<_> = sealed.series().iter().map(|s| (s.key.to_vec(), s.total.total())).collect();
        assert_eq!(
            counted,
            [(overflow_key(1), 2), (b"\x01a".to_vec(), 2), (b"\x01b".to_vec(), 1), (overflow_key(4), 1)]
        );
    }

    proptest! {
        /// Every request is in `total` of exactly one series, whatever the limits do.
        #[test]
        fn counts_are_conserved(requests in prop::collection::vec((0u8..20, 1u8..8, prop::option::of(0u64..700_000_000), 0u64..700_000_000), 0..3_000)) {
            let mut recorder = Recorder::new(30);
            let (mut total, mut upstream, mut overflow) = (0, 0, 0);
            let mut want_upstream = 0;
            for (at, (label, outcome, up, took)) in requests.iter().enumerate() {
                if recorder.is_full() || at % 500 == 499 {
                    let sealed = recorder.seal(INTERVAL).unwrap();
                    total += sealed.series().iter().map(|s| s.total.total()).sum::<u64>();
                    upstream += sealed.series().iter().map(|s| s.upstream.total()).sum::<u64>();
                    overflow += sealed.overflow();
                }
                recorder.record(&[*outcome, *label], timings(*up, *took), 0);
                want_upstream += u64::from(up.is_some());
            }
            if let Some(sealed) = recorder.seal(INTERVAL) {
                total += sealed.series().iter().map(|s| s.total.total()).sum::<u64>();
                upstream += sealed.series().iter().map(|s| s.upstream.total()).sum::<u64>();
                overflow += sealed.overflow();
            }
            prop_assert_eq!(total, requests.len() as u64);
            prop_assert_eq!(upstream, want_upstream);
            prop_assert!(overflow <= total);
        }
    }
}
