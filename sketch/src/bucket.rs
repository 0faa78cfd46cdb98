use crate::Micros;

/// log2 of the buckets per octave. 128 buckets an octave are at most 1/128 = 0.78% wide, which is what
/// HdrHistogram uses for two significant digits (256 sub-buckets of which the upper half is used).
const HALF_BITS: u32 = 7;
const HALF: u64 = 1 << HALF_BITS;
/// Below this every microsecond has a bucket of its own.
const LINEAR: u64 = 2 * HALF;

/// The number of buckets: [`Micros::MAX`] is 143 * 2^22 us and more, so its octave is shift 22 and the last
/// bucket is 22 * 128 + 143.
pub const BUCKETS: usize = 2_960;

/// One histogram bucket, by index: the durations from [`Bucket::lower`] up to, not including, the next
/// bucket's lower edge. The last one also holds everything longer than [`Micros::MAX`].
///
/// The layout is HdrHistogram's (Gil Tene, `HdrHistogram` with lowest discernible value 1 and two
/// significant digits), so counts can be exchanged with its tools without loss.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Bucket(u16);

impl Bucket {
    /// The first bucket: 0 us.
    pub const FIRST: Bucket = Bucket(0);
    /// The last bucket: about 10 min and longer.
    pub const LAST: Bucket = Bucket(BUCKETS as u16 - 1);

    /// The bucket that a duration falls into.
    pub fn of(duration: Micros) -> Self {
        let v = duration.0.min(Micros::MAX.0);
        if v < LINEAR {
            return Bucket(v as u16);
        }
        let shift = v.ilog2() - HALF_BITS;
        Bucket((u64::from(shift) * HALF + (v >> shift)) as u16)
    }

    /// The first bucket whose lower edge is at or above a duration; the last one where there is none.
    pub fn at_or_above(duration: Micros) -> Self {
        let bucket = Self::of(duration);
        if bucket.lower() >= duration || bucket == Self::LAST { bucket } else { Bucket(bucket.0 + 1) }
    }

    /// The bucket with this index, or `None` where there is no such bucket.
    pub fn from_index(index: u32) -> Option<Self> {
        u16::try_from(index).ok().map(Bucket).filter(|b| *b <= Self::LAST)
    }

    /// This bucket's index, from 0 to [`BUCKETS`] - 1.
    pub fn index(self) -> usize {
        usize::from(self.0)
    }

    /// The shortest duration in this bucket.
    pub fn lower(self) -> Micros {
        let i = u64::from(self.0);
        if i < LINEAR {
            return Micros(i);
        }
        let shift = i / HALF - 1;
        Micros((HALF + i % HALF) << shift)
    }

    /// The middle of this bucket: within 0.4% of every duration in it (exact below 256 us).
    pub fn mid(self) -> Micros {
        let next = Bucket(self.0 + 1).lower();
        Micros((self.lower().0 + next.0 - 1) / 2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    #[test]
    fn edges() {
        for (us, index) in
            [(0, 0), (1, 1), (255, 255), (256, 256), (257, 256), (511, 383), (512, 384), (600_000_000, BUCKETS - 1)]
        {
            assert_eq!(Bucket::of(Micros(us)).index(), index, "{us} us");
        }
        assert_eq!(Bucket::of(Micros(u64::MAX)), Bucket::LAST);
        assert_eq!(Bucket::from_index(BUCKETS as u32), None);
    }

    #[test]
    fn every_bucket_starts_where_the_one_before_ends() {
        for i in 1..BUCKETS as u32 {
            let bucket = Bucket::from_index(i).unwrap();
            let before = Bucket::of(Micros(bucket.lower().0 - 1));
            assert_eq!(Bucket::of(bucket.lower()), bucket);
            assert_eq!(before.index() + 1, bucket.index());
        }
    }

    proptest! {
        #[test]
        fn is_at_most_one_percent_wide(us in 1u64..=600_000_000) {
            let bucket = Bucket::of(Micros(us));
            prop_assert!(bucket.lower().0 <= us);
            prop_assert!((us - bucket.lower().0) as f64 <= 0.01 * us as f64);
            prop_assert!((bucket.mid().0 as f64 - us as f64).abs() <= 0.004 * us as f64);
        }

        #[test]
        fn at_or_above_is_the_first(us in 0u64..=590_000_000) {
            let bucket = Bucket::at_or_above(Micros(us));
            prop_assert!(bucket.lower().0 >= us);
            prop_assert!(bucket == Bucket::FIRST || Bucket::from_index(bucket.index() as u32 - 1).unwrap().lower().0 < us);
        }

        /// The oracle: the same bucket edges as the HdrHistogram implementation.
        #[test]
        fn has_the_edges_of_hdrhistogram(us in 0u64..=600_000_000) {
            let hdr = hdrhistogram::Histogram::<u64>::new_with_bounds(1, 600_000_000, 2).unwrap();
            prop_assert_eq!(hdr.lowest_equivalent(us), Bucket::of(Micros(us)).lower().0);
        }
    }
}
