//! Which part of a target's requests each release gets: pure.

use std::collections::BTreeMap;

use serde_json::Value;

use super::NoTrial;
use crate::{
    host,
    release_guard::{RELEASE, TargetRef},
    routes::{self, Destination},
};

/// Each release that the object mentions, with its mean share over the routes that mention more than one. A route that has
/// only one release says nothing about a trial: it may be for testers.
pub(super) fn of(object: &Value, target: &TargetRef, namespace: &str) -> Result<BTreeMap<String, f64>, NoTrial> {
    let mut shares: BTreeMap<String, f64> = BTreeMap::new();
    let mut only: BTreeMap<String, f64> = BTreeMap::new();
    let mut splits = 0.0;
    for route in routes::of(object).map_err(|_| NoTrial::UnknownKind)? {
        let mut weights: BTreeMap<String, f64> = BTreeMap::new();
        for destination in &route.destinations {
            let Some(release) = release(destination, target, namespace) else { continue };
            let place = || route.place.clone();
            let weight = destination.weight().map_err(|written| NoTrial::WeightInvalid { place: place(), written })?;
            let weight = if route.straight { 1.0 } else { f64::from(weight) };
            *weights.entry(release).or_default() += weight;
        }
        let sum: f64 = weights.values().sum();
        let to = if weights.len() > 1 { &mut shares } else { &mut only };
        if weights.len() > 1 && sum > 0.0 {
            splits += 1.0;
        }
        for (release, weight) in weights {
            *to.entry(release).or_default() += if sum > 0.0 { weight / sum } else { 0.0 };
        }
    }
    if shares.is_empty() {
        return Ok(only);
    }
    if splits > 0.0 {
        shares.values_mut().for_each(|share| *share /= splits);
    }
    Ok(shares)
}

/// The release that a destination is, by the target's template; `None` for what the target does not mean.
fn release(destination: &Destination, target: &TargetRef, namespace: &str) -> Option<String> {
    let host = destination.target.host.as_deref()?;
    if target.host.contains(RELEASE) {
        // The template is completed as the names are: `shop-{release}` has no dot of its own.
        return between(&host::full(&target.host, namespace), host);
    }
    if host != host::full(&target.host, namespace) {
        return None;
    }
    between(target.subset.as_deref().unwrap_or(RELEASE), destination.target.subset.as_deref()?)
}

/// What stands in a name in the place of `{release}`.
fn between(template: &str, name: &str) -> Option<String> {
    let (before, after) = template.split_once(RELEASE)?;
    let release = name.strip_prefix(before)?.strip_suffix(after)?;
    (!release.is_empty()).then(|| release.to_owned())
}
