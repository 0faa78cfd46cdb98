//! Merging slices into blocks (IO).

use std::collections::BTreeMap;

use redb::{Database, ReadableDatabase, ReadableTable, Table, WriteTransaction};

use crate::{
    Damage, Error, History, Problem, block, frames, histograms,
    retention::SLOTS,
    seal,
    store::{
        BLOCKS, Bytes, KEPT_FROM_S, META, PENDING, SLICES, begin_write, block_bytes, get_meta, problem, row_bytes,
    },
};

/// How long a minute waits for what is late. What comes later still costs another write of its blocks, and no more.
const GRACE_S: u64 = 5;
/// Rows merged in one transaction, at most: in memory, they take about eight times as much.
const STEP_BYTES: usize = 32 << 20;

/// What a roll-up did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RolledUp {
    /// Rows of slices that are in blocks now.
    pub rows: usize,
    /// What could not be read and so is in no block, or was replaced by what came later.
    pub problems: Vec<Problem>,
}

/// Additions by tier, the block's first second, and series.
type Sums = BTreeMap<(usize, u64, u32), block::Additions>;

impl History {
    /// Merges the slices of every whole minute (of the coarse resolution) before `now_s` into blocks. To be called about as
    /// often. What is interrupted goes on at the next call; nothing is counted twice.
    ///
    /// Damaged rows are left out, so that one of them does not hold up all that follow, and are in the result.
    ///
    /// # Errors
    /// When the disk does not take it, or what must be read first is damaged.
    pub fn roll_up(&self, now_s: u64) -> Result<RolledUp, Error> {
        let minute_s = self.retention.resolutions_s()[1];
        let until_s = now_s.saturating_sub(GRACE_S) / minute_s * minute_s;
        let mut done = RolledUp::default();
        while self.with(|database| self.step(database, until_s, now_s, &mut done))? {}
        Ok(done)
    }

    /// One transaction: rows of one minute. `false` when there were none.
    fn step(&self, database: &Database, until_s: u64, now_s: u64, done: &mut RolledUp) -> Result<bool, Error> {
        let first = database.begin_read()?.open_table(PENDING)?.first()?.map(|(key, _)| key.value().0);
        let Some(first_s) = first.filter(|first_s| *first_s < until_s) else { return Ok(false) };
        let minute_s = self.retention.resolutions_s()[1];
        let end_s = first_s / minute_s * minute_s + minute_s;
        let write = begin_write(database)?;
        let kept_from_s = self.kept_from_s(&write, now_s)?;
        let mut step = RolledUp::default();
        let sums = self.take_rows(&write, (first_s, end_s), kept_from_s, &mut step)?;
        {
            let [fine, coarse] = BLOCKS;
            let (mut fine, mut coarse) = (write.open_table(fine)?, write.open_table(coarse)?);
            for ((tier, start_s, id), additions) in sums {
                let (table, name) = if tier == 0 { (&mut fine, "fine") } else { (&mut coarse, "coarse") };
                add_to_block(table, name, (start_s, id), additions, &mut step.problems)?;
            }
        }
        write.commit()?;
        done.rows += step.rows;
        done.problems.extend(step.problems);
        Ok(true)
    }

    /// From which second on each tier takes anything: what it would drop at once is not worth a block.
    fn kept_from_s(&self, write: &WriteTransaction, now_s: u64) -> Result<[u64; 2], Error> {
        let meta = write.open_table(META)?;
        let [_, fine_s, coarse_s] = self.retention.cutoffs_s(now_s);
        let [_, fine, coarse] = KEPT_FROM_S;
        Ok([get_meta(&meta, fine)?.max(fine_s), get_meta(&meta, coarse)?.max(coarse_s)])
    }

    fn take_rows(
        &self,
        write: &WriteTransaction,
        (from_s, to_s): (u64, u64),
        kept_from_s: [u64; 2],
        step: &mut RolledUp,
    ) -> Result<Sums, Error> {
        let (mut pending, slices) = (write.open_table(PENDING)?, write.open_table(SLICES)?);
        let (mut sums, mut taken, mut bytes) = (Sums::new(), Vec::new(), 0);
        for row in pending.range((from_s, 0)..(to_s, 0))? {
            let key = row?.0.value();
            let sealed = slices.get(key)?;
            let result = match &sealed {
                Some(sealed) => self.add_row(key, sealed.value(), kept_from_s, &mut sums),
                None => Err(Damage::Missing),
            };
            if let Err(damage) = result {
                step.problems.push(problem("slices", key, damage));
            }
            taken.push(key);
            bytes += sealed.map_or(0, |sealed| sealed.value().len());
            if bytes > STEP_BYTES {
                break;
            }
        }
        for key in &taken {
            pending.remove(key)?;
        }
        step.rows += taken.len();
        Ok(sums)
    }

    /// All of a row, or nothing of it.
    fn add_row(&self, key: (u64, u64), sealed: &[u8], kept_from_s: [u64; 2], sums: &mut Sums) -> Result<(), Damage> {
        let second = key.0;
        let row = seal::unseal(&[b"slices", &row_bytes(key)], sealed)?;
        let mut read = Vec::new();
        for frame in frames::iter(row) {
            let (id, bytes) = frame?;
            let id = u32::try_from(id).map_err(|_| Damage::Range)?;
            read.push((id, histograms::decode(bytes)?));
        }
        for (id, histograms) in read {
            for (tier, resolution_s) in self.retention.resolutions_s().into_iter().enumerate() {
                let span_s = resolution_s * SLOTS;
                let start_s = second / span_s * span_s;
                if kept_from_s.get(tier).is_some_and(|from_s| start_s >= *from_s) {
                    let block = sums.entry((tier, start_s, id)).or_default();
                    block.entry((second - start_s) / resolution_s).or_default().merge(&histograms);
                }
            }
        }
        Ok(())
    }
}

fn add_to_block(
    table: &mut Table<'_, (u64, u32), Bytes>,
    name: &'static str,
    key: (u64, u32),
    additions: block::Additions,
    problems: &mut Vec<Problem>,
) -> Result<(), Error> {
    let bytes = block_bytes(key);
    let sum_key: [&[u8]; 2] = [name.as_bytes(), &bytes];
    let sealed = table.get(key)?;
    let old = sealed.as_ref().map_or(Ok(&[] as &[u8]), |sealed| seal::unseal(&sum_key, sealed.value()));
    let merged = match old.and_then(|old| block::merge(old, &additions)) {
        Ok(merged) => merged,
        Err(damage) => {
            problems.push(problem(name, key, damage));
            // Nothing of it can be read any more; what comes from now on can.
            block::merge(&[], &additions).map_err(|damage| problem(name, key, damage))?
        }
    };
    drop(sealed);
    table.insert(key, seal::seal(&sum_key, &merged).as_slice())?;
    Ok(())
}
