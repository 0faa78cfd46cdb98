//! Tells others what was decided and what became of it: notices (pure) -> `payload` (pure) -> one bounded queue and one task for each
//! receiver -> `send` (IO), again after a while, a bounded number of times.
//!
//! Nobody waits for it: what finds no room in a queue is counted and logged. A notice is of an event of a decision that this process kept;
//! what was not sent when the process ended is not sent later.

mod payload;
mod send;

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use prometheus_client::{
    metrics::{counter::Counter, family::Family},
    registry::Registry,
};
use serin_proto::v1::{Decision, DecisionStage};
use tokio::sync::mpsc;

use crate::{config::Receiver, time::UnixMicros};

pub use send::NotifyError;
use send::{Client, SendError};

/// Notices waiting for one receiver: a decision has some ten events, so those of ten services at once.
const QUEUE: usize = 100;

/// One event of a decision.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Notice {
    decision: u64,
    service: String,
    baseline: String,
    candidate: String,
    /// When it was decided.
    decided_us: u64,
    /// When this happened.
    unix_us: u64,
    stage: DecisionStage,
    sentence: String,
}

/// What became of the notices to one receiver.
#[derive(Debug, Default)]
struct Counts {
    sent: AtomicU64,
    failed: AtomicU64,
    dropped: AtomicU64,
}

struct Queue {
    name: String,
    notices: mpsc::Sender<Arc<Notice>>,
    counts: Arc<Counts>,
}

/// The way to all receivers.
#[derive(Clone)]
pub struct Notifier {
    queues: Arc<[Queue]>,
    /// What happened before was told by an earlier run.
    since: UnixMicros,
}

impl Notifier {
    /// Starts a task for each receiver; it ends with the last clone of this.
    ///
    /// # Errors
    /// When there are receivers and this machine knows no certificate authority.
    pub fn start(receivers: &[Receiver], since: UnixMicros) -> Result<Self, NotifyError> {
        let mut queues = Vec::new();
        for (at, receiver) in receivers.iter().enumerate() {
            let (notices, waiting) = mpsc::channel(QUEUE);
            let name = format!("{at}-{}", receiver.kind.word());
            let counts = Arc::new(Counts::default());
            let deliver = Deliver { name: name.clone(), receiver: receiver.clone(), counts: Arc::clone(&counts) };
            tokio::spawn(deliver.run(Client::new()?, waiting));
            queues.push(Queue { name, notices, counts });
        }
        Ok(Notifier { queues: queues.into(), since })
    }

    /// Tells the events of a decision after a time.
    pub fn tell(&self, decision: &Decision, after: u64) {
        if self.queues.is_empty() {
            return;
        }
        for notice in notices(decision, after.max(self.since.0)).map(Arc::new) {
            for Queue { name, notices, counts } in &*self.queues {
                if notices.try_send(Arc::clone(&notice)).is_err() {
                    counts.dropped.fetch_add(1, Ordering::Relaxed);
                    tracing::warn!(receiver = %name, "a notification is dropped: {QUEUE} are waiting for this receiver");
                }
            }
        }
    }

    /// `serin_notifications_total` for `/metrics`.
    pub fn register(&self, registry: &mut Registry) {
        let family = Family::<Vec<(&'static str, String)>, Counter>::default();
        for Queue { name, counts, .. } in &*self.queues {
            let results = [("sent", &counts.sent), ("failed", &counts.failed), ("dropped", &counts.dropped)];
            for (result, count) in results {
                let labels = vec![("receiver", name.clone()), ("result", result.to_owned())];
                family.get_or_create(&labels).inc_by(count.load(Ordering::Relaxed));
            }
        }
        registry.register("serin_notifications", "Notifications by receiver and by what became of them", family);
    }
}

fn notices(decision: &Decision, after: u64) -> impl Iterator<Item = Notice> + '_ {
    decision.events.iter().filter(move |event| event.unix_us > after).map(|event| Notice {
        decision: decision.id,
        service: decision.service.clone(),
        baseline: decision.baseline.clone(),
        candidate: decision.candidate.clone(),
        decided_us: decision.unix_us,
        unix_us: event.unix_us,
        stage: event.stage(),
        sentence: event.sentence.clone(),
    })
}

struct Deliver {
    name: String,
    receiver: Receiver,
    counts: Arc<Counts>,
}

impl Deliver {
    async fn run(self, client: Client, mut waiting: mpsc::Receiver<Arc<Notice>>) {
        while let Some(notice) = waiting.recv().await {
            let body = payload::of(self.receiver.kind, &notice).to_string();
            let sent: Result<(), SendError> = client.send(&self.receiver, body).await;
            let count = if sent.is_ok() { &self.counts.sent } else { &self.counts.failed };
            count.fetch_add(1, Ordering::Relaxed);
            if let Err(error) = sent {
                let (receiver, id, stage) = (&self.name, notice.decision, notice.stage.word());
                tracing::error!(%receiver, id, %stage, "a notification was not delivered: {error}");
            }
        }
    }
}

#[cfg(test)]
mod tests;
