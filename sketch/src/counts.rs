use crate::{Bucket, Micros};

/// How many durations fell into each bucket: sparse, sorted by bucket, no zero counts.
///
/// Merging is associative and commutative with the empty value as identity. Counts saturate at `u64::MAX`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts(Vec<(Bucket, u64)>);

impl Counts {
    /// No durations at all.
    pub const fn new() -> Self {
        Counts(Vec::new())
    }

    /// No durations, with room for this many buckets.
    pub fn with_capacity(buckets: usize) -> Self {
        Counts(Vec::with_capacity(buckets))
    }

    /// Adds `count` durations that fell into `bucket`.
    pub fn add(&mut self, bucket: Bucket, count: u64) {
        if count == 0 {
            return;
        }
        // Buckets mostly come in ascending order.
        if self.0.last().is_none_or(|(last, _)| *last < bucket) {
            self.0.push((bucket, count));
            return;
        }
        match self.0.binary_search_by_key(&bucket, |(b, _)| *b) {
            Ok(at) => {
                if let Some((_, n)) = self.0.get_mut(at) {
                    *n = n.saturating_add(count);
                }
            }
            Err(at) => self.0.insert(at, (bucket, count)),
        }
    }

    /// Adds one duration.
    pub fn record(&mut self, duration: Micros) {
        self.add(Bucket::of(duration), 1);
    }

    /// Adds all of `other`, in time linear in the two lengths.
    pub fn merge(&mut self, other: &Counts) {
        self.add_all(other.iter());
    }

    /// Adds buckets that come in ascending order, each once, in time linear in the two lengths. What comes out of order is
    /// added too, only slower.
    pub fn add_all(&mut self, buckets: impl Iterator<Item = (Bucket, u64)>) {
        if self.0.is_empty() {
            self.0.reserve_exact(buckets.size_hint().0);
            buckets.for_each(|(bucket, count)| self.add(bucket, count));
            return;
        }
        // Those that a histogram grows by get fewer and fewer; the others need no room.
        let mut new: Vec<(Bucket, u64)> = Vec::new();
        let mut at = 0;
        for (bucket, count) in buckets {
            while self.0.get(at).is_some_and(|(mine, _)| *mine < bucket) {
                at += 1;
            }
            match self.0.get_mut(at) {
                Some((mine, sum)) if *mine == bucket => *sum = sum.saturating_add(count),
                _ => new.push((bucket, count)),
            }
        }
        if !new.is_empty() {
            self.insert_all(new);
        }
    }

    /// Takes in buckets, nearly all of which it does not have.
    fn insert_all(&mut self, new: Vec<(Bucket, u64)>) {
        let room = Vec::with_capacity(self.0.len() + new.len());
        let mut mine = std::mem::replace(&mut self.0, room).into_iter().peekable();
        for (bucket, count) in new {
            while let Some((bucket, count)) = mine.next_if(|(b, _)| *b < bucket) {
                self.add(bucket, count);
            }
            self.add(bucket, count);
        }
        mine.for_each(|(bucket, count)| self.add(bucket, count));
    }

    /// The buckets that are not empty, in ascending order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (Bucket, u64)> + '_ {
        self.0.iter().copied()
    }

    /// How many durations there are.
    pub fn total(&self) -> u64 {
        self.0.iter().fold(0, |sum, (_, n)| sum.saturating_add(*n))
    }

    /// How many durations are in `bucket` or a later one.
    pub fn at_or_above(&self, bucket: Bucket) -> u64 {
        let from = self.0.partition_point(|(b, _)| *b < bucket);
        self.0.iter().skip(from).fold(0, |sum, (_, n)| sum.saturating_add(*n))
    }

    /// The bucket of the `q`-quantile, `q` from 0 to 1: the first one with at least `q * total` durations up to
    /// and including it (HdrHistogram's `value_at_quantile`). `None` when there are no durations.
    pub fn quantile(&self, q: f64) -> Option<Bucket> {
        let rank = (q.clamp(0.0, 1.0) * self.total() as f64).ceil().max(1.0);
        let mut below = 0.0;
        self.0
            .iter()
            .find(|(_, n)| {
                below += *n as f64;
                below >= rank
            })
            .map(|(b, _)| *b)
    }

    /// Whether there are no durations.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromIterator<(Bucket, u64)> for Counts {
    fn from_iter<I: IntoIterator<Item = (Bucket, u64)>>(pairs: I) -> Self {
        let pairs = pairs.into_iter();
        let mut counts = Counts::with_capacity(pairs.size_hint().0);
        for (bucket, n) in pairs {
            counts.add(bucket, n);
        }
        counts
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    fn counts() -> impl Strategy<Value = Counts> {
        let bucket = (0..crate::BUCKETS as u32).prop_filter_map("in range", Bucket::from_index);
        prop::collection::vec((bucket, 0u64..1_000), 0..40).prop_map(Counts::from_iter)
    }

    fn merged(a: &Counts, b: &Counts) -> Counts {
        let mut sum = a.clone();
        sum.merge(b);
        sum
    }

    proptest! {
        #[test]
        fn merge_is_commutative_and_associative(a in counts(), b in counts(), c in counts()) {
            prop_assert_eq!(merged(&a, &b), merged(&b, &a));
            prop_assert_eq!(merged(&merged(&a, &b), &c), merged(&a, &merged(&b, &c)));
            prop_assert_eq!(merged(&a, &Counts::new()), a);
        }

        #[test]
        fn merge_adds_and_keeps_the_order(a in counts(), b in counts()) {
            let sum = merged(&a, &b);
            prop_assert_eq!(sum.total(), a.total() + b.total());
            prop_assert!(sum.0.is_sorted_by(|x, y| x.0 < y.0));
            prop_assert!(sum.iter().all(|(_, n)| n > 0));
        }

        #[test]
        fn in_any_order_all_is_added(a in counts(), pairs in prop::collection::vec((0..300u32, 0..9u64), 0..40)) {
            let pairs = || pairs.iter().filter_map(|(index, n)| Some((Bucket::from_index(*index)?, *n)));
            let mut sum = a.clone();
            sum.add_all(pairs());
            prop_assert_eq!(sum, merged(&a, &pairs().collect()));
        }

        /// The oracle: HdrHistogram's quantiles of the same durations.
        #[test]
        fn quantiles_are_those_of_hdrhistogram(us in prop::collection::vec(0u64..600_000_000, 1..200), q in 0.0f64..=1.0) {
            let mut hdr = hdrhistogram::Histogram::<u64>::new_with_bounds(1, 600_000_000, 2).unwrap();
            let mut counts = Counts::new();
            for v in us {
                hdr.record(v).unwrap();
                counts.record(Micros(v));
            }
            let ours = counts.quantile(q).unwrap();
            prop_assert_eq!(ours.lower().0, hdr.lowest_equivalent(hdr.value_at_quantile(q)));
            let tail = hdr.count_between(ours.lower().0, 600_000_000);
            prop_assert_eq!(counts.at_or_above(ours), tail);
        }
    }

    #[test]
    fn merging_adds_and_quantiles_are_hdrhistograms() {
        let mut counts: Counts = (1..=100).map(|ms| (Bucket::of(Micros(ms * 1_000)), 1)).collect();
        counts.merge(&counts.clone());
        assert_eq!(counts.total(), 200);
        for (q, ms) in [(0.0, 1), (0.5, 50), (0.99, 99), (1.0, 100)] {
            assert_eq!(counts.quantile(q), Some(Bucket::of(Micros(ms * 1_000))), "{q}");
        }
    }

    #[test]
    fn counts_saturate_instead_of_wrapping() {
        let mut counts = Counts::from_iter([(Bucket::FIRST, u64::MAX)]);
        counts.record(Micros(0));
        assert_eq!(counts.total(), u64::MAX);
    }

    #[test]
    fn no_durations_have_no_quantile() {
        assert_eq!(Counts::new().quantile(0.5), None);
    }
}
