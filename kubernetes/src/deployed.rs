//! When the pods of a release are those of another deployment: pure.
//!
//! Labels such as `canary` are given to one deployment after the other. What tells them apart is the ReplicaSet. A Deployment that is
//! rolled out has pods of one ReplicaSet only. While it has pods of two, as in the middle of a rolling update and until the last old pod has
//! answered its last request, nothing is told: what is counted under the label is of both. So a rolling update is told once, at its end, and
//! an undo like any other. That pods are scaled to zero and back, are more or fewer, or are made again elsewhere, is no deployment: it is the same ReplicaSet.

use std::collections::{BTreeMap, BTreeSet};

use crate::pods::{Seen, Set};

/// Deployments that have no pods are remembered up to this many, some 10 kB: each release may have been one of its own.
const MAKERS_MAX: usize = 64;

/// What is deployed under a release's label.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deployed {
    release: String,
    /// The one that was told last.
    last: Option<Set>,
    /// By who makes the ReplicaSets, the one that is rolled out; `None`: two had pods when it was seen first.
    rolled_out: BTreeMap<String, Option<Set>>,
}

/// It is another one, or known for the first time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// What is deployed.
    pub set: Set,
    /// Whether it came in the place of another one.
    pub is_other: bool,
}

impl Deployed {
    /// `last`: what an earlier run knew.
    pub fn new(release: &str, last: Option<Set>) -> Self {
        Deployed { release: release.to_owned(), last, rolled_out: BTreeMap::new() }
    }

    /// Of which release.
    pub fn release(&self) -> &str {
        &self.release
    }

    /// The newest that is known.
    pub fn set(&self) -> Option<&Set> {
        self.last.as_ref()
    }

    /// Takes in all pods of the service that are there.
    pub fn look<'a>(&mut self, pods: impl Iterator<Item = &'a Seen>) -> Option<Change> {
        let of_it = pods.filter(|pod| pod.release.as_ref() == Some(&self.release));
        let mut of_sets: BTreeMap<&Set, (bool, bool)> = BTreeMap::new();
        // Their last requests end yet, and are counted under the label.
        let mut draining: BTreeSet<&Set> = BTreeSet::new();
        for (set, pod) in of_it.filter_map(|pod| Some((pod.set.as_ref()?, pod))) {
            draining.extend((pod.is_leaving && !pod.has_ended).then_some(set));
            let (stays, is_ready) = of_sets.entry(set).or_default();
            (*stays, *is_ready) = (*stays || !pod.is_leaving, *is_ready || pod.is_ready);
        }
        let mut made: BTreeMap<&str, Vec<(&Set, bool)>> = BTreeMap::new();
        for (set, (stays, is_ready)) in &of_sets {
            made.entry(maker(set)).or_default().extend(stays.then_some((*set, *is_ready)));
        }
        if self.rolled_out.len() > MAKERS_MAX {
            self.rolled_out.retain(|maker, _| made.contains_key(maker.as_str()));
        }
        let left = of_sets.keys().copied().find(|set| self.is_last(set));
        if let Some(last) = left {
            // An earlier run knew it, but not who made it.
            self.rolled_out.entry(maker(last).to_owned()).or_insert_with(|| Some(last.clone()));
        }
        let mut new: Option<Change> = None;
        for (maker, sets) in made {
            let set = match sets.as_slice() {
                [(set, true)] if draining.iter().all(|other| other == set) => *set,
                [] | [_] => continue,
                _ => {
                    self.rolled_out.entry(maker.to_owned()).or_default();
                    continue;
                }
            };
            let is_other = match self.rolled_out.insert(maker.to_owned(), Some(set.clone())) {
                Some(Some(before)) if before.uid == set.uid => continue,
                Some(_) => true,
                // Another Deployment: of those that have the label side by side the newest counts.
                None if left.is_some() && self.last.as_ref().is_some_and(|last| *set < *last) => continue,
                None => self.last.is_some(),
            };
            let newer = new.take().filter(|known| known.set >= *set);
            let is_other = is_other || newer.as_ref().is_some_and(|known| known.is_other);
            let set = newer.map_or_else(|| set.clone(), |known| known.set);
            new = Some(Change { set, is_other });
        }
        if let Some(change) = &new {
            self.last = Some(change.set.clone());
        }
        new
    }

    fn is_last(&self, set: &Set) -> bool {
        self.last.as_ref().is_some_and(|last| last.uid == set.uid)
    }
}

/// Who makes ReplicaSets one after the other; one that nobody made stands for itself.
fn maker(set: &Set) -> &str {
    set.made_by.as_ref().unwrap_or(&set.uid)
}

#[cfg(test)]
mod tests;
