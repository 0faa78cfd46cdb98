//! Keeps what was counted on disk (IO), and reads it back: acknowledgements wait for it.
//!
//! Reports that the engine has applied come in by a channel, are written together, and go back as [`Event::Durable`]. While the store
//! cannot be written, reports are acknowledged all the same, because filters could not hold them for long and the judge needs what comes
//! next; that is said in the log, at `/healthz` and `/metrics`, and the store is tried again ([ADR 14](../../docs/adr/0014-acknowledged-when-durable.md)).

pub mod learn;
mod store;

use std::{sync::Arc, time::Duration};

use serin_proto::v1::{HistoryEntry, ReadHistoryRequest};
use tokio::sync::{mpsc, watch};
use tonic::Status;

use crate::{
    config::Service,
    engine::{Event, Learned, Stored},
    shell::Handle,
};

pub use store::{Store, key, newest_second, remembered};
pub(crate) use store::{query, to_wire};

/// Where entries that were asked for go.
pub type Entries = mpsc::Sender<Result<HistoryEntry, Status>>;

/// What was counted, kept: on this machine's disk ([`Store`]), or in a log that several aggregators share
/// ([`Log`](crate::cluster::Log)).
#[tonic::async_trait]
pub trait Past: Send + Sync {
    /// Returns when reports may be acknowledged; `keeping` is told whether they are kept.
    async fn append(self: Arc<Self>, batch: Vec<Stored>, keeping: &watch::Sender<bool>);
    /// Makes what gets older coarser, and drops what is too old.
    async fn tend(self: Arc<Self>);
    /// What earlier days tell of a service; `None` where that cannot be read.
    async fn learn(self: Arc<Self>, service: Service) -> Option<Learned>;
    /// Sends what was counted, entry by entry, for as long as they are taken.
    async fn read(self: Arc<Self>, request: ReadHistoryRequest, entries: Entries);
    /// Whether it can be read.
    fn is_open(&self) -> bool;
}

/// Reports that are written in one transaction, at most: at 20 kB each, 20 MB.
const BATCH_MAX: usize = 1_024;
/// How long reports are gathered for one transaction. A transaction costs as much as some tens of reports, and an acknowledgement that comes this much
/// later costs nothing: a filter sends one report a second, and may leave eight unacknowledged.
const GATHER: Duration = Duration::from_millis(50);
/// How often seconds are rolled up and what is too old is dropped.
const TEND_EVERY: Duration = Duration::from_secs(60);
/// How often what earlier days tell is read anew.
const LEARN_EVERY: Duration = Duration::from_secs(600);

/// Runs until the engine is gone.
pub async fn run(
    store: Arc<dyn Past>,
    mut reports: mpsc::UnboundedReceiver<Stored>,
    engine: Handle,
    keeping: watch::Sender<bool>,
) {
    let tending = tokio::spawn(tend(Arc::clone(&store)));
    let learning = tokio::spawn(learn_all(Arc::clone(&store), engine.clone()));
    while let Some(first) = reports.recv().await {
        tokio::time::sleep(GATHER).await;
        let mut batch = vec![first];
        while let Some(next) = (batch.len() < BATCH_MAX).then(|| reports.try_recv().ok()).flatten() {
            batch.push(next);
        }
        let acks = batch.iter().map(|report| (report.stream, report.reporter.clone(), report.sequence)).collect();
        Arc::clone(&store).append(batch, &keeping).await;
        if engine.event(Event::Durable { acks }).await.is_err() {
            break;
        }
    }
    tending.abort();
    learning.abort();
}

/// Rolls up and drops.
async fn tend(store: Arc<dyn Past>) {
    let mut ticks = tokio::time::interval(TEND_EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        Arc::clone(&store).tend().await;
    }
}

/// Tells the engine what earlier days say of each service.
async fn learn_all(store: Arc<dyn Past>, engine: Handle) {
    let mut ticks = tokio::time::interval(LEARN_EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        // Services come and go.
        let Ok(services) = engine.ask(|engine, _| engine.services()).await else { return };
        for service in services {
            let name = service.name.clone();
            let Some(learned) = Arc::clone(&store).learn(Arc::unwrap_or_clone(service)).await else { continue };
            if engine.event(Event::Learned { service: name, learned }).await.is_err() {
                return;
            }
        }
    }
}
