use serin_sketch::{BUCKETS, Bucket};

/// Counts per bucket that can be added to and subtracted from in constant time, unlike [`serin_sketch::Counts`].
///
/// Sums are 128 bits wide: no number of 64-bit counts that fits into memory overflows them, so what was added can
/// always be subtracted again.
#[derive(Clone, Debug)]
pub(super) struct Dense {
    counts: Vec<u128>,
    total: u128,
    /// No bucket from this index on has counts.
    end: usize,
}

impl Dense {
    pub(super) fn new() -> Self {
        Dense { counts: vec![0; BUCKETS], total: 0, end: 0 }
    }

    pub(super) fn add(&mut self, bucket: Bucket, count: u64) {
        if let Some(n) = self.counts.get_mut(bucket.index()) {
            *n += u128::from(count);
            self.total += u128::from(count);
            self.end = self.end.max(bucket.index() + 1);
        }
    }

    /// Takes away what was added before.
    pub(super) fn subtract(&mut self, bucket: Bucket, count: u64) {
        if let Some(n) = self.counts.get_mut(bucket.index()) {
            let taken = u128::from(count).min(*n);
            *n -= taken;
            self.total -= taken;
        }
        while self.end > 0 && self.counts.get(self.end - 1) == Some(&0) {
            self.end -= 1;
        }
    }

    pub(super) fn clear(&mut self) {
        self.counts.fill(0);
        (self.total, self.end) = (0, 0);
    }

    pub(super) fn total(&self) -> u128 {
        self.total
    }

    /// What [`serin_sketch::Counts::quantile`] gives, but looked for from the slowest bucket down, because the
    /// quantiles that are asked for are near that end.
    pub(super) fn quantile(&self, q: f64) -> Option<Bucket> {
        let rank = (q.clamp(0.0, 1.0) * self.total as f64).ceil().max(1.0) as u128;
        let beyond = self.total.checked_sub(rank.min(self.total.max(1)))?;
        let mut above = 0;
        let counts = self.counts.get(..self.end)?;
        let at = counts.iter().rposition(|n| {
            above += n;
            above > beyond
        })?;
        Bucket::from_index(at as u32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serin_sketch::Counts;

    fn counts() -> impl Strategy<Value = Counts> {
        let bucket = (0..BUCKETS as u32).prop_filter_map("in range", Bucket::from_index);
        prop::collection::vec((bucket, 0u64..1_000), 0..30).prop_map(Counts::from_iter)
    }

    proptest! {
        /// The oracle: the sketch's own quantile.
        #[test]
        fn quantiles_are_those_of_the_sketch(kept in counts(), gone in counts(), q in 0.0f64..=1.0) {
            let mut dense = Dense::new();
            for (bucket, n) in gone.iter().chain(kept.iter()) {
                dense.add(bucket, n);
            }
            for (bucket, n) in gone.iter() {
                dense.subtract(bucket, n);
            }
            for q in [q, 0.0, 0.5, 0.99, 1.0] {
                prop_assert_eq!(dense.quantile(q), kept.quantile(q));
            }
            dense.clear();
            prop_assert_eq!(dense.quantile(q), None);
        }
    }

    #[test]
    fn the_largest_counts_can_be_subtracted_again() {
        let mut dense = Dense::new();
        for _ in 0..3 {
            dense.add(Bucket::LAST, u64::MAX);
        }
        assert_eq!(dense.quantile(0.5), Some(Bucket::LAST));
        dense.add(Bucket::FIRST, 1);
        for _ in 0..3 {
            dense.subtract(Bucket::LAST, u64::MAX);
        }
        assert_eq!((dense.quantile(1.0), dense.total()), (Some(Bucket::FIRST), 1));
    }
}
