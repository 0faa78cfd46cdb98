//! From a ReleaseGuard and what was last seen around it to the pair of releases that is judged, or why there is none: pure.
//!
//! Nothing is done on a guess. Where something does not fit, what was guarded before is judged on, but not acted on, and a
//! condition says why and what to do.

mod unready;

use std::collections::BTreeMap;

use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt as _;

pub use unready::Unready;

use crate::{
    delegates::Family,
    discover::{self, NoTrial, Pair, discover},
    plan::{self, Obstacle, Plan},
    pods::{self, Seen},
    release_guard::{Action, ReleaseGuard, TargetRef},
};

/// What is known of a target.
#[derive(Clone, Debug, PartialEq)]
pub enum Target {
    /// As it was last seen, with what it delegates to.
    Found(Family),
    /// It is not there.
    Missing,
    /// Its kind is not there, with the remedy.
    NotServed(String),
    /// Nobody knows, because of this.
    NotWatched(String),
}

/// What a ReleaseGuard is held against.
#[derive(Clone, Copy, Debug)]
pub struct Around<'a> {
    /// Of each of its targets.
    pub targets: &'a [Target],
    /// The pods of its namespace, or why nobody knows them.
    pub pods: Result<&'a [Seen], &'a str>,
    /// What was guarded before.
    pub before: Option<&'a Pair>,
    /// Who guards its service already.
    pub taken: Option<&'a str>,
    /// By our own clock.
    pub now: Timestamp,
}

/// What to do about a ReleaseGuard.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// Judge these, and act.
    Guard {
        /// Which.
        pair: Pair,
        /// What should be mended all the same.
        note: Option<Unready>,
    },
    /// Do not act.
    Wait {
        /// Why.
        why: Unready,
        /// What was guarded before is judged on.
        judged: Option<Pair>,
    },
}

/// What to do about a ReleaseGuard.
pub fn reconcile(guard: &ReleaseGuard, around: &Around<'_>) -> Outcome {
    let before = around.before.filter(|before| is_as_named(guard, before));
    match found(guard, around, before) {
        Ok((pair, note)) => Outcome::Guard { pair, note },
        Err(why @ Unready::Taken { .. }) => Outcome::Wait { why, judged: None },
        Err(why) => Outcome::Wait { why, judged: before.cloned() },
    }
}

/// Of those that guard the same service the oldest, by name where they are of the same second; as `namespace/name`.
pub fn owners<'a>(guards: impl Iterator<Item = &'a ReleaseGuard>) -> BTreeMap<&'a str, String> {
    let mut oldest: BTreeMap<&str, (Option<Timestamp>, String)> = BTreeMap::new();
    for guard in guards {
        let this = (guard.metadata.creation_timestamp.as_ref().map(|time| time.0), full_name(guard));
        let known = oldest.entry(&guard.spec.service).or_insert_with(|| this.clone());
        *known = this.min(known.clone());
    }
    oldest.into_iter().map(|(service, (_, name))| (service, name)).collect()
}

/// As `namespace/name`.
pub fn full_name(guard: &ReleaseGuard) -> String {
    format!("{}/{}", guard.namespace().unwrap_or_default(), guard.name_any())
}

/// Whether the spec does not say otherwise.
fn is_as_named(guard: &ReleaseGuard, pair: &Pair) -> bool {
    let fits = |named: &Option<String>, release: &String| named.as_ref().is_none_or(|named| named == release);
    fits(&guard.spec.baseline, &pair.baseline) && fits(&guard.spec.candidate, &pair.candidate)
}

fn found(guard: &ReleaseGuard, around: &Around<'_>, before: Option<&Pair>) -> Result<(Pair, Option<Unready>), Unready> {
    if let Some(by) = around.taken {
        return Err(Unready::Taken { service: guard.spec.service.clone(), by: by.to_owned() });
    }
    let acts = guard.spec.action != Action::Notify;
    let mut objects = Vec::new();
    for (target, seen) in guard.spec.targets.iter().zip(around.targets) {
        let family = match seen {
            Target::Found(family) => family,
            Target::Missing => return Err(Unready::TargetNotFound { target: told(guard, target) }),
            Target::NotServed(why) => {
                return Err(Unready::NotServed { target: told(guard, target), why: why.clone() });
            }
            Target::NotWatched(why) => {
                return Err(Unready::NotWatched { what: told(guard, target), why: why.clone() });
            }
        };
        // Of several the one that is planned on.
        if acts && family.delegates.is_empty() {
            plan::check(&family.root).map_err(|obstacle| Unready::obstacle(told(guard, target), obstacle))?;
        }
        objects.push((target, family));
    }
    let (pair, mut note) = pair(guard, &objects, around, before).map_err(|why| nowhere(guard, &objects, why))?;
    if acts {
        note = planned(guard, &objects, &pair)?.or(note);
    }
    Ok((pair, note.or_else(|| skewed(guard, around))))
}

/// Where nothing sends requests to the service: which delegates were looked at for it.
fn nowhere(guard: &ReleaseGuard, objects: &[(&TargetRef, &Family)], why: Unready) -> Unready {
    let is_nowhere = matches!(why, Unready::NoTrial(NoTrial::OneRelease { release: None }));
    match objects.iter().find(|(_, family)| is_nowhere && !family.delegates.is_empty()) {
        Some((target, family)) => {
            Unready::obstacle(told(guard, target), family.none_splits(target.host.clone()).into())
        }
        None => why,
    }
}

/// As `VirtualService shop/shop`.
fn told(guard: &ReleaseGuard, target: &TargetRef) -> String {
    let namespace = guard.namespace().unwrap_or_default();
    target.object(&namespace).map_or_else(|_| target.name.clone(), |object| object.to_string())
}

/// As the spec names them, or as found.
fn pair(
    guard: &ReleaseGuard,
    objects: &[(&TargetRef, &Family)],
    around: &Around<'_>,
    before: Option<&Pair>,
) -> Result<(Pair, Option<Unready>), Unready> {
    if let Some(pair) = guard.spec.pair() {
        // Named ones need no pods that say their release. But where they do, and all of the baseline's are down, nobody would be left.
        let pods = around.pods.map(|pods| pods::by_release(pods::of_service(pods, &guard.spec.service)));
        return match discover::is_served(&pods.unwrap_or_default(), &pair.baseline) {
            Err(why @ NoTrial::BaselineNotReady { .. }) => Err(why.into()),
            _ => Ok((pair, None)),
        };
    }
    let namespace = guard.namespace().unwrap_or_default();
    let pods = around.pods.map_err(|why| Unready::NotWatched { what: "pods".to_owned(), why: why.to_owned() })?;
    let pods = pods::by_release(pods::of_service(pods, &guard.spec.service));
    let mut each: Vec<Result<Pair, NoTrial>> = objects
        .iter()
        .flat_map(|(target, family)| family.parts().map(move |object| (target, object)))
        .map(|(target, object)| discover(object, target, &namespace, &pods, before).or_else(|why| named(guard, why)))
        .collect();
    if each.is_empty() {
        each.push(discover::newest(&pods, before).or_else(|why| named(guard, why)));
    }
    let mut pairs = Vec::new();
    let mut between = None;
    for one in each {
        match one {
            Ok(pair) if pairs.contains(&pair) => {}
            Ok(pair) => pairs.push(pair),
            // A route that has only one release may be for testers, and between two trials all have.
            // Of a root that has nothing to do with them itself nothing is told.
            Err(why @ NoTrial::OneRelease { .. }) => {
                between = between.filter(|between: &NoTrial| between.release().is_some()).or(Some(why));
            }
            Err(why) => return Err(why.into()),
        }
    }
    let (pair, note) = match (pairs.as_slice(), between) {
        ([pair], _) => (pair.clone(), None),
        ([one, other, ..], _) => return Err(Unready::Disagree { one: one.clone(), other: other.clone() }),
        // The candidate is out of traffic, or has all of it: it is kept in sight until the next one comes.
        ([], Some(why @ NoTrial::OneRelease { .. })) => match (before, why.release()) {
            (Some(before), Some(release)) if release == before.baseline || release == before.candidate => {
                (before.clone(), Some(why.into()))
            }
            _ => return Err(why.into()),
        },
        ([], why) => return Err(why.unwrap_or(NoTrial::OneRelease { release: None }).into()),
    };
    if !is_as_named(guard, &pair) {
        return Err(Unready::NotAsNamed { pair });
    }
    discover::is_served(&pods, &pair.baseline)?;
    Ok((pair, note))
}

/// Where the ages do not tell which is which, but the spec does.
fn named(guard: &ReleaseGuard, why: NoTrial) -> Result<Pair, NoTrial> {
    let (NoTrial::SameAge(pair) | NoTrial::AgeAgainstWeight(pair)) = &why else { return Err(why) };
    if guard.spec.baseline.is_none() && guard.spec.candidate.is_none() {
        return Err(why);
    }
    let turned = Pair { baseline: pair.candidate.clone(), candidate: pair.baseline.clone() };
    Ok(if is_as_named(guard, pair) { pair.clone() } else { turned })
}

/// Whether a rollback could be written to every target, and what should be mended in it.
fn planned(guard: &ReleaseGuard, objects: &[(&TargetRef, &Family)], pair: &Pair) -> Result<Option<Unready>, Unready> {
    let namespace = guard.namespace().unwrap_or_default();
    let mut first: Option<Unready> = None;
    for (target, family) in objects {
        let intent = target.intent(&namespace, &pair.baseline, &pair.candidate);
        let found = family.splits(&intent).map_err(|why| Unready::obstacle(told(guard, target), why.into()))?;
        let (name, object) = found;
        let told = || name.map_or_else(|| told(guard, target), ToString::to_string);
        let notes: Vec<Obstacle> = match plan::plan(object, &intent) {
            Plan::Refused(obstacle) => return Err(Unready::obstacle(told(), obstacle)),
            Plan::Change(change) => change.notes,
            Plan::InEffect { notes } => notes,
        };
        first = first.or_else(|| notes.into_iter().next().map(|note| Unready::obstacle(told(), note)));
    }
    Ok(first)
}

/// A node whose clock is off. Ages are told by the API server's clock, so that nothing depends on it here.
fn skewed(guard: &ReleaseGuard, around: &Around<'_>) -> Option<Unready> {
    let mut pods = pods::of_service(around.pods.ok()?, &guard.spec.service);
    pods.find_map(|pod| Some(Unready::ClockSkew { node: pod.node.clone(), seconds: pod.skew_s(around.now)? }))
}

#[cfg(test)]
mod tests;
