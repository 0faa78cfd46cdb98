//! The one place where a rollback leaves the engine, or is held back.

use std::sync::Arc;

use super::{Effect, Engine, evidence};
use crate::{
    config::Service,
    safety::{Asked, Pause, Safety},
    time::UnixMicros,
};

impl Engine {
    /// Lets out what may be written now; what may not becomes an event of its decision.
    pub(super) fn let_out(&mut self, effects: Vec<Effect>, now: UnixMicros) -> Vec<Effect> {
        if !effects.iter().any(|effect| matches!(effect, Effect::RollBack { .. })) {
            return effects;
        }
        let mut out: Vec<Effect> = Vec::with_capacity(effects.len());
        for effect in effects {
            match self.why_held_back(&effect, now) {
                None => out.push(effect),
                Some((decision, said)) => {
                    // In place of the decision as it was before: each is kept and told once.
                    if said.is_some() {
                        out.retain(|before| !matches!(before, Effect::Persist(kept) if kept.id == decision));
                    }
                    out.extend(self.remember(said.into_iter().collect()));
                }
            }
        }
        out
    }

    /// The decision whose rollback may not be written now, and what is to be kept of that.
    fn why_held_back(&mut self, effect: &Effect, now: UnixMicros) -> Option<(u64, Option<Effect>)> {
        let Effect::RollBack { decision, service } = effect else { return None };
        // Nothing is written, so nothing needs to be held back.
        if service.rollback.dry_run || !service.rollback.has_targets() {
            return None;
        }
        let asked = Asked { decision: *decision, service: &service.name, candidate: &service.candidate };
        let is_fresh = || evidence::is_fresh(service, &self.slices, now);
        let why = self.safety.order(&asked, is_fresh, now).err()?.to_string();
        Some((*decision, self.guard_of(&service.name).and_then(|guard| guard.hold_back(*decision, &why, now))))
    }

    /// A person has nothing written from now on, or (`None`) has it written again. Whether that is news.
    pub fn pause(&mut self, pause: Option<Pause>) -> bool {
        self.safety.pause(pause)
    }

    /// What may be written.
    pub fn safety(&self) -> &Safety {
        &self.safety
    }
}

/// A service as it is guarded where nothing at all is to be written.
pub(super) fn as_allowed(safety: &Safety, service: Arc<Service>) -> Arc<Service> {
    if !safety.is_dry_run() || service.rollback.dry_run {
        return service;
    }
    let mut service = Arc::unwrap_or_clone(service);
    service.rollback.dry_run = true;
    Arc::new(service)
}
