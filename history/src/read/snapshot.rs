//! One state of the file, and the walk through it (IO).

use std::{collections::BTreeMap, ops::Range, sync::Arc};

use redb::{Database, ReadOnlyTable, ReadableDatabase};

use super::plan::{Part, plan};
use crate::{
    Damage, Error, Series, frames,
    retention::SLOTS,
    seal,
    store::{BLOCKS, Bytes, KEPT_FROM_S, META, PENDING, SLICES, block_bytes, get_meta, problem, row_bytes},
};

/// Up to so many series are looked up one by one in a block; for more, the whole block is read.
const LOOK_UPS_MAX: usize = 32;

pub(super) struct Snapshot {
    slices: ReadOnlyTable<(u64, u64), Bytes>,
    pending: ReadOnlyTable<(u64, u64), Bytes>,
    blocks: [ReadOnlyTable<(u64, u32), Bytes>; 2],
    kept_from_s: [u64; 3],
    resolutions_s: [u64; 2],
}

/// What the walk comes by.
pub(super) enum Visit<'a> {
    /// Histograms of one series, encoded. Pieces come in the order of time, except within one block.
    Piece { start_s: u64, id: u32, bytes: &'a [u8] },
    /// All that follows begins here or later.
    Until(u64),
}

/// Selected series by number.
type Selected = BTreeMap<u32, Arc<Series>>;

impl Snapshot {
    pub(super) fn new(database: &Database, resolutions_s: [u64; 2]) -> Result<Self, Error> {
        let read = database.begin_read()?;
        let meta = read.open_table(META)?;
        let [slices, fine, coarse] = KEPT_FROM_S;
        Ok(Snapshot {
            slices: read.open_table(SLICES)?,
            pending: read.open_table(PENDING)?,
            blocks: [read.open_table(BLOCKS[0])?, read.open_table(BLOCKS[1])?],
            kept_from_s: [get_meta(&meta, slices)?, get_meta(&meta, fine)?, get_meta(&meta, coarse)?],
            resolutions_s,
        })
    }

    pub(super) fn visit(
        &self,
        selected: &Selected,
        stretch: (u64, u64),
        wanted_s: u64,
        mut each: impl FnMut(Visit<'_>) -> Result<(), Damage>,
    ) -> Result<(), Error> {
        if selected.is_empty() || stretch.0 >= stretch.1 {
            return Ok(());
        }
        for part in plan(self.kept_from_s, self.resolutions_s, stretch, wanted_s) {
            match part.tier.and_then(|tier| self.blocks.get(tier)) {
                Some(blocks) => self.visit_blocks(blocks, part, selected, &mut each)?,
                None => self.visit_slices(part, selected, &mut each)?,
            }
        }
        Ok(())
    }

    fn visit_slices(
        &self,
        part: Part,
        selected: &Selected,
        each: &mut impl FnMut(Visit<'_>) -> Result<(), Damage>,
    ) -> Result<(), Error> {
        for row in self.slices.range((part.from_s, 0)..(part.to_s, 0))? {
            let (key, sealed) = row?;
            let key = key.value();
            let mut visit = || {
                each(Visit::Until(key.0))?;
                visit_row(key, sealed.value(), 1, selected, each)
            };
            visit().map_err(|damage| problem("slices", key, damage))?;
        }
        Ok(())
    }

    fn visit_blocks(
        &self,
        blocks: &ReadOnlyTable<(u64, u32), Bytes>,
        part: Part,
        selected: &Selected,
        each: &mut impl FnMut(Visit<'_>) -> Result<(), Damage>,
    ) -> Result<(), Error> {
        let span_s = part.resolution_s * SLOTS;
        let end_s = part.to_s.div_ceil(part.resolution_s).saturating_mul(part.resolution_s);
        let pending = self.pending.range((part.from_s, 0)..(end_s, 0))?;
        let pending: Vec<_> = pending.map(|row| Ok(row?.0.value())).collect::<Result<_, Error>>()?;
        let mut pending = pending.as_slice();
        let mut next_s = part.from_s / span_s * span_s;
        loop {
            let first = blocks.range((next_s, 0)..(part.to_s, 0))?.next().transpose()?.map(|(key, _)| key.value().0);
            let first_pending = pending.first().map(|(second, _)| second / span_s * span_s);
            let Some(start_s) = first.into_iter().chain(first_pending).min() else { return Ok(()) };
            each(Visit::Until(start_s)).map_err(|damage| problem(part.name(), start_s, damage))?;
            visit_block(blocks, start_s, part, selected, each)?;
            next_s = start_s.saturating_add(span_s);
            let (now, later) = pending.split_at(pending.partition_point(|(second, _)| *second < next_s));
            for key in now {
                let sealed = self.slices.get(*key)?.ok_or_else(|| problem("slices", key, Damage::Missing))?;
                visit_row(*key, sealed.value(), part.resolution_s, selected, each)
                    .map_err(|damage| problem("slices", key, damage))?;
            }
            pending = later;
        }
    }
}

fn visit_block(
    blocks: &ReadOnlyTable<(u64, u32), Bytes>,
    start_s: u64,
    part: Part,
    selected: &Selected,
    each: &mut impl FnMut(Visit<'_>) -> Result<(), Damage>,
) -> Result<(), Error> {
    let mut visit = |id: u32, sealed: &[u8]| -> Result<(), Error> {
        let mut visit = || {
            let block = seal::unseal(&[part.name().as_bytes(), &block_bytes((start_s, id))], sealed)?;
            for frame in frames::iter(block) {
                let (slot, bytes) = frame?;
                let start_s =
                    slot.checked_mul(part.resolution_s).and_then(|s| start_s.checked_add(s)).ok_or(Damage::Range)?;
                if part.starts().contains(&start_s) {
                    each(Visit::Piece { start_s, id, bytes })?;
                }
            }
            Ok(())
        };
        visit().map_err(|damage| problem(part.name(), (start_s, id), damage).into())
    };
    if selected.len() <= LOOK_UPS_MAX {
        for id in selected.keys() {
            if let Some(sealed) = blocks.get((start_s, *id))? {
                visit(*id, sealed.value())?;
            }
        }
        return Ok(());
    }
    for row in blocks.range((start_s, 0)..=(start_s, u32::MAX))? {
        let (key, sealed) = row?;
        let id = key.value().1;
        if selected.contains_key(&id) {
            visit(id, sealed.value())?;
        }
    }
    Ok(())
}

fn visit_row(
    key: (u64, u64),
    sealed: &[u8],
    resolution_s: u64,
    selected: &Selected,
    each: &mut impl FnMut(Visit<'_>) -> Result<(), Damage>,
) -> Result<(), Damage> {
    let start_s = key.0 / resolution_s * resolution_s;
    for frame in frames::iter(seal::unseal(&[b"slices", &row_bytes(key)], sealed)?) {
        let (id, bytes) = frame?;
        let id = u32::try_from(id).map_err(|_| Damage::Range)?;
        if selected.contains_key(&id) {
            each(Visit::Piece { start_s, id, bytes })?;
        }
    }
    Ok(())
}

impl Part {
    fn starts(self) -> Range<u64> {
        self.from_s..self.to_s
    }

    fn name(self) -> &'static str {
        if self.tier == Some(0) { "fine" } else { "coarse" }
    }
}
