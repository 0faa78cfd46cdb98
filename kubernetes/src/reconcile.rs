//! From a ReleaseGuard and what was last seen around it to the pair of releases that is judged, or why there is none: pure.
//!
//! Nothing is done on a guess. Where something does not fit, what was guarded before is judged on, but not acted on, and a
//! condition says why and what to do.

mod targets;
mod unready;

use std::collections::BTreeMap;

use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt as _;

pub use unready::Unready;

use crate::{
    clocks::Clocks,
    delegates::Family,
    discover::{self, NoTrial, Pair, discover},
    plan,
    pods::{self, Seen},
    release_guard::{Action, ReleaseGuard, TargetRef},
};
use targets::{is_tidied, planned, told, unlabelled};

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
    /// Whether its candidate had all requests when that was looked at last.
    pub promoted: bool,
    /// Who guards its service already.
    pub taken: Option<&'a str>,
    /// What is known of the nodes' clocks.
    pub clocks: &'a Clocks,
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
        /// Whether the candidate has all requests: its trial is over, and of what gets requests next nothing is known.
        promoted: bool,
    },
    /// Do not act.
    Wait {
        /// Why.
        why: Unready,
        /// What was guarded before is judged on.
        judged: Option<Pair>,
        /// As above.
        promoted: bool,
    },
}

/// What to do about a ReleaseGuard.
pub fn reconcile(guard: &ReleaseGuard, around: &Around<'_>) -> Outcome {
    let before = around.before.filter(|before| is_as_named(guard, before));
    match found(guard, around, before) {
        Ok(Found { pair, over: Some(why), promoted, .. }) => Outcome::Wait { why, judged: Some(pair), promoted },
        Ok(Found { pair, note, promoted, .. }) => Outcome::Guard { pair, note, promoted },
        Err(why @ Unready::Taken { .. }) => Outcome::Wait { why, judged: None, promoted: false },
        Err(why) => Outcome::Wait { why, judged: before.cloned(), promoted: before.is_some() && around.promoted },
    }
}

/// Of those that guard the same service the oldest, by name where they are of the same second; as `namespace/name`.
pub fn owners<'a>(guards: impl Iterator<Item = &'a ReleaseGuard>) -> BTreeMap<&'a str, String> {
    let mut oldest: BTreeMap<&str, (Option<Timestamp>, String)> = BTreeMap::new();
    for guard in guards {
        let this = age(guard);
        let known = oldest.entry(&guard.spec.service).or_insert_with(|| this.clone());
        *known = this.min(known.clone());
    }
    oldest.into_iter().map(|(service, (_, name))| (service, name)).collect()
}

/// By which ReleaseGuards come one after the other, the oldest first; those of the same second by name.
pub fn age(guard: &ReleaseGuard) -> (Option<Timestamp>, String) {
    (guard.metadata.creation_timestamp.as_ref().map(|time| time.0), full_name(guard))
}

/// As `namespace/name`.
pub fn full_name(guard: &ReleaseGuard) -> String {
    format!("{}/{}", guard.namespace().unwrap_or_default(), guard.name_any())
}

/// What is guarded.
struct Found {
    pair: Pair,
    note: Option<Unready>,
    promoted: bool,
    /// Its trial is over and one of the two is gone: there is nothing to mend, and nothing to roll back.
    over: Option<Unready>,
}

impl Found {
    fn on_trial(pair: Pair) -> Self {
        Found { pair, note: None, promoted: false, over: None }
    }
}

/// Whether the spec does not say otherwise.
fn is_as_named(guard: &ReleaseGuard, pair: &Pair) -> bool {
    let fits = |named: &Option<String>, release: &String| named.as_ref().is_none_or(|named| named == release);
    fits(&guard.spec.baseline, &pair.baseline) && fits(&guard.spec.candidate, &pair.candidate)
}

fn found(guard: &ReleaseGuard, around: &Around<'_>, before: Option<&Pair>) -> Result<Found, Unready> {
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
    let pods = around.pods.map(|pods| pods::by_release(pods::of_service(pods, &guard.spec.service)));
    let mut found = pair(guard, &objects, pods.as_deref().map_err(|why| *why), around, before)
        .map_err(|why| nowhere(guard, &objects, why))?;
    if found.over.is_some() {
        return Ok(found);
    }
    let is_between = found.note.is_some();
    if acts {
        let is_tidied = |why: &Unready| is_between && is_tidied(why, found.promoted);
        match planned(guard, &objects, &found.pair) {
            Ok(first) => found.note = first.filter(|why| !is_tidied(why)).or(found.note),
            Err(why) if is_tidied(&why) => return Ok(Found { over: found.note.take(), ..found }),
            Err(why) => return Err(why),
        }
    }
    let unlabelled = unlabelled(guard, &objects, pods.as_deref().unwrap_or_default(), &found.pair);
    found.note = unlabelled.or(found.note).or_else(|| skewed(guard, around));
    Ok(found)
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

/// As the spec names them, or as found.
fn pair(
    guard: &ReleaseGuard,
    objects: &[(&TargetRef, &Family)],
    pods: Result<&[discover::Pod], &str>,
    around: &Around<'_>,
    before: Option<&Pair>,
) -> Result<Found, Unready> {
    if let Some(pair) = guard.spec.pair() {
        // Named ones need no pods that say their release. But where they do, and all of the baseline's are down, nobody would be left.
        return match discover::is_served(pods.unwrap_or_default(), &pair.baseline) {
            Err(why @ NoTrial::BaselineNotReady { .. }) => Err(why.into()),
            _ => Ok(Found::on_trial(pair)),
        };
    }
    let namespace = guard.namespace().unwrap_or_default();
    let pods = pods.map_err(|why| Unready::NotWatched { what: "pods".to_owned(), why: why.to_owned() })?;
    // What was promoted is stable, and a release of the other's name that comes next is another one.
    let running = before.filter(|_| !around.promoted);
    let mut each: Vec<Result<Pair, NoTrial>> = objects
        .iter()
        .flat_map(|(target, family)| family.parts().map(move |object| (target, object)))
        .map(|(target, object)| discover(object, target, &namespace, pods, running).or_else(|why| named(guard, why)))
        .collect();
    if each.is_empty() {
        each.push(discover::newest(pods, running).or_else(|why| named(guard, why)));
    }
    let mut pairs = Vec::new();
    let mut between = Vec::new();
    for one in each {
        match one {
            Ok(pair) if pairs.contains(&pair) => {}
            Ok(pair) => pairs.push(pair),
            // A route that has only one release may be for testers, and between two trials all have.
            // Of a root that has nothing to do with them itself nothing is told.
            Err(NoTrial::OneRelease { release }) => between.extend(release),
            Err(why) => return Err(why.into()),
        }
    }
    let mut found = match pairs.as_slice() {
        [pair] => Found::on_trial(pair.clone()),
        [one, other, ..] => return Err(Unready::Disagree { one: one.clone(), other: other.clone() }),
        [] => kept(before, &between)?,
    };
    if !is_as_named(guard, &found.pair) {
        return Err(Unready::NotAsNamed { pair: found.pair });
    }
    match discover::is_served(pods, &found.pair.baseline) {
        // What was promoted needs no baseline.
        Err(_) if found.promoted => found.over = found.note.take(),
        served => served?,
    }
    Ok(found)
}

/// The candidate is out of traffic, or has all of it: it is kept in sight until the next one comes.
fn kept(before: Option<&Pair>, between: &[String]) -> Result<Found, NoTrial> {
    let release = between.first().cloned();
    let is_one_of = |pair: &&Pair| release.as_ref().is_some_and(|one| *one == pair.baseline || *one == pair.candidate);
    match before.filter(is_one_of) {
        Some(pair) => {
            let promoted = between.iter().all(|release| *release == pair.candidate);
            Ok(Found { pair: pair.clone(), note: Some(NoTrial::OneRelease { release }.into()), promoted, over: None })
        }
        None => Err(NoTrial::OneRelease { release }),
    }
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

/// A node whose clock is off. Ages are told by the API server's clock, so that nothing depends on it here.
fn skewed(guard: &ReleaseGuard, around: &Around<'_>) -> Option<Unready> {
    let pods = pods::of_service(around.pods.ok()?, &guard.spec.service);
    around.clocks.skew(pods, around.now).map(Unready::ClockSkew)
}

#[cfg(test)]
mod tests;
