//! Keeps decisions and writes rollbacks (IO), one after the other, away from the engine's task: a disk may be
//! slow.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use serin_proto::v1::Decision;
use tokio::sync::mpsc;

use crate::{
    actuate::{self, Intent},
    config::Service,
    engine::{Event, Written},
    history::History,
    shell::Handle,
};

/// Something to be done.
pub enum Order {
    /// Keep a decision.
    Persist(Box<Decision>),
    /// Write the rollback of a service.
    RollBack {
        /// For this decision.
        decision: u64,
        /// Position in the configuration.
        service: usize,
    },
}

/// What the task needs.
pub struct Actuator {
    history: Arc<History>,
    services: Arc<[Service]>,
    storing: Arc<AtomicBool>,
}

impl Actuator {
    /// `storing` is set to whether the last decision could be kept.
    pub fn new(history: History, services: Arc<[Service]>, storing: Arc<AtomicBool>) -> Self {
        Actuator { history: Arc::new(history), services, storing }
    }

    /// Runs until the orders end.
    pub async fn run(self, mut orders: mpsc::UnboundedReceiver<Order>, engine: Handle) {
        while let Some(order) = orders.recv().await {
            match order {
                Order::Persist(decision) => self.persist(decision).await,
                Order::RollBack { decision, service } => {
                    let results = self.roll_back(service).await;
                    if engine.event(Event::Written { decision, results }).await.is_err() {
                        return;
                    }
                }
            }
        }
    }

    async fn persist(&self, decision: Box<Decision>) {
        let history = Arc::clone(&self.history);
        if let Some(event) = decision.events.last() {
            let stage = event.stage().as_str_name().trim_start_matches("DECISION_STAGE_").to_lowercase();
            let (id, service, candidate) = (decision.id, &decision.service, &decision.candidate);
            tracing::warn!(id, %service, %candidate, %stage, "{}", event.sentence);
        }
        let id = decision.id;
        let put = tokio::task::spawn_blocking(move || history.put(&decision)).await;
        let kept = match put {
            Ok(Ok(())) => true,
            Ok(Err(error)) => {
                tracing::error!(id, "decision is not kept on disk: {error}");
                false
            }
            Err(error) => {
                tracing::error!(id, "decision is not kept on disk: {error}");
                false
            }
        };
        self.storing.store(kept, Ordering::Relaxed);
    }

    async fn roll_back(&self, service: usize) -> Vec<Written> {
        let services = Arc::clone(&self.services);
        let write = move || services.get(service).map_or_else(Vec::new, write_all);
        let written = tokio::task::spawn_blocking(write).await;
        written.unwrap_or_else(|error| vec![Written::Failed(format!("writing the rollback failed: {error}"))])
    }
}

fn write_all(service: &Service) -> Vec<Written> {
    let intent = Intent { baseline: &service.baseline, candidate: &service.candidate };
    let dry_run = service.rollback.dry_run;
    let write = |target| match actuate::roll_back(target, &intent, dry_run) {
        Ok(outcome) if outcome.changes.is_empty() && outcome.already.is_empty() => Written::Failed(outcome.to_string()),
        Ok(outcome) if dry_run => Written::DryRun(format!("dry run: {outcome}")),
        Ok(outcome) => Written::Done(outcome.to_string()),
        Err(error) => Written::Failed(format!("{:#}", anyhow::Error::from(error))),
    };
    service.rollback.targets.iter().map(write).collect()
}
