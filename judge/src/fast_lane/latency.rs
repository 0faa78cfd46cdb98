use super::{Mixture, PodPart};
use crate::split::Split;

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
pub(crate) struct Latency(Mixture<{ TILTS.len() }>);

impl Latency {
    pub(crate) fn new(alpha: f64, trial_s: u32) -> Self {
        Latency(Mixture::new(alpha, SPARE, trial_s))
    }

    pub(crate) fn ln_e(&self) -> f64 {
        self.0.ln_e()
    }

    /// One second: the table and each candidate pod's part beyond [`RATIO`] times the threshold.
    pub(crate) fn observe(&mut self, split: Split, pods: impl Iterator<Item = PodPart>) {
        let mut ln_c = [0.0; TILTS.len()];
        for (c, tilt) in ln_c.iter_mut().zip(TILTS) {
            *c = split.ln_normaliser(tilt);
        }
        self.0.observe(pods.map(|(_, beyond, n)| {
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
