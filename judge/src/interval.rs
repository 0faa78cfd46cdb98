//! An interval for the ratio of a quantile that holds at every moment at once: all ratios that tempered e-processes
//! do not refute, on a geometric grid.

use serin_sketch::Bucket;

use crate::slice::Tail;
use crate::split::Split;
use crate::stat::ln_mean_exp;
use crate::threshold::{at_least, at_most};

/// The grid: 1.05^-14 = 0.505 to 1.05^22 = 2.93.
const STEP: f64 = 1.05;
const STEPS: std::ops::RangeInclusive<i32> = -14..=22;
/// ln psi of the mixture; negated for the other direction.
const TILTS: [f64; 3] = [0.1, 0.3, 0.8];
/// ln of the evidence that refutes a ratio: 95% in both directions together, 1/0.025.
const LN_REFUTED: f64 = 3.688_879_454_113_936_3;

#[derive(Clone, Debug)]
struct Ratio {
    ratio: f64,
    /// Log evidence against "at most this ratio" and against "at least this ratio", for each tilt.
    at_most: [f64; TILTS.len()],
    at_least: [f64; TILTS.len()],
}

/// The tests of one quantile.
#[derive(Clone, Debug)]
pub(crate) struct Interval(Vec<Ratio>);

impl Interval {
    /// `extra`: one more ratio to test than the grid's.
    pub(crate) fn new(extra: f64) -> Self {
        let mut ratios: Vec<f64> = STEPS.map(|k| STEP.powi(k)).filter(|r| (r / extra - 1.0).abs() > 1e-6).collect();
        ratios.push(extra);
        ratios.sort_by(f64::total_cmp);
        let none = [0.0; TILTS.len()];
        Interval(ratios.into_iter().map(|ratio| Ratio { ratio, at_most: none, at_least: none }).collect())
    }

    /// One slice: the baseline's count beyond its threshold, and the candidate's whole tail.
    pub(crate) fn observe(&mut self, threshold: Bucket, a: f64, n_a: f64, candidate: &Tail) {
        let n_b = candidate.total();
        for test in &mut self.0 {
            let b = candidate.at_or_above(at_least(threshold, test.ratio));
            let split = Split { n_a, n_b, beyond: a + b };
            for (l, tilt) in test.at_most.iter_mut().zip(TILTS) {
                *l += b * tilt - split.ln_bound(tilt);
            }
            let b = candidate.at_or_above(at_most(threshold, test.ratio));
            let split = Split { n_a, n_b, beyond: a + b };
            for (l, tilt) in test.at_least.iter_mut().zip(TILTS) {
                *l += -b * tilt - split.ln_bound(-tilt);
            }
        }
    }

    /// The largest refuted "at most" and the smallest refuted "at least"; `None` where nothing is refuted.
    pub(crate) fn bounds(&self, factor: f64) -> (Option<f64>, Option<f64>) {
        let refuted = |l: &[f64; TILTS.len()]| ln_mean_exp(&l.map(|l| l / factor)) >= LN_REFUTED;
        let lower = self.0.iter().rev().find(|t| refuted(&t.at_most)).map(|t| t.ratio);
        let upper = self.0.iter().find(|t| refuted(&t.at_least)).map(|t| t.ratio);
        (lower, upper)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::slice::{Arm, ArmSecond, PodId, PodSlice, Slice};
    use serin_sketch::{Counts, Micros};

    /// A Pareto tail of exponent 3 above 40 ms, as exact counts of 1,000 requests.
    fn second(scale: f64) -> Slice {
        let latency: Counts = (0..1_000)
            .map(|i| {
                (Bucket::of(Micros((scale * 40_000.0 * ((f64::from(i) + 0.5) / 1_000.0).powf(-1.0 / 3.0)) as u64)), 1)
            })
            .collect();
        let pods = vec![PodSlice { arm: Arm::Candidate, pod: PodId(0), latency, requests: 1_000, errors: 0 }];
        Slice { second: 0, pods, pods_known: true }
    }

    #[test]
    fn closes_in_on_the_true_ratio() {
        for truth in [0.8, 1.0, 1.3, 2.0] {
            let mut interval = Interval::new(1.055);
            let candidate = ArmSecond::of(&second(truth), Arm::Candidate, |_| true);
            let baseline = ArmSecond::of(&second(1.0), Arm::Candidate, |_| true);
            let x = baseline.counts.quantile(0.95).unwrap();
            for _ in 0..300 {
                interval.observe(x, baseline.tail.at_or_above(x), 1_000.0, &candidate.tail);
            }
            let (lower, upper) = interval.bounds(1.0);
            let (lower, upper) = (lower.unwrap(), upper.unwrap());
            assert!(lower < truth && truth < upper && upper / lower < 1.2, "{truth}: {lower} to {upper}");
        }
    }
}
