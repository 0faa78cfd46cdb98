//! Keeps decisions and writes rollbacks (IO), one after the other, away from the engine's task: a disk may be
//! slow.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use serin_kubernetes::cluster::Cluster;
use serin_proto::v1::Decision;
use tokio::sync::{mpsc, oneshot, watch};

use crate::{
    actuate::{self, Intent},
    config::{Service, Target},
    engine::{Event, Written},
    history::{Decisions, NotPut},
    kubernetes::{self, leader::Leader},
    notify::Notifier,
    recording::{Kept, file},
    shell::Handle,
};

/// How long a rollback may take to be written: a file system that hangs must not hold up other services for ever.
const WRITE_WITHIN: Duration = Duration::from_secs(10);

/// What the decision of a replica says that does not lead.
const STANDBY: &str = "not rolled back here: this replica is standby, the one that holds the Lease acts; this one does when it takes over";

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
    /// Say whether a decision is kept, as all orders before this one have it, and is not another aggregator's.
    Settle {
        /// Which one.
        decision: u64,
        /// Where the answer goes.
        answer: oneshot::Sender<bool>,
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
    history: Arc<dyn Decisions>,
    cluster: Option<Cluster>,
    storing: watch::Sender<bool>,
    notifier: Notifier,
    leader: Leader,
    /// Whether it leads, as the engine was told last.
    leads: bool,
    /// Decisions that are another aggregator's: nothing is written for them here.
    overtaken: BTreeSet<u64>,
    /// Why each decision was made, for those who keep a record of rollbacks.
    sentences: BTreeMap<u64, String>,
}

impl Actuator {
    /// `storing` is set to whether the last decision could be kept.
    pub fn new(
        history: Arc<dyn Decisions>,
        cluster: Option<Cluster>,
        storing: watch::Sender<bool>,
        notifier: Notifier,
        leader: Leader,
    ) -> Self {
        let leads = !leader.is_one_of_several();
        let (overtaken, sentences) = (BTreeSet::new(), BTreeMap::new());
        Actuator { history, cluster, storing, notifier, leader, leads, overtaken, sentences }
    }

    /// Runs until the orders end.
    pub async fn run(mut self, mut orders: mpsc::UnboundedReceiver<Order>, engine: Handle) {
        // The last events of each decision that the log has, and that others were told.
        let mut told: BTreeMap<u64, (u64, u64)> = BTreeMap::new();
        loop {
            let order = tokio::select! {
                order = orders.recv() => order,
                () = self.leader.changed() => {
                    self.lead(&engine).await;
                    continue;
                }
            };
            let Some(order) = order else { return };
            match order {
                Order::Persist(decision) => {
                    let (logged, notified) = told.entry(decision.id).or_default();
                    *logged = tell(&decision, *logged);
                    let why = decision.events.first().map(|event| event.sentence.clone()).unwrap_or_default();
                    self.sentences.insert(decision.id, why);
                    self.persist((*decision).clone()).await;
                    // What another aggregator decided, that one tells; of several replicas the one that leads.
                    if !self.overtaken.contains(&decision.id) && self.leader.is_leader() {
                        self.notifier.tell(&decision, *notified);
                        *notified = *logged;
                    }
                }
                Order::Record { decision, recording } => self.record(decision, recording).await,
                Order::Settle { decision, answer } => {
                    // Whoever asked may have gone away.
                    let _ = answer.send(!self.overtaken.contains(&decision));
                }
                Order::RollBack { decision, .. } if self.overtaken.contains(&decision) => {
                    // Each order is answered, so that the next one of its service need not wait for this one.
                    let _ = engine.event(Event::Dropped { decision }).await;
                }
                Order::RollBack { decision, service } => {
                    // What is left to another replica now is taken up when this one leads again.
                    self.lead(&engine).await;
                    let results = self.roll_back(decision, service).await;
                    // Without the engine nobody is left to tell; what else was decided is still done.
                    let _ = engine.event(Event::Written { decision, results }).await;
                }
            }
        }
    }

    async fn persist(&mut self, decision: Decision) {
        let id = decision.id;
        let put = Arc::clone(&self.history).put(decision).await;
        match &put {
            Ok(()) => drop(self.overtaken.remove(&id)),
            Err(NotPut::Overtaken) => drop(self.overtaken.insert(id)),
            Err(NotPut::Failed(error)) => tracing::error!(id, "decision is not kept: {error}"),
        }
        self.storing.send_replace(!matches!(put, Err(NotPut::Failed(_))));
    }

    /// A recording that cannot be kept is said and no more: the decision stands without it.
    async fn record(&self, decision: u64, recording: Arc<Kept>) {
        let mut bytes = file::HEAD.to_vec();
        let parts = recording.from(0).map(|parts| parts.iter().for_each(|part| file::write_part(&mut bytes, part)));
        let kept = match parts {
            Ok(()) => Arc::clone(&self.history).put_recording(decision, bytes).await,
            Err(too_long) => Err(too_long.to_string()),
        };
        if let Err(error) = kept {
            tracing::warn!(id = decision, "`serin explain {decision}` will not work: {error}");
        }
    }

    /// Has the engine take up what was left to another replica, or send those who report here to that one.
    async fn lead(&mut self, engine: &Handle) {
        let leads = self.leader.is_leader();
        if std::mem::replace(&mut self.leads, leads) != leads {
            // Without the engine the process is ending.
            let _ = engine.event(if leads { Event::Leads } else { Event::Yields }).await;
        }
    }

    async fn roll_back(&self, decision: u64, service: Arc<Service>) -> Vec<Written> {
        // A dry run writes nothing anywhere.
        if service.rollback.has_targets() && !service.rollback.dry_run && !self.leads {
            return vec![Written::Standby(STANDBY.to_owned())];
        }
        let mut written = kubernetes::roll_back(self.cluster.as_ref(), &service).await;
        if !service.rollback.targets.is_empty() {
            written.extend(self.roll_back_files(decision, service).await);
        }
        written
    }

    async fn roll_back_files(&self, decision: u64, service: Arc<Service>) -> Vec<Written> {
        let within = WRITE_WITHIN + in_git(&service);
        let why = self.sentences.get(&decision).cloned().unwrap_or_default();
        let write = move || write_all(&service, decision, &why);
        let failed = |why: String| vec![Written::Failed(format!("writing the rollback failed: {why}"))];
        match tokio::time::timeout(within, tokio::task::spawn_blocking(write)).await {
            Ok(Ok(written)) => written,
            Ok(Err(error)) => failed(error.to_string()),
            Err(_) => failed(format!("the file system did not answer within {} s", within.as_secs())),
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

/// How long its targets may take in Git, all together.
fn in_git(service: &Service) -> Duration {
    service.rollback.targets.iter().filter_map(Target::git).map(|(git, _)| git.timeout).sum()
}

fn write_all(service: &Service, decision: u64, why: &str) -> Vec<Written> {
    let intent = Intent { baseline: &service.baseline, candidate: &service.candidate };
    let dry_run = service.rollback.dry_run;
    let message =
        format!("Roll back {} of {} (Serin's decision {decision})\n\n{why}\n", service.candidate, service.name);
    let write = |target: &Target| {
        let write = || actuate::roll_back(target, &intent, dry_run);
        let written = match target.git() {
            Some((git, directory)) if !dry_run => actuate::git::roll_back(git, directory, &message, write),
            _ => write().map(|outcome| (outcome, String::new())),
        };
        match written {
            Ok((outcome, _)) if outcome.changes.is_empty() && outcome.already.is_empty() => {
                Written::Failed(outcome.to_string())
            }
            Ok((outcome, _)) if dry_run => Written::DryRun(format!("dry run: {outcome}")),
            Ok((outcome, in_git)) if outcome.changes.is_empty() => Written::InEffect(format!("{outcome}{in_git}")),
            Ok((outcome, in_git)) => Written::Done(format!("{outcome}{in_git}")),
            Err(error) => Written::Failed(actuate::chain(&error)),
        }
    };
    service.rollback.targets.iter().map(write).collect()
}

#[cfg(test)]
mod tests;
