use std::path::PathBuf;

/// What is wrong with a stored value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Damage {
    /// It is not what was written, or not written under this key.
    #[error("its checksum does not match")]
    Checksum,
    /// It ends in the middle.
    #[error("it ends too early")]
    Short,
    /// Something follows its end.
    #[error("it goes on after its end")]
    Long,
    /// A number is larger than any that is written, or a text is none.
    #[error("it holds something that is never written")]
    Range,
    /// It belongs to a series that nothing is known of.
    #[error("its series is not known")]
    UnknownSeries,
    /// Something else says that it is there.
    #[error("it is missing")]
    Missing,
}

/// One stored value that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{table} {key}: {damage}")]
pub struct Problem {
    /// The table that it is in.
    pub table: &'static str,
    /// Its key, as text.
    pub key: String,
    /// What is wrong.
    pub damage: Damage,
}

/// Why histograms cannot be kept or read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The directory cannot be made.
    #[error("cannot create {}: {source}; make it writable or choose another directory", path.display())]
    Directory {
        /// Which one.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The file cannot be opened.
    #[error("cannot open {}: {source}; make it and its directory writable, with space on the disk", path.display())]
    Open {
        /// Which one.
        path: PathBuf,
        /// Why not.
        source: redb::Error,
    },
    /// Another process has the file open.
    #[error("cannot open {}: another process has it open; stop that one or choose another directory", path.display())]
    InUse {
        /// Which one.
        path: PathBuf,
    },
    /// The store's own structure is damaged, so that nothing of it can be read.
    #[error("{} is damaged ({detail}); move it away, keep it for inspection, and start with an empty history", path.display())]
    Unreadable {
        /// Which one.
        path: PathBuf,
        /// What the store says.
        detail: String,
    },
    /// A newer version wrote the file.
    #[error("{} has format {found}, and this version knows {known} at most; use the newer serin that wrote it", path.display())]
    Newer {
        /// Which one.
        path: PathBuf,
        /// What it has.
        found: u64,
        /// What this version can read.
        known: u64,
    },
    /// The file was made with other resolutions.
    #[error("the history has resolutions of {stored:?} s, not {wanted:?} s; keep those, or choose another directory")]
    Resolutions {
        /// Those of the file.
        stored: [u64; 2],
        /// Those that were asked for.
        wanted: [u64; 2],
    },
    /// Reading or writing failed.
    #[error("cannot read or write the history: {0}; check the space and the health of its disk")]
    Store(Box<redb::Error>),
    /// A value is damaged.
    #[error("the history is damaged at {0}; check the whole of it, and the health of its disk")]
    Damaged(#[from] Problem),
    /// A series' names are too long together.
    #[error("the names of a series take {bytes} bytes, more than {max}; shorten them")]
    SeriesTooLong {
        /// What they take.
        bytes: usize,
        /// What they may take.
        max: usize,
    },
    /// There are too many series.
    #[error(
        "the history has {max} series, and has no room for more; keep fewer pods or routes apart, or keep them shorter"
    )]
    TooManySeries {
        /// How many there may be.
        max: usize,
    },
}

macro_rules! from_store {
    ($($error:ident),*) => {$(
        impl From<redb::$error> for Error {
            fn from(error: redb::$error) -> Self {
                Error::Store(Box::new(error.into()))
            }
        }
    )*};
}

from_store!(StorageError, TableError, TransactionError, CommitError, CompactionError, DatabaseError);
