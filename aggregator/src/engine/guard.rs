//! Guards one service: runs its trial, and once the candidate is condemned sees to it that it gets no requests.

use std::time::Duration;

use serin_judge::Trial;
use serin_proto::v1::{self, DecisionStage, VerdictState};

use super::{
    Effect, Written,
    confirm::{Confirm, Seen, Split},
    decision, evidence, verdict,
};
use crate::{config::Service, report::Delta, store::Slices, time::UnixMicros};

/// A verdict that does not change is shown again this often.
const SHOW_AGAIN: Duration = Duration::from_secs(10);
/// A trial ends when its candidate got no requests for this long; its next request begins a new one.
const TRIAL_ENDS_AFTER_S: u64 = 900;
/// How much of the baseline's past a new trial begins with: what its thresholds look back on.
const BASELINE_BEFORE_S: u64 = 60;
/// A condemned candidate that is served in this many seconds in a row is rolled back again.
const BACK_S: u32 = 3;
/// At most this often, so that a fight with another writer does not become a storm.
const WRITE_AGAIN: Duration = Duration::from_secs(30);
/// How many past seconds the split before a write is taken from.
const SPLIT_S: usize = 10;

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

#[derive(Debug)]
enum Phase {
    /// [`Effect::RollBack`] is on its way.
    Writing,
    /// Is it in effect?
    Confirming(Confirm),
    /// It was, or nothing was to be written: does the candidate come back?
    Standing,
}

#[derive(Debug)]
struct Condemned {
    decision: v1::Decision,
    phase: Phase,
    last_write: UnixMicros,
    back_s: u32,
}

/// Guards one service.
#[derive(Debug)]
pub(crate) struct Guard {
    index: usize,
    service: Service,
    trial: Option<OnTrial>,
    condemned: Option<Condemned>,
    recent: std::collections::VecDeque<Split>,
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
        let condemned = kept.find(condemns).map(|decision| Condemned {
            phase: resume(&service, decision, now),
            decision: decision.clone(),
            last_write: UnixMicros(0),
            back_s: 0,
        });
        let mut guard = Guard {
            verdict: verdict::waiting(&service, format!("no requests to {} yet", service.candidate), now.0),
            index,
            service,
            trial: None,
            condemned,
            recent: std::collections::VecDeque::new(),
            shown: None,
        };
        if let Some(condemned) = &guard.condemned {
            guard.verdict = condemned_verdict(&condemned.decision, now);
        }
        guard
    }

    /// The rollback that an earlier run decided but did not come to write.
    pub(super) fn unfinished(&self) -> Option<Effect> {
        let condemned = self.condemned.as_ref().filter(|c| matches!(c.phase, Phase::Writing))?;
        Some(Effect::RollBack { decision: condemned.decision.id, service: self.index })
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
        let deltas = slices.second(second);
        let split = evidence::split(&self.service, deltas);
        if self.condemned.is_none() {
            self.recent.push_back(split);
            self.recent.drain(..self.recent.len().saturating_sub(SPLIT_S));
        }
        let mut effects = match &mut self.condemned {
            Some(condemned) => watch(condemned, self.index, &self.service, second, split, now),
            None => self.try_candidate(second, slices, id, now),
        };
        effects.extend(self.show(now));
        effects
    }

    /// The targets were written, or not.
    pub(super) fn written(&mut self, id: u64, results: &[Written], now: UnixMicros) -> Vec<Effect> {
        let Some(condemned) = self.condemned.as_mut().filter(|c| c.decision.id == id) else { return Vec::new() };
        for result in results {
            let (stage, sentence) = result.stage();
            decision::record(&mut condemned.decision, stage, sentence, now);
        }
        if results.is_empty() {
            let sentence = "no rollback target is configured: nothing was written";
            decision::record(&mut condemned.decision, DecisionStage::Written, sentence, now);
        }
        condemned.last_write = now;
        let stands = results.iter().all(|r| matches!(r, Written::DryRun(_)));
        condemned.phase = if stands {
            Phase::Standing
        } else {
            let before = self.recent.iter().fold(Split::default(), |sum, split| sum.plus(*split));
            Phase::Confirming(Confirm::new(now, self.service.rollback.confirm_within, before))
        };
        vec![Effect::Persist(condemned.decision.clone())]
    }

    /// A person lifts the condemnation: the candidate is judged anew. `None` when there is none.
    pub(super) fn clear(&mut self, now: UnixMicros) -> Option<Vec<Effect>> {
        let mut condemned = self.condemned.take()?;
        let sentence = format!("{} may take traffic again", self.service.candidate);
        decision::record(&mut condemned.decision, DecisionStage::Cleared, &sentence, now);
        self.trial = None;
        self.recent.clear();
        self.verdict = verdict::waiting(&self.service, format!("{sentence}: judged anew"), now.0);
        Some(vec![Effect::Persist(condemned.decision), Effect::Publish(self.verdict.clone())])
    }

    fn try_candidate(&mut self, second: u64, slices: &Slices, id: u64, now: UnixMicros) -> Vec<Effect> {
        let deltas = slices.second(second);
        let served =
            deltas.iter().any(|d| evidence::is_of(&self.service, d) && d.series.release == self.service.candidate);
        let over = |t: &OnTrial| second.saturating_sub(t.last_candidate) > TRIAL_ENDS_AFTER_S;
        if self.trial.as_ref().is_some_and(over) {
            self.trial = None;
            let sentence = format!("no requests to {} for 15 min: the trial is over", self.service.candidate);
            self.verdict = verdict::waiting(&self.service, sentence, now.0);
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
        let before = self.verdict.state();
        self.verdict = verdict::combine(&self.service, &routes, now.0);
        if self.verdict.state() != VerdictState::Regressed || before == VerdictState::Regressed {
            return Vec::new();
        }
        self.condemn(id, now)
    }

    fn condemn(&mut self, id: u64, now: UnixMicros) -> Vec<Effect> {
        self.verdict.condemned = true;
        let decision = decision::decide(id, self.verdict.clone(), now);
        self.trial = None;
        let persist = Effect::Persist(decision.clone());
        self.condemned = Some(Condemned { decision, phase: Phase::Writing, last_write: now, back_s: 0 });
        vec![persist, Effect::RollBack { decision: id, service: self.index }]
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

/// Where an earlier run left off.
fn resume(service: &Service, kept: &v1::Decision, now: UnixMicros) -> Phase {
    let has = |stage| decision::has(kept, stage);
    if !has(DecisionStage::Written) && !has(DecisionStage::Failed) {
        Phase::Writing
    } else if has(DecisionStage::Confirmed) || service.rollback.dry_run {
        Phase::Standing
    } else {
        Phase::Confirming(Confirm::new(now, service.rollback.confirm_within, Split::default()))
    }
}

fn condemned_verdict(decision: &v1::Decision, now: UnixMicros) -> v1::Verdict {
    let mut verdict = decision.verdict.clone().unwrap_or_default();
    verdict.unix_us = now.0;
    verdict.condemned = true;
    verdict
}

fn watch(
    condemned: &mut Condemned,
    index: usize,
    service: &Service,
    second: u64,
    split: Split,
    now: UnixMicros,
) -> Vec<Effect> {
    condemned.back_s = if split.candidate > 0 { condemned.back_s + 1 } else { 0 };
    let stage = match &mut condemned.phase {
        Phase::Writing => return Vec::new(),
        Phase::Standing => None,
        Phase::Confirming(confirm) => match confirm.observe(second, split) {
            Seen::Waiting if confirm.overdue() => None,
            Seen::Waiting => return Vec::new(),
            Seen::Zero { after } => {
                condemned.phase = Phase::Standing;
                let sentence = format!("candidate share 0.0% after {:.1} s", after.as_secs_f64());
                Some((DecisionStage::Confirmed, sentence))
            }
            Seen::NotInEffect { share } => Some((DecisionStage::NotInEffect, not_in_effect(service, share))),
        },
    };
    if let Some((stage, sentence)) = stage {
        decision::record(&mut condemned.decision, stage, &sentence, now);
        return vec![Effect::Persist(condemned.decision.clone())];
    }
    let write_again = !service.rollback.dry_run && !service.rollback.targets.is_empty();
    if write_again && condemned.back_s >= BACK_S && now.since(condemned.last_write) >= WRITE_AGAIN {
        condemned.phase = Phase::Writing;
        condemned.last_write = now;
        return vec![Effect::RollBack { decision: condemned.decision.id, service: index }];
    }
    Vec::new()
}

fn not_in_effect(service: &Service, share: Option<f64>) -> String {
    let within = service.rollback.confirm_within.as_secs();
    match share {
        Some(share) => format!(
            "the rollback did not take effect: {within} s after it was written {} still gets {:.1}% of the requests; \
             check that the proxies read what was written",
            service.candidate,
            share * 100.0
        ),
        None => {
            format!("not known whether the rollback took effect: no requests in the {within} s after it was written")
        }
    }
}
