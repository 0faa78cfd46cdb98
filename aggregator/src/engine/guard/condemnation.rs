//! The condemnation of a candidate, from the decision until it is lifted.

use std::sync::Arc;

use serin_proto::v1;

use super::Guard;
use crate::{
    engine::{Effect, Held, NotCleared, Written, condemned::Condemned, decision},
    time::UnixMicros,
};

impl Guard {
    /// The rollback that an earlier run decided but did not come to write.
    pub(in crate::engine) fn unfinished(&self) -> Option<Effect> {
        let condemned = self.condemned.as_ref().filter(|condemned| condemned.is_writing())?;
        Some(Effect::RollBack { decision: condemned.decision().id, service: Arc::clone(&self.service) })
    }

    /// What another aggregator decided and did not come to write. It is kept anew before: what cannot be kept is not acted on.
    pub(in crate::engine) fn take_up(&self) -> Vec<Effect> {
        let Some(roll_back) = self.unfinished() else { return Vec::new() };
        let decision = self.condemned.iter().map(|condemned| Effect::Persist(condemned.decision().clone()));
        decision.chain([roll_back]).collect()
    }

    /// The order to write its rollback was not carried out.
    pub(in crate::engine) fn dropped(&mut self, id: u64) {
        let condemned = self.condemned.as_mut().filter(|condemned| condemned.decision().id == id);
        condemned.into_iter().for_each(Condemned::dropped);
    }

    /// The rollback of its decision may not be written now.
    pub(in crate::engine) fn hold_back(&mut self, id: u64, why: &str, now: UnixMicros) -> Option<Effect> {
        let condemned = self.condemned.as_mut().filter(|condemned| condemned.decision().id == id);
        condemned.and_then(|condemned| condemned.hold_back(why, now))
    }

    /// The decision by which its candidate is condemned.
    pub(in crate::engine) fn condemnation(&self) -> Option<&v1::Decision> {
        self.condemned.as_ref().map(Condemned::decision)
    }

    /// Whether its candidate is condemned.
    pub(in crate::engine) fn is_condemned(&self) -> bool {
        self.condemned.is_some()
    }

    /// The targets were written, or not.
    pub(in crate::engine) fn written(&mut self, id: u64, results: &[Written], now: UnixMicros) -> Vec<Effect> {
        let condemned = self.condemned.as_mut().filter(|condemned| condemned.decision().id == id);
        condemned.map_or_else(Vec::new, |condemned| condemned.written(&self.service, results, now))
    }

    /// This replica leads from now on.
    pub(in crate::engine) fn lead(&mut self, now: UnixMicros) -> Option<Effect> {
        self.condemned.as_mut().and_then(|condemned| condemned.lead(&self.service, now))
    }

    /// Its rollback, where it is to be held in a cluster.
    pub(in crate::engine) fn held(&self) -> Option<Held> {
        let condemned = self.condemned.as_ref()?;
        let since = condemned.held(&self.service)?;
        Some(Held { decision: condemned.decision().id, service: Arc::clone(&self.service), since })
    }

    /// Its objects are to be written again.
    pub(in crate::engine) fn again(&mut self, id: u64) -> bool {
        let condemned = self.condemned.as_mut().filter(|condemned| condemned.decision().id == id);
        condemned.is_some_and(Condemned::again)
    }

    /// A person lifts the condemnation: the candidate is judged anew.
    ///
    /// # Errors
    /// When there is none, or its rollback is just being written.
    pub(in crate::engine) fn clear(&mut self, now: UnixMicros) -> Result<Vec<Effect>, NotCleared> {
        let sentence = decision::may_come(&self.service.candidate);
        self.lift(&sentence, "cleared: judged anew", now)
    }

    pub(super) fn lift(&mut self, sentence: &str, why: &str, now: UnixMicros) -> Result<Vec<Effect>, NotCleared> {
        let condemned = self.condemned.take_if(|condemned| !condemned.is_writing());
        let Some(condemned) = condemned else {
            return Err(if self.condemned.is_some() { NotCleared::Writing } else { NotCleared::NotCondemned });
        };
        let decision = condemned.into_cleared(sentence, now);
        self.begins(now);
        self.begin_anew(why, now);
        Ok(vec![Effect::Persist(decision), Effect::Publish(self.verdict.clone())])
    }

    pub(super) fn condemn(&mut self, id: u64, now: UnixMicros) -> Vec<Effect> {
        self.verdict.condemned = true;
        self.ended = self.trial.take().map(|running| Arc::new(running.recording));
        let decision = decision::decide(id, self.verdict.clone(), now);
        let recent = std::mem::take(&mut self.recent);
        let (condemned, mut effects) = Condemned::new(&self.service, decision, recent, now);
        effects.extend(self.ended.clone().map(|recording| Effect::Record { decision: id, recording }));
        self.condemned = Some(condemned);
        effects
    }
}
