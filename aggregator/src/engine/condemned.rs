//! A condemned candidate: its rollback is written, confirmed from the data plane, and written again when it comes
//! back.

mod sentence;

use std::{sync::Arc, time::Duration};

use serin_proto::v1::{self, DecisionStage, Vantage};

use super::{
    Effect, Written,
    confirm::{Confirm, Seen},
    decision,
    shares::{self, Recent},
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
/// What cannot be written, and what there is nothing to write of, is tried again after twice as long each time, in the end this often.
const WRITE_AGAIN_MAX: Duration = Duration::from_secs(15 * 60);
#[derive(Debug)]
enum Phase {
    /// [`Effect::RollBack`] is on its way.
    Writing,
    /// It is not written yet, and is asked for again every second.
    HeldBack,
    /// It is written, or cannot be, or is not to be: is the candidate served?
    Watching,
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
    /// Until it is known that the candidate gets nothing.
    confirm: Option<Confirm>,
    last_write: UnixMicros,
    /// How many writes in a row changed nothing.
    in_vain: u32,
    /// Whether the last write left the targets as they are to be.
    in_place: bool,
    /// Whether it is being written because the candidate is served all the same.
    is_back: bool,
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
        let why_not = sentence::why_not(service, &decision);
        let holds = why_not.is_some();
        if let Some(sentence) = why_not {
            decision::record(&mut decision, DecisionStage::NotWritten, &sentence, now);
        }
        let roll_back = (!holds).then_some(Effect::RollBack { decision: decision.id, service: Arc::clone(service) });
        let effects = std::iter::once(Effect::Persist(decision.clone())).chain(roll_back).collect();
        let phase = if holds { Phase::Watching } else { Phase::Writing };
        (Condemned { last_write: now, recent, ..Condemned::at(phase, decision) }, effects)
    }

    /// Goes on where an earlier run left off.
    pub(super) fn resume(service: &Service, decision: v1::Decision, now: UnixMicros) -> Self {
        let has = |stage| decision::has(&decision, stage);
        let is_written = has(DecisionStage::Written);
        let phase = match may_write(service, &decision, now) {
            true if is_written => Phase::Watching,
            false if is_written || has(DecisionStage::NotWritten) => Phase::Watching,
            _ => Phase::Writing,
        };
        let is_open = is_written && decision.events.last().is_some_and(|last| last.stage() != DecisionStage::Confirmed);
        let confirm = is_open.then(|| confirm(service, &Recent::default(), now));
        Condemned { confirm, in_place: is_written, ..Condemned::at(phase, decision) }
    }

    fn at(phase: Phase, decision: v1::Decision) -> Self {
        let (last_write, recent) = (UnixMicros(0), Recent::default());
        let (confirm, in_vain, in_place, is_back, served) = (None, 0, false, false, 0);
        Condemned { decision, phase, confirm, last_write, in_vain, in_place, is_back, recent, served }
    }

    pub(super) fn is_writing(&self) -> bool {
        matches!(self.phase, Phase::Writing)
    }

    /// Its rollback was ordered and may not be written now. Says so, unless that was the last thing that was said.
    pub(super) fn hold_back(&mut self, why: &str, now: UnixMicros) -> Option<Effect> {
        self.phase = Phase::HeldBack;
        self.say(DecisionStage::NotWritten, why, now)
    }

    /// What is to be kept, where that is news.
    fn say(&mut self, stage: DecisionStage, sentence: &str, now: UnixMicros) -> Option<Effect> {
        decision::record(&mut self.decision, stage, sentence, now).then(|| Effect::Persist(self.decision.clone()))
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

    /// It is lifted.
    pub(super) fn into_cleared(mut self, sentence: &str, now: UnixMicros) -> v1::Decision {
        decision::record(&mut self.decision, DecisionStage::Cleared, sentence, now);
        self.decision
    }

    /// The targets were written, or not.
    pub(super) fn written(&mut self, service: &Service, results: &[Written], now: UnixMicros) -> Vec<Effect> {
        let any = |of: fn(&Written) -> bool| results.iter().any(of);
        let is_useless = std::mem::take(&mut self.is_back) && self.in_place;
        for result in results {
            let (stage, sentence) = result.stage();
            match result {
                Written::InEffect(said) if is_useless => {
                    let sentence = sentence::useless(service, said);
                    decision::record(&mut self.decision, DecisionStage::NotInEffect, &sentence, now)
                }
                _ => decision::record(&mut self.decision, stage, sentence, now),
            };
        }
        if results.is_empty() {
            decision::record(&mut self.decision, DecisionStage::NotWritten, &sentence::without_targets(service), now);
        }
        (self.last_write, self.served) = (now, 0);
        let is_changed = any(|result| matches!(result, Written::Done(_)));
        self.in_vain = if is_changed { 0 } else { self.in_vain.saturating_add(1) };
        let is_in_place = is_changed || any(|result| matches!(result, Written::InEffect(_)));
        let goes_on = !is_changed && is_in_place == self.in_place;
        self.in_place = is_in_place;
        self.phase = match () {
            // What could not be written is tried again as long as the candidate is served.
            () if self.in_place => Phase::Watching,
            () if any(|result| matches!(result, Written::Standby(_))) => Phase::Standby,
            () if any(|result| matches!(result, Written::Left(_))) => Phase::Left,
            () => Phase::Watching,
        };
        let has_failed = any(|result| matches!(result, Written::Failed(_)));
        let is_open = self.in_place || has_failed || matches!(self.phase, Phase::Left);
        if self.confirm.is_none() || !goes_on {
            let before = std::mem::take(&mut self.recent);
            self.confirm = is_open.then(|| confirm(service, &before, now));
        }
        // In any case: without effects it would be taken for the answer to a decision that nobody guards any more.
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
        let may = matches!(self.phase, Phase::Watching);
        if may {
            self.phase = Phase::Writing;
        }
        may
    }

    /// Takes one complete second.
    pub(super) fn watch(&mut self, service: &Arc<Service>, second: u64, seen: &Second, now: UnixMicros) -> Vec<Effect> {
        let shares = shares::of(service, second, seen, self.last_write);
        self.served = self.served << 1 | u64::from(shares.whole.candidate > 0);
        // What was before the write tells nothing of what came of it.
        if UnixMicros::from_second(second + 1) > self.last_write {
            self.recent.push(shares.clone());
        }
        match self.phase {
            Phase::Writing | Phase::Standby => return Vec::new(),
            Phase::HeldBack => {
                self.phase = Phase::Writing;
                return vec![Effect::RollBack { decision: self.decision.id, service: Arc::clone(service) }];
            }
            Phase::Watching | Phase::Left => {}
        }
        let is_left = matches!(self.phase, Phase::Left);
        // Otherwise it is known that it had no effect.
        let is_asked = self.in_place && !is_left;
        let seen = self.confirm.as_mut().map(|confirm| (confirm.observe(second, &shares), confirm.overdue()));
        let told = match seen {
            Some((Seen::Zero { after }, _)) => {
                self.list_sources();
                let how = self.confirm.take().map(|confirm| confirm.how(&confirm.lately(&self.recent)));
                let how = how.unwrap_or_default();
                self.served = 0;
                Some((DecisionStage::Confirmed, sentence::zero(service, after, &how, self.in_place, is_left)))
            }
            Some((Seen::NotInEffect, _)) if is_asked => {
                self.list_sources();
                self.confirm.as_ref().map(|confirm| {
                    let lately = confirm.lately(&self.recent);
                    sentence::overdue(service, lately.whole, confirm.who(&lately, &service.candidate))
                })
            }
            Some((Seen::Waiting, false)) if is_asked => return Vec::new(),
            _ => None,
        };
        match told {
            Some((stage, sentence)) => self.say(stage, &sentence, now).into_iter().collect(),
            None => self.enforce(service, now),
        }
    }

    /// Puts down who stopped and who did not.
    fn list_sources(&mut self) {
        if let Some(confirm) = &self.confirm {
            self.decision.sources = confirm.sources(&confirm.lately(&self.recent));
        }
    }

    /// How long after the last write the next one may be.
    fn pause(&self) -> Duration {
        let doubled = 2_u32.saturating_pow(self.in_vain.saturating_sub(1));
        WRITE_AGAIN.saturating_mul(doubled).min(WRITE_AGAIN_MAX)
    }

    fn enforce(&mut self, service: &Arc<Service>, now: UnixMicros) -> Vec<Effect> {
        let is_back = self.served.count_ones() >= BACK_S && now.since(self.last_write) >= self.pause();
        if !is_back {
            return Vec::new();
        }
        if matches!(self.phase, Phase::Left) || is_over(service, &self.decision, now) {
            self.phase = Phase::Left;
            self.confirm.get_or_insert_with(|| confirm(service, &self.recent, now));
            return self.say(DecisionStage::NotInEffect, &sentence::left(service), now).into_iter().collect();
        }
        if !may_write(service, &self.decision, now) {
            return Vec::new();
        }
        (self.phase, self.is_back, self.last_write) = (Phase::Writing, true, now);
        self.list_sources();
        let said = self.say(DecisionStage::NotInEffect, &sentence::again(service, &self.recent.sum()), now);
        let again = Effect::RollBack { decision: self.decision.id, service: Arc::clone(service) };
        said.into_iter().chain([again]).collect()
    }
}

/// Whether its rollback is written.
fn may_write(service: &Service, decision: &v1::Decision, now: UnixMicros) -> bool {
    let Rollback { dry_run, .. } = service.rollback;
    !dry_run
        && service.rollback.has_targets()
        && sentence::why_not(service, decision).is_none()
        && !is_over(service, decision, now)
}

/// Whether its objects are left to those who write the old weights back. Files are put right as long as it is condemned.
fn is_over(service: &Service, decision: &v1::Decision, now: UnixMicros) -> bool {
    let Rollback { objects, targets, hold, .. } = &service.rollback;
    let is_held_for = |since| now.since(UnixMicros(since)) >= *hold;
    targets.is_empty() && !objects.is_empty() && decision::first_written(decision).is_some_and(is_held_for)
}

fn confirm(service: &Service, before: &Recent, now: UnixMicros) -> Confirm {
    Confirm::new(now, service.rollback.confirm_within, before, service.vantage != Vantage::Inbound)
}
