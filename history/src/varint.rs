//! Numbers in as few bytes as they need (pure): seven bits a byte, least significant first, the high bit says that more follow.

use crate::Damage;

/// Appends a number: 1 byte below 128, 10 bytes at most.
pub(crate) fn put(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Takes a number off the front.
pub(crate) fn take(bytes: &mut &[u8]) -> Result<u64, Damage> {
    let mut value = 0_u64;
    let mut shift = 0;
    loop {
        let (&byte, rest) = bytes.split_first().ok_or(Damage::Short)?;
        *bytes = rest;
        // The tenth byte has room for the topmost bit alone.
        if shift == 63 && byte > 1 {
            return Err(Damage::Range);
        }
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Ok(value);
        }
        shift += 7;
        if shift > 63 {
            return Err(Damage::Range);
        }
    }
}

/// Takes `length` bytes off the front.
pub(crate) fn take_bytes<'a>(bytes: &mut &'a [u8], length: u64) -> Result<&'a [u8], Damage> {
    let length = usize::try_from(length).map_err(|_| Damage::Short)?;
    let (taken, rest) = bytes.split_at_checked(length).ok_or(Damage::Short)?;
    *bytes = rest;
    Ok(taken)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_number_comes_back(value: u64, small in 0_u64..300) {
            for value in [value, small] {
                let mut bytes = Vec::new();
                put(&mut bytes, value);
                prop_assert!(bytes.len() <= 10);
                prop_assert_eq!(take(&mut bytes.as_slice()), Ok(value));
            }
        }

        #[test]
        fn any_bytes_are_a_number_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..12)) {
            let mut rest = bytes.as_slice();
            if take(&mut rest).is_ok() {
                prop_assert!(rest.len() < bytes.len());
            }
        }
    }

    #[test]
    fn too_short_and_too_large_are_told() {
        assert_eq!(take(&mut [0x80].as_slice()), Err(Damage::Short));
        assert_eq!(take(&mut [0xff; 11].as_slice()), Err(Damage::Range));
        assert_eq!(take_bytes(&mut [1, 2].as_slice(), 3), Err(Damage::Short));
    }
}
