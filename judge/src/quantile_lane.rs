//! Everything that is kept about one quantile.

use serin_sketch::Bucket;

use crate::dispersion::Dispersion;
use crate::evidence::Evidence;
use crate::interval::Interval;
use crate::metric::QUANTILES;
use crate::non_inferiority::NonInferiority;
use crate::policy::Policy;
use crate::slice::ArmSecond;
use crate::split::Split;
use crate::threshold::{at_least, at_most};

/// Differences below these are not looked for at p50, p95, p99 and p99.9. Where requests are dense the e-process sees the last
/// percents of a warm-up, which are no regression; in the tail it does not, and any margin costs as much as it hides.
const MARGINS: [f64; QUANTILES.len()] = [1.024, 1.024, 1.0, 1.0];

/// Evidence, dispersion, non-inferiority and interval at one quantile.
#[derive(Clone, Debug)]
pub(crate) struct QuantileLane {
    pub(crate) evidence: Evidence,
    pub(crate) non_inferiority: NonInferiority,
    dispersion: Dispersion,
    interval: Interval,
    bounds: (Option<f64>, Option<f64>),
    margin: f64,
    worst_pass: f64,
    pub(crate) factor: f64,
    pub(crate) threshold: Option<Bucket>,
}

impl QuantileLane {
    /// `at`: which of [`QUANTILES`]. `blocks`: how many 10 s blocks the trial lasts.
    pub(crate) fn new(at: usize, policy: &Policy, blocks: u32) -> Self {
        QuantileLane {
            margin: MARGINS.get(at).copied().unwrap_or(1.0),
            evidence: Evidence::new(policy.false_rollback(), blocks),
            non_inferiority: NonInferiority::default(),
            dispersion: Dispersion::new(policy.false_rollback()),
            interval: Interval::new(1.0 + policy.pass()),
            bounds: (None, None),
            worst_pass: 1.0 + policy.regression(),
            factor: 1.0,
            threshold: None,
        }
    }

    /// One slice with requests of both arms, held against the baseline's `threshold`.
    pub(crate) fn observe(&mut self, threshold: Bucket, baseline: &ArmSecond, candidate: &ArmSecond) {
        self.threshold = Some(threshold);
        let (n_a, n_b) = (baseline.n(), candidate.n());
        let beyond = at_least(threshold, self.margin);
        self.dispersion.observe((baseline, threshold), (candidate, beyond));
        let a = baseline.tail.at_or_above(threshold);
        let split = |b: f64| Split { n_a, n_b, beyond: a + b };
        let pods = candidate.pods.iter().map(|p| (p.id, p.tail.at_or_above(beyond), p.tail.total()));
        self.evidence.observe(split(candidate.tail.at_or_above(beyond)), pods);
        let edge = at_most(threshold, self.worst_pass);
        let b = candidate.tail.at_or_above(edge);
        self.non_inferiority.observe(split(b), b, baseline.tail.at_or_above(edge));
        self.interval.observe(threshold, a, n_a, &candidate.counts);
    }

    /// Ends a 10 s block.
    pub(crate) fn close_block(&mut self) {
        self.evidence.close_block();
        self.dispersion.close_block();
        self.interval.close_block();
        self.bounds = self.interval.bounds(self.factor);
    }

    /// Weighs all evidence with what the pods' scatter is now known to be.
    pub(crate) fn weigh(&mut self) {
        self.factor = self.dispersion.factor();
        self.evidence.weigh(self.factor);
    }

    /// See [`Interval::bounds`], as of the last block's end.
    pub(crate) fn bounds(&self) -> (Option<f64>, Option<f64>) {
        self.bounds
    }
}
