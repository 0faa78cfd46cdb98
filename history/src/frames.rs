//! Tagged pieces, one after the other (pure): a row of slices has one for each series, a block one for each slot of time.

use crate::{Damage, varint};

/// Appends a piece.
pub(crate) fn put(out: &mut Vec<u8>, tag: u64, piece: &[u8]) {
    varint::put(out, tag);
    varint::put(out, piece.len() as u64);
    out.extend(piece);
}

/// The pieces, in the order in which they were appended. Ends after the first damage.
pub(crate) fn iter(bytes: &[u8]) -> impl Iterator<Item = Result<(u64, &[u8]), Damage>> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let piece = take(&mut rest);
        if piece.is_err() {
            rest = &[];
        }
        Some(piece)
    })
}

fn take<'a>(rest: &mut &'a [u8]) -> Result<(u64, &'a [u8]), Damage> {
    let tag = varint::take(rest)?;
    let length = varint::take(rest)?;
    Ok((tag, varint::take_bytes(rest, length)?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_written_is_read(pieces in prop::collection::vec((any::<u64>(), prop::collection::vec(any::<u8>(), 0..300)), 0..9)) {
            let mut bytes = Vec::new();
            for (tag, piece) in &pieces {
                put(&mut bytes, *tag, piece);
            }
            let read: Vec<_> = iter(&bytes).map(|piece| piece.map(|(tag, piece)| (tag, piece.to_vec()))).collect();
            prop_assert_eq!(read, pieces.into_iter().map(Ok).collect::<Vec<_>>());
        }
    }

    #[test]
    fn damage_ends_it() {
        let mut bytes = Vec::new();
        put(&mut bytes, 1, b"one");
        put(&mut bytes, 2, b"two");
        bytes.pop();
        assert_eq!(iter(&bytes).collect::<Vec<_>>(), [Ok((1, b"one".as_slice())), Err(Damage::Short)]);
    }
}
