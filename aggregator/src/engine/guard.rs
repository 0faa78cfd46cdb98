//! Guards one service: runs its trial, and condemns the candidate when it is regressed.

use std::time::Duration;

use serin_judge::Trial;
use serin_proto::v1::{self, VerdictState};

use super::{
    Effect, NotCleared, Written,
    condemned::{Condemned, Recent},
    decision, evidence, verdict,
};
use crate::{config::Service, report::Delta, store::Slices, time::UnixMicros};

/// A verdict that does not change is shown again this often.
const SHOW_AGAIN: Duration = Duration::from_secs(10);
/// A trial ends when its candidate got no requests for this long; its next request begins a new one.
const TRIAL_ENDS_AFTER_S: u64 = 900;
/// How much of the baseline's past a new trial begins with: what its thresholds look back on.
const BASELINE_BEFORE_S: u64 = 60;

#[derive(Debug)]
struct OnTrial {
    routes: Vec<(String, Trial)>,
    pods: evidence::Pods,
    last_candidate: u64,
}

impl OnTrial {
    fn observe(&mut self, service: &Service, second: u64, deltas: &[Delta]) {
        for (name, trial) in &mut self.routes {
            let route = Some(name.as_str()).filter(|name| !name.is_empty());
            trial.observe(&evidence::slice(service, route, second, deltas, &mut self.pods));
        }
    }
}

/// Guards one service.
#[derive(Debug)]
pub(crate) struct Guard {
    index: usize,
    service: Service,
    trial: Option<OnTrial>,
    condemned: Option<Condemned>,
    recent: Recent,
    verdict: v1::Verdict,
    shown: Option<((VerdictState, bool), UnixMicros)>,
}

impl Guard {
    /// `kept`: the decisions of earlier runs, newest first.
    pub(super) fn new<'a>(
        index: usize,
        service: Service,
        mut kept: impl Iterator<Item = &'a v1::Decision>,
        now: UnixMicros,
    ) -> Self {
        let condemns = |d: &&v1::Decision| decision::condemns(d, &service.name, &service.candidate);
        let condemned = kept.find(condemns).map(|decision| Condemned::resume(&service, decision.clone(), now));
        let mut guard = Guard {
            verdict: verdict::waiting(&service, format!("no requests to {} yet", service.candidate), now.0),
            index,
            service,
            trial: None,
            condemned,
            recent: Recent::default(),
            shown: None,
        };
        if let Some(condemned) = &guard.condemned {
            guard.verdict = condemned_verdict(condemned.decision(), now);
        }
        guard
    }

    /// The rollback that an earlier run decided but did not come to write.
    pub(super) fn unfinished(&self) -> Option<Effect> {
        let condemned = self.condemned.as_ref().filter(|condemned| condemned.is_writing())?;
        Some(Effect::RollBack { decision: condemned.decision().id, service: self.index })
    }

    pub(super) fn guards(&self, service: &str, release: &str) -> bool {
        self.service.name == service && self.service.candidate == release
    }

    pub(crate) fn service(&self) -> &Service {
        &self.service
    }

    pub(crate) fn verdict(&self) -> &v1::Verdict {
        &self.verdict
    }

    /// Takes one complete second. `id`: of the next decision.
    pub(super) fn judge(&mut self, second: u64, slices: &Slices, id: u64, now: UnixMicros) -> Vec<Effect> {
        let mut effects = match &mut self.condemned {
            Some(condemned) => condemned.watch(self.index, &self.service, second, slices.second(second), now),
            None => self.try_candidate(second, slices, id, now),
        };
        effects.extend(self.show(now));
        effects
    }

    /// The targets were written, or not.
    pub(super) fn written(&mut self, id: u64, results: &[Written], now: UnixMicros) -> Vec<Effect> {
        let condemned = self.condemned.as_mut().filter(|condemned| condemned.decision().id == id);
        condemned.map_or_else(Vec::new, |condemned| condemned.written(&self.service, results, now))
    }

    /// A person lifts the condemnation: the candidate is judged anew.
    ///
    /// # Errors
    /// When there is none, or its rollback is just being written.
    pub(super) fn clear(&mut self, now: UnixMicros) -> Result<Vec<Effect>, NotCleared> {
        let condemned = self.condemned.take_if(|condemned| !condemned.is_writing());
        let Some(condemned) = condemned else {
            return Err(if self.condemned.is_some() { NotCleared::Writing } else { NotCleared::NotCondemned });
        };
        let decision = condemned.into_cleared(now);
        self.begin_anew("cleared: judged anew", now);
        Ok(vec![Effect::Persist(decision), Effect::Publish(self.verdict.clone())])
    }

    /// Forgets the trial, because its seconds do not go on.
    pub(super) fn begin_anew(&mut self, why: &str, now: UnixMicros) {
        (self.trial, self.recent) = (None, Recent::default());
        if self.condemned.is_none() {
            self.verdict = verdict::waiting(&self.service, format!("{}: {why}", self.service.candidate), now.0);
        }
    }

    fn try_candidate(&mut self, second: u64, slices: &Slices, id: u64, now: UnixMicros) -> Vec<Effect> {
        let deltas = slices.second(second);
        self.recent.push(evidence::split(&self.service, second, deltas, UnixMicros(0)));
        let served =
            deltas.iter().any(|d| evidence::is_of(&self.service, d) && d.series.release == self.service.candidate);
        let over = |t: &OnTrial| second.saturating_sub(t.last_candidate) > TRIAL_ENDS_AFTER_S;
        if self.trial.as_ref().is_some_and(over) {
            self.begin_anew("no requests for 15 min, the trial is over", now);
        }
        if served && self.trial.is_none() {
            self.trial = Some(begin(&self.service, second, slices));
        }
        let Some(trial) = &mut self.trial else { return Vec::new() };
        if served {
            trial.last_candidate = second;
        }
        trial.observe(&self.service, second, deltas);
        let routes: Vec<_> = trial.routes.iter().map(|(name, trial)| (name.clone(), trial.verdict())).collect();
        self.verdict = verdict::combine(&self.service, &routes, &trial.pods, now.0);
        if self.verdict.state() == VerdictState::Regressed { self.condemn(id, now) } else { Vec::new() }
    }

    fn condemn(&mut self, id: u64, now: UnixMicros) -> Vec<Effect> {
        self.verdict.condemned = true;
        self.trial = None;
        let decision = decision::decide(id, self.verdict.clone(), now);
        let (condemned, effects) = Condemned::new(decision, self.index, std::mem::take(&mut self.recent), now);
        self.condemned = Some(condemned);
        effects
    }

    fn show(&mut self, now: UnixMicros) -> Option<Effect> {
        let state = (self.verdict.state(), self.verdict.condemned);
        let fresh = self.shown.is_some_and(|(shown, at)| shown == state && now.since(at) < SHOW_AGAIN);
        (!fresh).then(|| {
            self.shown = Some((state, now));
            Effect::Publish(self.verdict.clone())
        })
    }
}

/// A trial that knows the baseline's last minute, so that it has something to hold the first candidate request
/// against.
fn begin(service: &Service, second: u64, slices: &Slices) -> OnTrial {
    let names = if service.routes.is_empty() { vec![String::new()] } else { service.routes.clone() };
    let policy = service.policy.one_of(names.len());
    let first = second.saturating_sub(BASELINE_BEFORE_S);
    let routes = names.into_iter().map(|name| (name, Trial::new(policy, first))).collect();
    let mut trial = OnTrial { routes, pods: evidence::Pods::default(), last_candidate: second };
    for past in first..second {
        trial.observe(service, past, slices.second(past));
    }
    trial
}

fn condemned_verdict(decision: &v1::Decision, now: UnixMicros) -> v1::Verdict {
    let mut verdict = decision.verdict.clone().unwrap_or_default();
    verdict.unix_us = now.0;
    verdict.condemned = true;
    verdict
}
