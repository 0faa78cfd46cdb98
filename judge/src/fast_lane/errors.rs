use std::collections::VecDeque;

use super::{Mixture, PodPart};

/// Error rates of the candidate that are looked for.
const TILTS: [f64; 5] = [0.1, 0.2, 0.35, 0.6, 0.95];
/// Seconds of the baseline that its error rate is taken from.
const WINDOW_S: u64 = 60;

/// Seconds that [`Errors::recent`] spans.
const RECENT_S: u64 = 10;

/// (errors, requests) of both arms in one second.
#[derive(Clone, Copy, Debug)]
struct Second {
    second: u64,
    a: (f64, f64),
    b: (f64, f64),
}

/// The largest candidate error rate that is no reason for a rollback, given the baseline's.
#[derive(Clone, Copy, Debug)]
enum Bound {
    /// Five points more.
    Plus,
    /// Three times as much.
    Times,
}

impl Bound {
    fn of(self, base: f64) -> f64 {
        match self {
            Bound::Plus => base + 0.05,
            Bound::Times => 3.0 * base,
        }
    }

    fn inverse(self, rate: f64) -> f64 {
        match self {
            Bound::Plus => rate - 0.05,
            Bound::Times => rate / 3.0,
        }
    }

    fn slope(self) -> f64 {
        match self {
            Bound::Plus => 1.0,
            Bound::Times => 3.0,
        }
    }
}

/// The baseline error rate u of the null hypothesis that is nearest, in Kullback-Leibler divergence, to the
/// alternative (theta_a, theta_b): the projection on a convex set, so that the likelihood ratio against it is an
/// e-variable (Turner, Ly & Grunwald, arXiv 2106.02693). Bisection on the derivative.
fn nearest_null(n_a: f64, n_b: f64, theta_a: f64, theta_b: f64, bound: Bound) -> f64 {
    let (mut lo, mut hi) = (theta_a, bound.inverse(theta_b));
    // 30 halvings leave an error of 1e-9 at most.
    for _ in 0..30 {
        let u = 0.5 * (lo + hi);
        let g = bound.of(u);
        let slope = n_a * (u - theta_a) / (u * (1.0 - u)) + n_b * bound.slope() * (g - theta_b) / (g * (1.0 - g));
        if slope < 0.0 { lo = u } else { hi = u }
    }
    0.5 * (lo + hi)
}

/// Whether the candidate fails far more requests than the baseline: both "at most five points more" and "at most
/// three times as much" must be refuted.
#[derive(Clone, Debug)]
pub(crate) struct Errors {
    plus: Mixture<{ TILTS.len() }>,
    times: Mixture<{ TILTS.len() }>,
    window: VecDeque<Second>,
    /// Over the whole trial: baseline errors and requests, candidate errors and requests, expected errors.
    pub(crate) a: (f64, f64),
    pub(crate) b: (f64, f64),
    pub(crate) expected_b: f64,
}

impl Errors {
    pub(crate) fn new(alpha: f64, trial_s: u32) -> Self {
        let spare = 5f64.ln();
        Errors {
            plus: Mixture::new(alpha, spare, trial_s),
            times: Mixture::new(alpha, spare, trial_s),
            window: VecDeque::new(),
            a: (0.0, 0.0),
            b: (0.0, 0.0),
            expected_b: 0.0,
        }
    }

    /// ln of the smaller evidence: only refuting both counts.
    pub(crate) fn ln_e(&self) -> f64 {
        self.plus.ln_e().min(self.times.ln_e())
    }

    /// Error rates of baseline and candidate over the last 10 s.
    pub(crate) fn recent(&self) -> (f64, f64) {
        let last = self.window.back().map_or(0, |s| s.second);
        let recent = self.window.iter().filter(|s| last - s.second < RECENT_S);
        let (a, b) = recent.fold(((0.0, 0.0), (0.0, 0.0)), |(a, b), s| (add(a, s.a), add(b, s.b)));
        let rate = |(errors, n): (f64, f64)| if n > 0.0 { errors / n } else { 0.0 };
        (rate(a), rate(b))
    }

    /// The baseline's error rate before this second: its last minute, with two requests of its long-run rate and a
    /// little more so that it is never 0.
    fn base(&self) -> f64 {
        let (errors, n) = self.window.iter().fold((0.0, 0.0), |sum, s| add(sum, s.a));
        let long_run = if self.a.1 > 0.0 { self.a.0 / self.a.1 } else { 0.0 };
        ((errors + 2.0 * long_run + 0.02) / (n + 22.0)).clamp(0.0005, 0.6)
    }

    /// One second: baseline (errors, requests), and (pod, errors, requests) of every candidate pod.
    pub(crate) fn observe(&mut self, second: u64, a: (f64, f64), pods: &[PodPart]) {
        let (errors_b, n_b) = pods.iter().fold((0.0, 0.0), |sum, (_, errors, n)| add(sum, (*errors, *n)));
        if a.1 > 0.0 && n_b > 0.0 {
            let theta_a = self.base();
            self.plus.observe(increments(Bound::Plus, theta_a, a, n_b, pods));
            self.times.observe(increments(Bound::Times, theta_a, a, n_b, pods));
            self.b = add(self.b, (errors_b, n_b));
            self.expected_b += (a.0 + errors_b) * n_b / (a.1 + n_b);
        }
        self.a = add(self.a, a);
        self.window.push_back(Second { second, a, b: (errors_b, n_b) });
        while self.window.front().is_some_and(|s| second - s.second >= WINDOW_S) {
            self.window.pop_front();
        }
    }
}

fn add(x: (f64, f64), y: (f64, f64)) -> (f64, f64) {
    (x.0 + y.0, x.1 + y.1)
}

/// x ln(y), 0 when x is 0 whatever y.
fn times_ln(x: f64, y: f64) -> f64 {
    if x > 0.0 { x * y.ln() } else { 0.0 }
}

/// Every candidate pod's increments against one null hypothesis.
fn increments(
    bound: Bound,
    theta_a: f64,
    (errors_a, n_a): (f64, f64),
    n_b: f64,
    pods: &[PodPart],
) -> impl Iterator<Item = [f64; TILTS.len()]> {
    let nulls = TILTS.map(|theta_b| {
        (theta_b > 1.05 * bound.of(theta_a)).then(|| {
            let u = nearest_null(n_a, n_b, theta_a, theta_b, bound);
            let g = bound.of(u);
            let baseline = times_ln(errors_a, theta_a / u) + times_ln(n_a - errors_a, (1.0 - theta_a) / (1.0 - u));
            (baseline, (theta_b / g).ln(), ((1.0 - theta_b) / (1.0 - g)).ln())
        })
    });
    pods.iter().map(move |(_, errors, n)| {
        nulls.map(|null| match null {
            Some((baseline, failed, served)) => errors * failed + (n - errors) * served + n / n_b * baseline,
            None => 0.0,
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fast_lane::threshold;
    use crate::slice::PodId;
    use proptest::prelude::*;

    /// Seconds until the lane fires with these error rates, 100 requests a second in each arm, at most 300.
    fn fires(rate_a: f64, rate_b: f64) -> Option<u64> {
        let mut lane = Errors::new(1e-3, 1_800);
        (1..=300).find(|s| {
            lane.observe(*s, (100.0 * rate_a, 100.0), &[(PodId(1), 100.0 * rate_b, 100.0)]);
            lane.ln_e() >= threshold(1e-3)
        })
    }

    #[test]
    fn fires_on_many_errors_only() {
        assert_eq!(fires(0.0, 1.0), Some(8));
        assert_eq!(fires(0.0, 0.5), Some(8));
        assert!(fires(0.0, 0.2).is_some_and(|s| s <= 10), "{:?}", fires(0.0, 0.2));
        assert_eq!(fires(0.0, 0.04), None, "less than five points more");
        assert_eq!(fires(0.1, 0.28), None, "less than three times as much");
        assert_eq!(fires(0.5, 0.5), None, "both arms fail");
    }

    proptest! {
        /// E over Bernoulli outcomes of one request in each arm, at the null point itself and elsewhere in the null:
        /// the expectation of the factor is at most 1.
        #[test]
        fn expectation_under_the_null_is_at_most_one(p_a in 0.001f64..0.6, part in 0.0f64..=1.0, theta_a in 0.0005f64..0.6, tilt in 0usize..5) {
            for bound in [Bound::Plus, Bound::Times] {
                let p_b = (bound.of(p_a) * part).min(1.0);
                let mut mean = 0.0;
                for (a, pa) in [(1.0, p_a), (0.0, 1.0 - p_a)] {
                    for (b, pb) in [(1.0, p_b), (0.0, 1.0 - p_b)] {
                        let pods = [(PodId(1), b, 1.0)];
                        let inc = increments(bound, theta_a, (a, 1.0), 1.0, &pods).next().unwrap()[tilt];
                        mean += pa * pb * inc.exp();
                    }
                }
                prop_assert!(mean <= 1.0 + 1e-9, "{bound:?} {mean}");
            }
        }
    }
}
