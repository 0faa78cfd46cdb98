//! A histogram of Serin's as a native histogram of Prometheus (pure).

use serin_sketch::Counts;

/// 32 buckets for each power of two, so that each is 2.2% wide (2^(1/32)); Serin's own are at most 0.8% wide. A request is in the bucket that
/// the middle of its own lies in. A quantile read from the native histogram is therefore within 2.2% + 0.4% of the request's latency.
pub(crate) const SCHEMA: i32 = 5;
/// Nothing that took a microsecond or longer is zero.
pub(crate) const ZERO_THRESHOLD_S: f64 = 1e-9;
const PER_OCTAVE: f64 = 32.0;

/// As `prometheus-client` takes it.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Native {
    /// Requests that took less than 1 us.
    pub(crate) zero_count: u64,
    /// Where runs of buckets begin, relative to the end of the run before, and how long they are.
    pub(crate) spans: Vec<(i32, u32)>,
    /// The first bucket's count, and then each one's minus the one before.
    pub(crate) deltas: Vec<i64>,
}

impl Native {
    /// Of latencies, in seconds.
    pub(crate) fn of(counts: &Counts) -> Self {
        let (zero_count, buckets) = buckets(counts);
        let mut native = Native { zero_count, ..Native::default() };
        let (mut last, mut before): (Option<i32>, i64) = (None, 0);
        for (index, count) in buckets {
            let gap = last.map_or(index, |last| index - last - 1);
            match native.spans.last_mut() {
                Some((_, length)) if gap == 0 => *length += 1,
                _ => native.spans.push((gap, 1)),
            }
            native.deltas.push(count - before);
            (last, before) = (Some(index), count);
        }
        native
    }
}

/// How many took less than 1 us, and the exponential buckets that are not empty, with what each holds: bucket i is what is above
/// 2^((i - 1) / 32) seconds and at most 2^(i / 32).
pub(crate) fn buckets(counts: &Counts) -> (u64, Vec<(i32, i64)>) {
    let mut zero_count = 0u64;
    let mut buckets: Vec<(i32, i64)> = Vec::new();
    for (bucket, count) in counts.iter() {
        let count = i64::try_from(count).unwrap_or(i64::MAX);
        let us = bucket.mid().0;
        if us == 0 {
            zero_count = zero_count.saturating_add_signed(count);
            continue;
        }
        let index = ((us as f64 / 1e6).log2() * PER_OCTAVE).ceil() as i32;
        match buckets.last_mut() {
            Some((known, sum)) if *known == index => *sum = sum.saturating_add(count),
            _ => buckets.push((index, count)),
        }
    }
    (zero_count, buckets)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serin_sketch::{Bucket, Micros};

    use super::*;

    /// The buckets again: the upper bound in seconds, and the count.
    fn read(native: &Native) -> Vec<(f64, i64)> {
        let (mut at, mut count, mut deltas) = (0, 0, native.deltas.iter());
        let mut buckets = Vec::new();
        for (nth, (offset, length)) in native.spans.iter().enumerate() {
            at += if nth == 0 { *offset } else { *offset + 1 };
            for step in 0..*length {
                at += i32::from(step > 0);
                count += deltas.next().unwrap();
                buckets.push((2f64.powf(f64::from(at) / PER_OCTAVE), count));
            }
        }
        assert!(deltas.next().is_none());
        buckets
    }

    #[test]
    fn buckets_are_where_prometheus_has_them() {
        // Above 2^(-1/32) = 0.9786 s up to 1 s is bucket 0; the middle of 1 s' own bucket is above it, in bucket 1.
        let counts = Counts::from_iter([(Bucket::of(Micros(990_000)), 3), (Bucket::of(Micros(1_000_000)), 4)]);
        let native = Native::of(&counts);
        assert_eq!((native.spans.as_slice(), native.deltas.as_slice()), (&[(0, 2)][..], &[3, 1][..]));
        let far = Native::of(&Counts::from_iter([(Bucket::of(Micros(250_000)), 5), (Bucket::of(Micros(990_000)), 2)]));
        // 0.25 s is 2^-2: the middle of its bucket is above, in bucket -63; bucket 0 comes 62 later.
        assert_eq!((far.spans.as_slice(), far.deltas.as_slice()), (&[(-63, 1), (62, 1)][..], &[5, -3][..]));
    }

    proptest! {
        #[test]
        fn each_request_is_in_a_bucket_around_its_latency(counts in prop::collection::btree_map(0u64..600_000_000, 1u64..1_000, 1..40)) {
            let counts: Counts = counts.into_iter().map(|(us, count)| (Bucket::of(Micros(us)), count)).collect();
            let native = Native::of(&counts);
            let buckets = read(&native);
            let total: i64 = buckets.iter().map(|(_, count)| count).sum();
            prop_assert_eq!(total as u64 + native.zero_count, counts.total());
            for (bucket, _) in counts.iter().filter(|(bucket, _)| bucket.mid().0 > 0) {
                let seconds = bucket.mid().0 as f64 / 1e6;
                let found = buckets.iter().any(|(upper, _)| seconds <= upper * (1.0 + 1e-9) && seconds > upper / 2f64.powf(1.0 / PER_OCTAVE) * (1.0 - 1e-9));
                prop_assert!(found, "{} s is in none of {:?}", seconds, buckets);
            }
        }
    }
}
