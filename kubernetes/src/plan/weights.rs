//! What to do about one split: pure.

use serde_json::Value;

use super::{
    obstacle::Obstacle,
    splits::{Destination, Role, Split},
};
use crate::intent::Intent;

/// The largest weight of the Gateway API; Istio's are percentages.
const MAX_WEIGHT: u32 = 1_000_000;

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
    let place = || split.place.clone();
    let before = split.destinations.iter().map(|of| weight(of, split)).collect::<Result<Vec<u32>, Obstacle>>()?;
    let weights = || split.destinations.iter().zip(&before);
    let sum: u64 = before.iter().map(|&weight| u64::from(weight)).sum();
    if sum > 0 && weights().all(|(of, &weight)| of.role != Role::Candidate || weight == 0) {
        return Ok(Step::InEffect);
    }
    if let Some((third, _)) = weights().find(|(of, weight)| of.role == Role::Other && **weight > 0) {
        return Err(Obstacle::ThirdRelease { place: place(), third: third.label.clone() });
    }
    let Some(first) = split.destinations.iter().position(|of| of.role == Role::Baseline) else {
        return Err(Obstacle::NoBaseline { place: place(), baseline: intent.baseline.clone() });
    };
    let mut after: Vec<u32> =
        weights().map(|(of, &weight)| if of.role == Role::Candidate { 0 } else { weight }).collect();
    if let Some(rest) = after.get_mut(first) {
        let others = weights().enumerate().filter(|(i, (of, _))| *i != first && of.role == Role::Baseline);
        let others: u64 = others.map(|(_, (_, &weight))| u64::from(weight)).sum();
        match 100_u32.checked_sub(u32::try_from(others).unwrap_or(u32::MAX)) {
            Some(left) if left > 0 => *rest = left,
            _ => {}
        }
    }
    let note = match sum {
        0 => Some(Obstacle::AllZero { place: place() }),
        100 => None,
        _ => split.percent.then(|| Obstacle::WeightsNotHundred { place: place(), sum }),
    };
    Ok(Step::Set { before, after, note })
}

fn weight(of: &Destination, split: &Split) -> Result<u32, Obstacle> {
    let Some(value) = of.value.get("weight").filter(|value| !value.is_null()) else {
        return Ok(of.default_weight);
    };
    let weight = value.as_u64().and_then(|weight| u32::try_from(weight).ok()).filter(|&weight| weight <= MAX_WEIGHT);
    weight.ok_or_else(|| Obstacle::WeightInvalid {
        place: split.place.clone(),
        destination: of.label.clone(),
        written: shown(value),
    })
}

/// A value in at most 40 characters.
fn shown(value: &Value) -> String {
    value.to_string().chars().take(40).collect()
}
