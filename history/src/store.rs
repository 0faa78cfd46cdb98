//! The file, its tables and its state (IO).

use std::{
    fmt::Debug,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard},
};

use redb::{
    Database, DatabaseError, ReadTransaction, ReadableDatabase, ReadableTable, TableDefinition, WriteTransaction,
};

use crate::{
    Damage, Error, Problem, Retention,
    catalogue::{self, Catalogue},
    seal,
};

/// The format that this version writes, and the newest that it reads.
pub(crate) const VERSION: u64 = 1;
/// Pages that the store keeps in memory. What is written and rolled up is in the newest few minutes: 1,000 series take 200 kB a second.
const CACHE_BYTES: usize = 64 << 20;

pub(crate) type Bytes = &'static [u8];
/// Numbers about the file, by name. Each has eight bytes, least significant first.
pub(crate) const META: TableDefinition<'_, &str, Bytes> = TableDefinition::new("meta");
/// By number.
pub(crate) const SERIES: TableDefinition<'_, u32, Bytes> = TableDefinition::new("series");
/// By the reporter's id: its last applied sequence, and the newest second that it reported, as varints.
pub(crate) const REPORTERS: TableDefinition<'_, Bytes, Bytes> = TableDefinition::new("reporters");
/// By second and row number: a frame for each series.
pub(crate) const SLICES: TableDefinition<'_, (u64, u64), Bytes> = TableDefinition::new("slices");
/// Slices that are in no block yet, by the same key. Their values are empty.
pub(crate) const PENDING: TableDefinition<'_, (u64, u64), Bytes> = TableDefinition::new("pending");
/// By first second and series: a frame for each slot. First the fine tier, then the coarse one.
pub(crate) const BLOCKS: [TableDefinition<'_, (u64, u32), Bytes>; 2] =
    [TableDefinition::new("fine"), TableDefinition::new("coarse")];

pub(crate) const NEXT_ROW: &str = "next_row";
pub(crate) const NEXT_SERIES: &str = "next_series";
/// From which second on slices, fine and coarse blocks are kept.
pub(crate) const KEPT_FROM_S: [&str; 3] = ["slices_from_s", "fine_from_s", "coarse_from_s"];
const FORMAT: &str = "format";
const RESOLUTIONS_S: [&str; 2] = ["fine_resolution_s", "coarse_resolution_s"];

/// Histograms on disk, in one file.
pub struct History {
    pub(crate) path: PathBuf,
    pub(crate) retention: Retention,
    /// Exclusively for what needs all of the file: compaction and the check of its structure.
    pub(crate) database: RwLock<Database>,
    pub(crate) catalogue: Mutex<Catalogue>,
    pub(crate) rolling_up: Mutex<()>,
}

impl History {
    /// Opens or creates `histograms.redb` in a directory. After a crash, too, this does not read the whole of it.
    ///
    /// # Errors
    /// When another process has it open, the disk does not take it, a newer version wrote it, it was made with other
    /// resolutions, or it is damaged.
    pub fn open(directory: &Path, retention: Retention) -> Result<Self, Error> {
        std::fs::create_dir_all(directory).map_err(|source| Error::Directory { path: directory.to_owned(), source })?;
        let path = directory.join("histograms.redb");
        guarded(&path, || {
            let database = Database::builder().set_cache_size(CACHE_BYTES).create(&path);
            let database = database.map_err(|error| open_error(&path, error))?;
            let catalogue = prepare(&path, &database, retention)?;
            Ok(History {
                path: path.clone(),
                retention,
                database: RwLock::new(database),
                catalogue: Mutex::new(catalogue),
                rolling_up: Mutex::new(()),
            })
        })
    }

    /// Runs something on the database. The store may panic over a damaged page; that is an error like any other damage.
    pub(crate) fn with<T>(&self, run: impl FnOnce(&Database) -> Result<T, Error>) -> Result<T, Error> {
        let database: RwLockReadGuard<'_, Database> = self.database.read().unwrap_or_else(PoisonError::into_inner);
        guarded(&self.path, || run(&database))
    }

    pub(crate) fn catalogue(&self) -> MutexGuard<'_, Catalogue> {
        self.catalogue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(crate) fn guarded<T>(path: &Path, run: impl FnOnce() -> Result<T, Error>) -> Result<T, Error> {
    catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let detail = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no detail").to_owned();
        Err(Error::Unreadable { path: path.to_owned(), detail })
    })
}

fn open_error(path: &Path, error: DatabaseError) -> Error {
    let path = path.to_owned();
    match error {
        DatabaseError::DatabaseAlreadyOpen => Error::InUse { path },
        DatabaseError::UpgradeRequired(found) => Error::Unreadable { path, detail: format!("store format {found}") },
        error => match error.into() {
            redb::Error::Corrupted(detail) => Error::Unreadable { path, detail },
            source => Error::Open { path, source },
        },
    }
}

/// A transaction that is on disk when it is committed. Its allocation is, too: otherwise, opening after a crash would read
/// and check the whole file, which for 15 days is gigabytes.
pub(crate) fn begin_write(database: &Database) -> Result<WriteTransaction, Error> {
    let mut write = database.begin_write()?;
    write.set_quick_repair(true);
    Ok(write)
}

fn prepare(path: &Path, database: &Database, retention: Retention) -> Result<Catalogue, Error> {
    let read = database.begin_read()?;
    let wanted = retention.resolutions_s();
    let meta = match read.open_table(META) {
        Ok(meta) => meta,
        Err(redb::TableError::TableDoesNotExist(_)) => {
            create(database, wanted)?;
            return Ok(Catalogue::default());
        }
        Err(error) => return Err(error.into()),
    };
    let found = get_meta(&meta, FORMAT)?;
    if found > VERSION {
        return Err(Error::Newer { path: path.to_owned(), found, known: VERSION });
    }
    let stored = [get_meta(&meta, RESOLUTIONS_S[0])?, get_meta(&meta, RESOLUTIONS_S[1])?];
    if stored != wanted {
        return Err(Error::Resolutions { stored, wanted });
    }
    load(&read)
}

fn create(database: &Database, resolutions_s: [u64; 2]) -> Result<(), Error> {
    let write = begin_write(database)?;
    {
        let mut meta = write.open_table(META)?;
        put_meta(&mut meta, FORMAT, VERSION)?;
        for name in KEPT_FROM_S.into_iter().chain([NEXT_ROW, NEXT_SERIES]) {
            put_meta(&mut meta, name, 0)?;
        }
        for (name, resolution_s) in RESOLUTIONS_S.into_iter().zip(resolutions_s) {
            put_meta(&mut meta, name, resolution_s)?;
        }
        write.open_table(SERIES)?;
        write.open_table(REPORTERS)?;
        write.open_table(SLICES)?;
        write.open_table(PENDING)?;
        for table in BLOCKS {
            write.open_table(table)?;
        }
    }
    Ok(write.commit()?)
}

fn load(read: &ReadTransaction) -> Result<Catalogue, Error> {
    let mut catalogue = Catalogue::default();
    for row in read.open_table(SERIES)?.iter()? {
        let (id, sealed) = row?;
        let id = id.value();
        let bytes = seal::unseal(&[b"series", &id.to_be_bytes()], sealed.value());
        let known = bytes.and_then(catalogue::decode).map_err(|damage| problem("series", id, damage))?;
        catalogue.insert(id, known);
    }
    Ok(catalogue)
}

pub(crate) fn get_meta(meta: &impl ReadableTable<&'static str, Bytes>, name: &str) -> Result<u64, Error> {
    let value = meta.get(name)?.ok_or_else(|| problem("meta", name, Damage::Missing))?;
    let bytes =
        seal::unseal(&[b"meta", name.as_bytes()], value.value()).map_err(|damage| problem("meta", name, damage))?;
    let bytes = bytes.try_into().map_err(|_| problem("meta", name, Damage::Short))?;
    Ok(u64::from_le_bytes(bytes))
}

pub(crate) fn put_meta(meta: &mut redb::Table<'_, &str, Bytes>, name: &str, value: u64) -> Result<(), Error> {
    meta.insert(name, seal::seal(&[b"meta", name.as_bytes()], &value.to_le_bytes()).as_slice())?;
    Ok(())
}

pub(crate) fn row_bytes((second, row): (u64, u64)) -> [u8; 16] {
    (u128::from(second) << 64 | u128::from(row)).to_be_bytes()
}

pub(crate) fn block_bytes((start_s, id): (u64, u32)) -> [u8; 16] {
    row_bytes((start_s, id.into()))
}

pub(crate) fn problem(table: &'static str, key: impl Debug, damage: Damage) -> Problem {
    Problem { table, key: format!("{key:?}"), damage }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(directory: &Path) -> Result<History, Error> {
        History::open(directory, Retention::default())
    }

    /// Changes something behind the history's back.
    fn change(directory: &Path, change: impl FnOnce(&WriteTransaction)) {
        let database = Database::create(directory.join("histograms.redb")).unwrap();
        let write = database.begin_write().unwrap();
        change(&write);
        write.commit().unwrap();
    }

    #[test]
    fn what_a_newer_version_wrote_is_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        drop(open(directory.path()).unwrap());
        change(directory.path(), |write| put_meta(&mut write.open_table(META).unwrap(), FORMAT, VERSION + 1).unwrap());
        let error = open(directory.path()).err().unwrap();
        assert!(matches!(error, Error::Newer { found: 2, known: 1, .. }), "{error}");
    }

    #[test]
    fn a_damaged_or_missing_number_is_told() {
        let directory = tempfile::tempdir().unwrap();
        drop(open(directory.path()).unwrap());
        change(directory.path(), |write| {
            write.open_table(META).unwrap().insert(FORMAT, [0_u8; 12].as_slice()).unwrap();
        });
        let error = open(directory.path()).err().unwrap();
        assert!(error.to_string().contains("meta \"format\": its checksum does not match"), "{error}");
        change(directory.path(), |write| drop(write.open_table(META).unwrap().remove(FORMAT).unwrap()));
        let error = open(directory.path()).err().unwrap();
        assert!(error.to_string().contains("meta \"format\": it is missing"), "{error}");
    }

    #[test]
    fn two_processes_do_not_share_it() {
        let directory = tempfile::tempdir().unwrap();
        let _first = open(directory.path()).unwrap();
        assert!(matches!(open(directory.path()), Err(Error::InUse { .. })));
    }

    #[test]
    fn a_panic_of_the_store_is_an_error() {
        let error = guarded(Path::new("x"), || -> Result<(), Error> { panic!("page {}", 7) }).err().unwrap();
        assert!(error.to_string().starts_with("x is damaged (page 7); move it away"), "{error}");
    }
}
