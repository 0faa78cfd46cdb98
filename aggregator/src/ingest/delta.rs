//! One delta (pure): from the bytes that it came in to the form that it is kept in, in one pass and without a vector of its buckets.

use prost::{DecodeError, Message, encoding::decode_varint};
use serin_history::Writer;
use serin_proto::{
    convert::{self, COUNT_MAX, DistributionError},
    v1,
};
use serin_sketch::Bucket;

/// A `SeriesDelta` that is still bytes inside.
pub(super) struct Wire<'a> {
    pub(super) series: u32,
    pub(super) upstream: Distribution<'a>,
    pub(super) total: Distribution<'a>,
    pub(super) retries: u64,
}

/// A histogram that is not checked yet.
pub(super) enum Distribution<'a> {
    /// Both of its fields packed and in one piece, as all that encode protobuf write them.
    Packed { gaps: &'a [u8], counts: &'a [u8] },
    /// In another way that protobuf allows.
    Loose(v1::Distribution),
}

/// Why a histogram was refused.
#[derive(Debug)]
pub(super) enum Problem {
    Malformed(DecodeError),
    Rule(DistributionError),
}

impl From<DecodeError> for Problem {
    fn from(error: DecodeError) -> Self {
        Problem::Malformed(error)
    }
}

impl<'a> Wire<'a> {
    /// Finds its parts.
    pub(super) fn read(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        match Self::usual(bytes) {
            Some(usual) => Ok(usual),
            None => {
                let v1::SeriesDelta { series, upstream, total, retries } = v1::SeriesDelta::decode(bytes)?;
                let loose = |wire: Option<_>| Distribution::Loose(wire.unwrap_or_default());
                Ok(Wire { series, upstream: loose(upstream), total: loose(total), retries })
            }
        }
    }

    /// `None` where a field is unknown, or comes twice, or not as usual.
    fn usual(mut rest: &'a [u8]) -> Option<Self> {
        let (mut series, mut upstream, mut total, mut retries) = (None, None, None, None);
        while let Some((key, after)) = rest.split_first() {
            rest = after;
            let is_first = match key {
                0x08 => series.replace(decode_varint(&mut rest).ok()? as u32).is_none(),
                0x12 => upstream.replace(Distribution::usual(take(&mut rest)?)?).is_none(),
                0x1a => total.replace(Distribution::usual(take(&mut rest)?)?).is_none(),
                0x20 => retries.replace(decode_varint(&mut rest).ok()?).is_none(),
                _ => return None,
            };
            if !is_first {
                return None;
            }
        }
        let (upstream, total) = (upstream.unwrap_or(Distribution::EMPTY), total.unwrap_or(Distribution::EMPTY));
        Some(Wire { series: series.unwrap_or_default(), upstream, total, retries: retries.unwrap_or_default() })
    }
}

impl<'a> Distribution<'a> {
    const EMPTY: Self = Distribution::Packed { gaps: &[], counts: &[] };

    fn usual(mut rest: &'a [u8]) -> Option<Self> {
        let (mut gaps, mut counts) = (None, None);
        while let Some((key, after)) = rest.split_first() {
            rest = after;
            let field = match key {
                0x0a => &mut gaps,
                0x12 => &mut counts,
                _ => return None,
            };
            if field.replace(take(&mut rest)?).is_some() {
                return None;
            }
        }
        Some(Distribution::Packed { gaps: gaps.unwrap_or_default(), counts: counts.unwrap_or_default() })
    }

    /// Appends it to a form; how many durations there are.
    pub(super) fn pack(&self, out: &mut Vec<u8>) -> Result<u64, Problem> {
        match self {
            Distribution::Packed { gaps, counts } => pack(gaps, counts, out),
            Distribution::Loose(wire) => {
                let counts = convert::from_wire(wire).map_err(Problem::Rule)?;
                let mut writer = Writer::new(out, counts.iter().len());
                counts.iter().for_each(|(bucket, count)| writer.push(bucket, count));
                Ok(counts.total())
            }
        }
    }
}

/// As [`convert::from_wire`], with the same rules.
fn pack(mut gaps: &[u8], mut counts: &[u8], out: &mut Vec<u8>) -> Result<u64, Problem> {
    let buckets = numbers(gaps)?;
    if numbers(counts)? != buckets {
        let lengths = DistributionError::Lengths { gaps: buckets, counts: numbers(counts)? };
        return Err(Problem::Rule(lengths));
    }
    let mut writer = Writer::new(out, buckets);
    let (mut index, mut total) = (0u64, 0u64);
    for at in 0..buckets {
        // A `uint32` has the lower half of what is sent, as any reader of protobuf has it.
        let gap = decode_varint(&mut gaps)? as u32;
        let count = decode_varint(&mut counts)?;
        index += u64::from(gap);
        if at > 0 && gap == 0 {
            return Err(Problem::Rule(DistributionError::Repeated(index)));
        }
        let bucket = u32::try_from(index).ok().and_then(Bucket::from_index);
        let bucket = bucket.ok_or(Problem::Rule(DistributionError::Bucket(index)))?;
        if count == 0 || count > COUNT_MAX {
            return Err(Problem::Rule(DistributionError::Count(count)));
        }
        writer.push(bucket, count);
        total = total.saturating_add(count);
    }
    Ok(total)
}

/// How many numbers there are: each has one byte below 128, its last.
fn numbers(packed: &[u8]) -> Result<usize, Problem> {
    if packed.last().is_some_and(|last| *last >= 0x80) {
        // What decodes it says what is wrong.
        let mut end = packed.rsplit(|byte| *byte < 0x80).next().unwrap_or_default();
        decode_varint(&mut end)?;
    }
    Ok(packed.iter().filter(|byte| **byte < 0x80).count())
}

/// A length and as many bytes, off the front.
fn take<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = usize::try_from(decode_varint(rest).ok()?).ok()?;
    let (taken, after) = rest.split_at_checked(length)?;
    *rest = after;
    Some(taken)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serin_history::Buckets;
    use serin_sketch::Counts;

    use super::*;

    /// What [`Distribution::pack`] wrote, as the decoder of protobuf and [`convert`] would have it.
    fn packed(wire: &Distribution<'_>) -> Result<Counts, String> {
        // A form begins with its retries, and the other timing follows.
        let mut form = vec![0];
        let total = wire.pack(&mut form).map_err(|problem| format!("{problem:?}"))?;
        let counts: Counts = Buckets::upstream(&form).collect();
        assert_eq!(counts.total(), total);
        Ok(counts)
    }

    fn distribution() -> impl Strategy<Value = Option<v1::Distribution>> {
        let gap = prop_oneof![8 => 1..5_u32, 1 => any::<u32>(), 1 => 0..2_000_u32];
        let count = prop_oneof![8 => 1..300_u64, 1 => any::<u64>()];
        let pairs = prop::collection::vec((gap, count), 0..40);
        let wire = (pairs, 0..20_usize).prop_map(|(pairs, spoilt)| {
            let (bucket_gaps, mut counts): (Vec<_>, Vec<_>) = pairs.into_iter().unzip();
            // One in twenty has a count too few.
            counts.truncate(if spoilt == 0 { counts.len().saturating_sub(1) } else { counts.len() });
            v1::Distribution { bucket_gaps, counts }
        });
        prop::option::of(wire)
    }

    fn delta() -> impl Strategy<Value = v1::SeriesDelta> {
        (any::<u32>(), distribution(), distribution(), any::<u64>())
            .prop_map(|(series, upstream, total, retries)| v1::SeriesDelta { series, upstream, total, retries })
    }

    fn same(read: &Wire<'_>, decoded: &v1::SeriesDelta) {
        assert_eq!((read.series, read.retries), (decoded.series, decoded.retries));
        for (read, decoded) in [(&read.upstream, &decoded.upstream), (&read.total, &decoded.total)] {
            let by_prost = convert::from_wire(&decoded.clone().unwrap_or_default());
            assert_eq!(packed(read), by_prost.map_err(|problem| format!("{:?}", Problem::Rule(problem))));
        }
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_read_the_short_way_and_is_the_same(delta in delta()) {
            let bytes = delta.encode_to_vec();
            same(&Wire::usual(&bytes).unwrap(), &delta);
        }

        /// Two encodings in one are one message, whose parts are merged: no usual one.
        #[test]
        fn what_comes_in_pieces_is_the_same_too(one in delta(), other in delta()) {
            let bytes = [one.encode_to_vec(), other.encode_to_vec()].concat();
            same(&Wire::read(&bytes).unwrap(), &v1::SeriesDelta::decode(bytes.as_slice()).unwrap());
        }

        /// Bytes that prost takes are the same to us, those that it refuses are refused.
        #[test]
        fn spoilt_bytes_are_refused_as_prost_refuses_them(delta in delta(), at: prop::sample::Index, byte: u8) {
            let mut bytes = delta.encode_to_vec();
            if bytes.is_empty() { return Ok(()); }
            let at = at.index(bytes.len());
            bytes[at] = byte;
            match (v1::SeriesDelta::decode(bytes.as_slice()), Wire::read(&bytes)) {
                (Ok(decoded), Ok(read)) => same(&read, &decoded),
                (Err(_), Err(_)) => {}
                (Err(_), Ok(read)) => {
                    let refused = [&read.upstream, &read.total].map(|wire| wire.pack(&mut Vec::new()).is_err());
                    prop_assert!(refused[0] || refused[1]);
                }
                (Ok(decoded), Err(error)) => prop_assert!(false, "{decoded:?}: {error}"),
            }
        }
    }

    #[test]
    fn a_field_of_a_later_version_is_passed_over() {
        let total = Some(v1::Distribution { bucket_gaps: vec![500, 1], counts: vec![3, 300] });
        let delta = v1::SeriesDelta { series: 7, upstream: None, total, retries: 1 };
        // Field 15, a number; and both fields of a histogram not packed.
        let later = [delta.encode_to_vec(), vec![0x78, 1]].concat();
        same(&Wire::read(&later).unwrap(), &delta);
        let unpacked = [0x08, 7, 0x1a, 10, 0x08, 0xf4, 0x03, 0x08, 1, 0x10, 3, 0x10, 0xac, 0x02, 0x20, 1];
        same(&Wire::read(&unpacked).unwrap(), &delta);
    }

    /// By hand: retries 0, two buckets, 500 empty ones before the first with 3 - 1, none before the second with 300 - 1.
    #[test]
    fn golden_form() {
        let bytes = [0x0a, 3, 0xf4, 0x03, 1, 0x12, 3, 3, 0xac, 0x02];
        let mut form = vec![0];
        Distribution::usual(&bytes).unwrap().pack(&mut form).unwrap();
        assert_eq!(form, [0, 2, 0xf4, 0x03, 2, 0, 0xab, 0x02]);
    }
}
