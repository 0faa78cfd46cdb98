//! The other side: evidence that the candidate is not slower by the regression that matters. The null hypothesis is
//! q_B >= (1 + delta) q_A; tilts are negative, since too few candidate exceedances speak against it.

use crate::split::Split;
use crate::stat::ln_mean_exp;

/// ln psi of the mixture.
const TILTS: [f64; 8] = [-0.03, -0.05, -0.08, -0.12, -0.2, -0.3, -0.5, -0.8];

/// The non-inferiority e-process of one quantile.
#[derive(Clone, Debug, Default)]
pub(crate) struct NonInferiority {
    l: [f64; TILTS.len()],
    n_a: f64,
    n_b: f64,
    /// Baseline requests beyond its threshold, and beyond 1 + delta times it.
    a: f64,
    a_beyond: f64,
}

impl NonInferiority {
    /// One slice: `split` at (threshold, 1 + delta times it), the candidate's `b` of its `beyond`, and the
    /// baseline's own count beyond the larger edge.
    pub(crate) fn observe(&mut self, split: Split, b: f64, a_beyond: f64) {
        for ((l, tilt), ln_c) in self.l.iter_mut().zip(TILTS).zip(split.ln_normalisers(TILTS)) {
            *l += b * tilt - ln_c;
        }
        self.n_a += split.n_a;
        self.n_b += split.n_b;
        self.a += split.beyond - b;
        self.a_beyond += a_beyond;
    }

    /// ln E, tempered by the dispersion factor.
    pub(crate) fn ln_e(&self, factor: f64) -> f64 {
        ln_mean_exp(&self.l.map(|l| l / factor))
    }

    /// Baseline requests for each of the candidate's, and the share of them beyond the threshold.
    pub(crate) fn baseline(&self) -> Option<(f64, f64)> {
        (self.n_a > 0.0 && self.n_b > 0.0).then(|| (self.n_a / self.n_b, self.a / self.n_a))
    }

    /// How many more candidate requests prove it if the arms are equal: (threshold - ln E) * dispersion / growth
    /// for the tilt that grows fastest. `None` when nothing grows.
    pub(crate) fn requests_needed(&self, factor: f64, ln_threshold: f64) -> Option<f64> {
        if self.n_a <= 0.0 || self.n_b <= 0.0 {
            return None;
        }
        let n_a = self.n_a / self.n_b;
        let equal = self.a_beyond / self.n_a;
        let split = Split { n_a, n_b: 1.0, beyond: n_a * self.a / self.n_a + equal };
        let growth = TILTS.map(|tilt| equal * tilt - split.ln_bound(tilt)).into_iter().fold(0.0, f64::max);
        let missing = (ln_threshold - self.ln_e(factor)).max(0.0);
        (growth > 1e-12).then(|| missing * factor / growth)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(b: f64, a_beyond: f64) -> NonInferiority {
        let mut test = NonInferiority::default();
        for _ in 0..600 {
            test.observe(Split { n_a: 500.0, n_b: 500.0, beyond: 25.0 + b }, b, a_beyond);
        }
        test
    }

    #[test]
    fn proves_equality_and_never_the_regression_itself() {
        // 25 of 500 beyond p95; 18 beyond 1.1 times it.
        assert!(run(18.0, 18.0).ln_e(1.0) > 20f64.ln());
        assert!(run(25.0, 18.0).ln_e(1.0) < 0.0, "exactly 1 + delta slower");
    }

    #[test]
    fn tells_how_many_requests_are_needed() {
        let early = {
            let mut test = NonInferiority::default();
            test.observe(Split { n_a: 500.0, n_b: 500.0, beyond: 43.0 }, 18.0, 18.0);
            test
        };
        let needed = early.requests_needed(1.0, 20f64.ln()).unwrap();
        let spent = (1..600).find(|s| {
            let mut test = early.clone();
            for _ in 0..*s {
                test.observe(Split { n_a: 500.0, n_b: 500.0, beyond: 43.0 }, 18.0, 18.0);
            }
            test.ln_e(1.0) >= 20f64.ln()
        });
        let spent = f64::from(spent.unwrap()) * 500.0;
        assert!((0.4..=1.5).contains(&(needed / spent)), "said {needed}, took {spent}");
    }
}
