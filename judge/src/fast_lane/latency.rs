use std::collections::BTreeMap;

use serin_sketch::Bucket;

use super::{Increments, Mixture};
use crate::slice::{Pair, PodId, counted_as};
use crate::split::Split;
use crate::threshold::at_least;
use crate::verdict::WorstPod;

/// The tested ratio: not slower by 150%.
pub(crate) const RATIO: f64 = 2.5;
/// ln psi of the mixture.
const TILTS: [f64; 8] = [0.15, 0.3, 0.5, 0.8, 1.2, 1.8, 2.6, 3.6];
/// p50, p95 and p99.
pub(crate) const LANES: usize = 3;
/// Evidence to spare, in ln, over eight clipped seconds.
const SPARE: f64 = 1.5;

/// Whether the candidate is slower by far at one quantile.
#[derive(Clone, Debug)]
pub(crate) struct Latency {
    mixture: Mixture<{ TILTS.len() }>,
    /// What each candidate pod has beyond.
    beyond: BTreeMap<PodId, f64>,
}

impl Latency {
    pub(crate) fn new(alpha: f64, trial_s: u32) -> Self {
        Latency { mixture: Mixture::new(alpha, SPARE, trial_s), beyond: BTreeMap::new() }
    }

    pub(crate) fn ln_e(&self) -> f64 {
        self.mixture.ln_e()
    }

    /// The candidate pod with the most requests beyond. `None` where there is one pod.
    pub(crate) fn worst_pod(&self) -> Option<WorstPod> {
        let (pod, most) = self.beyond.iter().max_by(|(_, x), (_, y)| x.total_cmp(y))?;
        let (pods, all) = (self.beyond.len(), self.beyond.values().sum::<f64>());
        let share = if all > 0.0 { most / all } else { 0.0 };
        (pods > 1).then_some(WorstPod { pod: *pod, pods, share, log_evidence_without: None })
    }

    /// One second: how many requests of each stratum took [`RATIO`] times the baseline's threshold.
    pub(crate) fn observe(&mut self, strata: &[Pair], threshold: Bucket) {
        let edge = at_least(threshold, RATIO);
        let tables = strata.iter().map(|pair| (pair, pair.split(threshold, edge)));
        let comparable = tables.filter(|(_, split)| split.n_a > 0.0 && split.n_b > 0.0);
        self.mixture
            .observe(Increments::of(comparable.map(|(pair, split)| increments(split, pair.candidate.parts(edge)))));
        for (pod, beyond, _) in strata.iter().flat_map(|pair| pair.candidate.parts(edge)) {
            let pod = counted_as(pod, self.beyond.contains_key(&pod), self.beyond.len());
            *self.beyond.entry(pod).or_default() += beyond;
        }
    }
}

/// What each candidate pod, of whose n requests so many are beyond, adds for each tilt.
fn increments(
    split: Split,
    pods: impl Iterator<Item = (PodId, f64, f64)>,
) -> impl Iterator<Item = (PodId, [f64; TILTS.len()])> {
    let ln_c = split.ln_normalisers(TILTS);
    pods.map(move |(pod, beyond, n)| {
        let mut inc = [0.0; TILTS.len()];
        for ((inc, tilt), ln_c) in inc.iter_mut().zip(TILTS).zip(ln_c) {
            *inc = beyond * tilt - n / split.n_b * ln_c;
        }
        (pod, inc)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::slice::PodId;

    fn second(lane: &mut Latency, split: Split, pods: &[(PodId, f64, f64)]) {
        lane.mixture.observe(Increments::of([increments(split, pods.iter().copied())].into_iter()));
    }

    #[test]
    fn fires_after_eight_seconds_and_not_before() {
        let mut lane = Latency::new(1e-3, 1_800);
        let split = Split { n_a: 500.0, n_b: 500.0, beyond: 150.0 };
        let pods = [(PodId(1), 70.0, 250.0), (PodId(2), 55.0, 250.0)];
        for _ in 0..7 {
            second(&mut lane, split, &pods);
        }
        assert!(lane.ln_e() < super::super::threshold(1e-3));
        second(&mut lane, split, &pods);
        assert!(lane.ln_e() >= super::super::threshold(1e-3), "{}", lane.ln_e());
    }

    #[test]
    fn equal_arms_leave_no_evidence() {
        let mut lane = Latency::new(1e-3, 1_800);
        for _ in 0..1_000 {
            second(&mut lane, Split { n_a: 500.0, n_b: 500.0, beyond: 10.0 }, &[(PodId(1), 5.0, 500.0)]);
        }
        assert!(lane.ln_e() < 0.1);
    }
}
