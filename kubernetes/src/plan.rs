//! From an object and an intent to a JSON patch of its weights: pure.
//!
//! object -> `owner` (may it be changed at all) -> `splits` (its routes, by kind) -> `weights` (what to do about each)
//! -> `patch`. The user's object is kept: a plan changes weights and nothing else, it tests that they and the whole
//! object are as read, and it never leaves a route with nothing but zeros, which proxies do not apply.

mod obstacle;
mod owner;
mod patch;
mod share;
mod splits;
mod weights;

use std::{fmt, io};

use json_patch::Patch;
use serde_json::Value;

pub use obstacle::Obstacle;
pub(crate) use share::share;
pub(crate) use splits::{Part, part};

use crate::{intent::Intent, json::text};
use splits::{Found, Split};
use weights::Step;

/// The most JSON that is looked at, in bytes: etcd takes 1.5 MiB a request by default, what people write is far
/// smaller.
pub const MAX_OBJECT_BYTES: usize = 1 << 20;

/// The most operations that the API server takes in one JSON patch (`maxJSONPatchOperations`).
const MAX_OPERATIONS: usize = 10_000;

/// What to do about an object.
#[derive(Clone, Debug, PartialEq)]
pub enum Plan {
    /// Send this patch.
    Change(Change),
    /// The candidate has weight 0 wherever it is one of several destinations.
    InEffect {
        /// What should be mended all the same, such as a route that has only the candidate.
        notes: Vec<Obstacle>,
    },
    /// Nothing can be done, or only by a person.
    Refused(Obstacle),
}

/// New weights for an object.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// Tests of what was read, then the weights.
    pub patch: Patch,
    /// The object's version that it was planned on.
    pub resource_version: String,
    /// The weights that change, for people.
    pub weights: Vec<Reweighted>,
    /// What this leaves undone, or should be mended all the same.
    pub notes: Vec<Obstacle>,
}

/// One destination's weight.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reweighted {
    /// The route, such as `VirtualService default/shop http[0] (primary)`.
    pub place: String,
    /// The subset, host or Service.
    pub destination: String,
    /// As read; what no weight means where there is none.
    pub before: u32,
    /// As planned.
    pub after: u32,
}

impl fmt::Display for Reweighted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} {} -> {}", self.place, self.destination, self.before, self.after)
    }
}

/// Plans the rollback of an object as the API server returned it.
///
/// Where some of its routes can be changed and others not, those that can are: the rest is in the notes, and is what
/// the next plan is refused for.
pub fn plan(object: &Value, intent: &Intent) -> Plan {
    try_plan(object, intent).unwrap_or_else(Plan::Refused)
}

/// Whether an object may be changed at all, whatever is to be reached.
///
/// # Errors
/// When it is too large, being deleted, or another controller's.
pub fn check(object: &Value) -> Result<(), Obstacle> {
    if is_over(object, MAX_OBJECT_BYTES) {
        return Err(Obstacle::TooLarge { limit: MAX_OBJECT_BYTES });
    }
    if object.pointer("/metadata/deletionTimestamp").is_some() {
        return Err(Obstacle::BeingDeleted);
    }
    owner::check(object)
}

fn try_plan(object: &Value, intent: &Intent) -> Result<Plan, Obstacle> {
    if intent.baseline == intent.candidate {
        return Err(Obstacle::SameRelease { backend: intent.candidate.clone() });
    }
    if is_over(object, MAX_OBJECT_BYTES) {
        return Err(Obstacle::TooLarge { limit: MAX_OBJECT_BYTES });
    }
    let found = splits::find(object, intent)?;
    let metadata = object.get("metadata").unwrap_or(&Value::Null);
    let field = |field| text(metadata, field).ok_or(Obstacle::NotFromServer { field });
    let (uid, resource_version) = (field("uid")?, field("resourceVersion")?);
    if metadata.get("deletionTimestamp").is_some() {
        return Err(Obstacle::BeingDeleted);
    }
    owner::check(object)?;
    let mut work = Work::default();
    for split in &found.splits {
        work.add(split, intent);
    }
    let mut operations = patch::guards(uid, resource_version);
    operations.append(&mut work.operations);
    if operations.len() > MAX_OPERATIONS {
        return Err(Obstacle::TooManyRoutes { operations: operations.len(), limit: MAX_OPERATIONS });
    }
    let left = left_to_people(&found);
    if !work.weights.is_empty() {
        let notes = work.blocked.into_iter().chain(work.notes).chain(left).collect();
        let patch = patch::patch(operations);
        let resource_version = resource_version.to_owned();
        return Ok(Plan::Change(Change { patch, resource_version, weights: work.weights, notes }));
    }
    if let Some(obstacle) = work.blocked.into_iter().next() {
        return Err(obstacle);
    }
    if !found.splits.is_empty() {
        return Ok(Plan::InEffect { notes: left });
    }
    Err(left.into_iter().next().unwrap_or(Obstacle::NoCandidate { candidate: intent.candidate.clone() }))
}

/// What the splits of an object amount to.
#[derive(Default)]
struct Work {
    operations: Vec<json_patch::PatchOperation>,
    weights: Vec<Reweighted>,
    notes: Vec<Obstacle>,
    blocked: Vec<Obstacle>,
}

impl Work {
    fn add(&mut self, split: &Split, intent: &Intent) {
        let (before, after, note) = match weights::step(split, intent) {
            Ok(Step::InEffect) => return,
            Ok(Step::Set { before, after, note }) => (before, after, note),
            Err(obstacle) => return self.blocked.push(obstacle),
        };
        self.notes.extend(note);
        for (of, (before, after)) in split.route.destinations.iter().zip(before.into_iter().zip(after)) {
            if before != after {
                self.operations.extend(patch::set(of, after));
                let (place, destination) = (split.route.place.clone(), of.label.clone());
                self.weights.push(Reweighted { place, destination, before, after });
            }
        }
    }
}

/// What weights cannot change.
fn left_to_people(found: &Found) -> Vec<Obstacle> {
    let straight = found.straight.iter().map(|place| Obstacle::OnlyCandidate { place: place.clone() });
    let mirrored = found.mirrored.iter().map(|place| Obstacle::Mirrored { place: place.clone() });
    straight.chain(mirrored).collect()
}

/// Whether a value is over a number of bytes as JSON. It is not written anywhere, and not looked at beyond the limit.
fn is_over(value: &Value, limit: usize) -> bool {
    struct Room(usize);
    impl io::Write for Room {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0 = self.0.checked_sub(bytes.len()).ok_or(io::ErrorKind::FileTooLarge)?;
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    serde_json::to_writer(Room(limit), value).is_err()
}

#[cfg(test)]
mod tests;
