//! What is kept of one series for one stretch of time, and its form on disk (pure).
//!
//! Form: the retries, then both histograms: the number of non-empty buckets, and for each the empty buckets before it and its
//! count less one. All are varints: where neighbours are near and counts small, a bucket takes two bytes.

use serin_sketch::{BUCKETS, Bucket, Counts};

use crate::{Damage, varint};

/// Both timings of one series for one stretch of time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Histograms {
    /// Request sent to the upstream until its response, in microseconds.
    pub upstream: Counts,
    /// Request received until last byte sent, in microseconds: every request once.
    pub total: Counts,
    /// Attempts beyond the first.
    pub retries: u64,
}

impl Histograms {
    /// Adds all of `other`. Counts saturate.
    pub fn merge(&mut self, other: &Histograms) {
        self.upstream.merge(&other.upstream);
        self.total.merge(&other.total);
        self.retries = self.retries.saturating_add(other.retries);
    }
}

/// Appends the form on disk.
pub(crate) fn encode(out: &mut Vec<u8>, upstream: &Counts, total: &Counts, retries: u64) {
    varint::put(out, retries);
    for counts in [upstream, total] {
        let buckets = counts.iter();
        varint::put(out, buckets.len() as u64);
        let mut next = 0;
        for (bucket, count) in buckets {
            let index = bucket.index() as u64;
            varint::put(out, index - next);
            // `Counts` has no zeros.
            varint::put(out, count.saturating_sub(1));
            next = index + 1;
        }
    }
}

/// Adds up forms on disk without a `Counts` for each of them: 47 kB, whatever goes in.
pub(crate) struct Sum {
    upstream: Box<[u64]>,
    total: Box<[u64]>,
    retries: u64,
}

impl Sum {
    pub(crate) fn new() -> Self {
        Sum { upstream: vec![0; BUCKETS].into(), total: vec![0; BUCKETS].into(), retries: 0 }
    }

    /// Adds a form on disk. Where it is damaged, part of it may have been added.
    pub(crate) fn add(&mut self, bytes: &[u8]) -> Result<(), Damage> {
        let mut rest = bytes;
        self.retries = self.retries.saturating_add(varint::take(&mut rest)?);
        for sums in [&mut self.upstream, &mut self.total] {
            take_buckets(&mut rest, |bucket, count| {
                if let Some(sum) = sums.get_mut(bucket.index()) {
                    *sum = sum.saturating_add(count);
                }
            })?;
        }
        if rest.is_empty() { Ok(()) } else { Err(Damage::Long) }
    }

    pub(crate) fn histograms(&self) -> Histograms {
        let counts = |sums: &[u64]| {
            let buckets = (0..).map_while(Bucket::from_index).zip(sums.iter().copied());
            buckets.filter(|(_, count)| *count > 0).collect()
        };
        Histograms { upstream: counts(&self.upstream), total: counts(&self.total), retries: self.retries }
    }
}

/// Reads the form on disk.
pub(crate) fn decode(bytes: &[u8]) -> Result<Histograms, Damage> {
    let mut rest = bytes;
    let mut histograms = Histograms { retries: varint::take(&mut rest)?, ..Histograms::default() };
    for counts in [&mut histograms.upstream, &mut histograms.total] {
        take_buckets(&mut rest, |bucket, count| counts.add(bucket, count))?;
    }
    if rest.is_empty() { Ok(histograms) } else { Err(Damage::Long) }
}

fn take_buckets(rest: &mut &[u8], mut each: impl FnMut(Bucket, u64)) -> Result<(), Damage> {
    let mut next = 0_u64;
    for _ in 0..varint::take(rest)? {
        let index = next.checked_add(varint::take(rest)?).ok_or(Damage::Range)?;
        let bucket = u32::try_from(index).ok().and_then(Bucket::from_index).ok_or(Damage::Range)?;
        each(bucket, varint::take(rest)?.saturating_add(1));
        next = index + 1;
    }
    Ok(())
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;

    fn counts() -> impl Strategy<Value = Counts> {
        let bucket = (0..BUCKETS as u32).prop_filter_map("in range", Bucket::from_index);
        let count = prop_oneof![1_u64..5, any::<u64>()];
        prop::collection::vec((bucket, count), 0..40).prop_map(Counts::from_iter)
    }

    /// Any, with large counts and empty timings.
    pub(crate) fn histograms() -> impl Strategy<Value = Histograms> {
        (counts(), counts(), any::<u64>()).prop_map(|(upstream, total, retries)| Histograms {
            upstream,
            total,
            retries,
        })
    }

    fn encoded(histograms: &Histograms) -> Vec<u8> {
        let mut bytes = Vec::new();
        encode(&mut bytes, &histograms.upstream, &histograms.total, histograms.retries);
        bytes
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(histograms in histograms()) {
            prop_assert_eq!(decode(&encoded(&histograms)), Ok(histograms));
        }

        #[test]
        fn a_sum_of_forms_is_the_form_of_a_sum(all in prop::collection::vec(histograms(), 0..5)) {
            let (mut sum, mut merged) = (Sum::new(), Histograms::default());
            for histograms in &all {
                sum.add(&encoded(histograms)).unwrap();
                merged.merge(histograms);
            }
            prop_assert_eq!(sum.histograms(), merged);
        }

        #[test]
        fn any_bytes_are_histograms_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            let sum = Sum::new().add(&bytes);
            prop_assert_eq!(decode(&bytes).map(|_| ()), sum);
        }
    }

    #[test]
    fn a_usual_bucket_takes_two_bytes() {
        let counts: Counts = (500..540).filter_map(Bucket::from_index).map(|bucket| (bucket, 100)).collect();
        let histograms = Histograms { upstream: counts.clone(), total: counts, retries: 0 };
        // Retries, and for each timing the number of buckets and a first bucket of two bytes.
        assert_eq!(encoded(&histograms).len(), 1 + 2 * (1 + 1 + 40 * 2));
    }
}
