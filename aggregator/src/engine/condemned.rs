//! A condemned candidate: its rollback is written, confirmed from the data plane, and written again when it comes
//! back.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use serin_proto::v1::{self, DecisionStage};

use super::{
    Effect, Written,
    confirm::{Confirm, Seen, Split},
    decision, evidence,
};
use crate::{
    config::{Rollback, Service},
    store::Second,
    time::UnixMicros,
};

/// A condemned candidate that is served in this many of the last 64 seconds is rolled back again.
const BACK_S: u32 = 3;
/// At most this often, so that a fight with another writer does not become a storm.
const WRITE_AGAIN: Duration = Duration::from_secs(30);
/// How many past seconds the split before a write is taken from.
const SPLIT_S: usize = 10;

/// The last seconds' splits.
#[derive(Clone, Debug, Default)]
pub(super) struct Recent(VecDeque<Split>);

impl Recent {
    pub(super) fn push(&mut self, split: Split) {
        self.0.push_back(split);
        self.0.drain(..self.0.len().saturating_sub(SPLIT_S));
    }

    fn sum(&self) -> Split {
        self.0.iter().fold(Split::default(), |sum, split| sum.plus(*split))
    }
}

#[derive(Debug)]
enum Phase {
    /// [`Effect::RollBack`] is on its way.
    Writing,
    /// It is not written yet, and is asked for again every second.
    HeldBack,
    /// Is it in effect?
    Confirming(Confirm),
    /// It is, or nothing was written: does the candidate come back?
    Standing,
    /// Another replica leads.
    Standby,
    /// It was held for long enough: nothing is written any more.
    Left,
}

/// The condemnation of one service's candidate.
#[derive(Debug)]
pub(super) struct Condemned {
    decision: v1::Decision,
    phase: Phase,
    last_write: UnixMicros,
    recent: Recent,
    /// One bit a second, the lowest is the last: was the candidate served?
    served: u64,
}

impl Condemned {
    /// A fresh decision, and what is to be done about it.
    pub(super) fn new(
        service: &Arc<Service>,
        mut decision: v1::Decision,
        recent: Recent,
        now: UnixMicros,
    ) -> (Self, Vec<Effect>) {
        let why_not = why_not(service, &decision);
        let holds = why_not.is_some();
        if let Some(sentence) = why_not {
            decision::record(&mut decision, DecisionStage::NotWritten, &sentence, now);
        }
        let roll_back = (!holds).then_some(Effect::RollBack { decision: decision.id, service: Arc::clone(service) });
        let effects = std::iter::once(Effect::Persist(decision.clone())).chain(roll_back).collect();
        let phase = if holds { Phase::Standing } else { Phase::Writing };
        (Condemned { decision, phase, last_write: now, recent, served: 0 }, effects)
    }

    /// Goes on where an earlier run left off.
    pub(super) fn resume(service: &Service, decision: v1::Decision, now: UnixMicros) -> Self {
        let has = |stage| decision::has(&decision, stage);
        let phase =
            match (may_write(service, &decision, now), has(DecisionStage::Written), has(DecisionStage::Confirmed)) {
                (true, false, _) => Phase::Writing,
                (true, true, false) => Phase::Confirming(confirm(service, Split::default(), now)),
                (true, true, true) => Phase::Standing,
                (false, _, _) if has(DecisionStage::NotWritten) || has(DecisionStage::Written) => Phase::Standing,
                (false, _, _) => Phase::Writing,
            };
        Condemned { decision, phase, last_write: UnixMicros(0), recent: Recent::default(), served: 0 }
    }

    pub(super) fn is_writing(&self) -> bool {
        matches!(self.phase, Phase::Writing)
    }

    /// Its rollback was ordered and may not be written now. Says so, unless that was the last thing that was said.
    pub(super) fn hold_back(&mut self, why: &str, now: UnixMicros) -> Option<Effect> {
        self.phase = Phase::HeldBack;
        let before = self.decision.events.len();
        decision::record(&mut self.decision, DecisionStage::NotWritten, why, now);
        (self.decision.events.len() > before).then(|| Effect::Persist(self.decision.clone()))
    }

    /// The order to write it was not carried out: it is asked for again.
    pub(super) fn dropped(&mut self) {
        if self.is_writing() {
            self.phase = Phase::HeldBack;
        }
    }

    pub(super) fn decision(&self) -> &v1::Decision {
        &self.decision
    }

    /// A person has lifted it.
    pub(super) fn into_cleared(mut self, now: UnixMicros) -> v1::Decision {
        decision::clear(&mut self.decision, now);
        self.decision
    }

    /// The targets were written, or not.
    pub(super) fn written(&mut self, service: &Service, results: &[Written], now: UnixMicros) -> Vec<Effect> {
        for result in results {
            let (stage, sentence) = result.stage();
            decision::record(&mut self.decision, stage, sentence, now);
        }
        if results.is_empty() {
            let sentence = "no rollback target is configured: nothing was written";
            decision::record(&mut self.decision, DecisionStage::NotWritten, sentence, now);
        }
        (self.last_write, self.served) = (now, 0);
        // What could not be written is tried again as long as the candidate is served.
        let any = |of: fn(&Written) -> bool| results.iter().any(of);
        self.phase = match () {
            () if any(|result| matches!(result, Written::Done(_))) => {
                Phase::Confirming(confirm(service, self.recent.sum(), now))
            }
            () if any(|result| matches!(result, Written::Standby(_))) => Phase::Standby,
            () if any(|result| matches!(result, Written::Left(_))) => Phase::Left,
            () => Phase::Standing,
        };
        vec![Effect::Persist(self.decision.clone())]
    }

    /// This replica leads from now on. Who led before may not have come to write it: written again is the same.
    pub(super) fn lead(&mut self, service: &Arc<Service>, now: UnixMicros) -> Option<Effect> {
        if matches!(self.phase, Phase::Writing | Phase::Left) || !may_write(service, &self.decision, now) {
            return None;
        }
        (self.phase, self.last_write) = (Phase::Writing, now);
        Some(Effect::RollBack { decision: self.decision.id, service: Arc::clone(service) })
    }

    /// Whether its objects are to be held as they were written, and since when.
    pub(super) fn held(&self, service: &Service) -> Option<UnixMicros> {
        let is_held = !service.rollback.objects.is_empty()
            && !service.rollback.dry_run
            && !service.rollback.only_tells
            && !matches!(self.phase, Phase::Standby | Phase::Left);
        decision::first_written(&self.decision).filter(|_| is_held).map(UnixMicros)
    }

    /// Its objects are to be written again, by who holds them: so that nobody else does meanwhile, nor clears it. `false`: not now.
    pub(super) fn again(&mut self) -> bool {
        let may = matches!(self.phase, Phase::Confirming(_) | Phase::Standing);
        if may {
            self.phase = Phase::Writing;
        }
        may
    }

    /// Takes one complete second.
    pub(super) fn watch(&mut self, service: &Arc<Service>, second: u64, seen: &Second, now: UnixMicros) -> Vec<Effect> {
        let split = evidence::split(service, second, seen, self.last_write);
        self.recent.push(split);
        self.served = self.served << 1 | u64::from(split.candidate > 0);
        let told = match &mut self.phase {
            Phase::Writing | Phase::Standby | Phase::Left => return Vec::new(),
            Phase::HeldBack => {
                self.phase = Phase::Writing;
                return vec![Effect::RollBack { decision: self.decision.id, service: Arc::clone(service) }];
            }
            Phase::Standing => None,
            Phase::Confirming(confirm) => match confirm.observe(second, split) {
                Seen::Waiting if confirm.overdue() => None,
                Seen::Waiting => return Vec::new(),
                Seen::Zero { after } => {
                    (self.phase, self.served) = (Phase::Standing, 0);
                    let sentence = format!("candidate share 0.0% after {:.1} s", after.as_secs_f64());
                    Some((DecisionStage::Confirmed, sentence))
                }
                Seen::NotInEffect { recent } => Some((DecisionStage::NotInEffect, not_in_effect(service, recent))),
            },
        };
        if let Some((stage, sentence)) = told {
            decision::record(&mut self.decision, stage, &sentence, now);
            return vec![Effect::Persist(self.decision.clone())];
        }
        self.enforce(service, now)
    }

    fn enforce(&mut self, service: &Arc<Service>, now: UnixMicros) -> Vec<Effect> {
        let is_back = self.served.count_ones() >= BACK_S && now.since(self.last_write) >= WRITE_AGAIN;
        if !is_back {
            return Vec::new();
        }
        if is_over(service, &self.decision, now) {
            self.phase = Phase::Left;
            decision::record(&mut self.decision, DecisionStage::NotInEffect, &left(service), now);
            return vec![Effect::Persist(self.decision.clone())];
        }
        if !may_write(service, &self.decision, now) {
            return Vec::new();
        }
        self.phase = Phase::Writing;
        self.last_write = now;
        let share = self.recent.sum().share().unwrap_or_default() * 100.0;
        let sentence = format!(
            "{} is condemned and gets {share:.1}% of the requests: writing the rollback again",
            service.candidate
        );
        decision::record(&mut self.decision, DecisionStage::NotInEffect, &sentence, now);
        let again = Effect::RollBack { decision: self.decision.id, service: Arc::clone(service) };
        vec![Effect::Persist(self.decision.clone()), again]
    }
}

/// Whether its rollback is written.
fn may_write(service: &Service, decision: &v1::Decision, now: UnixMicros) -> bool {
    let Rollback { dry_run, .. } = service.rollback;
    !dry_run
        && service.rollback.has_targets()
        && why_not(service, decision).is_none()
        && !is_over(service, decision, now)
}

/// Whether its objects are left to those who write the old weights back. Files are put right as long as it is condemned.
fn is_over(service: &Service, decision: &v1::Decision, now: UnixMicros) -> bool {
    let Rollback { objects, targets, hold, .. } = &service.rollback;
    let is_held_for = |since| now.since(UnixMicros(since)) >= *hold;
    targets.is_empty() && !objects.is_empty() && decision::first_written(decision).is_some_and(is_held_for)
}

fn left(service: &Service) -> String {
    format!(
        "{} is condemned and gets requests again: it was held out of traffic for {:#} (rollback.hold) and is left to others now; take it out \
         by hand, or clear it",
        service.candidate,
        jiff::SignedDuration::try_from(service.rollback.hold).unwrap_or_default()
    )
}

/// Why nothing is written, whatever the targets: somebody only wants to be told, or there may be no baseline to send requests to.
fn why_not(service: &Service, decision: &v1::Decision) -> Option<String> {
    let without_baseline = decision.verdict.as_ref().is_some_and(|verdict| verdict.without_baseline);
    if service.rollback.only_tells {
        Some(format!(
            "told, not rolled back: rollback.action is notify; {} keeps its weight until somebody changes it",
            decision.candidate
        ))
    } else if without_baseline && !service.rollback.without_baseline {
        Some(format!(
            "not rolled back: {} had no requests when this was decided, so it may have no pods; where they are kept running after a \
             promotion, set rollback.without_baseline: true",
            decision.baseline
        ))
    } else {
        None
    }
}

fn confirm(service: &Service, before: Split, now: UnixMicros) -> Confirm {
    Confirm::new(now, service.rollback.confirm_within, before)
}

fn not_in_effect(service: &Service, recent: Split) -> String {
    let (within, candidate) = (service.rollback.confirm_within.as_secs(), &service.candidate);
    match (recent.candidate, recent.others) {
        (0, 0) => format!("not known whether the rollback took effect: no requests {within} s after it was written"),
        (0, others) => format!(
            "not known yet whether the rollback took effect: {candidate} got none of the last {others} requests, too few \
             to be sure"
        ),
        _ => format!(
            "the rollback did not take effect: {within} s after it was written {candidate} still gets {:.1}% of the \
             requests; check that the proxies read what was written, and whether a route was left alone",
            recent.share().unwrap_or_default() * 100.0
        ),
    }
}
