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
mod effect;
mod event;
mod evidence;
mod guard;
mod held;
mod hold;
pub mod on_trial;
mod overload;
mod proxies;
mod reports;
mod restarted;
mod running;
mod seconds;
mod shared;
mod shares;
mod verdict;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use serin_proto::v1;

use crate::{
    config::{Config, Service},
    partition::Partition,
    report::ReporterId,
    safety::Safety,
    store::{Latencies, Proxies, Reporters, Slices, Totals},
    time::UnixMicros,
};
use admission::Admission;
use backlog::Backlog;
use guard::Guard;

pub use admission::Overload;
pub use decision::Written;
pub use effect::{CloseReason, Effect, NotCleared, UnknownService};
pub use event::{Deployed, Event, Learned, Remembered, Stored, StreamId};
pub use evidence::Starts;
pub use guard::Recorded;
pub use hold::Held;
pub(crate) use proxies::{merge, missing};
pub use shared::{Logged, Shared, Taken};

/// Decisions held in memory, newest last.
const DECISIONS_MAX: usize = 1_000;

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
            Event::Deployed { service, deployed } => {
                let is_judged = self.judges(&service);
                let guard = self.guard_of(&service);
                let effects = guard.map_or_else(Vec::new, |guard| guard.deployed(deployed, is_judged, now));
                self.remember(effects)
            }
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

    /// The verdict by which a release is condemned, guarded or not: the newest of the service, or of this candidate.
    pub fn condemned(&self, service: &str, candidate: Option<&str>) -> Option<v1::Verdict> {
        let is_asked = |d: &&v1::Decision| d.service == service && candidate.is_none_or(|wanted| d.candidate == wanted);
        let newest = self.decisions.values().rev().find(is_asked)?;
        let holds = decision::condemns(newest, service, &newest.candidate);
        Some(v1::Verdict { condemned: true, ..newest.verdict.clone()? }).filter(|_| holds)
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
