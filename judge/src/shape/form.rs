//! From the reweighted latencies of both arms.

use serin_sketch::{BUCKETS, Bucket};

use super::Form;
use crate::effect::Effect;

/// A quantile counts as slower from this ratio on: two buckets of the sketch, 1.6% at most, are its resolution.
const SLOWER: f64 = 1.03;
/// And when the candidate's share beyond the baseline's quantile is so many standard errors too large.
const SIGMAS: f64 = 3.0;
/// A mode is narrow: what is too much in the tail falls from three quarters to one within this ratio of latencies. In a tail as heavy as
/// x^-3 that takes 3^(1/3) = 1.44.
const NARROW: f64 = 1.3;
/// And new: the baseline has less than a third as much beyond it.
const NEW: f64 = 3.0;
/// Modes are looked for above this quantile of the baseline.
const TAIL_FROM: f64 = 0.95;

pub(super) fn form(effect: &Effect, dispersion: f64) -> Form {
    let n = effect.candidate_total();
    let is_slower = |q: f64| {
        let Some((before, now)) = effect.quantiles(q) else { return false };
        let (expected, error) = (1.0 - q, (q * (1.0 - q) * dispersion / n.max(1.0)).sqrt());
        now >= before * SLOWER && effect.candidate_from(before) - expected >= SIGMAS * error
    };
    let (body, tail) = (is_slower(0.5), is_slower(0.99) || is_slower(0.95));
    match (body, tail) {
        (true, true) => Form::Whole,
        (true, false) => Form::Body,
        (false, true) => new_mode(effect).unwrap_or(Form::Tail),
        (false, false) => Form::Unclear,
    }
}

/// Of the shares of both arms beyond each latency, the difference: where a new mode is, it is level below the mode and gone above it.
fn new_mode(effect: &Effect) -> Option<Form> {
    let (from, _) = effect.quantiles(TAIL_FROM)?;
    let (mut a, mut b) = (0.0, 0.0);
    let mut excess: Vec<(Bucket, f64, f64)> = Vec::new();
    for bucket in (0..BUCKETS as u32).rev().filter_map(Bucket::from_index) {
        if (bucket.lower().0 as f64) < from {
            break;
        }
        let (more_a, more_b) = effect.shares(bucket);
        (a, b) = (a + more_a, b + more_b);
        if more_a + more_b > 0.0 {
            excess.push((bucket, b - a, a));
        }
    }
    let level = excess.iter().map(|(_, excess, _)| *excess).fold(0.0, f64::max);
    // From the slowest on: where it is first a quarter of the level, half of it, and three quarters.
    let reaches = |share: f64| excess.iter().find(|(_, excess, _)| *excess >= share * level);
    let ((upper, ..), (middle, ..), (lower, _, known)) = (reaches(0.25)?, reaches(0.5)?, reaches(0.75)?);
    let is_narrow = upper.lower().0 as f64 <= NARROW * lower.lower().0 as f64;
    let is_mode = level > 0.0 && is_narrow && level >= NEW * known;
    is_mode.then(|| Form::NewMode { share: level, latency: middle.mid() })
}
