//! Who has which partition (IO): heartbeats, claims and what others claim, for [`claims`](super::claims).

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_nats::jetstream::kv::{Entry, Operation};
use tokio::{
    sync::mpsc,
    task::{JoinHandle, JoinSet},
    time::Instant,
};
use tokio_stream::StreamExt;

use super::{
    Nats,
    claims::{Action, BEAT_EVERY, Claims, Owner},
    partition::{self, Partitioned},
};
use crate::{engine::Shared, partition::Partition};

/// How often it is looked what is to be done.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// A heartbeat that takes longer has not got through.
const BEAT_WITHIN: Duration = Duration::from_secs(2);
const MEMBER: &str = "member.";
const PARTITION: &str = "partition.";

/// What this aggregator has, and where the others are.
#[derive(Clone)]
pub struct Held(Arc<Mutex<State>>, mpsc::UnboundedSender<Partition>);

struct State {
    began: Instant,
    claims: Claims,
    /// Where each member answers questions.
    addresses: BTreeMap<String, String>,
}

impl Held {
    /// Nothing yet. What is to be taken again comes by the receiver.
    pub fn new(member: &str) -> (Self, mpsc::UnboundedReceiver<Partition>) {
        let (sender, again) = mpsc::unbounded_channel();
        let state = State { began: Instant::now(), claims: Claims::new(member.to_owned()), addresses: BTreeMap::new() };
        (Held(Arc::new(Mutex::new(state)), sender), again)
    }

    /// Whether a partition is ours to act for.
    pub(super) fn has(&self, partition: Partition) -> bool {
        self.with(|state, now| state.claims.has(partition, now))
    }

    /// Another aggregator had decided for it: it is to be read again.
    pub(super) fn take_again(&self, partition: Partition) {
        // The worker ends with the process.
        let _ = self.1.send(partition);
    }

    /// Where the aggregator answers that judges a partition.
    pub(super) fn address(&self, partition: Partition) -> Option<String> {
        self.with(|state, _| state.claims.owner(partition).and_then(|member| state.addresses.get(member).cloned()))
    }

    /// Where the others answer.
    pub(super) fn others(&self) -> Vec<String> {
        self.with(|state, _| state.claims.others().filter_map(|member| state.addresses.get(member).cloned()).collect())
    }

    fn with<T>(&self, look: impl FnOnce(&mut State, Duration) -> T) -> T {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = state.began.elapsed();
        look(&mut state, now)
    }

    fn saw(&self, entry: &Entry) {
        self.with(|state, now| {
            let value = String::from_utf8_lossy(&entry.value).into_owned();
            if let Some(member) = entry.key.strip_prefix(MEMBER) {
                if entry.operation == Operation::Put {
                    state.claims.beat(member, entry.revision, now);
                    state.addresses.insert(member.to_owned(), value);
                }
            } else if let Some(partition) = entry.key.strip_prefix(PARTITION).and_then(|number| number.parse().ok()) {
                state.claims.owned(partition, Owner { member: value, revision: entry.revision }, now);
            }
        });
    }
}

/// Takes partitions and lets go of them.
pub(super) struct Worker {
    member: String,
    address: String,
    held: Held,
    with: Partitioned,
    judging: BTreeMap<Partition, JoinHandle<()>>,
}

impl Worker {
    /// `address`: where we answer questions of the others.
    pub(super) fn new(member: String, address: String, held: Held, with: Partitioned) -> Self {
        Worker { member, address, held, with, judging: BTreeMap::new() }
    }

    /// Runs until it is dropped.
    pub(super) async fn run(mut self, mut again: mpsc::UnboundedReceiver<Partition>) {
        let mut others = JoinSet::new();
        others.spawn(watch(self.with.nats.clone(), self.held.clone()));
        others.spawn(beat(self.with.nats.clone(), self.held.clone(), self.member.clone(), self.address.clone()));
        let mut ticks = tokio::time::interval(LOOK_EVERY);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        loop {
            tokio::select! {
                _ = ticks.tick() => {
                    let actions = self.held.with(|state, now| state.claims.act(now));
                    for action in actions {
                        self.carry_out(action).await;
                    }
                }
                Some(partition) = again.recv() => {
                    if self.judging.contains_key(&partition) {
                        self.begin(partition);
                    }
                }
            }
        }
    }

    async fn carry_out(&mut self, action: Action) {
        match action {
            Action::Claim { partition, revision } => self.write(partition, self.member.clone(), revision).await,
            Action::Begin(partition) => self.begin(partition),
            Action::End(partition) => self.end(partition).await,
            Action::GiveBack { partition, revision } => {
                self.end(partition).await;
                self.write(partition, String::new(), revision).await;
            }
        }
    }

    fn begin(&mut self, partition: Partition) {
        let judging = tokio::spawn(partition::run(partition, self.with.clone()));
        if let Some(before) = self.judging.insert(partition, judging) {
            before.abort();
        }
    }

    async fn end(&mut self, partition: Partition) {
        let Some(judging) = self.judging.remove(&partition) else { return };
        judging.abort();
        // What it still had under way must not come after it is lost.
        drop(judging.await);
        tracing::info!(partition, "not judged here any more");
        // Without the engine the process is ending.
        let _ = self.with.engine.event(Shared::Lost(partition).into()).await;
    }

    /// Writes a partition's entry, if it is as it was seen. What becomes of it comes by the watch, too.
    async fn write(&self, partition: Partition, member: String, seen: u64) {
        let (key, value) = (format!("{PARTITION}{partition}"), bytes::Bytes::from(member.clone()));
        let work = &self.with.nats.work;
        let written = tokio::time::timeout(BEAT_WITHIN, async {
            if seen == 0 { work.create(&key, value).await.ok() } else { work.update(&key, value, seen).await.ok() }
        });
        if let Ok(Some(revision)) = written.await {
            self.held.with(|state, now| state.claims.owned(partition, Owner { member, revision }, now));
        }
    }
}

/// Says that we are here.
async fn beat(nats: Nats, held: Held, member: String, address: String) {
    let key = format!("{MEMBER}{member}");
    let mut ticks = tokio::time::interval(BEAT_EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let sent = held.with(|_, now| now);
        let put = nats.work.put(&key, address.clone().into());
        if let Ok(Ok(revision)) = tokio::time::timeout(BEAT_WITHIN, put).await {
            held.with(|state, _| state.claims.confirmed(revision, sent));
        }
    }
}

/// Sees what others say.
async fn watch(nats: Nats, held: Held) {
    loop {
        if let Ok(mut entries) = nats.work.watch_with_history(">").await {
            while let Some(Ok(entry)) = entries.next().await {
                held.saw(&entry);
            }
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}
