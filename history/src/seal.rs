//! A checksum on every value (pure): the store checks its pages after a crash and on request, but not when it reads them.
//!
//! The key is part of what is summed, so a value that turns up under another key is damage, too.

use crate::Damage;

/// CRC-32 takes four bytes. It misses one damage in four billion, and none of up to 32 bits in a row.
const SUM_BYTES: usize = 4;

/// A value with its checksum in front.
pub(crate) fn seal(key: &[&[u8]], payload: &[u8]) -> Vec<u8> {
    let mut sealed = Vec::with_capacity(SUM_BYTES + payload.len());
    sealed.extend(sum(key, payload).to_le_bytes());
    sealed.extend(payload);
    sealed
}

/// The value without its checksum.
pub(crate) fn unseal<'a>(key: &[&[u8]], sealed: &'a [u8]) -> Result<&'a [u8], Damage> {
    let (found, payload) = sealed.split_first_chunk::<SUM_BYTES>().ok_or(Damage::Short)?;
    if u32::from_le_bytes(*found) == sum(key, payload) { Ok(payload) } else { Err(Damage::Checksum) }
}

fn sum(key: &[&[u8]], payload: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    for part in key {
        hasher.update(&(part.len() as u64).to_le_bytes());
        hasher.update(part);
    }
    hasher.update(payload);
    hasher.finalize()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn one_flipped_bit_is_found(payload in prop::collection::vec(any::<u8>(), 0..200), at: prop::sample::Index) {
            let key: [&[u8]; 2] = [b"slices", &7_u64.to_be_bytes()];
            let mut sealed = seal(&key, &payload);
            prop_assert_eq!(unseal(&key, &sealed), Ok(payload.as_slice()));
            let bit = at.index(sealed.len() * 8);
            sealed[bit / 8] ^= 1 << (bit % 8);
            prop_assert_eq!(unseal(&key, &sealed), Err(Damage::Checksum));
        }
    }

    #[test]
    fn a_value_under_another_key_is_damage() {
        let sealed = seal(&[b"a", b"bc"], b"payload");
        assert_eq!(unseal(&[b"ab", b"c"], &sealed), Err(Damage::Checksum));
        assert_eq!(unseal(&[b"a"], b"123"), Err(Damage::Short));
    }
}
