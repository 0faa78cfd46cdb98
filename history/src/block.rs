//! A block (pure): the histograms of one series in ten neighbouring slots of time, in the order of time.

use std::collections::BTreeMap;

use crate::{Damage, Histograms, frames, histograms};

/// What is to be added to one block, by slot.
pub(crate) type Additions = BTreeMap<u64, Histograms>;

/// The block with the additions in it. Slots that nothing is added to are copied as they are.
pub(crate) fn merge(block: &[u8], additions: &Additions) -> Result<Vec<u8>, Damage> {
    let mut slots: BTreeMap<u64, Vec<u8>> = additions.iter().map(|(slot, added)| (*slot, encoded(added))).collect();
    for frame in frames::iter(block) {
        let (slot, bytes) = frame?;
        let bytes = match additions.get(&slot) {
            Some(added) => {
                let mut sum = histograms::decode(bytes)?;
                sum.merge(added);
                encoded(&sum)
            }
            None => bytes.to_vec(),
        };
        slots.insert(slot, bytes);
    }
    let mut merged = Vec::with_capacity(slots.values().map(|bytes| bytes.len() + 4).sum());
    for (slot, bytes) in &slots {
        frames::put(&mut merged, *slot, bytes);
    }
    Ok(merged)
}

fn encoded(histograms: &Histograms) -> Vec<u8> {
    let mut bytes = Vec::new();
    histograms::encode(&mut bytes, &histograms.upstream, &histograms.total, histograms.retries);
    bytes
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(block: &[u8]) -> Additions {
        frames::iter(block)
            .map(|frame| frame.map(|(slot, bytes)| (slot, histograms::decode(bytes).unwrap())).unwrap())
            .collect()
    }

    proptest! {
        /// However additions are spread over steps, each slot has the sum of its own.
        #[test]
        fn counts_are_conserved(steps in prop::collection::vec(prop::collection::btree_map(0_u64..10, histograms::tests::histograms(), 0..4), 0..6)) {
            let (mut block, mut sum) = (Vec::new(), Additions::new());
            for step in steps {
                for (slot, histograms) in &step {
                    sum.entry(*slot).or_default().merge(histograms);
                }
                block = merge(&block, &step).unwrap();
            }
            prop_assert_eq!(read(&block), sum);
            prop_assert!(frames::iter(&block).map(|frame| frame.unwrap().0).is_sorted());
        }
    }

    #[test]
    fn a_damaged_block_is_not_added_to() {
        assert_eq!(merge(&[0, 9, 1], &Additions::new()), Err(Damage::Short));
    }
}
