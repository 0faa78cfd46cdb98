//! From what the watches have to what the engine is told: pure.
//!
//! ReleaseGuards -> who guards which service -> [`reconcile`] each -> services -> what changed since the last time.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt as _;
use serin_kubernetes::{
    clocks::Clocks,
    discover::Pair,
    object::ObjectRef,
    pods::{self, Seen},
    reconcile::{self, Around, Outcome, Target, Unready, full_name, reconcile},
    release_guard::{ReleaseGuard, TargetRef},
};

use super::{
    earlier::Earlier,
    redeployed::Redeployed,
    service,
    weighed::{Weighed, share_of},
};
use crate::{
    config::Service,
    engine::{Event, Starts},
};

/// More ReleaseGuards than services in a `serin.yaml` are a mistake, too.
const MAX_GUARDS: usize = 1_000;

/// Reasons that ask for nothing.
const GUARDING: &str = "Guarding";
const ONE_RELEASE: &str = "OneRelease";

/// What the condition `Ready` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ready {
    pub(super) is_ready: bool,
    pub(super) reason: &'static str,
    pub(super) message: String,
}

/// What is known of a ReleaseGuard from one time to the next.
#[derive(Clone, Debug)]
pub(super) struct Kept {
    pub(super) guard: Arc<ReleaseGuard>,
    pub(super) ready: Ready,
    /// What is judged.
    pub(super) pair: Option<Pair>,
    /// Whether its candidate has all requests.
    pub(super) promoted: bool,
    service: Option<Arc<Service>>,
    starts: Starts,
    /// The trial that an earlier run left, until the engine is told of it.
    earlier: Option<Earlier>,
    pub(super) redeployed: Redeployed,
}

/// The pods of a namespace; `None`: not known yet.
type PodsOf<'a> = dyn Fn(&str) -> Option<Result<&'a [Seen], &'a str>> + 'a;

/// What the watches have. `None` of anything: it is not known yet.
pub(super) struct World<'a> {
    pub(super) guards: Vec<Arc<ReleaseGuard>>,
    /// Those that are there and cannot be read.
    pub(super) unread: BTreeSet<String>,
    /// Of a namespace.
    pub(super) target: &'a dyn Fn(&str, &TargetRef) -> Option<Target>,
    pub(super) pods: &'a PodsOf<'a>,
    /// Whether an object is still so, as far as is known.
    pub(super) is_current: &'a dyn Fn(&ObjectRef) -> bool,
    pub(super) now: Timestamp,
}

/// All ReleaseGuards, and what the engine was told.
#[derive(Debug, Default)]
pub(super) struct Guards {
    kept: BTreeMap<String, Kept>,
    told: BTreeMap<String, Arc<Service>>,
    /// When their pods were started, as the engine was told.
    starts: BTreeMap<String, Starts>,
    weighed: Weighed,
    /// Services that the configuration guards.
    configured: BTreeSet<String>,
    clocks: Clocks,
}

impl Ready {
    pub(super) fn guarding(pair: &Pair) -> Self {
        let message = format!("{} is judged against {}", pair.candidate, pair.baseline);
        Ready { is_ready: true, reason: GUARDING, message }
    }

    /// Whether nobody needs to mend anything. Between two trials there is one release.
    pub(super) fn is_well(&self) -> bool {
        self.is_ready && self.reason == GUARDING || self.reason == ONE_RELEASE
    }

    fn of(is_ready: bool, why: &Unready) -> Self {
        Ready { is_ready, reason: why.reason(), message: why.to_string() }
    }
}

impl Kept {
    /// Once, as soon as it is guarded.
    fn restarted(&mut self) -> Option<Event> {
        let (service, pair) = (self.service.as_ref()?, self.pair.as_ref()?);
        let trial = self.earlier.take()?.goes_on(pair, &self.guard);
        Some(Event::Restarted { service: service.name.clone(), trial })
    }

    /// What its candidate is deployed as, where that is news. The trial of another one is over, wherever it was left.
    fn deployed(&mut self, world: &World<'_>) -> Option<Event> {
        let (service, pair) = (self.service.as_ref()?, self.pair.as_ref()?);
        let pods = (world.pods)(&self.guard.namespace()?)?.ok()?;
        let deployed = self.redeployed.look(&self.guard, pair, pods)?;
        self.earlier.take_if(|_| deployed.is_other);
        Some(Event::Deployed { service: service.name.clone(), deployed })
    }
}

impl Guards {
    pub(super) fn new(configured: BTreeSet<String>) -> Self {
        Guards { configured, ..Guards::default() }
    }

    /// Each by its `namespace/name`.
    pub(super) fn kept(&self) -> impl Iterator<Item = (&String, &Kept)> {
        self.kept.iter()
    }

    pub(super) fn is_kept(&self, name: &str) -> bool {
        self.kept.contains_key(name)
    }

    /// What the engine is to be told now.
    pub(super) fn reconcile(&mut self, world: &World<'_>) -> Vec<Event> {
        let is_there = |guard: &&Arc<ReleaseGuard>| guard.metadata.deletion_timestamp.is_none();
        let mut guards: Vec<&Arc<ReleaseGuard>> = world.guards.iter().filter(is_there).collect();
        // Of too many the oldest are heard.
        guards.sort_by_cached_key(|guard| reconcile::age(guard));
        let namespaces: BTreeSet<String> = guards.iter().filter_map(|guard| guard.namespace()).collect();
        let pods: Vec<&[Seen]> = namespaces.iter().filter_map(|of| (world.pods)(of)?.ok()).collect();
        self.clocks.look(pods.iter().copied().flatten(), world.now);
        let owners = reconcile::owners(guards.iter().map(|guard| guard.as_ref()));
        let mut kept = BTreeMap::new();
        let mut acting = 0;
        for guard in &guards {
            let name = full_name(guard);
            let service = guard.spec.service.as_str();
            let taken = match owners.get(service).filter(|owner| **owner != name) {
                _ if self.configured.contains(service) => Some("serin.yaml"),
                Some(owner) => Some(owner.as_str()),
                None => None,
            };
            acting += usize::from(taken.is_none());
            // One that was made anew is another one.
            let before = self.kept.get(&name).filter(|before| before.guard.uid() == guard.uid());
            let looked = if acting > MAX_GUARDS {
                let why =
                    format!("there are over {MAX_GUARDS} ReleaseGuards: delete some, or run a serin for each part");
                Some(wait(guard, before, &Unready::Invalid(why), None))
            } else {
                look(guard, world, &self.clocks, before, taken)
            };
            let earlier = before.map_or_else(|| Earlier::of(guard), |before| before.earlier.clone());
            let redeployed = before.map_or_else(|| Redeployed::of(guard), |before| before.redeployed.clone());
            // What is not known yet stays as it was.
            let looked = looked.or_else(|| before.cloned());
            kept.extend(looked.map(|kept| (name, Kept { earlier, redeployed, ..kept })));
        }
        let unread = world.unread.iter().filter_map(|name| Some((name.clone(), self.kept.get(name)?.clone())));
        kept.extend(unread);
        self.kept = kept;
        let wanted = self.kept.values().filter_map(|kept| kept.service.clone());
        let wanted: BTreeMap<String, Arc<Service>> = wanted.map(|service| (service.name.clone(), service)).collect();
        let mut events = changes(&self.told, &wanted);
        self.told = wanted;
        let guarded = self.kept.values().filter(|kept| kept.service.is_some());
        let starts = guarded.map(|kept| (kept.guard.spec.service.clone(), kept.starts.clone())).collect();
        let before = std::mem::replace(&mut self.starts, starts);
        let none = Starts::default();
        let new = self.starts.iter().filter(|(service, starts)| before.get(*service).unwrap_or(&none) != *starts);
        let new = new.map(|(service, starts)| (service.clone(), starts.clone()));
        events.extend(new.map(|(service, starts)| Event::PodsStarted { service, starts }));
        events.extend(self.weigh(world, &events));
        events.extend(self.kept.values_mut().filter_map(|kept| kept.deployed(world)));
        // At last: seconds that are judged again are judged with all that is known of the pods.
        events.extend(self.kept.values_mut().filter_map(Kept::restarted));
        events
    }

    /// What the engine is to be told of weights, besides `events`.
    fn weigh(&mut self, world: &World<'_>, events: &[Event]) -> Vec<Event> {
        let judged = self.kept.values().filter_map(|kept| {
            let service = kept.service.as_ref().filter(|service| service.throughput)?;
            Some((service.name.clone(), share_of(&kept.guard, kept.pair.as_ref()?, world)))
        });
        let shares = judged.collect();
        let anew = events.iter().filter_map(|event| match event {
            Event::Guard(service) => Some(service.name.as_str()),
            _ => None,
        });
        self.weighed.changes(shares, &anew.collect())
    }
}

/// `None` as long as not all of what it needs was listed.
fn look(
    guard: &Arc<ReleaseGuard>,
    world: &World<'_>,
    clocks: &Clocks,
    before: Option<&Kept>,
    taken: Option<&str>,
) -> Option<Kept> {
    let namespace = guard.namespace().unwrap_or_default();
    let targets = guard.spec.targets.iter().map(|target| (world.target)(&namespace, target));
    let targets: Vec<Target> = targets.collect::<Option<_>>()?;
    let pods = (world.pods)(&namespace)?;
    // After a restart: what the status says.
    let status = guard.status.as_ref();
    let shown = || Some(Pair { baseline: status?.baseline.clone()?, candidate: status?.candidate.clone()? });
    let (pair, promoted) = match before {
        Some(before) => (before.pair.clone(), before.promoted),
        None => (shown(), status.is_some_and(|status| status.promoted)),
    };
    let around = Around { targets: &targets, pods, before: pair.as_ref(), promoted, taken, clocks, now: world.now };
    let starts = starts(guard, pods.unwrap_or_default(), clocks);
    let (pair, note, promoted) = match reconcile(guard, &around) {
        Outcome::Guard { pair, note, promoted } => (pair, note, promoted),
        Outcome::Wait { why, judged, promoted } => {
            return Some(Kept { starts, promoted, ..wait(guard, before, &why, judged) });
        }
    };
    Some(match service::of(&guard.spec, &namespace, &pair) {
        Ok(service) => {
            let ready = note.map_or_else(|| Ready::guarding(&pair), |note| Ready::of(true, &note));
            let (guard, service) = (Arc::clone(guard), Some(Arc::new(service)));
            Kept {
                guard,
                ready,
                pair: Some(pair),
                promoted,
                service,
                starts,
                earlier: None,
                redeployed: Redeployed::default(),
            }
        }
        Err(why) => {
            let judged = before.and_then(|before| before.pair.clone());
            wait(guard, before, &Unready::Invalid(why), judged)
        }
    })
}

/// Not acted on; what was judged is judged on, by the rules that were read last.
fn wait(guard: &Arc<ReleaseGuard>, before: Option<&Kept>, why: &Unready, judged: Option<Pair>) -> Kept {
    let namespace = guard.namespace().unwrap_or_default();
    let held = judged.as_ref().and_then(|pair| {
        let read = service::of(&guard.spec, &namespace, pair).ok().map(Arc::new);
        let service = read.or_else(|| before?.service.clone().filter(|service| service.candidate == pair.candidate))?;
        Some(Arc::new(service::held(&service, why.to_string())))
    });
    let pair = judged.filter(|_| held.is_some());
    let starts = before.map(|before| before.starts.clone()).unwrap_or_default();
    let promoted = before.is_some_and(|before| before.promoted);
    let (guard, ready) = (Arc::clone(guard), Ready::of(false, why));
    Kept { guard, ready, pair, promoted, service: held, starts, earlier: None, redeployed: Redeployed::default() }
}

/// When the pods of a service were started, by name and by address. Where a node's clock is off, nobody knows.
fn starts(guard: &ReleaseGuard, pods: &[Seen], clocks: &Clocks) -> Starts {
    let known = pods::of_service(pods, &guard.spec.service).filter(|pod| clocks.vouch_for(pod));
    let known = known.filter_map(|pod| Some((pod, u64::try_from(pod.started?.as_second()).ok()?)));
    let both = known.flat_map(|(pod, second)| [(pod.name.clone(), second), (pod.ip.clone(), second)]);
    both.filter(|(name, _)| !name.is_empty()).collect()
}

/// From what was told to what is to be.
fn changes(told: &BTreeMap<String, Arc<Service>>, wanted: &BTreeMap<String, Arc<Service>>) -> Vec<Event> {
    let gone = told.keys().filter(|name| !wanted.contains_key(*name));
    let gone = gone.map(|name| Event::Unguard { service: name.clone() });
    let new = wanted.iter().filter(|(name, service)| told.get(*name) != Some(service));
    gone.chain(new.map(|(_, service)| Event::Guard(Arc::clone(service)))).collect()
}

#[cfg(test)]
mod tests;
