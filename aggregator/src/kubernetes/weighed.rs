//! The candidates' shares of the weights, for ReleaseGuards whose throughput is judged: pure.

use std::collections::{BTreeMap, BTreeSet};

use kube::ResourceExt as _;
use serin_kubernetes::{discover::Pair, reconcile::Target, release_guard::ReleaseGuard};

use super::guards::World;
use crate::engine::Event;

/// What the engine was told.
#[derive(Debug, Default)]
pub(super) struct Weighed(BTreeMap<String, Option<f64>>);

impl Weighed {
    /// What the engine is to be told of the shares as they are. Of `anew` it knows nothing, because it was told of them just now.
    pub(super) fn changes(&mut self, shares: BTreeMap<String, Option<f64>>, anew: &BTreeSet<&str>) -> Vec<Event> {
        let before = std::mem::replace(&mut self.0, shares);
        let is_new = |(service, share): &(&String, &Option<f64>)| {
            anew.contains(service.as_str()) || before.get(*service) != Some(share)
        };
        let told = self.0.iter().filter(is_new);
        told.map(|(service, share)| Event::Weighed { service: service.clone(), share: *share }).collect()
    }
}

/// The share that all targets of a guard say. What was seen before its watch was cut may not be so any more.
pub(super) fn share_of(guard: &ReleaseGuard, pair: &Pair, world: &World<'_>) -> Option<f64> {
    let namespace = guard.namespace().unwrap_or_default();
    let mut shares = guard.spec.targets.iter().map(|target| {
        let root = target.object(&namespace).ok()?;
        let Target::Found(family) = (world.target)(&namespace, target)? else { return None };
        let mut objects = std::iter::once(&root).chain(family.delegates.iter().map(|(name, _)| name));
        let is_current = objects.all(|object| (world.is_current)(object));
        is_current.then(|| family.share(&target.intent(&namespace, &pair.baseline, &pair.candidate))).flatten()
    });
    let first = shares.next().flatten()?;
    shares.all(|share| share == Some(first)).then_some(first)
}
