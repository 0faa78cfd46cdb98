//! Runs the engine (IO): one task, one bounded inbox, a clock. What the engine wants done is done here, or is
//! handed to the [`actuator`](crate::actuator).

use std::{
    collections::HashMap,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use serin_proto::v1::{ReportResponse, Verdict};
use tokio::sync::{broadcast, mpsc, oneshot};
use tonic::Status;

use crate::{
    actuator::Order,
    engine::{CloseReason, Effect, Engine, Event, Overload, Stored, StreamId},
    report::{Reporter, ReporterId, Waiting},
    time::UnixMicros,
};

/// Messages waiting for the engine: a report of 1 MiB can be 8 MB in memory, so 1 GB at the worst. When it is full the streams are read no further, acknowledgements are
/// delayed, and filters keep their reports.
const INBOX: usize = 128;
/// Questions and news from our own tasks waiting for the engine, each of which waits for its turn.
const NEWS: usize = 64;
/// Verdicts waiting for one who watches; one who is slower than that misses some.
const VERDICTS: usize = 1_024;
/// How often a complete second is looked for: a tenth of a slice.
const TICK: Duration = Duration::from_millis(100);

/// Where one stream's acknowledgements go.
pub type Responses = mpsc::Sender<Result<ReportResponse, Status>>;

/// What other aggregators are told.
pub enum Abroad {
    /// What waits at a reporter's worker.
    Waiting(ReporterId, Waiting),
    /// The verdict of a service that is judged here.
    Verdict(Box<Verdict>),
}

type Question = Box<dyn FnOnce(&mut Engine, UnixMicros) -> Vec<Effect> + Send>;

enum Message {
    Open { stream: StreamId, reporter: Reporter, responses: Responses },
    Event(Event),
    Ask(Question),
}

/// The way to the engine. What peers send has a lane of its own, which is left alone while too much waits for the disk; what tells of
/// the disk, and questions, must get through meanwhile.
#[derive(Clone)]
pub struct Handle {
    reports: mpsc::Sender<(UnixMicros, Message)>,
    news: mpsc::Sender<Message>,
    verdicts: broadcast::Sender<Verdict>,
}

/// The engine has stopped: the process is ending.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("serin is shutting down")]
pub struct Stopped;

impl Handle {
    /// A stream began.
    ///
    /// # Errors
    /// When the process is ending.
    pub async fn open(&self, stream: StreamId, reporter: Reporter, responses: Responses) -> Result<(), Stopped> {
        self.report(Message::Open { stream, reporter, responses }).await
    }

    /// A stream's peer said something, or is gone.
    ///
    /// # Errors
    /// When the process is ending.
    pub async fn said(&self, event: Event) -> Result<(), Stopped> {
        self.report(Message::Event(event)).await
    }

    /// Has the engine count a refused message, and waits until it has handled everything that the stream's peer said before.
    ///
    /// # Errors
    /// When the process is ending.
    pub async fn refused(&self) -> Result<(), Stopped> {
        let (question, wait) = question(|engine, now| ((), engine.step(Event::Refused, now)));
        self.report(question).await?;
        wait.await.map_err(|_| Stopped)
    }

    /// Something happened here.
    ///
    /// # Errors
    /// When the process is ending.
    pub async fn event(&self, event: Event) -> Result<(), Stopped> {
        self.send(Message::Event(event)).await
    }

    /// Asks the engine something.
    ///
    /// # Errors
    /// When the process is ending.
    pub async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&Engine, UnixMicros) -> T + Send + 'static,
    ) -> Result<T, Stopped> {
        self.order(move |engine, now| (question(engine, now), Vec::new())).await
    }

    /// Has the engine do something.
    ///
    /// # Errors
    /// When the process is ending.
    pub async fn order<T: Send + 'static>(
        &self,
        order: impl FnOnce(&mut Engine, UnixMicros) -> (T, Vec<Effect>) + Send + 'static,
    ) -> Result<T, Stopped> {
        let (question, wait) = question(order);
        self.send(question).await?;
        wait.await.map_err(|_| Stopped)
    }

    /// Verdicts from now on.
    pub fn watch(&self) -> broadcast::Receiver<Verdict> {
        self.verdicts.subscribe()
    }

    async fn send(&self, message: Message) -> Result<(), Stopped> {
        self.news.send(message).await.map_err(|_| Stopped)
    }

    async fn report(&self, message: Message) -> Result<(), Stopped> {
        self.reports.send((now(), message)).await.map_err(|_| Stopped)
    }
}

fn question<T: Send + 'static>(
    order: impl FnOnce(&mut Engine, UnixMicros) -> (T, Vec<Effect>) + Send + 'static,
) -> (Message, oneshot::Receiver<T>) {
    let (answer, wait) = oneshot::channel();
    let question = move |engine: &mut Engine, now| {
        let (value, effects) = order(engine, now);
        // Whoever asked may have gone away; the effects stand.
        drop(answer.send(value));
        effects
    };
    (Message::Ask(Box::new(question)), wait)
}

/// What the engine task owns.
pub struct Shell {
    engine: Engine,
    /// With when each was read.
    inbox: mpsc::Receiver<(UnixMicros, Message)>,
    news: mpsc::Receiver<Message>,
    streams: HashMap<StreamId, Responses>,
    verdicts: broadcast::Sender<Verdict>,
    orders: mpsc::UnboundedSender<Order>,
    reports: mpsc::UnboundedSender<Stored>,
    /// Where there are other aggregators.
    abroad: Option<mpsc::Sender<Abroad>>,
}

impl Shell {
    /// Wires an engine to its inbox. `orders` and `reports` are unbounded because the engine must not wait for a disk; what it
    /// sends there is bounded by one rollback per service in 30 s, and by what the engine lets wait for the disk.
    pub fn new(
        engine: Engine,
        orders: mpsc::UnboundedSender<Order>,
        reports: mpsc::UnboundedSender<Stored>,
        abroad: Option<mpsc::Sender<Abroad>>,
    ) -> (Self, Handle) {
        let (to_inbox, inbox) = mpsc::channel(INBOX);
        let (to_news, news) = mpsc::channel(NEWS);
        let (verdicts, _) = broadcast::channel(VERDICTS);
        let handle = Handle { reports: to_inbox, news: to_news, verdicts: verdicts.clone() };
        (Shell { engine, inbox, news, streams: HashMap::new(), verdicts, orders, reports, abroad }, handle)
    }

    /// Runs until every [`Handle`] is gone.
    pub async fn run(mut self, first: Vec<Effect>) {
        self.carry_out(first);
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        loop {
            let message = tokio::select! {
                message = self.inbox.recv(), if !self.engine.is_backlogged() => match message {
                    Some((read_at, message)) => {
                        self.engine.waited(now().since(read_at));
                        message
                    }
                    None => return,
                },
                message = self.news.recv() => match message {
                    Some(message) => message,
                    None => return,
                },
                _ = ticks.tick() => Message::Event(Event::Tick),
            };
            let before = self.engine.overload().shed;
            let effects = self.take(message, now());
            self.tell_overload(before);
            self.carry_out(effects);
        }
    }

    fn tell_overload(&self, shed_before: usize) {
        let Overload { lag, services, shed } = self.engine.overload();
        if shed != shed_before {
            let lag_ms = lag.as_millis();
            tracing::warn!(lag_ms, "overload: {shed} of {services} services are shed, {shed_before} were before");
        }
    }

    fn take(&mut self, message: Message, now: UnixMicros) -> Vec<Effect> {
        match message {
            Message::Open { stream, reporter, responses } => {
                self.streams.insert(stream, responses);
                self.engine.step(Event::Connected { stream, reporter }, now)
            }
            Message::Event(event) => {
                if let Event::Disconnected { stream } = &event {
                    self.streams.remove(stream);
                }
                self.engine.step(event, now)
            }
            Message::Ask(question) => question(&mut self.engine, now),
        }
    }

    fn carry_out(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Ack { stream, sequence } => self.ack(stream, sequence),
                // When the historian is gone the process is ending, and what is not acknowledged comes again.
                Effect::Store(stored) => drop(self.reports.send(*stored)),
                Effect::Wait(reporter, waiting) => self.pass_on(Abroad::Waiting(reporter, waiting)),
                Effect::Show(verdict) => drop(self.verdicts.send(verdict)),
                Effect::Close { stream, reason } => self.close(stream, reason),
                Effect::Publish(verdict) => {
                    self.pass_on(Abroad::Verdict(Box::new(verdict.clone())));
                    // Nobody watching is no error.
                    drop(self.verdicts.send(verdict));
                }
                Effect::Persist(decision) => self.order(Order::Persist(Box::new(decision))),
                Effect::Record { decision, recording } => self.order(Order::Record { decision, recording }),
                Effect::RollBack { decision, service } => self.order(Order::RollBack { decision, service }),
            }
        }
    }

    fn ack(&mut self, stream: StreamId, acked_sequence: u64) {
        let Some(responses) = self.streams.get(&stream) else { return };
        if responses.try_send(Ok(ReportResponse { acked_sequence })).is_err() {
            // It does not read its acknowledgements, or is gone: a new stream will be told again.
            self.streams.remove(&stream);
        }
    }

    /// It is said again within seconds: what finds no room is left out.
    fn pass_on(&self, message: Abroad) {
        if let Some(abroad) = &self.abroad {
            drop(abroad.try_send(message));
        }
    }

    fn close(&mut self, stream: StreamId, reason: CloseReason) {
        let Some(responses) = self.streams.remove(&stream) else { return };
        let status = match reason {
            CloseReason::Gap { .. } => Status::invalid_argument(reason.to_string()),
            CloseReason::Full(_) | CloseReason::Overloaded(_) => Status::resource_exhausted(reason.to_string()),
            CloseReason::Yields => Status::unavailable(reason.to_string()),
        };
        // Thousands may be closed at once, which is told once and as a whole.
        if !matches!(reason, CloseReason::Overloaded(_) | CloseReason::Yields) {
            tracing::warn!(%reason, "closing a reporter's stream");
        }
        drop(responses.try_send(Err(status)));
    }

    fn order(&self, order: Order) {
        if self.orders.send(order).is_err() {
            tracing::error!("the task that writes rollbacks has stopped: restart serin");
        }
    }
}

/// The wall clock. The one place that reads it for the engine.
#[must_use]
pub fn now() -> UnixMicros {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    UnixMicros(u64::try_from(since.as_micros()).unwrap_or(u64::MAX))
}
