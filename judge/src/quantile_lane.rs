//! Everything that is kept about one quantile.

use serin_sketch::Bucket;

use crate::dispersion::Dispersion;
use crate::evidence::Evidence;
use crate::history::PodSpread;
use crate::interval::Interval;
use crate::metric::{Metric, QUANTILES};
use crate::non_inferiority::NonInferiority;
use crate::policy::Policy;
use crate::slice::Second;
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
    pub(crate) fn new(at: usize, policy: &Policy, pods: PodSpread, blocks: u32) -> Self {
        let metric = QUANTILES.get(at).map_or(Metric::P50, |(metric, _)| *metric);
        QuantileLane {
            margin: MARGINS.get(at).copied().unwrap_or(1.0),
            evidence: Evidence::new(policy.false_rollback(), blocks),
            non_inferiority: NonInferiority::default(),
            dispersion: Dispersion::new(policy.false_rollback(), pods.at(at)),
            interval: Interval::new(1.0 + policy.pass_of(metric)),
            bounds: (None, None),
            worst_pass: 1.0 + policy.regression_of(metric),
            factor: 1.0,
            threshold: None,
        }
    }

    /// One slice with requests of both arms, held against the baseline's `threshold`: each stratum by itself, the pods' scatter over all.
    pub(crate) fn observe(&mut self, threshold: Bucket, second: &Second) {
        self.threshold = Some(threshold);
        let beyond = at_least(threshold, self.margin);
        let edge = at_most(threshold, self.worst_pass);
        self.dispersion.observe((&second.all.baseline, threshold), (&second.all.candidate, beyond));
        for pair in second.strata().iter().filter(|pair| pair.is_comparable()) {
            self.evidence.observe(pair.split(threshold, beyond), pair.candidate.parts(beyond));
            let (a, b) = (&pair.baseline.tail, &pair.candidate.tail);
            self.non_inferiority.observe(pair.split(threshold, edge), b.at_or_above(edge), a.at_or_above(edge));
            self.interval.observe(pair, threshold);
        }
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
        if self.dispersion.is_measured {
            self.evidence.scatter_is_measured();
        }
        self.evidence.weigh(self.factor);
    }

    /// See [`Interval::bounds`], as of the last block's end.
    pub(crate) fn bounds(&self) -> (Option<f64>, Option<f64>) {
        self.bounds
    }
}
