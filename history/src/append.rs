//! Taking in what was reported (IO).

use std::collections::BTreeMap;

use redb::{ReadableDatabase, ReadableTable, WriteTransaction};

use crate::{
    Damage, Error, History, Packed, SeriesRef,
    catalogue::{self, Known, Staged},
    frames, seal,
    store::{
        META, NEXT_ROW, NEXT_SERIES, PENDING, REPORTERS, SERIES, SLICES, begin_write, get_meta, problem, put_meta,
        row_bytes,
    },
    varint,
};

/// Where a row of slices ends: the store keeps a large value in a power of two, so a little less than 64 kB wastes little.
const ROW_BYTES: usize = 60 << 10;
/// Seconds of a day.
const DAY_S: u64 = 86_400;

/// What was added to one series.
#[derive(Clone, Debug)]
pub struct Delta<'a> {
    /// To which one.
    pub series: SeriesRef<'a>,
    /// What.
    pub histograms: Packed<'a>,
}

/// One numbered report.
#[derive(Clone, Debug)]
pub struct Report<'a> {
    /// Whose it is: any bytes that are unique for ever.
    pub reporter: &'a [u8],
    /// 1 and up. What is not above the reporter's last applied one was applied before, and changes nothing.
    pub sequence: u64,
    /// The second that it belongs to, since 1970.
    pub second: u64,
    /// What was counted.
    pub deltas: Vec<Delta<'a>>,
}

/// What became of a batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Appended {
    /// Reports that are on disk now.
    pub applied: usize,
    /// Reports that were before.
    pub duplicates: usize,
}

impl History {
    /// Keeps a batch of reports. All of it is on disk when this returns, or none of it; the larger the batch, the less each
    /// report costs. After an [`Error::Store`], the file may have to be opened again.
    ///
    /// # Errors
    /// When the disk does not take it, there are too many series, or what must be read first is damaged.
    pub fn append(&self, batch: &[Report<'_>]) -> Result<Appended, Error> {
        // Held until the end: it is what makes the numbers of series unique.
        let mut catalogue = self.catalogue();
        let (appended, changed) = self.with(|database| {
            let write = begin_write(database)?;
            let mut meta = write.open_table(META)?;
            let next_id = get_meta(&meta, NEXT_SERIES)?;
            let next_id_now = u32::try_from(next_id).map_err(|_| problem("meta", NEXT_SERIES, Damage::Range))?;
            let mut staged = Staged::new(&catalogue, next_id_now);
            let mut rows = Rows { next: get_meta(&meta, NEXT_ROW)?, open: BTreeMap::new() };
            let mut appended = Appended::default();
            for report in batch {
                if is_new(&write, report)? {
                    rows.add(&write, report, &mut staged)?;
                    appended.applied += 1;
                } else {
                    appended.duplicates += 1;
                }
            }
            for (second, bytes) in std::mem::take(&mut rows.open) {
                rows.write(&write, second, &bytes)?;
            }
            let (next_id, changed) = staged.finish();
            put_meta(&mut meta, NEXT_SERIES, next_id.into())?;
            put_meta(&mut meta, NEXT_ROW, rows.next)?;
            drop(meta);
            write_series(&write, &changed)?;
            if appended.applied > 0 {
                write.commit()?
            } else {
                write.abort()?
            }
            Ok((appended, changed))
        })?;
        for (id, known) in changed {
            catalogue.insert(id, known);
        }
        Ok(appended)
    }

    /// The last sequence of a reporter that is on disk. `None` for one that never reported, or not for longer than
    /// the coarsest tier is kept.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn applied_sequence(&self, reporter: &[u8]) -> Result<Option<u64>, Error> {
        self.with(|database| {
            let read = database.begin_read()?;
            let found = read.open_table(REPORTERS)?.get(reporter)?;
            found.map(|sealed| Ok(reporter_of(reporter, sealed.value())?.0)).transpose()
        })
    }

    /// The last sequence of every reporter, as [`History::applied_sequence`].
    ///
    /// # Errors
    /// When one cannot be read.
    pub fn applied_sequences(&self) -> Result<Vec<(Vec<u8>, u64)>, Error> {
        self.with(|database| {
            let table = database.begin_read()?.open_table(REPORTERS)?;
            let rows = table.iter()?.map(|row| {
                let (id, sealed) = row?;
                Ok((id.value().to_vec(), reporter_of(id.value(), sealed.value())?.0))
            });
            rows.collect()
        })
    }

    /// The newest second that anybody reported. `None` where nobody did for as long as the coarsest tier is kept.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn newest_second(&self) -> Result<Option<u64>, Error> {
        self.with(|database| {
            let mut newest = None;
            for row in database.begin_read()?.open_table(REPORTERS)?.iter()? {
                let (id, sealed) = row?;
                newest = newest.max(Some(reporter_of(id.value(), sealed.value())?.1));
            }
            Ok(newest)
        })
    }
}

/// Notes the sequence, unless it was applied before.
fn is_new(write: &WriteTransaction, report: &Report<'_>) -> Result<bool, Error> {
    let mut reporters = write.open_table(REPORTERS)?;
    let known =
        reporters.get(report.reporter)?.map(|sealed| reporter_of(report.reporter, sealed.value())).transpose()?;
    let (applied, newest_s) = known.unwrap_or_default();
    if report.sequence <= applied {
        return Ok(false);
    }
    let mut bytes = Vec::new();
    varint::put(&mut bytes, report.sequence);
    varint::put(&mut bytes, newest_s.max(report.second));
    reporters.insert(report.reporter, seal::seal(&[b"reporters", report.reporter], &bytes).as_slice())?;
    Ok(true)
}

/// A reporter's last applied sequence and the newest second that it reported.
pub(crate) fn reporter_of(reporter: &[u8], sealed: &[u8]) -> Result<(u64, u64), Error> {
    let numbers = seal::unseal(&[b"reporters", reporter], sealed)
        .and_then(|mut bytes| Ok((varint::take(&mut bytes)?, varint::take(&mut bytes)?)));
    Ok(numbers.map_err(|damage| problem("reporters", String::from_utf8_lossy(reporter), damage))?)
}

fn write_series(write: &WriteTransaction, changed: &BTreeMap<u32, Known>) -> Result<(), Error> {
    let mut table = write.open_table(SERIES)?;
    for (id, known) in changed {
        let sealed = seal::seal(&[b"series", &id.to_be_bytes()], &catalogue::encode(known));
        table.insert(id, sealed.as_slice())?;
    }
    Ok(())
}

/// Rows that are being filled, by second.
struct Rows {
    next: u64,
    open: BTreeMap<u64, Vec<u8>>,
}

impl Rows {
    fn add(&mut self, write: &WriteTransaction, report: &Report<'_>, staged: &mut Staged<'_>) -> Result<(), Error> {
        let mut row = self.open.remove(&report.second).unwrap_or_default();
        for delta in &report.deltas {
            let id = staged.id(delta.series, report.second / DAY_S)?;
            let piece = delta.histograms.bytes();
            if row.len() + piece.len() > ROW_BYTES {
                self.write(write, report.second, &row)?;
                row.clear();
            }
            frames::put(&mut row, id.into(), piece);
        }
        self.open.insert(report.second, row);
        Ok(())
    }

    fn write(&mut self, write: &WriteTransaction, second: u64, row: &[u8]) -> Result<(), Error> {
        if row.is_empty() {
            return Ok(());
        }
        let key = (second, self.next);
        self.next += 1;
        let bytes = row_bytes(key);
        write.open_table(SLICES)?.insert(key, seal::seal(&[b"slices", &bytes], row).as_slice())?;
        write.open_table(PENDING)?.insert(key, seal::seal(&[b"pending", &bytes], &[]).as_slice())?;
        Ok(())
    }
}
