//! Dropping what is too old, and giving its space back (IO).

use std::{collections::BTreeSet, sync::PoisonError};

use redb::{ReadableTable, WriteTransaction};

use crate::{
    Error, History,
    append::reporter_of,
    store::{BLOCKS, KEPT_FROM_S, META, PENDING, REPORTERS, SERIES, SLICES, begin_write, get_meta, guarded, put_meta},
};

const DAY_S: u64 = 86_400;

/// What was dropped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Expired {
    /// Rows of slices and blocks.
    pub values: u64,
    /// Bytes that they took, without the store's own.
    pub bytes: u64,
    /// Series of which nothing is left.
    pub series: usize,
    /// Reporters that were not heard of for as long as the coarsest tier is kept.
    pub reporters: usize,
}

/// How large the file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// Bytes of the file.
    pub file_bytes: u64,
    /// Bytes of it that hold something. The rest is used for what comes next.
    pub used_bytes: u64,
}

impl History {
    /// Drops what each tier no longer keeps, series of which nothing is left, and reporters that are long gone. To be called
    /// about once a minute; when there is nothing to drop, it writes nothing. Slices that are not rolled up yet stay.
    ///
    /// The space is used again for what comes next. [`History::reclaim`] makes the file smaller.
    ///
    /// # Errors
    /// When the disk does not take it, or what must be read first is damaged.
    pub fn expire(&self, now_s: u64) -> Result<Expired, Error> {
        let mut catalogue = self.catalogue();
        let (expired, unused) = self.with(|database| {
            let write = begin_write(database)?;
            let Some(from_s) = self.advance(&write, now_s)? else {
                write.abort()?;
                return Ok((Expired::default(), Vec::new()));
            };
            let mut expired = Expired::default();
            let first_pending_s = drop_slices(&write, from_s[0], &mut expired)?;
            for (table, from_s) in BLOCKS.into_iter().zip([from_s[1], from_s[2]]) {
                let drop = |_, value: &[u8]| expired.count(value);
                write.open_table(table)?.retain_in((0, 0)..(from_s, 0), drop)?;
            }
            expired.reporters = drop_reporters(&write, from_s[2])?;
            // What is still pending names its series, however old it is.
            let has_old_pending = first_pending_s.is_some_and(|second| second < from_s[2]);
            let unused = if has_old_pending { Vec::new() } else { catalogue.unused_since(from_s[2] / DAY_S) };
            let mut series = write.open_table(SERIES)?;
            for id in &unused {
                series.remove(id)?;
            }
            drop(series);
            expired.series = unused.len();
            write.commit()?;
            Ok((expired, unused))
        })?;
        for id in unused {
            catalogue.remove(id);
        }
        Ok(expired)
    }

    /// Notes from when on each tier is kept. `None` where nothing moved.
    fn advance(&self, write: &WriteTransaction, now_s: u64) -> Result<Option<[u64; 3]>, Error> {
        let mut meta = write.open_table(META)?;
        let mut from_s = self.retention.cutoffs_s(now_s);
        let mut has_moved = false;
        for (name, from_s) in KEPT_FROM_S.into_iter().zip(&mut from_s) {
            let before_s = get_meta(&meta, name)?;
            // A clock that went back, or a retention that was made longer, does not bring anything back.
            *from_s = before_s.max(*from_s);
            if *from_s > before_s {
                put_meta(&mut meta, name, *from_s)?;
                has_moved = true;
            }
        }
        Ok(has_moved.then_some(from_s))
    }

    /// Makes the file as small as what it holds, if at least a third of it is free. Everything else waits meanwhile, some
    /// seconds for each gigabyte: to be called rarely, such as once a day or after the retention was made shorter.
    ///
    /// # Errors
    /// When the disk does not take it.
    pub fn reclaim(&self) -> Result<Size, Error> {
        let size = self.size()?;
        if size.used_bytes > size.file_bytes / 3 * 2 {
            return Ok(size);
        }
        {
            let mut database = self.database.write().unwrap_or_else(PoisonError::into_inner);
            guarded(&self.path, || Ok(database.compact()?))?;
        }
        self.size()
    }

    /// How large the file is. Walks through its structure, some milliseconds for each 10,000 values.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn size(&self) -> Result<Size, Error> {
        self.with(|database| {
            let write = database.begin_write()?;
            let stats = write.stats()?;
            write.abort()?;
            let file_bytes = std::fs::metadata(&self.path).map_or(0, |file| file.len());
            Ok(Size { file_bytes, used_bytes: stats.allocated_pages().saturating_mul(stats.page_size() as u64) })
        })
    }
}

impl Expired {
    /// Counts a value; `false`, because it is not retained.
    fn count(&mut self, value: &[u8]) -> bool {
        self.values += 1;
        self.bytes += value.len() as u64;
        false
    }
}

/// The second of the first row that stays because it is not rolled up yet.
fn drop_slices(write: &WriteTransaction, from_s: u64, expired: &mut Expired) -> Result<Option<u64>, Error> {
    let old = (0, 0)..(from_s, 0);
    let pending = write.open_table(PENDING)?;
    let pending: BTreeSet<_> =
        pending.range(old.clone())?.map(|row| Ok(row?.0.value())).collect::<Result<_, Error>>()?;
    let keep = |key, value: &[u8]| pending.contains(&key) || expired.count(value);
    write.open_table(SLICES)?.retain_in(old, keep)?;
    Ok(pending.first().map(|(second, _)| *second))
}

fn drop_reporters(write: &WriteTransaction, from_s: u64) -> Result<usize, Error> {
    let mut table = write.open_table(REPORTERS)?;
    let mut gone = Vec::new();
    for row in table.iter()? {
        let (id, sealed) = row?;
        if reporter_of(id.value(), sealed.value())?.1 < from_s {
            gone.push(id.value().to_vec());
        }
    }
    for id in &gone {
        table.remove(id.as_slice())?;
    }
    Ok(gone.len())
}
