//! What to do about one split: pure.

use super::{
    obstacle::Obstacle,
    splits::{Role, Split},
};
use crate::intent::Intent;

/// What to do about a split.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// The candidate gets nothing.
    InEffect,
    /// New weights, in the order of the destinations.
    Set {
        before: Vec<u32>,
        after: Vec<u32>,
        /// Something that should be mended all the same.
        note: Option<Obstacle>,
    },
}

/// Puts the candidate at 0 and all requests to the baseline.
///
/// Of several destinations of the baseline the first takes what the others leave of 100. Where they leave nothing, it
/// keeps what it has: the sum is above 0 all the same, and the candidate's share is 0.
pub(super) fn step(split: &Split, intent: &Intent) -> Result<Step, Obstacle> {
    let place = || split.route.place.clone();
    let before = weights(split)?;
    let roles = || split.roles.iter().copied().zip(before.iter().copied());
    let sum: u64 = before.iter().copied().map(u64::from).sum();
    if sum > 0 && roles().all(|(role, weight)| role != Role::Candidate || weight == 0) {
        return Ok(Step::InEffect);
    }
    let mut thirds = split.route.destinations.iter().zip(roles());
    if let Some((third, _)) = thirds.find(|(_, (role, weight))| *role == Role::Other && *weight > 0) {
        return Err(Obstacle::ThirdRelease { place: place(), third: third.label.clone() });
    }
    let Some(first) = split.roles.iter().position(|&role| role == Role::Baseline) else {
        return Err(Obstacle::NoBaseline { place: place(), baseline: intent.baseline.clone() });
    };
    let mut after: Vec<u32> = roles().map(|(role, weight)| if role == Role::Candidate { 0 } else { weight }).collect();
    if let Some(rest) = after.get_mut(first) {
        let others = roles().enumerate().filter(|(i, (role, _))| *i != first && *role == Role::Baseline);
        let others: u64 = others.map(|(_, (_, weight))| u64::from(weight)).sum();
        *rest = u32::try_from(others)
            .ok()
            .and_then(|others| 100_u32.checked_sub(others))
            .filter(|&left| left > 0)
            .unwrap_or(*rest);
    }
    let note = match sum {
        0 => Some(Obstacle::AllZero { place: place() }),
        100 => None,
        _ => split.route.percent.then(|| Obstacle::WeightsNotHundred { place: place(), sum }),
    };
    Ok(Step::Set { before, after, note })
}

fn weights(split: &Split) -> Result<Vec<u32>, Obstacle> {
    let weight = |of: &crate::routes::Destination| {
        of.weight().map_err(|written| Obstacle::WeightInvalid {
            place: split.route.place.clone(),
            destination: of.label.clone(),
            written,
        })
    };
    split.route.destinations.iter().map(weight).collect()
}
