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
    /// Whether the engine was told what an earlier run knew: that may have ended before a condemnation could be lifted.
    is_told: bool,
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
        Redeployed { known, is_told: false, anew: None }
    }

    /// For the status: of this candidate.
    pub(super) fn set(&self, candidate: &str) -> Option<DeployedSet> {
        self.known.as_ref().filter(|known| known.release() == candidate)?.set().map(DeployedSet::from)
    }

    /// Takes in the pods as they are. What the engine is to be told of the candidate.
    pub(super) fn look(&mut self, guard: &ReleaseGuard, pair: &Pair, pods: &[Seen]) -> Option<engine::Deployed> {
        let same = self.known.take().filter(|known| known.release() == pair.candidate);
        if same.is_none() {
            self.anew = None;
        }
        let known = self.known.insert(same.unwrap_or_else(|| Deployed::new(&pair.candidate, None)));
        let change = known.look(pods::of_service(pods, &guard.spec.service));
        let was_told = std::mem::replace(&mut self.is_told, true);
        let of_before = || known.set().filter(|_| !was_told).map(|set| Change { set: set.clone(), is_other: false });
        let Change { set, is_other } = change.or_else(of_before)?;
        let created = u64::try_from(set.created.as_second()).unwrap_or_default();
        let deployed = engine::Deployed { set: set.name.clone(), created, is_other };
        if is_other {
            self.anew = Some(set);
        }
        Some(deployed)
    }
}
