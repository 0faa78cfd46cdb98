//! Decisions on disk (IO): what was decided, with its evidence, survives a restart.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use prost::Message;
use redb::{Database, ReadableDatabase, ReadableTable, ReadableTableMetadata, TableDefinition};
use serin_proto::v1::Decision;

/// By id: a serialized `serin.v1.Decision`.
const DECISIONS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("decisions");
/// By the id of the decision that was made on it: a recording as a file has it.
const RECORDINGS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("recordings");
/// Recordings kept, those of the newest decisions: at 10 MB each, a gigabyte.
const RECORDINGS_MAX: usize = 100;

/// Why decisions cannot be kept or read.
#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    /// The directory cannot be made.
    #[error("cannot create data_dir {}: {source}; make it writable or set another data_dir", path.display())]
    Directory {
        /// Which one.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The file cannot be opened.
    #[error("cannot open {}: {source}; is another serin using this data_dir?", path.display())]
    Open {
        /// Which one.
        path: PathBuf,
        /// Why not.
        source: redb::Error,
    },
    /// Reading or writing failed.
    #[error("cannot read or write decisions: {0}; check the disk that holds data_dir")]
    Store(#[from] redb::Error),
    /// A decision cannot be read back.
    #[error("decision {id} cannot be read ({source}): it was written by a newer serin, or the file is damaged")]
    Decode {
        /// Its key.
        id: u64,
        /// Why not.
        source: prost::DecodeError,
    },
}

/// Where decisions are kept: in a file on this machine ([`History`]), or where several aggregators share them
/// ([`Agreed`](crate::cluster::Agreed)).
#[tonic::async_trait]
pub trait Decisions: Send + Sync {
    /// Keeps a decision, in place of what was kept under its number.
    async fn put(self: Arc<Self>, decision: Decision) -> Result<(), NotPut>;
    /// Keeps the recording that a decision was made on.
    async fn put_recording(self: Arc<Self>, decision: u64, recording: Vec<u8>) -> Result<(), String>;
    /// The recording that a decision was made on.
    async fn recording(self: Arc<Self>, decision: u64) -> Result<Option<Vec<u8>>, String>;
}

/// Why a decision is not kept.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotPut {
    /// It holds, and is acted on, but will be forgotten.
    #[error("{0}")]
    Failed(String),
    /// It is not ours: nothing is to be done about it.
    #[error("another aggregator has decided")]
    Overtaken,
}

#[tonic::async_trait]
impl Decisions for History {
    async fn put(self: Arc<Self>, decision: Decision) -> Result<(), NotPut> {
        blocking(move || self.write(&decision)).await.map_err(NotPut::Failed)
    }

    async fn put_recording(self: Arc<Self>, decision: u64, recording: Vec<u8>) -> Result<(), String> {
        blocking(move || self.write_recording(decision, &recording)).await
    }

    async fn recording(self: Arc<Self>, decision: u64) -> Result<Option<Vec<u8>>, String> {
        blocking(move || self.read_recording(decision)).await
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, HistoryError> + Send + 'static,
) -> Result<T, String> {
    let done = tokio::task::spawn_blocking(work).await.map_err(|error| error.to_string())?;
    done.map_err(|error| error.to_string())
}

/// The file that holds the decisions.
pub struct History(Database);

impl History {
    /// Opens or creates `serin.redb` in a directory.
    ///
    /// # Errors
    /// When that is not possible; another process that has it open is the most likely reason.
    pub fn open(directory: &Path) -> Result<Self, HistoryError> {
        std::fs::create_dir_all(directory)
            .map_err(|source| HistoryError::Directory { path: directory.to_owned(), source })?;
        let path = directory.join("serin.redb");
        let database = Database::create(&path);
        database.map(History).map_err(|error| HistoryError::Open { path, source: error.into() })
    }

    /// All decisions, by ascending id.
    ///
    /// # Errors
    /// When one cannot be read: a condemned release must not be forgotten in silence.
    pub fn decisions(&self) -> Result<Vec<Decision>, HistoryError> {
        let read = self.0.begin_read().map_err(redb::Error::from)?;
        let table = match read.open_table(DECISIONS) {
            Ok(table) => table,
            Err(redb::TableError::TableDoesNotExist(_)) => return Ok(Vec::new()),
            Err(error) => return Err(redb::Error::from(error).into()),
        };
        let mut decisions = Vec::new();
        for row in table.iter().map_err(redb::Error::from)? {
            let (id, bytes) = row.map_err(redb::Error::from)?;
            let decision = Decision::decode(bytes.value());
            decisions.push(decision.map_err(|source| HistoryError::Decode { id: id.value(), source })?);
        }
        Ok(decisions)
    }

    /// Keeps a decision, in place of what was kept under its id. It is on disk when this returns.
    ///
    /// # Errors
    /// When the disk does not take it.
    pub fn write(&self, decision: &Decision) -> Result<(), HistoryError> {
        let write = self.0.begin_write().map_err(redb::Error::from)?;
        {
            let mut table = write.open_table(DECISIONS).map_err(redb::Error::from)?;
            table.insert(decision.id, decision.encode_to_vec().as_slice()).map_err(redb::Error::from)?;
        }
        write.commit().map_err(redb::Error::from)?;
        Ok(())
    }
}

impl History {
    /// Keeps the recording that a decision was made on; of old decisions they go.
    ///
    /// # Errors
    /// When the disk does not take it.
    pub fn write_recording(&self, decision: u64, recording: &[u8]) -> Result<(), HistoryError> {
        let write = self.0.begin_write().map_err(redb::Error::from)?;
        {
            let mut table = write.open_table(RECORDINGS).map_err(redb::Error::from)?;
            table.insert(decision, recording).map_err(redb::Error::from)?;
            while table.len().map_err(redb::Error::from)? as usize > RECORDINGS_MAX {
                table.pop_first().map_err(redb::Error::from)?;
            }
        }
        write.commit().map_err(redb::Error::from)?;
        Ok(())
    }

    /// The recording that a decision was made on.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn read_recording(&self, decision: u64) -> Result<Option<Vec<u8>>, HistoryError> {
        let read = self.0.begin_read().map_err(redb::Error::from)?;
        let table = match read.open_table(RECORDINGS) {
            Ok(table) => table,
            Err(redb::TableError::TableDoesNotExist(_)) => return Ok(None),
            Err(error) => return Err(redb::Error::from(error).into()),
        };
        let found = table.get(decision).map_err(redb::Error::from)?;
        Ok(found.map(|bytes| bytes.value().to_vec()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decisions_survive_reopening() {
        let dir = tempfile::tempdir().unwrap();
        let decision = |id, candidate: &str| Decision { id, candidate: candidate.into(), ..Default::default() };
        {
            let history = History::open(dir.path()).unwrap();
            assert_eq!(history.decisions().unwrap(), []);
            history.write(&decision(2, "v3")).unwrap();
            history.write(&decision(1, "v2")).unwrap();
            history.write(&decision(1, "v2 again")).unwrap();
        }
        let history = History::open(dir.path()).unwrap();
        assert_eq!(history.decisions().unwrap(), [decision(1, "v2 again"), decision(2, "v3")]);
    }

    #[test]
    fn recordings_of_the_newest_decisions_are_kept() {
        let dir = tempfile::tempdir().unwrap();
        let history = History::open(dir.path()).unwrap();
        assert_eq!(history.read_recording(1).unwrap(), None);
        for decision in 1..=RECORDINGS_MAX as u64 + 2 {
            history.write_recording(decision, &decision.to_le_bytes()).unwrap();
        }
        assert_eq!(history.read_recording(2).unwrap(), None);
        assert_eq!(history.read_recording(3).unwrap(), Some(3u64.to_le_bytes().to_vec()));
    }

    #[test]
    fn two_processes_do_not_share_it() {
        let dir = tempfile::tempdir().unwrap();
        let _first = History::open(dir.path()).unwrap();
        let error = History::open(dir.path()).err().unwrap().to_string();
        assert!(error.contains("is another serin using this data_dir?"), "{error}");
    }

    #[test]
    fn a_damaged_decision_is_an_error_and_not_forgotten() {
        let dir = tempfile::tempdir().unwrap();
        let history = History::open(dir.path()).unwrap();
        let write = history.0.begin_write().unwrap();
        write.open_table(DECISIONS).unwrap().insert(7, [0xff_u8].as_slice()).unwrap();
        write.commit().unwrap();
        assert!(matches!(history.decisions(), Err(HistoryError::Decode { id: 7, .. })));
    }
}
