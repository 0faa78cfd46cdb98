//! An interval for the ratio of a quantile that holds at every moment at once: all ratios that tempered e-processes
//! do not refute, on a geometric grid.

use serin_sketch::{Bucket, Counts};

use crate::slice::{Pair, Stratum, Tail};
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

/// Slices of one stratum with the same threshold, counted together.
///
/// Under the null hypothesis every slice's candidate count is at most binomial in what is beyond, with the slice's share. The
/// sum's generating function is at most that of a binomial with the largest of the shares (the smallest one for negative tilts), and
/// by concavity of the logarithm the same holds of the candidate's requests with the mean rate. So one test of ten seconds is as valid
/// as ten tests, and costs a tenth.
#[derive(Clone, Debug)]
struct Open {
    stratum: Stratum,
    threshold: Bucket,
    a: f64,
    n_b: f64,
    /// The smallest and the largest share of the candidate.
    shares: (f64, f64),
    candidate: Counts,
}

/// The tests of one quantile, as of the last block's end.
#[derive(Clone, Debug)]
pub(crate) struct Interval {
    ratios: Vec<Ratio>,
    open: Vec<Open>,
}

impl Interval {
    /// `extra`: one more ratio to test than the grid's.
    pub(crate) fn new(extra: f64) -> Self {
        let mut ratios: Vec<f64> = STEPS.map(|k| STEP.powi(k)).filter(|r| (r / extra - 1.0).abs() > 1e-6).collect();
        ratios.push(extra);
        ratios.sort_by(f64::total_cmp);
        let none = [0.0; TILTS.len()];
        let ratios = ratios.into_iter().map(|ratio| Ratio { ratio, at_most: none, at_least: none }).collect();
        Interval { ratios, open: Vec::new() }
    }

    /// One stratum of one slice, of the requests that ended: the baseline's beyond its threshold, and all of the candidate's.
    pub(crate) fn observe(&mut self, pair: &Pair, threshold: Bucket) {
        if self.open.iter().any(|open| open.threshold != threshold) {
            self.close_block();
        }
        let (baseline, candidate) = (&pair.baseline.counts, &pair.candidate.counts);
        let (n_a, n_b) = (baseline.total() as f64, candidate.total() as f64);
        if n_a <= 0.0 || n_b <= 0.0 {
            return;
        }
        let (a, share) = (baseline.at_or_above(threshold) as f64, n_b / (n_a + n_b));
        match self.open.iter_mut().find(|open| open.stratum == pair.stratum) {
            Some(open) => {
                open.a += a;
                open.n_b += n_b;
                open.shares = (open.shares.0.min(share), open.shares.1.max(share));
                open.candidate.merge(candidate);
            }
            None => {
                let (stratum, candidate) = (pair.stratum, candidate.clone());
                self.open.push(Open { stratum, threshold, a, n_b, shares: (share, share), candidate });
            }
        }
    }

    /// Ends a block.
    pub(crate) fn close_block(&mut self) {
        for open in std::mem::take(&mut self.open) {
            self.count(open);
        }
    }

    fn count(&mut self, open: Open) {
        let Open { threshold, a, n_b, shares: (least, most), candidate, .. } = open;
        let tail = Tail::new(&candidate);
        let split = |share: f64, b: f64| Split { n_a: n_b * (1.0 - share) / share, n_b, beyond: a + b };
        for test in &mut self.ratios {
            let b = tail.at_or_above(at_least(threshold, test.ratio));
            for (l, tilt) in test.at_most.iter_mut().zip(TILTS) {
                *l += b * tilt - split(most, b).ln_bound(tilt);
            }
            let b = tail.at_or_above(at_most(threshold, test.ratio));
            for (l, tilt) in test.at_least.iter_mut().zip(TILTS) {
                *l += -b * tilt - split(least, b).ln_bound(-tilt);
            }
        }
    }

    /// The largest refuted "at most" and the smallest refuted "at least"; `None` where nothing is refuted.
    pub(crate) fn bounds(&self, factor: f64) -> (Option<f64>, Option<f64>) {
        let refuted = |l: &[f64; TILTS.len()]| ln_mean_exp(&l.map(|l| l / factor)) >= LN_REFUTED;
        let lower = self.ratios.iter().rev().find(|t| refuted(&t.at_most)).map(|t| t.ratio);
        let upper = self.ratios.iter().find(|t| refuted(&t.at_least)).map(|t| t.ratio);
        (lower, upper)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::in_flight::InFlight;
    use crate::slice::{Arm, PodId, PodSlice, Second, Slice};
    use serin_sketch::Micros;

    /// A Pareto tail of exponent 3 above 40 ms, as exact counts of 1,000 requests.
    fn second(arm: Arm, scale: f64) -> PodSlice {
        let latency: Counts = (0..1_000)
            .map(|i| {
                (Bucket::of(Micros((scale * 40_000.0 * ((f64::from(i) + 0.5) / 1_000.0).powf(-1.0 / 3.0)) as u64)), 1)
            })
            .collect();
        PodSlice { latency, requests: 1_000, ..PodSlice::new(arm, PodId(0), Stratum(0)) }
    }

    #[test]
    fn closes_in_on_the_true_ratio() {
        for truth in [0.8, 1.0, 1.3, 2.0] {
            let mut interval = Interval::new(1.055);
            let pods = vec![second(Arm::Baseline, 1.0), second(Arm::Candidate, truth)];
            let pair = Second::of(&Slice { pods, ..Slice::new(0) }, &InFlight::default(), |_| true).all;
            let x = pair.baseline.counts.quantile(0.95).unwrap();
            for second in 0..300 {
                interval.observe(&pair, x);
                if second % 10 == 9 {
                    interval.close_block();
                }
            }
            let (lower, upper) = interval.bounds(1.0);
            let (lower, upper) = (lower.unwrap(), upper.unwrap());
            assert!(lower < truth && truth < upper && upper / lower < 1.2, "{truth}: {lower} to {upper}");
        }
    }
}
