//! The routes of an object that mention the candidate: pure.

use serde_json::Value;

use super::obstacle::Obstacle;
use crate::{
    intent::Intent,
    routes::{self, Route, Target},
};

/// What an object has to say about the candidate.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// The routes that divide their requests.
    pub(super) splits: Vec<Split>,
    /// The routes that send all of them to the candidate.
    pub(super) straight: Vec<String>,
    /// The routes that send copies to the candidate.
    pub(super) mirrored: Vec<String>,
}

/// A weighted choice between destinations, the candidate among them.
#[derive(Debug)]
pub(super) struct Split {
    pub(super) route: Route,
    /// Of each destination.
    pub(super) roles: Vec<Role>,
}

/// What a destination is to a rollback.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Candidate,
    Baseline,
    Other,
}

impl Role {
    pub(super) fn of(target: &Target, intent: &Intent) -> Self {
        let Some(host) = &target.host else { return Role::Other };
        let subset = target.subset.as_deref();
        match () {
            () if intent.candidate.is(host, subset) => Role::Candidate,
            () if intent.baseline.is(host, subset) => Role::Baseline,
            () => Role::Other,
        }
    }
}

/// What an object does with requests for the releases.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// It divides them between the candidate and others.
    Splits,
    /// It sends some to one of the two.
    Sends,
    /// It has nothing to do with them.
    Nothing,
}

/// What an object does with requests for the releases.
pub(crate) fn part(object: &Value, intent: &Intent) -> Part {
    let is_one = |target: &Target| Role::of(target, intent) != Role::Other;
    let sends = |route: Route| route.mirrors.iter().chain(route.destinations.iter().map(|to| &to.target)).any(is_one);
    match find(object, intent) {
        Ok(found) if !found.splits.is_empty() => Part::Splits,
        _ if routes::of(object).is_ok_and(|routes| routes.into_iter().any(sends)) => Part::Sends,
        _ => Part::Nothing,
    }
}

/// Every route of the object that mentions the candidate.
pub(super) fn find(object: &Value, intent: &Intent) -> Result<Found, Obstacle> {
    let routes = routes::of(object).map_err(|(api_version, kind)| Obstacle::UnknownKind { api_version, kind })?;
    let mut found = Found::default();
    for route in routes {
        if route.mirrors.iter().any(|target| Role::of(target, intent) == Role::Candidate) {
            found.mirrored.push(route.place.clone());
        }
        let roles: Vec<Role> =
            route.destinations.iter().map(|destination| Role::of(&destination.target, intent)).collect();
        match roles.contains(&Role::Candidate) {
            true if route.straight => found.straight.push(route.place),
            true => found.splits.push(Split { route, roles }),
            false => {}
        }
    }
    Ok(found)
}
