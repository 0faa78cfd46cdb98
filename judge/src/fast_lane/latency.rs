use std::collections::BTreeMap;

use super::{Mixture, PodPart};
use crate::slice::{PodId, counted_as};
use crate::split::Split;
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

    /// One second: the table and each candidate pod's part beyond [`RATIO`] times the threshold.
    pub(crate) fn observe(&mut self, split: Split, pods: impl Iterator<Item = PodPart>) {
        let mut ln_c = [0.0; TILTS.len()];
        for (c, tilt) in ln_c.iter_mut().zip(TILTS) {
            *c = split.ln_normaliser(tilt);
        }
        let known = &mut self.beyond;
        self.mixture.observe(pods.map(|(pod, beyond, n)| {
            let pod = counted_as(pod, known.contains_key(&pod), known.len());
            *known.entry(pod).or_default() += beyond;
            let mut inc = [0.0; TILTS.len()];
            for ((inc, tilt), ln_c) in inc.iter_mut().zip(TILTS).zip(ln_c) {
                *inc = beyond * tilt - n / split.n_b * ln_c;
            }
            inc
        }));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::slice::PodId;

    #[test]
    fn fires_after_eight_seconds_and_not_before() {
        let mut lane = Latency::new(1e-3, 1_800);
        let split = Split { n_a: 500.0, n_b: 500.0, beyond: 150.0 };
        let pods = [(PodId(1), 70.0, 250.0), (PodId(2), 55.0, 250.0)];
        for _ in 0..7 {
            lane.observe(split, pods.into_iter());
        }
        assert!(lane.ln_e() < super::super::threshold(1e-3));
        lane.observe(split, pods.into_iter());
        assert!(lane.ln_e() >= super::super::threshold(1e-3), "{}", lane.ln_e());
    }

    #[test]
    fn equal_arms_leave_no_evidence() {
        let mut lane = Latency::new(1e-3, 1_800);
        for _ in 0..1_000 {
            lane.observe(Split { n_a: 500.0, n_b: 500.0, beyond: 10.0 }, [(PodId(1), 5.0, 500.0)].into_iter());
        }
        assert!(lane.ln_e() < 0.1);
    }
}
