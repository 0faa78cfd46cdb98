//! Which release is the baseline and which is on trial: pure.
//!
//! An object's weights (`shares`) and the pods' labels and ages have to tell the same. Where they do not, nothing is guessed:
//! a rollback in the wrong direction takes the good release out of traffic. A pair that was found stays for as long as
//! both releases are there, so that a candidate that gets more and more requests is not taken for the baseline; until it has got
//! all of them, since the next one may have the name of the one before (blue and green).

mod shares;

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::jiff::Timestamp;
use serde_json::Value;

use crate::release_guard::TargetRef;

/// The labels that tell a pod's release, the first that a pod has counts.
pub(crate) const RELEASE_LABELS: [&str; 2] = ["version", "release"];

/// A pod, as far as it matters here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pod {
    /// As its labels say.
    pub release: String,
    /// Since when there is this release: when the pod's ReplicaSet was made, or else the pod.
    pub since: Timestamp,
    /// Whether it takes requests.
    pub ready: bool,
}

/// The two sides of a trial.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pair {
    /// The stable release.
    pub baseline: String,
    /// The release on trial.
    pub candidate: String,
}

/// Why there is no trial.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoTrial {
    /// Not an object that has weights.
    #[error("the target has no weights that serin knows: name a VirtualService, an HTTPRoute or a GRPCRoute")]
    UnknownKind,
    /// A weight that is none.
    #[error("{place}: a weight is {written}: write a whole number from 0 to 1000000")]
    WeightInvalid {
        /// Which route.
        place: String,
        /// What it says.
        written: String,
    },
    /// Only one release gets requests, or none: that is how it is between two trials.
    #[error("no release is on trial: {}", all(.release.as_deref()))]
    OneRelease {
        /// The one that does.
        release: Option<String>,
    },
    /// More than two.
    #[error("{} releases have a share ({}): give all but two weight 0, or name baseline and candidate", .0.len(), .0.join(", "))]
    ManyReleases(Vec<String>),
    /// Nothing to tell its age by.
    #[error(
        "{release} has a share but no pods with label version or release {release}: label the pods, or name baseline and candidate"
    )]
    NoPods {
        /// Which.
        release: String,
    },
    /// Made in the same second.
    #[error("{} and {} are of the same age: name baseline and candidate", .0.baseline, .0.candidate)]
    SameAge(Pair),
    /// The older one gets less. A candidate that was not seen when it began, or a rollback by hand.
    #[error("{} is newer but has the larger share: name baseline and candidate", .0.candidate)]
    AgeAgainstWeight(Pair),
    /// Without it there is nowhere to send the requests.
    #[error("{release} is the baseline but has no ready pods: nothing is rolled back to it, wait until it is ready")]
    BaselineNotReady {
        /// Which.
        release: String,
    },
}

fn all(release: Option<&str>) -> String {
    let none = "none gets requests; where the object has full host names of another domain than cluster.local, write the target's host so";
    release.map_or_else(|| none.to_owned(), |release| format!("{release} takes all requests"))
}

impl NoTrial {
    /// For the `reason` of a condition.
    pub fn reason(&self) -> &'static str {
        match self {
            NoTrial::UnknownKind => "UnknownKind",
            NoTrial::WeightInvalid { .. } => "WeightInvalid",
            NoTrial::OneRelease { .. } => "OneRelease",
            NoTrial::ManyReleases(_) => "ManyReleases",
            NoTrial::NoPods { .. } => "NoPods",
            NoTrial::SameAge(_) => "SameAge",
            NoTrial::AgeAgainstWeight(_) => "AgeAgainstWeight",
            NoTrial::BaselineNotReady { .. } => "BaselineNotReady",
        }
    }
}

/// The release that a pod's labels tell.
pub fn release_of(labels: &BTreeMap<String, String>) -> Option<&str> {
    let mut told = RELEASE_LABELS.iter().filter_map(|label| labels.get(*label));
    told.find(|release| !release.is_empty()).map(String::as_str)
}

/// Finds baseline and candidate. `namespace`: of the ReleaseGuard. `before`: what was found the last time, unless its
/// candidate has got all requests since.
///
/// # Errors
/// When there is no trial, or it cannot be told which release is on trial.
pub fn discover(
    object: &Value,
    target: &TargetRef,
    namespace: &str,
    pods: &[Pod],
    before: Option<&Pair>,
) -> Result<Pair, NoTrial> {
    let shares = shares::of(object, target, namespace)?;
    let taking: Vec<(&String, f64)> =
        shares.iter().filter(|(_, share)| **share > 0.0).map(|(release, share)| (release, *share)).collect();
    let pair = match taking.as_slice() {
        [(one, of_one), (other, of_other)] => match before {
            Some(before) if is_of(before, [one, other]) => before.clone(),
            _ => by_age(pods, (one, *of_one), (other, *of_other))?,
        },
        [] | [_] => return Err(NoTrial::OneRelease { release: taking.first().map(|(release, _)| (*release).clone()) }),
        many => return Err(NoTrial::ManyReleases(many.iter().map(|(release, _)| (*release).clone()).collect())),
    };
    is_served(pods, &pair.baseline)?;
    Ok(pair)
}

/// Whether the object's weights give a release requests.
pub(crate) fn has_share(object: &Value, target: &TargetRef, namespace: &str, release: &str) -> bool {
    shares::of(object, target, namespace).is_ok_and(|shares| shares.get(release).is_some_and(|share| *share > 0.0))
}

/// Whether there is somewhere to send the requests of a baseline.
pub(crate) fn is_served(pods: &[Pod], baseline: &str) -> Result<(), NoTrial> {
    let release = || baseline.to_owned();
    let mut of_it = pods.iter().filter(|pod| pod.release == baseline).peekable();
    // Pods whose labels were changed are as good as none.
    of_it.peek().ok_or_else(|| NoTrial::NoPods { release: release() })?;
    if of_it.any(|pod| pod.ready) { Ok(()) } else { Err(NoTrial::BaselineNotReady { release: release() }) }
}

/// The same where there are no weights, and nothing is changed: the newer one of two releases that have pods is on trial.
///
/// # Errors
/// When there are not two, or they are of the same age.
pub fn newest(pods: &[Pod], before: Option<&Pair>) -> Result<Pair, NoTrial> {
    let releases: BTreeSet<&String> = pods.iter().map(|pod| &pod.release).collect();
    match releases.into_iter().collect::<Vec<_>>().as_slice() {
        [one, other] => match before {
            Some(before) if is_of(before, [one, other]) => Ok(before.clone()),
            _ => by_age(pods, (one, 0.0), (other, 0.0)),
        },
        one @ ([] | [_]) => Err(NoTrial::OneRelease { release: one.first().map(|release| (*release).clone()) }),
        many => Err(NoTrial::ManyReleases(many.iter().map(|release| (*release).clone()).collect())),
    }
}

fn is_of(pair: &Pair, releases: [&String; 2]) -> bool {
    releases.iter().all(|release| **release == pair.baseline || **release == pair.candidate)
}

/// The newer one is on trial, unless it has the larger share already.
fn by_age(pods: &[Pod], one: (&String, f64), other: (&String, f64)) -> Result<Pair, NoTrial> {
    let since = |release: &String| {
        let of = pods.iter().filter(|pod| pod.release == *release).map(|pod| pod.since).min();
        of.ok_or_else(|| NoTrial::NoPods { release: release.clone() })
    };
    let (of_one, of_other) = (since(one.0)?, since(other.0)?);
    let (older, newer) = if of_one <= of_other { (one, other) } else { (other, one) };
    let pair = Pair { baseline: older.0.clone(), candidate: newer.0.clone() };
    match () {
        () if of_one == of_other => Err(NoTrial::SameAge(pair)),
        () if newer.1 > older.1 => Err(NoTrial::AgeAgainstWeight(pair)),
        () => Ok(pair),
    }
}

#[cfg(test)]
mod tests;
