use super::{Increments, Mixture};
use crate::slice::PodId;

/// ln psi of the mixture, negated: too few requests speak against the candidate.
const TILTS: [f64; 5] = [0.1, 0.3, 0.6, 1.2, 3.0];
/// A candidate that completes this part of its share of the requests is not to blame.
const ENOUGH: f64 = 0.8;
/// Evidence to spare, in ln, over eight clipped seconds.
const SPARE: f64 = 1.0;

/// Whether the candidate completes far fewer requests than its weight says. Of n requests that both releases completed in a second the
/// candidate's are binomial, since Envoy draws each request's release by weight; the null hypothesis is a probability of at least
/// [`ENOUGH`] of its weight, and psi^b / (1 + p (psi - 1))^n with psi < 1 is an e-variable for it.
#[derive(Clone, Debug)]
pub(crate) struct Throughput {
    mixture: Mixture<{ TILTS.len() }>,
    /// Candidate requests that were completed in the seconds in which its weight was known, and those that its weight promised.
    pub(crate) completed: f64,
    pub(crate) promised: f64,
    /// Of how many requests of both releases.
    pub(crate) of: f64,
}

impl Throughput {
    pub(crate) fn new(alpha: f64, trial_s: u32) -> Self {
        Throughput { mixture: Mixture::new(alpha, SPARE, trial_s), completed: 0.0, promised: 0.0, of: 0.0 }
    }

    pub(crate) fn ln_e(&self) -> f64 {
        self.mixture.ln_e()
    }

    /// One second: completed requests of both arms, and the candidate's share of the weights.
    pub(crate) fn observe(&mut self, n_a: f64, n_b: f64, weight: f64) {
        let n = n_a + n_b;
        if n <= 0.0 || !(weight > 0.0 && weight < 1.0) {
            return;
        }
        self.completed += n_b;
        self.promised += n * weight;
        self.of += n;
        let least = ENOUGH * weight;
        let inc = TILTS.map(|tilt| -n_b * tilt - n * (least * (-tilt).exp_m1()).ln_1p());
        self.mixture.observe(Increments::of(std::iter::once(std::iter::once((PodId(0), inc)))));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fast_lane::threshold;
    use proptest::prelude::*;

    /// Seconds until the lane fires at 1,000 requests/s, of which the candidate is to have 5%, at most 600.
    fn fires(completed: f64) -> Option<u64> {
        let mut lane = Throughput::new(1e-3, 1_800);
        (1..=600).find(|_| {
            lane.observe(950.0, completed, 0.05);
            lane.ln_e() >= threshold(1e-3)
        })
    }

    #[test]
    fn fires_where_requests_are_missing() {
        assert_eq!(fires(0.0), Some(8));
        assert!(fires(20.0).is_some_and(|s| s <= 10), "{:?}", fires(20.0));
        assert_eq!(fires(50.0), None, "its share");
        assert_eq!(fires(42.0), None, "a little less");
        assert_eq!(fires(80.0), None, "more");
    }

    proptest! {
        /// One request: the expectation of each factor is at most 1 for every probability of the null hypothesis.
        #[test]
        fn expectation_under_the_null_is_at_most_one(weight in 0.01f64..0.99, above in 0.0f64..=1.0, tilt in 0usize..5) {
            let least = ENOUGH * weight;
            let p = least + above * (1.0 - least);
            let factor = |b: f64| (-b * TILTS[tilt] - (least * (-TILTS[tilt]).exp_m1()).ln_1p()).exp();
            prop_assert!(p * factor(1.0) + (1.0 - p) * factor(0.0) <= 1.0 + 1e-12);
        }
    }
}
