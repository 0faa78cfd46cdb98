//! What a candidate's label is deployed as, for the engine, the status and those who read Events: pure.

use serin_kubernetes::{
    deployed::{Change, Deployed},
    discover::Pair,
    pods::{self, Seen, Set},
    release_guard::{DeployedSet, ReleaseGuard},
};

use crate::engine;

/// What is known of one ReleaseGuard from one time to the next.
#[derive(Clone, Debug, Default)]
pub(super) struct Redeployed {
    known: Option<Deployed>,
    /// The last one that came in the place of another one, as far as this run saw it.
    pub(super) anew: Option<Set>,
}

impl Redeployed {
    /// What the status tells of an earlier run.
    pub(super) fn of(guard: &ReleaseGuard) -> Self {
        let status = guard.status.as_ref();
        let known = status.and_then(|status| {
            let last = status.replica_set.clone()?;
            Some(Deployed::new(status.candidate.as_deref()?, Some(Set::from(last))))
        });
        Redeployed { known, anew: None }
    }

    /// For the status.
    pub(super) fn set(&self) -> Option<DeployedSet> {
        self.known.as_ref()?.set().map(DeployedSet::from)
    }

    /// Takes in the pods as they are. What the engine is to be told of the candidate.
    pub(super) fn look(&mut self, guard: &ReleaseGuard, pair: &Pair, pods: &[Seen]) -> Option<engine::Deployed> {
        let same = self.known.take().filter(|known| known.release() == pair.candidate);
        if same.is_none() {
            self.anew = None;
        }
        let known = self.known.insert(same.unwrap_or_else(|| Deployed::new(&pair.candidate, None)));
        let Change { set, is_other } = known.look(pods::of_service(pods, &guard.spec.service))?;
        let created = u64::try_from(set.created.as_second()).unwrap_or_default();
        let deployed = engine::Deployed { set: set.name.clone(), created, is_other };
        if is_other {
            self.anew = Some(set);
        }
        Some(deployed)
    }
}
