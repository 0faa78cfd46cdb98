use std::collections::BTreeMap;

use super::{Increments, Mixture};
use crate::slice::{ArmSecond, Pod, PodId};

/// psi of the mixture.
const TILTS: [f64; 4] = [2.0, 4.0, 8.0, 16.0];
/// Fewer requests that wait are no stall.
const WAITING_MIN: f64 = 3.0;
/// A candidate pod may stall this many times as often as a baseline pod.
const RATIO: f64 = 2.0;
/// Evidence to spare, in ln, over eight clipped seconds.
const SPARE: f64 = 1.0;

/// Whether candidate pods answer nothing for far more seconds than baseline pods do: a pod stalls in a second in which at least three of
/// its requests had lasted a second or longer and none was answered. It needs no answer from the candidate ever.
///
/// Given the number of pods that stall in a second, each is one of the candidate's with at most the odds of `RATIO` times its number of
/// pods: binomial, with the normaliser of [`crate::split::Split`]'s first bound.
#[derive(Clone, Debug)]
pub(crate) struct Stall {
    mixture: Mixture<{ TILTS.len() }>,
    /// Seconds in which a candidate pod stalled.
    pub(crate) pod_seconds: u64,
}

impl Stall {
    pub(crate) fn new(alpha: f64, trial_s: u32) -> Self {
        Stall { mixture: Mixture::new(alpha, SPARE, trial_s), pod_seconds: 0 }
    }

    pub(crate) fn ln_e(&self) -> f64 {
        self.mixture.ln_e()
    }

    /// One second of both arms.
    pub(crate) fn observe(&mut self, baseline: &ArmSecond, candidate: &ArmSecond) {
        let (a, b) = (stalled(baseline), stalled(candidate));
        let all: usize = a.values().chain(b.values()).filter(|stalls| **stalls).count();
        if all == 0 || a.is_empty() || b.is_empty() {
            return;
        }
        self.pod_seconds += b.values().filter(|stalls| **stalls).count() as u64;
        let odds = RATIO * b.len() as f64 / a.len() as f64;
        let share = odds / (1.0 + odds);
        let spent = TILTS.map(|psi| all as f64 / b.len() as f64 * (share * (psi - 1.0)).ln_1p());
        let pods = b.iter().map(|(pod, stalls)| {
            let mut inc = spent.map(|spent| -spent);
            for (inc, psi) in inc.iter_mut().zip(TILTS).filter(|_| *stalls) {
                *inc += psi.ln();
            }
            (*pod, inc)
        });
        self.mixture.observe(Increments::of(std::iter::once(pods)));
    }
}

/// Which pods of an arm stall.
fn stalled(arm: &ArmSecond) -> BTreeMap<PodId, bool> {
    let mut pods: BTreeMap<PodId, (f64, f64)> = BTreeMap::new();
    for Pod { id, requests, errors, in_flight, .. } in &arm.pods {
        let sum = pods.entry(*id).or_default();
        *sum = (sum.0 + in_flight, sum.1 + requests - errors);
    }
    pods.into_iter().map(|(pod, (waiting, answered))| (pod, waiting >= WAITING_MIN && answered <= 0.0)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fast_lane::threshold;
    use crate::in_flight::InFlight;
    use crate::slice::{Arm, PodSlice, Slice, Stratum};
    use serin_sketch::{Bucket, Counts, Micros};

    fn pod(arm: Arm, id: u32, waiting: u64, answered: u64) -> PodSlice {
        let in_flight =
            if waiting > 0 { [(Bucket::of(Micros(1_500_000)), waiting)].into_iter().collect() } else { Counts::new() };
        PodSlice { in_flight, requests: answered, ..PodSlice::new(arm, PodId(id), Stratum(0)) }
    }

    /// Seconds until the lane fires with these candidate and baseline pods, at most 300.
    fn fires(candidate: &[(u64, u64)], baseline: &[(u64, u64)]) -> Option<u64> {
        let pods = |arm, from: u32, all: &[(u64, u64)]| {
            all.iter()
                .zip(from..)
                .map(|((waiting, answered), id)| pod(arm, id, *waiting, *answered))
                .collect::<Vec<_>>()
        };
        let pods = [pods(Arm::Candidate, 0, candidate), pods(Arm::Baseline, 100, baseline)].concat();
        let slice = Slice { pods, ..Slice::new(0) };
        let arm = |arm| ArmSecond::of(&slice, arm, &InFlight::default(), |_| true);
        let mut lane = Stall::new(1e-3, 1_800);
        (1..=300).find(|_| {
            lane.observe(&arm(Arm::Baseline), &arm(Arm::Candidate));
            lane.ln_e() >= threshold(1e-3)
        })
    }

    #[test]
    fn fires_where_candidates_alone_answer_nothing() {
        assert_eq!(fires(&[(5, 0)], &[(0, 50); 19]), Some(8));
        assert_eq!(fires(&[(5, 1)], &[(0, 50); 19]), None, "one answer a second");
        assert_eq!(fires(&[(2, 0)], &[(0, 50); 19]), None, "too few that wait");
        assert_eq!(fires(&[(5, 0), (9, 0)], &[(7, 0), (8, 0)]), None, "all pods of both releases stall");
        assert_eq!(fires(&[], &[(0, 50); 19]), None);
        assert_eq!(fires(&[(5, 0)], &[]), None);
    }
}
