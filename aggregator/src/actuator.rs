//! Keeps decisions and writes rollbacks (IO), one after the other, away from the engine's task: a disk may be
//! slow.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use kube::Client;
use serin_proto::v1::Decision;
use tokio::sync::{mpsc, watch};

use crate::{
    actuate::{self, Intent},
    config::Service,
    engine::{Event, Written},
    history::History,
    kubernetes,
    recording::{Kept, file},
    shell::Handle,
};

/// How long a rollback may take to be written: a file system that hangs must not hold up other services for ever.
const WRITE_WITHIN: Duration = Duration::from_secs(10);

/// Something to be done.
pub enum Order {
    /// Keep a decision.
    Persist(Box<Decision>),
    /// Keep the recording that a decision was made on.
    Record {
        /// The decision.
        decision: u64,
        /// Its recording.
        recording: Arc<Kept>,
    },
    /// Write the rollback of a service.
    RollBack {
        /// For this decision.
        decision: u64,
        /// As it was when this was decided.
        service: Arc<Service>,
    },
}

/// What the task needs.
pub struct Actuator {
    history: Arc<History>,
    cluster: Option<Client>,
    storing: watch::Sender<bool>,
}

impl Actuator {
    /// `storing` is set to whether the last decision could be kept.
    pub fn new(history: Arc<History>, cluster: Option<Client>, storing: watch::Sender<bool>) -> Self {
        Actuator { history, cluster, storing }
    }

    /// Runs until the orders end.
    pub async fn run(self, mut orders: mpsc::UnboundedReceiver<Order>, engine: Handle) {
        // The last event that the log has of each decision.
        let mut told: BTreeMap<u64, u64> = BTreeMap::new();
        while let Some(order) = orders.recv().await {
            match order {
                Order::Persist(decision) => {
                    let last = told.entry(decision.id).or_insert(0);
                    *last = tell(&decision, *last);
                    self.persist(decision).await;
                }
                Order::Record { decision, recording } => self.record(decision, recording).await,
                Order::RollBack { decision, service } => {
                    let results = self.roll_back(service).await;
                    // Without the engine nobody is left to tell; what else was decided is still done.
                    let _ = engine.event(Event::Written { decision, results }).await;
                }
            }
        }
    }

    async fn persist(&self, decision: Box<Decision>) {
        let history = Arc::clone(&self.history);
        let id = decision.id;
        let put = tokio::task::spawn_blocking(move || history.put(&decision)).await;
        let kept = put.map_err(|error| error.to_string()).and_then(|put| put.map_err(|error| error.to_string()));
        if let Err(error) = &kept {
            tracing::error!(id, "decision is not kept on disk: {error}");
        }
        self.storing.send_replace(kept.is_ok());
    }

    /// A recording that cannot be kept is said and no more: the decision stands without it.
    async fn record(&self, decision: u64, recording: Arc<Kept>) {
        let history = Arc::clone(&self.history);
        let keep = move || {
            let mut bytes = file::HEAD.to_vec();
            recording
                .from(0)
                .map_err(|error| error.to_string())?
                .iter()
                .for_each(|part| file::write_part(&mut bytes, part));
            history.put_recording(decision, &bytes).map_err(|error| error.to_string())
        };
        let kept = tokio::task::spawn_blocking(keep).await.map_err(|error| error.to_string()).flatten();
        if let Err(error) = kept {
            tracing::warn!(id = decision, "`serin explain {decision}` will not work: {error}");
        }
    }

    async fn roll_back(&self, service: Arc<Service>) -> Vec<Written> {
        let mut written = kubernetes::roll_back(self.cluster.as_ref(), &service).await;
        if !service.rollback.targets.is_empty() {
            written.extend(self.roll_back_files(service).await);
        }
        written
    }

    async fn roll_back_files(&self, service: Arc<Service>) -> Vec<Written> {
        let write = move || write_all(&service);
        let failed = |why: String| vec![Written::Failed(format!("writing the rollback failed: {why}"))];
        match tokio::time::timeout(WRITE_WITHIN, tokio::task::spawn_blocking(write)).await {
            Ok(Ok(written)) => written,
            Ok(Err(error)) => failed(error.to_string()),
            Err(_) => failed(format!("the file system did not answer within {} s", WRITE_WITHIN.as_secs())),
        }
    }
}

/// Logs the events after a time; returns the time of the last one.
fn tell(decision: &Decision, after: u64) -> u64 {
    let Decision { id, service, candidate, .. } = decision;
    for event in decision.events.iter().filter(|event| event.unix_us > after) {
        let stage = event.stage().word();
        tracing::warn!(id, %service, %candidate, %stage, "{}", event.sentence);
    }
    decision.events.last().map_or(after, |event| event.unix_us)
}

fn write_all(service: &Service) -> Vec<Written> {
    let intent = Intent { baseline: &service.baseline, candidate: &service.candidate };
    let dry_run = service.rollback.dry_run;
    let write = |target| match actuate::roll_back(target, &intent, dry_run) {
        Ok(outcome) if outcome.changes.is_empty() && outcome.already.is_empty() => Written::Failed(outcome.to_string()),
        Ok(outcome) if dry_run => Written::DryRun(format!("dry run: {outcome}")),
        Ok(outcome) => Written::Done(outcome.to_string()),
        Err(error) => Written::Failed(actuate::chain(&error)),
    };
    service.rollback.targets.iter().map(write).collect()
}
