//! A candidate's label is deployed anew: what was counted before is of another release, and so is what was condemned.

use super::{Guard, decision};
use crate::{
    engine::{Deployed, Effect},
    time::UnixMicros,
};

impl Guard {
    /// Its trial begins anew, here or wherever else it is judged.
    pub(in crate::engine) fn deployed(&mut self, deployed: Deployed, is_judged: bool, now: UnixMicros) -> Vec<Effect> {
        let mut effects = Vec::new();
        if deployed.is_other {
            self.begins(now);
        }
        if deployed.is_other && is_judged && self.condemned.is_none() {
            self.begin_anew(&format!("{}, judged anew", said(&deployed)), now);
            effects.push(Effect::Publish(self.verdict.clone()));
        }
        self.deployed = Some(deployed);
        if is_judged {
            effects.extend(self.acquit(now));
        }
        effects
    }

    /// Lifts the condemnation of what was deployed before. A rollback that is just being written is waited for. What was there when it was
    /// condemned may have been what was bad, though the one before was there as well: it stays so.
    pub(super) fn acquit(&mut self, now: UnixMicros) -> Vec<Effect> {
        let Some(deployed) = self.deployed.take() else { return Vec::new() };
        match &self.condemned {
            Some(condemned) if condemned.is_writing() => {
                self.deployed = Some(deployed);
                Vec::new()
            }
            Some(condemned) if deployed.created > UnixMicros(condemned.decision().unix_us).second() => {
                let (candidate, said) = (&self.service.candidate, said(&deployed));
                let sentence = format!("{candidate} was {said}: {}", decision::may_come(candidate));
                self.lift(&sentence, &format!("{said}, cleared and judged anew"), now).unwrap_or_default()
            }
            _ => Vec::new(),
        }
    }
}

fn said(deployed: &Deployed) -> String {
    format!("deployed anew (ReplicaSet {})", deployed.set)
}
