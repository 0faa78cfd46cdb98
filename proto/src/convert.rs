//! Wire to sketch and back: the only place that knows how buckets are written on the wire.

use serin_sketch::{Bucket, Counts};

use crate::v1::Distribution;

/// The largest count a bucket may have in one report: far above what one worker serves in a day, and small
/// enough that 2,960 buckets in 2^11 reports cannot overflow a `u64`.
pub const COUNT_MAX: u64 = 1 << 40;

/// Why a [`Distribution`] from the wire was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DistributionError {
    /// `bucket_gaps` and `counts` differ in length.
    #[error("{gaps} bucket_gaps but {counts} counts: there must be one of each per bucket")]
    Lengths {
        /// Length of `bucket_gaps`.
        gaps: usize,
        /// Length of `counts`.
        counts: usize,
    },
    /// A bucket beyond the last one.
    #[error("bucket {0} does not exist: the last one is 2,959")]
    Bucket(u64),
    /// Two entries for one bucket.
    #[error("bucket {0} comes twice: gaps after the first must be at least 1")]
    Repeated(u64),
    /// A count of 0 or above [`COUNT_MAX`].
    #[error("count {0} is outside 1 to 2^40")]
    Count(u64),
}

/// Encodes counts. Empty counts are an empty message.
pub fn to_wire(counts: &Counts) -> Distribution {
    buckets_to_wire(counts.iter())
}

/// Encodes buckets in ascending order, with counts of at least 1.
pub fn buckets_to_wire(buckets: impl Iterator<Item = (Bucket, u64)>) -> Distribution {
    let (room, _) = buckets.size_hint();
    let mut wire = Distribution { bucket_gaps: Vec::with_capacity(room), counts: Vec::with_capacity(room) };
    let mut before = 0;
    for (bucket, count) in buckets {
        wire.bucket_gaps.push(bucket.index() as u32 - before);
        wire.counts.push(count);
        before = bucket.index() as u32;
    }
    wire
}

/// Decodes counts.
///
/// # Errors
/// When the message breaks a rule of `Distribution` in `ingest.proto`.
pub fn from_wire(wire: &Distribution) -> Result<Counts, DistributionError> {
    if wire.bucket_gaps.len() != wire.counts.len() {
        return Err(DistributionError::Lengths { gaps: wire.bucket_gaps.len(), counts: wire.counts.len() });
    }
    // Bounded by what the layout has, whatever the peer claims.
    let mut counts = Counts::with_capacity(wire.counts.len().min(serin_sketch::BUCKETS));
    let mut index = 0u64;
    for (at, (&gap, &count)) in wire.bucket_gaps.iter().zip(&wire.counts).enumerate() {
        index += u64::from(gap);
        if at > 0 && gap == 0 {
            return Err(DistributionError::Repeated(index));
        }
        let bucket = u32::try_from(index).ok().and_then(Bucket::from_index).ok_or(DistributionError::Bucket(index))?;
        if count == 0 || count > COUNT_MAX {
            return Err(DistributionError::Count(count));
        }
        counts.add(bucket, count);
    }
    Ok(counts)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use prost::Message;
    use serin_sketch::Micros;
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    fn wire(bucket_gaps: &[u32], counts: &[u64]) -> Distribution {
        Distribution { bucket_gaps: bucket_gaps.to_vec(), counts: counts.to_vec() }
    }

    proptest! {
        #[test]
        fn comes_back_as_it_was(us in prop::collection::vec(0u64..700_000_000, 0..200)) {
            let mut counts = Counts::new();
            us.iter().for_each(|v| counts.record(Micros(*v)));
            let bytes = to_wire(&counts).encode_to_vec();
            prop_assert_eq!(from_wire(&Distribution::decode(&*bytes).unwrap()), Ok(counts));
        }

        #[test]
        fn never_panics(gaps in prop::collection::vec(any::<u32>(), 0..8), counts in prop::collection::vec(any::<u64>(), 0..8)) {
            if let Ok(ok) = from_wire(&wire(&gaps, &counts)) {
                prop_assert_eq!(to_wire(&ok), wire(&gaps, &counts));
            }
        }
    }

    #[test]
    fn refuses_what_breaks_a_rule() {
        let cases = [
            (wire(&[1], &[]), DistributionError::Lengths { gaps: 1, counts: 0 }),
            (wire(&[2_960], &[1]), DistributionError::Bucket(2_960)),
            (wire(&[u32::MAX, u32::MAX], &[1, 1]), DistributionError::Bucket(u64::from(u32::MAX))),
            (wire(&[7, 0], &[1, 1]), DistributionError::Repeated(7)),
            (wire(&[7], &[0]), DistributionError::Count(0)),
            (wire(&[7], &[COUNT_MAX + 1]), DistributionError::Count(COUNT_MAX + 1)),
        ];
        for (message, want) in cases {
            assert_eq!(from_wire(&message), Err(want), "{message:?}");
        }
    }

    /// Worked out by hand from the protobuf encoding: field 1 packed [500, 1], field 2 packed [3, 300].
    #[test]
    fn golden_bytes() {
        let counts =
            Counts::from_iter([(Bucket::from_index(500).unwrap(), 3), (Bucket::from_index(501).unwrap(), 300)]);
        assert_eq!(to_wire(&counts).encode_to_vec(), [0x0a, 3, 0xf4, 0x03, 1, 0x12, 3, 3, 0xac, 0x02]);
    }
}
