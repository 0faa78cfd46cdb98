use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use async_nats::HeaderMap;
use backon::{ExponentialBuilder, Retryable};
use bytes::Bytes;
use serin_proto::v1::ReadHistoryRequest;
use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
};
use tonic::Status;

use super::{Nats, message, names, past};
use crate::{
    config::Service,
    engine::{Learned, Stored},
    historian::{self, Entries, Past, learn},
    partition::Partition,
    shell::now,
};

/// Entries that are read ahead of whoever takes them.
const ENTRIES_AHEAD: usize = 1_024;

/// What several aggregators share in place of a disk: a log that a quorum has.
pub struct Log {
    nats: Nats,
    /// Our own name, in front of the numbers of our messages.
    writer: String,
    batches: AtomicU64,
}

impl Log {
    /// Writes under a name that is unique for ever.
    pub fn new(nats: Nats, writer: String) -> Self {
        Log { nats, writer, batches: AtomicU64::new(0) }
    }

    /// Returns when a quorum has it; until then it is tried again, as the same message.
    async fn write(nats: Nats, partition: Partition, id: String, bytes: Bytes, keeping: watch::Sender<bool>) {
        let publish = || async {
            let mut headers = HeaderMap::new();
            headers.insert(async_nats::header::NATS_MESSAGE_ID, id.as_str());
            let subject = names::reports(partition);
            nats.jetstream.publish_with_headers(subject, headers, bytes.clone()).await?.await
        };
        let policy = ExponentialBuilder::default()
            .with_min_delay(Duration::from_millis(100))
            .with_max_delay(Duration::from_secs(2))
            .with_jitter()
            .without_max_times();
        let written = publish.retry(policy).notify(|error: &async_nats::jetstream::context::PublishError, _| {
            if keeping.send_replace(false) {
                tracing::error!(
                    "NATS does not take reports ({error}): they are not acknowledged, filters keep them meanwhile"
                );
            }
        });
        // Without an end to the attempts there is no other way out.
        drop(written.await);
    }
}

#[tonic::async_trait]
impl Past for Log {
    async fn append(self: Arc<Self>, batch: Vec<Stored>, keeping: &watch::Sender<bool>) {
        let number = self.batches.fetch_add(1, Ordering::Relaxed);
        let mut writing = JoinSet::new();
        for (at, (partition, bytes)) in message::encode(&batch).into_iter().enumerate() {
            let id = format!("{}-{number}-{at}", self.writer);
            writing.spawn(Self::write(self.nats.clone(), partition, id, bytes.into(), keeping.clone()));
        }
        writing.join_all().await;
        keeping.send_if_modified(|kept| !std::mem::replace(kept, true));
    }

    /// Each partition's aggregator rolls it up, and NATS drops what is too old.
    async fn tend(self: Arc<Self>) {}

    async fn learn(self: Arc<Self>, service: Service) -> Option<Learned> {
        let runtime = tokio::runtime::Handle::current();
        let learn = move || {
            learn::learn(&service, now().second(), |query, each| {
                let (sender, mut entries) = mpsc::channel(ENTRIES_AHEAD);
                let taken = async {
                    while let Some(entry) = entries.recv().await {
                        each(entry);
                    }
                };
                let (read, ()) = runtime.block_on(async { tokio::join!(past::read(&self.nats, query, sender), taken) });
                read
            })
        };
        let learned = tokio::task::spawn_blocking(learn).await.ok()?;
        learned.inspect_err(|error| tracing::warn!("what earlier days tell cannot be read: {error}")).ok()
    }

    async fn read(self: Arc<Self>, request: ReadHistoryRequest, entries: Entries) {
        let query = historian::query(&request);
        let (sender, mut found) = mpsc::channel(ENTRIES_AHEAD);
        let passed_on = async {
            while let Some(entry) = found.recv().await {
                if entries.send(Ok(historian::to_wire(entry))).await.is_err() {
                    break;
                }
            }
            // One who reads no further ends it.
            drop(found);
        };
        if let (Err(error), ()) = tokio::join!(past::read(&self.nats, &query, sender), passed_on) {
            drop(entries.send(Err(Status::unavailable(error.to_string()))).await);
        }
    }

    fn is_open(&self) -> bool {
        true
    }
}
