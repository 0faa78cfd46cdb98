//! The reporter as a machine: requests, ticks, messages and closed streams in, actions out. No IO, no clock.

use serin_proto::v1;

use crate::{
    budget::Budget,
    measure::Timings,
    outbox::Outbox,
    recorder::{Recorder, SERIES_MAX},
    report::{Beside, Encoder, acknowledged},
    sealed::Interval,
};

/// How long reports may stay unacknowledged before the stream counts as dead: an aggregator commits in well under a
/// second, and at ten there is no telling a stuck one from a swallowed stream.
const ACK_WITHIN_MS: u64 = 10_000;
/// Back-off after the first failure; it doubles up to [`BACKOFF_DOUBLINGS`] times, to 8 s.
const BACKOFF_MS: u64 = 1_000;
const BACKOFF_DOUBLINGS: u32 = 3;
/// A timer that fired this much before its time fired for it.
const EARLY_MS: u64 = 20;

/// What the shell has to do, in this order. A failed [`Action::Open`] is a [closed](Reporter::closed) stream, and what
/// follows it is void.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Reset the stream; its callbacks do not matter any more.
    Cancel,
    /// Open a stream.
    Open,
    /// Send this message on the stream.
    Send(Vec<u8>),
}

impl Action {
    fn bytes(&self) -> u64 {
        if let Action::Send(message) = self { message.len() as u64 } else { 0 }
    }
}

/// What a reporter says of its worker and cannot know by itself.
#[derive(Clone, Debug, Default, PartialEq)]
#[allow(missing_docs)] // As in `ReporterState` and `ReportRequest`.
pub struct Surroundings {
    pub memory_bytes: u64,
    pub active_requests: u32,
    pub oldest_active_ms: u64,
    /// `None` where it is not known.
    pub in_flight: Option<Vec<v1::InFlight>>,
}

/// Counts one worker's requests and sees to it that the aggregator gets each count exactly once.
pub struct Reporter {
    identity: v1::Reporter,
    budget: Budget,
    interval_start_us: u64,
    recorder: Recorder,
    outbox: Outbox,
    stream: Option<Encoder>,
    sent_bytes: u64,
    surroundings: Surroundings,
    failures: u32,
    wait_ticks: u64,
    unanswered_ticks: u64,
}

impl Reporter {
    /// Starts counting at `now_us` (microseconds since 1970).
    pub fn new(identity: v1::Reporter, interval_ms: u64, now_us: u64) -> Self {
        Reporter {
            identity,
            budget: Budget::new(interval_ms.max(1)),
            interval_start_us: now_us,
            recorder: Recorder::new(SERIES_MAX),
            outbox: Outbox::default(),
            stream: None,
            sent_bytes: 0,
            surroundings: Surroundings::default(),
            failures: 0,
            wait_ticks: 0,
            unanswered_ticks: 0,
        }
    }

    /// Counts a request and its attempts beyond the first. The clock is read only when the interval has to be sealed early for want of room.
    pub fn record(&mut self, key: &[u8], timings: Timings, retries: u64, now_us: impl FnOnce() -> u64) {
        if self.recorder.is_full() {
            self.seal(now_us());
        }
        self.recorder.record(key, timings, retries);
    }

    /// Seals the interval that ends at `now_us` and sends what can be sent. Streams are opened here and nowhere else.
    pub fn tick(&mut self, now_us: u64, surroundings: Surroundings) -> Vec<Action> {
        self.surroundings = surroundings;
        let actions = self.deliver(now_us);
        // What waits now is told now or not at all.
        self.surroundings.in_flight = None;
        self.sent_bytes += actions.iter().map(Action::bytes).sum::<u64>();
        actions
    }

    fn deliver(&mut self, now_us: u64) -> Vec<Action> {
        let interval = self.seal(now_us);
        let mut actions = Vec::new();
        if self.give_up_dead_stream(&mut actions) {
            return actions;
        }
        if self.stream.is_none() {
            if self.wait_ticks > 0 {
                self.wait_ticks -= 1;
                return actions;
            }
            let first_sequence = self.outbox.first_sequence();
            self.stream = Some(Encoder::new(v1::Reporter { first_sequence, ..self.identity.clone() }));
            self.unanswered_ticks = 0;
            actions.push(Action::Open);
        }
        if !self.send(&mut actions) && !self.outbox.is_stuck() {
            let (delivered, beside) = (self.outbox.numbered(), self.beside());
            let heartbeat = self.stream.as_mut().map(|encoder| encoder.heartbeat(interval, delivered, beside));
            actions.extend(heartbeat.map(Action::Send));
        }
        actions
    }

    /// Takes what the last tick took, sending included, and says which interval it is from now on, in milliseconds, where it
    /// became another one.
    pub fn took(&mut self, us: u64) -> Option<u64> {
        self.budget.took(us).then(|| self.budget.interval_ms())
    }

    /// Takes a message from the aggregator.
    pub fn message(&mut self, message: &[u8]) -> Vec<Action> {
        let mut actions = Vec::new();
        if let Some(sequence) = acknowledged(message) {
            self.failures = 0;
            if self.outbox.acknowledge(sequence) {
                self.unanswered_ticks = 0;
                self.send(&mut actions);
                self.sent_bytes += actions.iter().map(Action::bytes).sum::<u64>();
            }
        }
        actions
    }

    /// The stream was closed by the peer or the network, or could not be opened.
    pub fn closed(&mut self) {
        self.stream = None;
        self.outbox.rewind();
        self.failures = self.failures.saturating_add(1);
        let backoff_ms = BACKOFF_MS << (self.failures - 1).min(BACKOFF_DOUBLINGS);
        let ticks = backoff_ms.div_ceil(self.budget.interval_ms());
        // The workers of an Envoy lose their streams together: up to half as much again, and a tick, spreads them out.
        let jitter = self.identity.boot_nonce.rotate_right(self.failures) % (ticks / 2 + 2);
        self.wait_ticks = ticks - 1 + jitter;
    }

    /// How long until the next tick, in milliseconds: ticks come at multiples of the interval, so that the slices of
    /// all workers line up.
    pub fn next_tick_ms(&self, now_us: u64) -> u32 {
        let interval_ms = self.budget.interval_ms();
        let interval_us = interval_ms * 1_000;
        let left_ms = (interval_us - now_us % interval_us).div_ceil(1_000);
        // At most 10 s and a tick, so it fits.
        (if left_ms < EARLY_MS { left_ms + interval_ms } else { left_ms }) as u32
    }

    /// There is another way to the aggregator: no more waiting between attempts.
    pub fn hurry(&mut self) {
        self.wait_ticks = 0;
    }

    /// Whether everything that was counted and sealed is acknowledged.
    pub fn is_delivered(&self) -> bool {
        self.recorder.is_empty() && self.outbox.is_empty()
    }

    /// Requests that were sealed and not acknowledged.
    pub fn undelivered(&self) -> u64 {
        self.outbox.undelivered()
    }

    fn beside(&self) -> Beside {
        let in_flight_unix_us = if self.surroundings.in_flight.is_some() { self.interval_start_us } else { 0 };
        let in_flight = self.surroundings.in_flight.clone().unwrap_or_default();
        Beside { state: Some(self.state()), in_flight, in_flight_unix_us }
    }

    fn state(&self) -> v1::ReporterState {
        let (reports, bytes) = self.outbox.backlog();
        v1::ReporterState {
            interval_ms: self.budget.interval_ms() as u32,
            tick_us: self.budget.tick_us(),
            sent_bytes: self.sent_bytes,
            backlog_reports: reports as u32,
            backlog_bytes: bytes as u64,
            memory_bytes: self.surroundings.memory_bytes,
            active_requests: self.surroundings.active_requests,
            oldest_active_ms: self.surroundings.oldest_active_ms,
        }
    }

    fn seal(&mut self, now_us: u64) -> Interval {
        let interval = Interval::between(self.interval_start_us, now_us);
        self.interval_start_us = now_us;
        if let Some(sealed) = self.recorder.seal(interval) {
            self.outbox.push(sealed);
        }
        interval
    }

    /// Sends return OK on streams that swallow everything: only acknowledgements show that one lives. Says whether the
    /// stream was given up as dead; a worn one may be replaced at once.
    fn give_up_dead_stream(&mut self, actions: &mut Vec<Action>) -> bool {
        let Some(encoder) = &self.stream else { return false };
        self.unanswered_ticks = if self.outbox.awaits_ack() { self.unanswered_ticks + 1 } else { 0 };
        if self.unanswered_ticks * self.budget.interval_ms() > ACK_WITHIN_MS {
            actions.push(Action::Cancel);
            self.closed();
            return true;
        }
        if encoder.is_worn() {
            actions.push(Action::Cancel);
            self.stream = None;
            self.outbox.rewind();
        }
        false
    }

    /// Sends as many reports as the window has room for; says whether there were any.
    fn send(&mut self, actions: &mut Vec<Action>) -> bool {
        let before = actions.len();
        let beside = self.beside();
        if let Some(encoder) = &mut self.stream {
            while !encoder.is_worn() {
                let Some(report) = self.outbox.next_to_send() else { break };
                actions.push(Action::Send(encoder.report(report, beside.clone())));
            }
        }
        actions.len() > before
    }
}

#[cfg(test)]
mod tests;
