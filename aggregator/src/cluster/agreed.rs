mod pause;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_nats::jetstream::kv::{CreateErrorKind, Entry, Operation, UpdateErrorKind};
use backon::{ConstantBuilder, Retryable};
use prost::Message;
use serin_proto::v1::Decision;
use tokio::{io::AsyncReadExt, sync::watch};
use tokio_stream::StreamExt;

use super::{Nats, work::Held};
use crate::{
    engine::Shared,
    history::{Decisions, NotPut},
    partition::{self, Partition},
    shell::{Handle, Stopped},
};

/// How often what NATS did not take is tried again, for as long as the partition is ours.
const TRY_AGAIN: Duration = Duration::from_millis(250);

/// Decisions that all aggregators agree on: each is written by compare-and-set on what is there.
pub struct Agreed {
    nats: Nats,
    held: Held,
    known: Mutex<BTreeMap<u64, Known>>,
    /// The revision of the pause that the engine goes by.
    followed: watch::Sender<u64>,
}

struct Known {
    revision: u64,
    decision: Decision,
}

enum Failed {
    /// It may work later.
    Again(String),
    Overtaken,
}

impl Agreed {
    /// Writes only for partitions that are held.
    pub fn new(nats: Nats, held: Held) -> Self {
        Agreed { nats, held, known: Mutex::new(BTreeMap::new()), followed: watch::Sender::new(0) }
    }

    /// Those about services of a partition.
    pub(super) fn of(&self, partition: Partition) -> Vec<Decision> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let all = known.values().map(|known| &known.decision);
        all.filter(|decision| partition::of(&decision.service) == partition).cloned().collect()
    }

    /// Reads all decisions and the pause, and then tells the engine of what others write, until the engine is gone. `ready` is told when all that were
    /// there are known.
    pub async fn follow(self: Arc<Self>, engine: Handle, ready: watch::Sender<bool>) {
        loop {
            match self.follow_once(&engine, &ready).await {
                Err(NoMore::Stopped(_)) => return,
                Err(NoMore::Nats(error)) => tracing::warn!("decisions of others cannot be read: {error}; trying again"),
                Ok(()) => {}
            }
            tokio::time::sleep(TRY_AGAIN).await;
        }
    }

    async fn follow_once(&self, engine: &Handle, ready: &watch::Sender<bool>) -> Result<(), NoMore> {
        let is_empty = self.nats.decisions.status().await.map_err(NoMore::nats)?.values() == 0;
        ready.send_if_modified(|ready| is_empty && !std::mem::replace(ready, true));
        let mut entries = self.nats.decisions.watch_with_history(">").await.map_err(NoMore::nats)?;
        while let Some(entry) = entries.next().await {
            let entry = entry.map_err(NoMore::nats)?;
            if entry.key == pause::KEY {
                self.follow_pause(&entry, engine).await?;
            } else if entry.operation == Operation::Put
                && let Some(decision) = self.learn(&entry)
            {
                engine.event(Shared::Decided(Box::new(decision)).into()).await?;
            }
            ready.send_if_modified(|ready| entry.seen_current && !std::mem::replace(ready, true));
        }
        Ok(())
    }

    /// Takes what is in the bucket; `None` where it is known.
    fn learn(&self, entry: &Entry) -> Option<Decision> {
        let decision = match Decision::decode(entry.value.clone()) {
            Ok(decision) => decision,
            Err(error) => {
                tracing::error!(key = entry.key, "a decision cannot be read ({error}): it is of a newer serin");
                return None;
            }
        };
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let is_newer = known.get(&decision.id).is_none_or(|known| entry.revision > known.revision);
        is_newer.then(|| {
            let known_now = Known { revision: entry.revision, decision: decision.clone() };
            known.insert(decision.id, known_now);
            decision
        })
    }

    async fn put_once(&self, decision: &Decision) -> Result<(), Failed> {
        let partition = partition::of(&decision.service);
        if !self.held.has(partition) {
            // Where it is ours a moment later, whoever is guarded there is to be decided about again.
            self.held.take_again(partition);
            return Err(Failed::Overtaken);
        }
        let (key, value) = (decision.id.to_string(), bytes::Bytes::from(decision.encode_to_vec()));
        let known =
            self.known.lock().unwrap_or_else(PoisonError::into_inner).get(&decision.id).map(|known| known.revision);
        let written = match known {
            Some(revision) => self
                .nats
                .decisions
                .update(&key, value.clone(), revision)
                .await
                .map_err(|error| (error.kind() == UpdateErrorKind::WrongLastRevision, error.to_string())),
            None => self
                .nats
                .decisions
                .create(&key, value.clone())
                .await
                .map_err(|error| (error.kind() == CreateErrorKind::AlreadyExists, error.to_string())),
        };
        let revision = match written {
            Ok(revision) => revision,
            Err((false, error)) => return Err(Failed::Again(error)),
            // It may have been us, and only the answer was lost.
            Err((true, _)) => {
                let there = self.nats.decisions.entry(&key).await.map_err(|error| Failed::Again(error.to_string()))?;
                let Some(there) = there else { return Err(Failed::Again("the decision is gone".to_owned())) };
                if there.value != value {
                    self.learn(&there);
                    self.held.take_again(partition);
                    return Err(Failed::Overtaken);
                }
                there.revision
            }
        };
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.insert(decision.id, Known { revision, decision: decision.clone() });
        Ok(())
    }
}

#[tonic::async_trait]
impl Decisions for Agreed {
    /// Returns when it is kept, or when the partition is not ours any more: until then nothing is done about it.
    async fn put(self: Arc<Self>, decision: Decision) -> Result<(), NotPut> {
        let policy = ConstantBuilder::default().with_delay(TRY_AGAIN).without_max_times();
        let id = decision.id;
        let put = (|| self.put_once(&decision))
            .retry(policy)
            .when(|failed| matches!(failed, Failed::Again(_)))
            .notify(|failed, _| {
                if let Failed::Again(error) = failed {
                    tracing::error!(
                        id,
                        "NATS does not keep the decision: {error}; nothing is rolled back before it does"
                    );
                }
            })
            .await;
        put.map_err(|failed| match failed {
            Failed::Again(error) => NotPut::Failed(error),
            Failed::Overtaken => NotPut::Overtaken,
        })
    }

    async fn put_recording(self: Arc<Self>, decision: u64, recording: Vec<u8>) -> Result<(), String> {
        let name = decision.to_string();
        let put = self.nats.recordings.put(name.as_str(), &mut recording.as_slice()).await;
        put.map(drop).map_err(|error| error.to_string())
    }

    async fn recording(self: Arc<Self>, decision: u64) -> Result<Option<Vec<u8>>, String> {
        use async_nats::jetstream::object_store::GetErrorKind;
        let mut object = match self.nats.recordings.get(decision.to_string()).await {
            Ok(object) => object,
            Err(error) if error.kind() == GetErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error.to_string()),
        };
        let mut bytes = Vec::new();
        object.read_to_end(&mut bytes).await.map_err(|error| error.to_string())?;
        Ok(Some(bytes))
    }
}

enum NoMore {
    Nats(String),
    Stopped(Stopped),
}

impl NoMore {
    fn nats(error: impl std::fmt::Display) -> Self {
        NoMore::Nats(error.to_string())
    }
}

impl From<Stopped> for NoMore {
    fn from(stopped: Stopped) -> Self {
        NoMore::Stopped(stopped)
    }
}
