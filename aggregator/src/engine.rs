//! The deterministic heart (pure): events and a clock reading in, effects out.
//!
//! A report is applied to the store, a second that is complete is judged, a verdict becomes a decision, and
//! the data plane is watched until the decision is in effect. Nothing here reads a clock, a file or a socket.

mod admission;
mod backlog;
mod compare;
mod condemned;
mod confirm;
mod decision;
mod evidence;
mod guard;
mod held;
mod hold;
pub mod on_trial;
mod overload;
mod proxies;
mod restarted;
mod shared;
mod shares;
mod verdict;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use serin_judge::PodSpread;
use serin_proto::v1;
use serin_sketch::Counts;

use crate::{
    config::{Config, Service},
    ingest::validate::Heartbeat,
    partition::Partition,
    recording::Kept,
    report::{Deltas, Report, Reporter, ReporterId, Waiting},
    safety::Safety,
    store::{Applied, Latencies, Proxies, Push, Reporters, ReportersFull, Slices, Totals},
    time::UnixMicros,
};
use admission::Admission;
use backlog::Backlog;
use guard::Guard;

pub use admission::Overload;
pub use decision::Written;
pub use evidence::Starts;
pub use guard::Recorded;
pub use hold::Held;
pub(crate) use proxies::{merge, missing};
pub use shared::{Logged, Shared, Taken};

/// How long after the end of a second its reports may still arrive: reporters tick on the second, so what is
/// later than this is late, or its clock is wrong.
const SETTLE: Duration = Duration::from_millis(500);
/// Seconds judged one after the other when the clock jumps ahead (a suspended machine); what lies before is
/// skipped.
const CATCH_UP_S: u64 = 120;
/// When the clock is set back by more than this many seconds, judging goes on from there.
const CLOCK_BACK_S: u64 = 5;
/// Decisions held in memory, newest last.
const DECISIONS_MAX: usize = 1_000;

/// Names one open stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId(pub u64);

/// What can happen.
#[derive(Debug)]
pub enum Event {
    /// A stream began, and said whose it is.
    Connected {
        /// Which stream.
        stream: StreamId,
        /// Whose.
        reporter: Reporter,
    },
    /// A reporter is alive.
    Heartbeat {
        /// On which stream.
        stream: StreamId,
        /// What it says.
        heartbeat: Heartbeat,
    },
    /// A report came that keeps the rules.
    Reported {
        /// On which stream.
        stream: StreamId,
        /// What it says.
        report: Report,
    },
    /// A message broke a rule, so its stream is being closed.
    Refused,
    /// A stream ended.
    Disconnected {
        /// Which one.
        stream: StreamId,
    },
    /// The weights were read by which a service's requests are sent.
    Weighed {
        /// Its name.
        service: String,
        /// The candidate's share of them, 0 to 1. `None` where it is not known, or not the same everywhere.
        share: Option<f64>,
    },
    /// It is known when a service's pods were started.
    PodsStarted {
        /// Its name.
        service: String,
        /// Those that are there.
        starts: Starts,
    },
    /// A proxy pushed its own counters.
    ProxyPushed {
        /// Its node id.
        node: Arc<str>,
        /// What it says.
        push: Push,
    },
    /// Reports are on disk, or will never be: they may be acknowledged.
    Durable {
        /// Each on its stream, by whom, and its number.
        acks: Vec<(StreamId, ReporterId, u64)>,
    },
    /// What earlier days tell of a service.
    Learned {
        /// Its name.
        service: String,
        /// What they tell.
        learned: Learned,
    },
    /// Something happened among several aggregators.
    Shared(Shared),
    /// This replica leads from now on: it acts on what is still condemned.
    Leads,
    /// Another replica does: who reports here is to report there.
    Yields,
    /// Time went by.
    Tick,
    /// A service is to be guarded, from now on or otherwise than before.
    Guard(Arc<Service>),
    /// A service that was to be guarded just now is one that an earlier run guarded.
    Restarted {
        /// Its name.
        service: String,
        /// The second in which its running trial began; or why that trial is over, in words that follow on the candidate's name.
        trial: Result<u64, String>,
    },
    /// A service is not to be guarded any more. Its decisions are kept.
    Unguard {
        /// Its name.
        service: String,
    },
    /// The order to write a rollback was not carried out, because its decision is not kept as ours.
    Dropped {
        /// Which decision.
        decision: u64,
    },
    /// The targets of a rollback were written, or not.
    Written {
        /// For which decision.
        decision: u64,
        /// One for each target.
        results: Vec<Written>,
    },
}

/// A report that was applied and is to be kept.
#[derive(Clone, Debug, PartialEq)]
pub struct Stored {
    /// On which stream it came.
    pub stream: StreamId,
    /// Whose it is.
    pub reporter: ReporterId,
    /// Its number.
    pub sequence: u64,
    /// Below this number all of its reports are acknowledged.
    pub floor: u64,
    /// The second that it belongs to.
    pub second: u64,
    /// What was counted.
    pub deltas: Arc<Deltas>,
}

/// What an earlier run left.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Remembered {
    /// The highest sequence of each reporter that was kept.
    pub applied: Vec<(ReporterId, u64)>,
    /// The seconds of the live window.
    pub seconds: BTreeMap<u64, Vec<Arc<Deltas>>>,
}

/// What earlier days tell of a service.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Learned {
    /// How much pods of the baseline differed.
    pub pods: PodSpread,
    /// Of each route, what the service was like at this time of earlier days.
    pub windows: BTreeMap<String, Vec<Counts>>,
}

/// What is to be done about it.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Tell the reporter that it may forget.
    Ack {
        /// On which stream.
        stream: StreamId,
        /// Everything up to here.
        sequence: u64,
    },
    /// Keep a report on disk, and send [`Event::Durable`].
    Store(Box<Stored>),
    /// Pass on to those who judge what waits at a reporter's worker.
    Wait(ReporterId, Waiting),
    /// Show the verdict of another aggregator to those who watch.
    Show(v1::Verdict),
    /// Close a stream.
    Close {
        /// Which one.
        stream: StreamId,
        /// Why.
        reason: CloseReason,
    },
    /// Show a verdict to those who watch.
    Publish(v1::Verdict),
    /// Keep a decision, in place of what was kept under its id.
    Persist(v1::Decision),
    /// Keep the recording that a decision was made on.
    Record {
        /// The decision.
        decision: u64,
        /// Its recording.
        recording: Arc<Kept>,
    },
    /// Write the rollback of this decision's service, and send [`Event::Written`].
    RollBack {
        /// The decision.
        decision: u64,
        /// Its service, as it was when this was decided.
        service: Arc<Service>,
    },
}

/// Why the engine closes a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CloseReason {
    /// A number was skipped.
    #[error("expected sequence {expected}, got {got}: send every unacknowledged report again, in order")]
    Gap {
        /// What should have come.
        expected: u64,
        /// What came.
        got: u64,
    },
    /// No room.
    #[error(transparent)]
    Full(#[from] ReportersFull),
    /// More comes in than can be handled, and its services arrived last.
    #[error(
        "serin is overloaded: reports wait {} ms, so {} of {} services, the last to arrive, are shed for now; keep what was \
         counted and send it again later (serin needs more CPU or a faster disk, or fewer series)",
        .0.lag.as_millis(), .0.shed, .0.services
    )]
    Overloaded(Overload),
    /// Another replica acts.
    #[error("another replica of serin leads from now on: report to the one that is ready")]
    Yields,
}

/// Why nothing was cleared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotCleared {
    /// There is no such condemnation.
    #[error("it is not condemned: `serin decisions` lists what is")]
    NotCondemned,
    /// It would be written after it was cleared.
    #[error("its rollback is being written: try again in a moment")]
    Writing,
}

/// There is no such service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it is not in the configuration of this serin")]
pub struct UnknownService;

/// Counts of what came in, since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Reports applied.
    pub applied: u64,
    /// Reports that had been applied before.
    pub duplicates: u64,
    /// Messages that broke a rule.
    pub refused: u64,
    /// Requests that came after their second was judged: counted, not judged.
    pub late_requests: u64,
    /// Streams that were closed or refused because more came in than could be handled.
    pub shed: u64,
}

/// All that the aggregator knows.
#[derive(Debug)]
pub struct Engine {
    pub(crate) reporters: Reporters,
    pub(crate) proxies: Proxies,
    pub(crate) slices: Slices,
    pub(crate) totals: Totals,
    pub(crate) latencies: Latencies,
    pub(crate) counters: Counters,
    pub(crate) guards: Vec<Guard>,
    pub(crate) backlog: Backlog,
    admission: Admission,
    safety: Safety,
    decisions: BTreeMap<u64, v1::Decision>,
    streams: BTreeMap<StreamId, ReporterId>,
    judged: u64,
    live_window: Duration,
    /// Whether services come at run time.
    guards_come: bool,
    /// Until then, seconds are kept as they came for those that come.
    whole_until: UnixMicros,
    /// Those that are judged here; `None`: there are no others, and everything is.
    partitions: Option<BTreeSet<Partition>>,
}

impl Engine {
    /// Starts with the decisions that were kept, in any order. Those whose rollback was never written are
    /// taken up again: the effects say so.
    pub fn new(config: &Config, decisions: Vec<v1::Decision>, now: UnixMicros) -> (Self, Vec<Effect>) {
        let decisions: BTreeMap<u64, _> = decisions.into_iter().map(|d| (d.id, d)).collect();
        let mut effects = Vec::new();
        let mut safety = Safety::new(config.safety);
        decisions.values().for_each(|decision| safety.saw(decision));
        let guards = config.services.iter().map(|service| {
            let service = held::as_allowed(&safety, Arc::new(service.clone()));
            let guard = Guard::new(service, decisions.values().rev(), now);
            effects.extend(guard.unfinished());
            guard
        });
        let guards = guards.collect();
        let mut engine = Engine {
            reporters: Reporters::default(),
            proxies: Proxies::new(now),
            slices: Slices::new(config.live_window),
            totals: Totals::new(&config.services),
            latencies: Latencies::new(&config.services),
            counters: Counters::default(),
            guards,
            backlog: Backlog::default(),
            admission: Admission::new(config.services.iter().map(|service| service.name.as_str())),
            decisions,
            streams: BTreeMap::new(),
            judged: now.second(),
            live_window: config.live_window,
            guards_come: config.kubernetes.is_some(),
            whole_until: UnixMicros(0),
            safety,
            partitions: None,
        };
        let effects = engine.let_out(effects, now);
        (engine, effects)
    }

    /// Takes one event.
    pub fn step(&mut self, event: Event, now: UnixMicros) -> Vec<Effect> {
        let effects = self.take_event(event, now);
        self.let_out(effects, now)
    }

    fn take_event(&mut self, event: Event, now: UnixMicros) -> Vec<Effect> {
        match event {
            Event::Connected { stream, reporter } => match self.reporters.connected(&reporter, now) {
                Ok(()) => {
                    self.proxies.reports(&reporter.id.node_id, reporter.vantage, now);
                    let is_shed = self.is_shed(&reporter.id);
                    self.streams.insert(stream, reporter.id);
                    is_shed.then(|| self.turn_away(stream)).into_iter().collect()
                }
                Err(full) => vec![Effect::Close { stream, reason: full.into() }],
            },
            Event::Heartbeat { stream, mut heartbeat } => {
                let Some(reporter) = self.streams.get(&stream).cloned() else { return Vec::new() };
                let waiting = heartbeat.waiting.take();
                self.reporters.seen(&reporter, heartbeat, now);
                self.waits(&reporter, waiting, now)
            }
            Event::Reported { stream, report } => self.reported(stream, report, now),
            Event::Refused => {
                self.counters.refused += 1;
                Vec::new()
            }
            Event::Disconnected { stream } => {
                self.streams.remove(&stream);
                Vec::new()
            }
            Event::ProxyPushed { node, push } => {
                self.proxies.pushed(&node, push, now);
                Vec::new()
            }
            Event::Weighed { service, share } => {
                self.guard_of(&service).into_iter().for_each(|guard| guard.weighed(share, now));
                Vec::new()
            }
            Event::PodsStarted { service, starts } => {
                self.guard_of(&service).into_iter().for_each(|guard| guard.started(starts.clone()));
                Vec::new()
            }
            Event::Durable { acks } => self.durable(acks),
            Event::Learned { service, learned } => {
                if let Some(guard) = self.guard_of(&service) {
                    guard.learned(learned);
                }
                Vec::new()
            }
            Event::Shared(event) => self.share(event, now),
            Event::Yields => self.turn_all_away(),
            Event::Leads => self.guards.iter_mut().filter_map(|guard| guard.lead(now)).collect(),
            Event::Tick => self.tick(now),
            Event::Guard(service) => {
                self.totals.tell_apart(&service);
                let service = held::as_allowed(&self.safety, service);
                let effects = self.guard(service, now);
                self.remember(effects)
            }
            Event::Restarted { service, trial } => self.restarted(&service, trial, now),
            Event::Unguard { service } => {
                self.guards.retain(|guard| guard.service().name != service);
                Vec::new()
            }
            Event::Dropped { decision } => {
                self.safety.answered(decision);
                self.guards.iter_mut().for_each(|guard| guard.dropped(decision));
                Vec::new()
            }
            Event::Written { decision, results } => {
                self.safety.answered(decision);
                let effects = self.written(decision, &results, now);
                self.remember(effects)
            }
        }
    }

    /// The services that are guarded now.
    pub fn services(&self) -> Vec<Arc<Service>> {
        self.guards.iter().map(|guard| Arc::clone(guard.service())).collect()
    }

    fn guard_of(&mut self, service: &str) -> Option<&mut Guard> {
        self.guards.iter_mut().find(|guard| guard.service().name == service)
    }

    fn guard(&mut self, service: Arc<Service>, now: UnixMicros) -> Vec<Effect> {
        let mut known = self.guards.iter_mut();
        if let Some(guard) = known.find(|guard| guard.service().name == service.name) {
            return guard.replace(service, self.decisions.values().rev(), now);
        }
        let mut guard = Guard::new(service, self.decisions.values().rev(), now);
        guard.begins(now);
        let effects = guard.unfinished().into_iter().collect();
        self.guards.push(guard);
        effects
    }

    fn written(&mut self, decision: u64, results: &[Written], now: UnixMicros) -> Vec<Effect> {
        let effects: Vec<Effect> = self.guards.iter_mut().flat_map(|g| g.written(decision, results, now)).collect();
        if !effects.is_empty() {
            return effects;
        }
        // Its guard went away meanwhile: what was written is on record all the same.
        let Some(mut kept) = self.decisions.get(&decision).cloned() else { return effects };
        for result in results {
            let (stage, sentence) = result.stage();
            decision::record(&mut kept, stage, sentence, now);
        }
        vec![Effect::Persist(kept)]
    }

    /// A person lifts a condemnation, also that of a release which the configuration does not name any more.
    ///
    /// # Errors
    /// When there is none, or its rollback is just being written.
    pub fn clear(&mut self, service: &str, release: &str, now: UnixMicros) -> Result<Vec<Effect>, NotCleared> {
        let effects = match self.guards.iter_mut().find(|guard| guard.guards(service, release)) {
            Some(guard) => guard.clear(now)?,
            None => {
                let mut newest_first = self.decisions.values().rev();
                let kept = newest_first.find(|kept| decision::condemns(kept, service, release));
                let mut kept = kept.cloned().ok_or(NotCleared::NotCondemned)?;
                decision::clear(&mut kept, now);
                vec![Effect::Persist(kept)]
            }
        };
        Ok(self.remember(effects))
    }

    /// Decisions of one service, or of all (an empty name), newest first.
    pub fn decisions(&self, service: &str, limit: usize) -> Vec<v1::Decision> {
        let of_service = |d: &&v1::Decision| service.is_empty() || d.service == service;
        self.decisions.values().rev().filter(of_service).take(limit).cloned().collect()
    }

    /// Each service and its candidate, and whether that is condemned and its rollback not confirmed in time.
    pub fn unconfirmed(&self) -> impl Iterator<Item = (&Service, bool)> {
        self.guards.iter().map(|guard| {
            let service: &Service = guard.service();
            let condemns = |d: &&v1::Decision| decision::condemns(d, &service.name, &service.candidate);
            (service, self.decisions.values().rev().find(condemns).is_some_and(decision::is_unconfirmed))
        })
    }

    /// The recording of a service's running trial, or of the one that its standing condemnation came of.
    ///
    /// # Errors
    /// When the service is not in the configuration.
    pub fn recording(&self, service: &str) -> Result<Option<Recorded<'_>>, UnknownService> {
        let guard = self.guards.iter().find(|guard| guard.service().name == service).ok_or(UnknownService)?;
        Ok(guard.recording())
    }

    /// The current verdict of each service.
    pub fn verdicts(&self) -> impl Iterator<Item = &v1::Verdict> {
        self.guards.iter().map(Guard::verdict)
    }

    fn reported(&mut self, stream: StreamId, mut report: Report, now: UnixMicros) -> Vec<Effect> {
        let place = self.place(&report);
        let Some(reporter) = self.streams.get(&stream).cloned() else { return Vec::new() };
        self.reporters.carries(&reporter, place);
        let delay = self.reporters.delay(&reporter, report.interval_end, now);
        self.admission.delayed(delay);
        if self.is_shed(&reporter) {
            return vec![self.turn_away(stream)];
        }
        let mut effects = self.waits(&reporter, report.waiting.take(), now);
        effects.push(match self.reporters.apply(&reporter, &report, now) {
            Applied::New => {
                let interval = Duration::from_millis(report.own.interval_ms.into());
                self.proxies.delivered(&reporter.node_id, report.requests(), interval, now);
                let second = Slices::second_of(report.interval_end, report.interval, now);
                self.backlog.push(report.deltas.bytes(), now);
                if self.partitions.is_none() {
                    self.count(second, &reporter.node_id, Arc::clone(&report.deltas), now);
                }
                let (sequence, floor) = (report.sequence, self.reporters.durable(&reporter) + 1);
                Effect::Store(Box::new(Stored { stream, reporter, sequence, floor, second, deltas: report.deltas }))
            }
            Applied::Duplicate => {
                self.counters.duplicates += 1;
                Effect::Ack { stream, sequence: self.reporters.durable(&reporter) }
            }
            Applied::Gap { expected } => {
                self.counters.refused += 1;
                Effect::Close { stream, reason: CloseReason::Gap { expected, got: report.sequence } }
            }
        });
        effects
    }

    /// Takes what waits at a reporter's worker, or passes it on to those who judge it.
    fn waits(&mut self, reporter: &ReporterId, waiting: Option<Waiting>, now: UnixMicros) -> Vec<Effect> {
        match waiting {
            Some(waiting) if self.partitions.is_some() => vec![Effect::Wait(reporter.clone(), waiting)],
            Some(waiting) => {
                self.slices.wait(reporter, waiting, now);
                Vec::new()
            }
            None => Vec::new(),
        }
    }

    /// Acknowledges, on each stream that is still open, the highest of what is durable now.
    fn durable(&mut self, acks: Vec<(StreamId, ReporterId, u64)>) -> Vec<Effect> {
        self.backlog.done(acks.len());
        let mut highest = BTreeMap::new();
        for (stream, reporter, sequence) in acks {
            self.reporters.is_durable(&reporter, sequence);
            let known = highest.entry(stream).or_insert(0);
            *known = sequence.max(*known);
        }
        let open = highest.into_iter().filter(|(stream, _)| self.streams.contains_key(stream));
        open.map(|(stream, sequence)| Effect::Ack { stream, sequence }).collect()
    }

    /// Goes on where an earlier run left off: who has reported what, and the trials that were running, which are judged again from their
    /// seconds. To be called before the first event.
    pub fn restore(&mut self, remembered: Remembered, now: UnixMicros) -> Vec<Effect> {
        let Remembered { applied, seconds } = remembered;
        applied.into_iter().for_each(|(reporter, sequence)| self.reporters.restore(reporter, sequence, now));
        for delta in seconds.values().flatten().flat_map(|deltas| deltas.iter()) {
            self.admission.place(&delta.series.service);
        }
        // Those after it are judged when they are complete.
        self.judged = now.minus(SETTLE + Duration::from_secs(1)).second();
        let effects = self.judge_again(seconds, now, |_| true);
        self.let_out(effects, now)
    }

    /// Has guards judge seconds of the past, up to the last that was judged.
    fn judge_again(
        &mut self,
        seconds: BTreeMap<u64, Vec<Arc<Deltas>>>,
        now: UnixMicros,
        which: impl Fn(&Guard) -> bool,
    ) -> Vec<Effect> {
        let first = seconds.first_key_value().map(|(second, _)| *second);
        self.wait_for_guards(now);
        // Who reported it is not kept.
        let nobody = Arc::from("");
        seconds
            .into_iter()
            .for_each(|(second, all)| all.into_iter().for_each(|deltas| self.slices.add(second, &nobody, deltas, now)));
        let last = now.minus(SETTLE + Duration::from_secs(1)).second().min(self.judged);
        let mut effects = Vec::new();
        for second in first.into_iter().flat_map(|first| first..=last) {
            effects.extend(self.judge(second, now, |guard| which(guard) && !guard.is_condemned()));
        }
        effects
    }

    /// Counts what a report of a proxy has, in its second.
    fn count(&mut self, second: u64, node: &Arc<str>, deltas: Arc<Deltas>, now: UnixMicros) {
        self.counters.applied += 1;
        if second <= self.judged {
            self.counters.late_requests = self.counters.late_requests.saturating_add(deltas.requests());
        }
        for delta in deltas.iter() {
            self.totals.add(&delta);
            self.latencies.add(&delta);
        }
        self.slices.add(second, node, deltas, now);
    }

    fn tick(&mut self, now: UnixMicros) -> Vec<Effect> {
        let complete = now.minus(SETTLE + Duration::from_secs(1)).second();
        if complete + CLOCK_BACK_S < self.judged {
            (self.judged, self.whole_until) = (complete, UnixMicros(0));
            self.guards.iter_mut().for_each(|guard| guard.is_set_back(now));
        }
        let mut effects = self.shed(now);
        for second in self.judged.max(complete.saturating_sub(CATCH_UP_S)) + 1..=complete {
            effects.extend(self.judge(second, now, |_| true));
        }
        self.judged = self.judged.max(complete);
        if now >= self.whole_until {
            self.slices.fold(self.judged);
        }
        self.latencies.tick(now);
        effects
    }

    /// Has guards judge one second.
    fn judge(&mut self, second: u64, now: UnixMicros, which: impl Fn(&Guard) -> bool) -> Vec<Effect> {
        let mut effects = Vec::new();
        for index in 0..self.guards.len() {
            if self.guards.get(index).is_some_and(&which) {
                effects.extend(self.judge_one(index, second, now));
            }
        }
        effects
    }

    /// Has one guard judge one second, where its service is judged here.
    fn judge_one(&mut self, index: usize, second: u64, now: UnixMicros) -> Vec<Effect> {
        let Some(service) = self.guards.get(index).map(|guard| Arc::clone(guard.service())) else { return Vec::new() };
        if !self.judges(&service.name) {
            return Vec::new();
        }
        let id = self.next_decision(&service.name);
        let Some(guard) = self.guards.get_mut(index) else { return Vec::new() };
        let effects = guard.judge(second, &self.slices, id, now);
        self.remember(effects)
    }

    fn remember(&mut self, effects: Vec<Effect>) -> Vec<Effect> {
        for effect in &effects {
            if let Effect::Persist(decision) = effect {
                self.safety.saw(decision);
                self.decisions.insert(decision.id, decision.clone());
            }
        }
        self.trim();
        effects
    }

    fn trim(&mut self) {
        while self.decisions.len() > DECISIONS_MAX {
            self.decisions.pop_first();
        }
    }
}

#[cfg(test)]
mod tests;
