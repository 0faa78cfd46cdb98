//! Keeps what was counted on disk (IO), and reads it back: acknowledgements wait for it.
//!
//! Reports that the engine has applied come in by a channel, are written together, and go back as [`Event::Durable`]. While the store
//! cannot be written, reports are acknowledged all the same, because filters could not hold them for long and the judge needs what comes
//! next; that is said in the log, at `/healthz` and `/metrics`, and the store is tried again ([ADR 14](../../docs/adr/0014-acknowledged-when-durable.md)).

mod learn;
mod store;

use std::{sync::Arc, time::Duration};

use tokio::sync::{mpsc, watch};

use crate::{
    engine::{Event, Stored},
    shell::{Handle, now},
};

pub use store::{Store, remembered};

/// Reports that are written in one transaction, at most: at 20 kB each, 20 MB.
const BATCH_MAX: usize = 1_024;
/// How often seconds are rolled up and what is too old is dropped.
const TEND_EVERY: Duration = Duration::from_secs(60);
/// How often what earlier days tell is read anew.
const LEARN_EVERY: Duration = Duration::from_secs(600);

/// Runs until the engine is gone.
pub async fn run(
    store: Arc<Store>,
    mut reports: mpsc::UnboundedReceiver<Stored>,
    engine: Handle,
    keeping: watch::Sender<bool>,
) {
    let tending = tokio::spawn(tend(Arc::clone(&store)));
    let learning = tokio::spawn(learn_all(Arc::clone(&store), engine.clone()));
    while let Some(first) = reports.recv().await {
        let mut batch = vec![first];
        while let Some(next) = (batch.len() < BATCH_MAX).then(|| reports.try_recv().ok()).flatten() {
            batch.push(next);
        }
        let acks = batch.iter().map(|report| (report.stream, report.reporter.clone(), report.sequence)).collect();
        let writing = Arc::clone(&store);
        let written = tokio::task::spawn_blocking(move || writing.append(&batch)).await;
        keeping.send_if_modified(|kept| {
            std::mem::replace(kept, matches!(written, Ok(true))) != matches!(written, Ok(true))
        });
        if engine.event(Event::Durable { acks }).await.is_err() {
            break;
        }
    }
    tending.abort();
    learning.abort();
}

/// Rolls up and drops.
async fn tend(store: Arc<Store>) {
    let mut ticks = tokio::time::interval(TEND_EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let tended = Arc::clone(&store);
        if let Err(error) = tokio::task::spawn_blocking(move || tended.tend(now().second())).await {
            tracing::error!("rolling up the history failed: {error}");
        }
    }
}

/// Tells the engine what earlier days say of each service.
async fn learn_all(store: Arc<Store>, engine: Handle) {
    let mut ticks = tokio::time::interval(LEARN_EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        // Services come and go.
        let Ok(services) = engine.ask(|engine, _| engine.services()).await else { return };
        for service in services {
            let (store, name) = (Arc::clone(&store), service.name.clone());
            let read = move || store.read_with(|kept| learn::learn(kept, &service, now().second()));
            let Ok(Some(learned)) = tokio::task::spawn_blocking(read).await else { continue };
            if engine.event(Event::Learned { service: name, learned }).await.is_err() {
                return;
            }
        }
    }
}
