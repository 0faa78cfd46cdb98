//! Merging slices into blocks (IO).

use std::{collections::BTreeMap, sync::PoisonError};

use redb::{Database, ReadableDatabase, ReadableTable, Table};

use crate::{
    Damage, Error, Histograms, History, Problem, block, frames, histograms,
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

/// By series and the first second of a slot of the fine tier.
type Sums = BTreeMap<(u32, u64), Histograms>;

/// Rows of one minute, merged before anything is written, so that appends do not wait for that.
#[derive(Default)]
struct Minute {
    keys: Vec<(u64, u64)>,
    sums: Sums,
    problems: Vec<Problem>,
    kept_from_s: [u64; 2],
}

impl History {
    /// Merges the slices of every whole minute (of the coarse resolution) before `now_s` into blocks. To be called about as
    /// often. What is interrupted goes on at the next call; nothing is counted twice. Appends wait only while blocks are written.
    ///
    /// Damaged rows are left out, so that one of them does not hold up all that follow, and are in the result.
    ///
    /// # Errors
    /// When the disk does not take it, or what must be read first is damaged.
    pub fn roll_up(&self, now_s: u64) -> Result<RolledUp, Error> {
        // What two of them merge at the same time would be written twice.
        let _only_one = self.rolling_up.lock().unwrap_or_else(PoisonError::into_inner);
        let minute_s = self.retention.resolutions_s()[1];
        let until_s = now_s.saturating_sub(GRACE_S) / minute_s * minute_s;
        let mut done = RolledUp::default();
        while let Some(minute) = self.with(|database| self.merge_minute(database, until_s, now_s))? {
            done.rows += minute.keys.len();
            let problems = self.with(|database| self.write_minute(database, minute))?;
            done.problems.extend(problems);
        }
        Ok(done)
    }

    /// `None` when nothing is left to do.
    fn merge_minute(&self, database: &Database, until_s: u64, now_s: u64) -> Result<Option<Minute>, Error> {
        let read = database.begin_read()?;
        let (meta, pending, slices) = (read.open_table(META)?, read.open_table(PENDING)?, read.open_table(SLICES)?);
        let first = pending.first()?.map(|(key, _)| key.value().0);
        let Some(first_s) = first.filter(|first_s| *first_s < until_s) else { return Ok(None) };
        let minute_s = self.retention.resolutions_s()[1];
        let end_s = first_s / minute_s * minute_s + minute_s;
        // What a tier would drop at once is not worth a block.
        let ([_, fine, coarse], [_, fine_s, coarse_s]) = (KEPT_FROM_S, self.retention.cutoffs_s(now_s));
        let kept_from_s = [get_meta(&meta, fine)?.max(fine_s), get_meta(&meta, coarse)?.max(coarse_s)];
        let mut minute = Minute { kept_from_s, ..Minute::default() };
        let mut bytes = 0;
        for row in pending.range((first_s, 0)..(end_s, 0))? {
            let key = row?.0.value();
            let sealed = slices.get(key)?;
            let result = match &sealed {
                Some(sealed) => self.add_row(key, sealed.value(), &mut minute.sums),
                None => Err(Damage::Missing),
            };
            if let Err(damage) = result {
                minute.problems.push(problem("slices", key, damage));
            }
            minute.keys.push(key);
            bytes += sealed.map_or(0, |sealed| sealed.value().len());
            if bytes > STEP_BYTES {
                break;
            }
        }
        Ok(Some(minute))
    }

    /// All of a row, or nothing of it.
    fn add_row(&self, key: (u64, u64), sealed: &[u8], sums: &mut Sums) -> Result<(), Damage> {
        let [fine_s, _] = self.retention.resolutions_s();
        let row = seal::unseal(&[b"slices", &row_bytes(key)], sealed)?;
        let mut read = Vec::new();
        for frame in frames::iter(row) {
            let (id, form) = frame?;
            let id = u32::try_from(id).map_err(|_| Damage::Range)?;
            histograms::check(form)?;
            read.push((id, form));
        }
        for (id, form) in read {
            sums.entry((id, key.0 / fine_s * fine_s)).or_default().add(form);
        }
        Ok(())
    }

    /// One transaction: the rows are in blocks and pending no more.
    fn write_minute(&self, database: &Database, minute: Minute) -> Result<Vec<Problem>, Error> {
        let mut problems = minute.problems;
        let write = begin_write(database)?;
        {
            let mut pending = write.open_table(PENDING)?;
            for key in minute.keys {
                pending.remove(key)?.ok_or_else(|| problem("pending", key, Damage::Missing))?;
            }
        }
        let tiers = BLOCKS.into_iter().zip(["fine", "coarse"]).zip(self.retention.resolutions_s());
        for (((definition, name), resolution_s), kept_from_s) in tiers.zip(minute.kept_from_s) {
            let mut table = write.open_table(definition)?;
            for (key, additions) in blocks_of(&minute.sums, resolution_s, kept_from_s) {
                add_to_block(&mut table, name, key, &additions, &mut problems)?;
            }
        }
        write.commit()?;
        Ok(problems)
    }
}

/// What is to be added to the blocks of one tier, in the order of their keys.
fn blocks_of(sums: &Sums, resolution_s: u64, kept_from_s: u64) -> BTreeMap<(u64, u32), block::Additions> {
    let span_s = resolution_s * SLOTS;
    let mut blocks: BTreeMap<(u64, u32), block::Additions> = BTreeMap::new();
    for ((id, second), histograms) in sums {
        let start_s = second / span_s * span_s;
        if start_s >= kept_from_s {
            let block = blocks.entry((start_s, *id)).or_default();
            block.entry((second - start_s) / resolution_s).or_default().merge(histograms);
        }
    }
    blocks
}

fn add_to_block(
    table: &mut Table<'_, (u64, u32), Bytes>,
    name: &'static str,
    key: (u64, u32),
    additions: &block::Additions,
    problems: &mut Vec<Problem>,
) -> Result<(), Error> {
    let bytes = block_bytes(key);
    let sum_key: [&[u8]; 2] = [name.as_bytes(), &bytes];
    let sealed = table.get(key)?;
    let old = sealed.as_ref().map_or(Ok(&[] as &[u8]), |sealed| seal::unseal(&sum_key, sealed.value()));
    let merged = match old.and_then(|old| block::merge(old, additions)) {
        Ok(merged) => merged,
        Err(damage) => {
            problems.push(problem(name, key, damage));
            // Nothing of it can be read any more; what comes from now on can.
            block::merge(&[], additions).map_err(|damage| problem(name, key, damage))?
        }
    };
    drop(sealed);
    table.insert(key, seal::seal(&sum_key, &merged).as_slice())?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use serin_sketch::Micros;

    use super::*;
    use crate::{Delta, Report, Retention, Selector, SeriesRef};

    const SECOND: u64 = 1_764_072_000;

    fn append(directory: &Path, sequence: u64, second: u64) -> History {
        let history = History::open(directory, Retention::default()).unwrap();
        let mut histograms = Histograms::default();
        histograms.total.record(Micros(5_000));
        let series = SeriesRef { service: "s", route: "r", release: "v1", pod: "", outcome: 1, vantage: 1 };
        let deltas = vec![Delta { series, histograms: (&histograms).into() }];
        history.append(&[Report { reporter: b"r", sequence, second, deltas }]).unwrap();
        history
    }

    fn requests(history: &History) -> Result<u64, Error> {
        Ok(history.merged(&Selector::default(), 0, u64::MAX)?.total.total())
    }

    /// Changes the last byte of a value.
    fn damage<'a, K: redb::Key<SelfType<'a>: Copy> + 'static>(
        history: &History,
        table: redb::TableDefinition<'_, K, Bytes>,
        key: K::SelfType<'a>,
    ) {
        let write = history.database.read().unwrap().begin_write().unwrap();
        {
            let mut table = write.open_table(table).unwrap();
            let mut value = table.get(key).unwrap().unwrap().value().to_vec();
            *value.last_mut().unwrap() ^= 1;
            table.insert(key, value.as_slice()).unwrap();
        }
        write.commit().unwrap();
    }

    #[test]
    fn a_damaged_row_is_told_and_does_not_hold_up_the_others() {
        let directory = tempfile::tempdir().unwrap();
        drop(append(directory.path(), 1, SECOND));
        let history = append(directory.path(), 2, SECOND + 1);
        damage(&history, SLICES, (SECOND, 0));
        let query = crate::Query { selector: Selector::default(), from_s: 0, to_s: u64::MAX, resolution_s: 1 };
        let error = history.read(&query).err().unwrap().to_string();
        assert!(error.contains("slices (1764072000, 0): its checksum does not match"), "{error}");
        let done = history.roll_up(SECOND + 100).unwrap();
        let told: Vec<_> = done.problems.iter().map(ToString::to_string).collect();
        assert_eq!((done.rows, told), (2, vec!["slices (1764072000, 0): its checksum does not match".to_owned()]));
        assert_eq!(requests(&history).unwrap(), 1);
        assert_eq!(history.check().unwrap().problem_count, 1);
    }

    #[test]
    fn a_damaged_block_is_told_and_replaced_by_what_comes() {
        let directory = tempfile::tempdir().unwrap();
        append(directory.path(), 1, SECOND).roll_up(SECOND + 100).unwrap();
        let history = append(directory.path(), 2, SECOND + 1);
        let [_, coarse] = BLOCKS;
        damage(&history, coarse, (SECOND, 0));
        let error = requests(&history).err().unwrap().to_string();
        assert!(error.contains("coarse (1764072000, 0): its checksum does not match"), "{error}");
        assert!(!history.check().unwrap().is_sound());
        assert_eq!(history.roll_up(SECOND + 100).unwrap().problems.len(), 1);
        assert_eq!(requests(&history).unwrap(), 1);
        assert!(history.check().unwrap().is_sound());
    }
}
