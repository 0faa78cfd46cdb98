//! Reading everything, for a doctor (IO).

use std::{collections::BTreeSet, fmt::Debug, sync::PoisonError};

use redb::{ReadTransaction, ReadableDatabase, ReadableTable};

use crate::{
    Damage, Error, History, Problem,
    append::reporter_of,
    catalogue, frames, histograms,
    retention::SLOTS,
    seal,
    store::{BLOCKS, Bytes, PENDING, REPORTERS, SERIES, SLICES, block_bytes, guarded, problem, row_bytes},
};

/// Problems that are told one by one; all are counted.
const PROBLEMS_MAX: usize = 100;

/// What a check found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Checked {
    /// Series that are known.
    pub series: u64,
    /// Reporters that are known.
    pub reporters: u64,
    /// Rows of slices.
    pub slices: u64,
    /// Rows of slices that are not rolled up yet.
    pub pending: u64,
    /// Blocks of the fine and of the coarse tier.
    pub blocks: [u64; 2],
    /// Bytes of all these values.
    pub bytes: u64,
    /// How many problems there are.
    pub problem_count: u64,
    /// The first hundred of them.
    pub problems: Vec<Problem>,
    /// What is wrong with the structure of the file, if anything: values may be missing that nothing else tells of.
    pub structure: Option<String>,
}

impl Checked {
    /// Whether all is well.
    pub fn is_sound(&self) -> bool {
        self.problem_count == 0 && self.structure.is_none()
    }

    fn note(&mut self, found: Result<(), Problem>) {
        if let Err(problem) = found {
            self.problem_count += 1;
            if self.problems.len() < PROBLEMS_MAX {
                self.problems.push(problem);
            }
        }
    }

    fn value(&mut self, table: &'static str, key: impl Debug, bytes: &[u8], found: Result<(), Damage>) {
        self.bytes += bytes.len() as u64;
        self.note(found.map_err(|damage| problem(table, key, damage)));
    }
}

impl History {
    /// Verifies the checksum of every page and of every value, and that all of them can be decoded and belong to known
    /// series. Everything else waits while the pages are verified, about a second for each gigabyte.
    ///
    /// # Errors
    /// When the file is so damaged that it cannot be walked through.
    pub fn check(&self) -> Result<Checked, Error> {
        let mut checked = Checked::default();
        {
            let mut database = self.database.write().unwrap_or_else(PoisonError::into_inner);
            checked.structure = match guarded(&self.path, || Ok(database.check_integrity()?)) {
                Ok(true) => None,
                Ok(false) => Some("what pages are free was not recorded right, and was repaired".into()),
                Err(error) => Some(error.to_string()),
            };
        }
        self.with(|database| {
            let read = database.begin_read()?;
            let known = check_names(&read, &mut checked)?;
            check_slices(&read, &known, &mut checked)?;
            for tier in 0..BLOCKS.len() {
                check_blocks(&read, tier, &known, &mut checked)?;
            }
            Ok(())
        })?;
        Ok(checked)
    }
}

/// Numbers of series.
type Known = BTreeSet<u32>;

fn check_slices(read: &ReadTransaction, known: &Known, checked: &mut Checked) -> Result<(), Error> {
    let slices = read.open_table(SLICES)?;
    for row in slices.iter()? {
        let (key, sealed) = row?;
        let (key, sealed) = (key.value(), sealed.value());
        let row = seal::unseal(&[b"slices", &row_bytes(key)], sealed);
        let found = row.and_then(|row| check_frames(row, known, |id| u32::try_from(id).ok()));
        checked.slices += 1;
        checked.value("slices", key, sealed, found);
    }
    for row in read.open_table(PENDING)?.iter()? {
        let (key, sealed) = row?;
        let (key, sealed) = (key.value(), sealed.value());
        let found = seal::unseal(&[b"pending", &row_bytes(key)], sealed).map(|_| ());
        let is_there = slices.get(key)?.is_some();
        checked.pending += 1;
        checked.value("pending", key, sealed, found.and(if is_there { Ok(()) } else { Err(Damage::Missing) }));
    }
    Ok(())
}

fn check_blocks(read: &ReadTransaction, tier: usize, known: &Known, checked: &mut Checked) -> Result<(), Error> {
    let (definition, name) = if tier == 0 { (BLOCKS[0], "fine") } else { (BLOCKS[1], "coarse") };
    let mut count = 0;
    for row in read.open_table(definition)?.iter()? {
        let (key, sealed) = row?;
        let (key, sealed) = (key.value(), sealed.value());
        let block = seal::unseal(&[name.as_bytes(), &block_bytes(key)], sealed);
        let found = block.and_then(|block| check_frames(block, known, |slot| (slot < SLOTS).then_some(key.1)));
        count += 1;
        checked.value(name, key, sealed, found);
    }
    if let Some(blocks) = checked.blocks.get_mut(tier) {
        *blocks = count;
    }
    Ok(())
}

fn check_frames(bytes: &[u8], known: &Known, id: impl Fn(u64) -> Option<u32>) -> Result<(), Damage> {
    for frame in frames::iter(bytes) {
        let (tag, piece) = frame?;
        let id = id(tag).ok_or(Damage::Range)?;
        if !known.contains(&id) {
            return Err(Damage::UnknownSeries);
        }
        histograms::decode(piece)?;
    }
    Ok(())
}

/// The numbers of the series that are known in this state of the file.
fn check_names(read: &ReadTransaction, checked: &mut Checked) -> Result<Known, Error> {
    let mut known = Known::new();
    for row in read.open_table(SERIES)?.iter()? {
        let (id, sealed) = row?;
        let bytes = seal::unseal(&[b"series", &id.value().to_be_bytes()], sealed.value());
        checked.series += 1;
        known.insert(id.value());
        checked.value("series", id.value(), sealed.value(), bytes.and_then(catalogue::decode).map(|_| ()));
    }
    for row in read.open_table(REPORTERS)?.iter()? {
        let (id, sealed): (redb::AccessGuard<'_, Bytes>, redb::AccessGuard<'_, Bytes>) = row?;
        checked.reporters += 1;
        checked.bytes += sealed.value().len() as u64;
        match reporter_of(id.value(), sealed.value()) {
            Err(Error::Damaged(problem)) => checked.note(Err(problem)),
            found => drop(found?),
        }
    }
    Ok(known)
}
