//! Tells others what was decided and what became of it: notices (pure) -> `payload` (pure) -> one bounded queue and one task for each
//! receiver -> `send` (IO), again after a while, a bounded number of times.
//!
//! Nobody waits for it: what finds no room in a queue is counted and logged. A notice is of an event of a decision that this process kept;
//! what was not sent when the process ended is not sent later. What stands is told again and again, by `stand`.

mod notice;
mod payload;
mod send;
pub mod stand;

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use prometheus_client::{
    metrics::{counter::Counter, family::Family},
    registry::Registry,
};
use serin_proto::v1::Decision;
use tokio::sync::mpsc;

use crate::{
    config::{Receiver, ReceiverKind},
    time::UnixMicros,
};

use notice::{Notice, notices};
pub use send::NotifyError;
use send::{Client, SendError};

/// Notices waiting for one receiver: a decision has some ten events, so those of ten services at once.
const QUEUE: usize = 100;

/// What stands is told by so many decisions at once, of about 2 kB each.
const STANDING: usize = 100;

/// Something to be sent.
#[derive(Clone, Debug)]
enum Message {
    Happened(Arc<Notice>),
    /// These stood then.
    Stand(Arc<[Notice]>, UnixMicros),
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
    kind: ReceiverKind,
    messages: mpsc::Sender<Message>,
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
            let (messages, waiting) = mpsc::channel(QUEUE);
            let name = format!("{at}-{}", receiver.kind.word());
            let counts = Arc::new(Counts::default());
            let deliver = Deliver { name: name.clone(), receiver: receiver.clone(), counts: Arc::clone(&counts) };
            tokio::spawn(deliver.run(Client::new()?, waiting));
            queues.push(Queue { name, kind: receiver.kind, messages, counts });
        }
        Ok(Notifier { queues: queues.into(), since })
    }

    /// Tells the events of a decision after a time.
    pub fn tell(&self, decision: &Decision, after: u64) {
        if self.queues.is_empty() {
            return;
        }
        for notice in notices(decision, after.max(self.since.0)).map(Arc::new) {
            for Queue { name, messages, counts, .. } in &*self.queues {
                if messages.try_send(Message::Happened(Arc::clone(&notice))).is_err() {
                    counts.dropped.fetch_add(1, Ordering::Relaxed);
                    tracing::warn!(receiver = %name, "a notification is dropped: {QUEUE} are waiting for this receiver");
                }
            }
        }
    }

    /// Whether anybody wants to be told again.
    fn stands(&self) -> bool {
        self.queues.iter().any(|queue| stands(queue.kind))
    }

    /// Tells again what stands of decisions. Who is behind already is left alone: it is told in a minute.
    fn stand(&self, decisions: &[Decision], now: UnixMicros) {
        let notices: Vec<Notice> = decisions.iter().filter_map(Notice::standing).collect();
        for Queue { messages, .. } in self.queues.iter().filter(|queue| stands(queue.kind)) {
            if messages.capacity() < messages.max_capacity() {
                continue;
            }
            for some in notices.chunks(STANDING) {
                // A thousand services are ten of them.
                drop(messages.try_send(Message::Stand(some.into(), now)));
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

/// Alertmanager takes an alert as resolved when it ends.
fn stands(kind: ReceiverKind) -> bool {
    kind == ReceiverKind::Alertmanager
}

struct Deliver {
    name: String,
    receiver: Receiver,
    counts: Arc<Counts>,
}

impl Deliver {
    async fn run(self, client: Client, mut waiting: mpsc::Receiver<Message>) {
        while let Some(message) = waiting.recv().await {
            let body = match &message {
                Message::Happened(notice) => payload::of(self.receiver.kind, notice),
                Message::Stand(notices, now) => payload::standing(notices, *now),
            };
            let sent: Result<(), SendError> = client.send(&self.receiver, body.to_string()).await;
            let count = if sent.is_ok() { &self.counts.sent } else { &self.counts.failed };
            count.fetch_add(1, Ordering::Relaxed);
            match (sent, message) {
                (Ok(()), _) => {}
                (Err(error), Message::Happened(notice)) => {
                    let (receiver, id, stage) = (&self.name, notice.decision, notice.stage.word());
                    tracing::error!(%receiver, id, %stage, "a notification was not delivered: {error}");
                }
                (Err(error), Message::Stand(..)) => {
                    tracing::error!(receiver = %self.name, "what stands was not told again: {error}");
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
