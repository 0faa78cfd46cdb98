//! The Mann-Whitney judge of Kayenta, Netflix' and Google's canary analysis in Spinnaker.
//!
//! Written from `NetflixACAJudge`, `MannWhitneyClassifier`, `EffectSizes` and `MannWhitney` of github.com/spinnaker/kayenta at
//! a69573be (8 April 2025):
//!
//! - A metric is a series of points an arm. Points that are not numbers are removed (`nanStrategy` `remove`).
//! - [low, high] is the 98% interval of the candidate's shift, and e its estimate, by [`wilcoxon`]'s normal approximation:
//!   Kayenta has no exact distribution however few points there are, and its estimate is continuity corrected, too. With
//!   4 points an arm or fewer the interval is the whole range of the differences.
//! - `High` when low > 0.25 |e| and mean(candidate) / mean(baseline) >= `allowedIncrease`; `Low` when high < -0.25 |e|
//!   and the ratio <= `allowedDecrease`. Both limits are 1 where they are not configured. A mean of 0 makes no ratio, and
//!   the limits are then not looked at.
//! - Equal series pass.
//!
//! Two things differ. Where each arm is constant but not the same, Kayenta adds Gaussian noise of 1e-5 of the value, for
//! its test fails on constants; here the interval is the one difference, to which that noise comes down. And infinities
//! are removed, too.

use serin_sketch::{Counts, Micros};

use super::dense::Dense;
use super::{normal, wilcoxon};

/// What Kayenta says of a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// No difference that matters.
    Pass,
    /// The candidate's points are larger.
    High,
    /// The candidate's points are smaller.
    Low,
    /// An arm has no points.
    NoData,
}

/// The classification of one metric.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Classification {
    /// The class.
    pub class: Class,
    /// Whether this one metric fails the canary, whatever the others say.
    pub critical: bool,
    /// Mean of the candidate's points by the baseline's: Kayenta's effect size. `None` when a mean is 0 or missing.
    pub ratio: Option<f64>,
}

/// How a metric is classified.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rule {
    /// The interval has to lie beyond this fraction of the estimate: 0.25 in Kayenta's judge.
    pub tolerance: f64,
    /// Of the interval: 0.98 in Kayenta's judge. Nothing but `Pass` comes of one that is not between 0 and 1.
    pub confidence: f64,
    /// `effectSize.allowedIncrease`: the least ratio of means that is `High`. 1 where it is not configured.
    pub allowed_increase: f64,
    /// `effectSize.allowedDecrease`: the largest ratio of means that is `Low`. 1 where it is not configured.
    pub allowed_decrease: f64,
    /// `effectSize.criticalIncrease` of a metric that is `critical`: the least ratio of means at which `High` is critical.
    /// Kayenta's default for such a metric is 1; `None` is a metric that is not.
    pub critical_increase: Option<f64>,
}

impl Default for Rule {
    fn default() -> Self {
        Rule {
            tolerance: 0.25,
            confidence: 0.98,
            allowed_increase: 1.0,
            allowed_decrease: 1.0,
            critical_increase: None,
        }
    }
}

impl Rule {
    /// Compares the candidate's points with the baseline's. Their order does not matter.
    pub fn classify(&self, baseline: &[f64], candidate: &[f64]) -> Classification {
        let (baseline, candidate) = (wilcoxon::sorted(baseline), wilcoxon::sorted(candidate));
        let ratio = mean_ratio(&baseline, &candidate);
        let class = self.class(&baseline, &candidate, ratio);
        let critical = self.critical_increase.is_some_and(|least| match class {
            Class::High => ratio.is_none_or(|r| r >= least),
            Class::NoData => true,
            Class::Pass | Class::Low => false,
        });
        Classification { class, critical, ratio }
    }

    fn class(&self, baseline: &[f64], candidate: &[f64], ratio: Option<f64>) -> Class {
        if baseline.is_empty() || candidate.is_empty() {
            return Class::NoData;
        }
        if baseline == candidate || !(self.confidence > 0.0 && self.confidence < 1.0) {
            return Class::Pass;
        }
        let z = normal::upper_quantile(0.5 * (1.0 - self.confidence));
        let Some([low, estimate, high]) = wilcoxon::interval(candidate, baseline, z, true) else {
            return Class::Pass;
        };
        let bound = self.tolerance * estimate.abs();
        if low > bound && ratio.is_none_or(|r| r >= self.allowed_increase) {
            Class::High
        } else if high < -bound && ratio.is_none_or(|r| r <= self.allowed_decrease) {
            Class::Low
        } else {
            Class::Pass
        }
    }
}

/// `EffectSizes.meanRatio`.
fn mean_ratio(baseline: &[f64], candidate: &[f64]) -> Option<f64> {
    // Each value by the size first: values near 1e300 must not overflow their sum.
    let mean = |values: &[f64]| values.iter().map(|v| v / values.len() as f64).sum::<f64>();
    let (baseline, candidate) = (mean(baseline), mean(candidate));
    let ratio = candidate / baseline;
    (baseline != 0.0 && candidate != 0.0 && ratio.is_finite()).then_some(ratio)
}

/// The quantiles that are metrics of their own.
const QUANTILES: [f64; 3] = [0.50, 0.95, 0.99];
/// Seconds in a point: the step of Prometheus queries that Kayenta's examples have.
const POINT_S: u32 = 60;
/// The fewest points an arm that are classified. With fewer a 98% interval is the whole range of the differences.
const POINTS_MIN: usize = 5;

/// One arm: the minute under way, and one series of points a metric, milliseconds.
#[derive(Clone, Debug)]
struct Series {
    minute: Dense,
    points: [Vec<f64>; QUANTILES.len()],
}

impl Series {
    fn new() -> Self {
        Series { minute: Dense::new(), points: Default::default() }
    }

    fn add(&mut self, second: &Counts) {
        for (bucket, n) in second.iter() {
            self.minute.add(bucket, n);
        }
    }

    /// Ends the minute. One without requests has no quantiles, like the NaN of a Prometheus query.
    fn close(&mut self) {
        for (points, q) in self.points.iter_mut().zip(QUANTILES) {
            points.extend(self.minute.quantile(q).map(|bucket| Micros::as_millis_f64(bucket.mid())));
        }
        self.minute.clear();
    }
}

/// Kayenta in a rollout: p50, p95 and p99 of each minute, classified after every minute.
///
/// It is asked for the whole rollout so far, as Spinnaker's canary stage does with a growing analysis window; its score is
/// not modelled, so any metric that is `High` is a failure.
#[derive(Clone, Debug)]
pub struct Kayenta {
    rule: Rule,
    baseline: Series,
    candidate: Series,
    /// Seconds of the minute under way.
    seconds: u32,
    high: bool,
}

impl Kayenta {
    /// With Kayenta's own tolerance and confidence. `allowed_increase` is the effect size rule: 1.1 allows the mean of a
    /// metric's points 10% above the baseline's. `None` leaves it at Kayenta's default of 1.
    pub fn new(allowed_increase: Option<f64>) -> Self {
        let default = Rule::default();
        Kayenta {
            rule: Rule { allowed_increase: allowed_increase.unwrap_or(default.allowed_increase), ..default },
            baseline: Series::new(),
            candidate: Series::new(),
            seconds: 0,
            high: false,
        }
    }

    /// Takes in one second of both arms, and says whether any metric was `High` when last classified: after each minute,
    /// as soon as both arms have 5 points.
    pub fn observe(&mut self, baseline: &Counts, candidate: &Counts) -> bool {
        self.baseline.add(baseline);
        self.candidate.add(candidate);
        self.seconds += 1;
        if self.seconds == POINT_S {
            self.seconds = 0;
            self.baseline.close();
            self.candidate.close();
            self.high = self.baseline.points.iter().zip(&self.candidate.points).any(|(baseline, candidate)| {
                baseline.len().min(candidate.len()) >= POINTS_MIN
                    && self.rule.classify(baseline, candidate).class == Class::High
            });
        }
        self.high
    }
}

#[cfg(test)]
mod tests;
