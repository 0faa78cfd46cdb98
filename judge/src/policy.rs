use serin_sketch::Micros;

use crate::metric::{Metric, QUANTILES};

/// What the judge is asked to decide, and how sure it must be. Built with [`Policy::new`], so a value of this
/// type is within its ranges.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Policy {
    regression: f64,
    false_rollback: f64,
    false_pass: f64,
    trial_s: u32,
    limits: [Option<Micros>; QUANTILES.len()],
    pass: Option<f64>,
    /// Pass and regression of single quantiles.
    own: [Option<(f64, f64)>; QUANTILES.len()],
    guard_s: u32,
}

/// A value outside its range.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
pub enum PolicyError {
    /// Not within 0.01 to 10.
    #[error("regression must be from 1% to 1000%, not {}%", .0 * 100.0)]
    Regression(f64),
    /// Not within 1e-9 to 0.1.
    #[error("false rollback probability must be from 0.0000001% to 10%, not {}%", .0 * 100.0)]
    FalseRollback(f64),
    /// Not within 1e-9 to 0.5.
    #[error("false pass probability must be from 0.0000001% to 50%, not {}%", .0 * 100.0)]
    FalsePass(f64),
    /// Not within 1 ms to 10 min, or not of a latency.
    #[error("a limit must be from 1 ms to 10 min, and of p50, p95, p99 or p99.9, not {0} for {1}")]
    Limit(Micros, Metric),
    /// Below 0.5%, or not below the regression.
    #[error("pass must be from 0.5% up to below the regression, not {}%", .0 * 100.0)]
    Pass(f64),
    /// Above a day.
    #[error("guard must be at most 86,400 s (a day), not {0} s")]
    Guard(u32),
    /// Not of a latency.
    #[error("thresholds are those of p50, p95, p99 or p99.9, not of {0}")]
    Thresholds(Metric),
    /// Not within 1 min to 30 days.
    #[error("trial must be from 60 s to 2,592,000 s (30 days), not {0} s")]
    Trial(u32),
}

impl Policy {
    /// `regression`: the smallest increase that is worth a rollback (0.10 is +10%). `false_rollback`: the
    /// probability that a candidate no worse than its baseline is ever rolled back in one trial.
    /// `false_pass`: the probability that a candidate worse by `regression` is called healthy. `trial_s`: how
    /// long a trial lasts, in seconds.
    ///
    /// # Errors
    /// When a value is outside its range; NaN always is.
    pub fn new(regression: f64, false_rollback: f64, false_pass: f64, trial_s: u32) -> Result<Self, PolicyError> {
        if !(0.01..=10.0).contains(&regression) {
            return Err(PolicyError::Regression(regression));
        }
        if !(1e-9..=0.1).contains(&false_rollback) {
            return Err(PolicyError::FalseRollback(false_rollback));
        }
        if !(1e-9..=0.5).contains(&false_pass) {
            return Err(PolicyError::FalsePass(false_pass));
        }
        if !(60..=2_592_000).contains(&trial_s) {
            return Err(PolicyError::Trial(trial_s));
        }
        Ok(Policy { regression, false_rollback, false_pass, trial_s, ..Policy::default() })
    }

    /// With an absolute limit of a latency quantile: a candidate that breaks it is rolled back, unless the baseline does as well.
    ///
    /// # Errors
    /// When the limit is below 1 ms or above 10 min, or the metric is no latency.
    pub fn with_limit(mut self, metric: Metric, latency: Micros) -> Result<Self, PolicyError> {
        let at = QUANTILES.iter().position(|(known, _)| *known == metric);
        let is_allowed = (1_000..=Micros::MAX.0).contains(&latency.0);
        let limit = at.filter(|_| is_allowed).and_then(|at| self.limits.get_mut(at));
        *limit.ok_or(PolicyError::Limit(latency, metric))? = Some(latency);
        Ok(self)
    }

    /// With the increase up to which a candidate passes: one that is proven slower by more is marginal. Half of the regression where it
    /// is not said. With a regression of 0.1 and a pass of 0.05 it is Kayenta's `thresholds: {pass: 0.05, marginal: 0.1}`.
    ///
    /// # Errors
    /// When it is below 0.005, or not below the regression.
    pub fn with_pass(self, pass: f64) -> Result<Self, PolicyError> {
        let is_allowed = pass >= 0.005 && pass < self.regression;
        if is_allowed { Ok(Policy { pass: Some(pass), ..self }) } else { Err(PolicyError::Pass(pass)) }
    }

    /// With other increases for one quantile: as [`Policy::with_pass`] and the regression, for this one alone.
    ///
    /// # Errors
    /// When one is outside its range, or the metric is no latency.
    pub fn with_thresholds(mut self, metric: Metric, pass: f64, regression: f64) -> Result<Self, PolicyError> {
        let alone = Policy::new(regression, self.false_rollback, self.false_pass, self.trial_s)?.with_pass(pass)?;
        let at = QUANTILES.iter().position(|(known, _)| *known == metric);
        let own = at.and_then(|at| self.own.get_mut(at)).ok_or(PolicyError::Thresholds(metric))?;
        *own = Some((alone.pass(), alone.regression()));
        Ok(self)
    }

    /// With how long a candidate that has the traffic alone is held against the baseline's past, in seconds; 0 is not at all, and half
    /// an hour is the default.
    ///
    /// # Errors
    /// When it is more than a day.
    pub fn with_guard(self, guard_s: u32) -> Result<Self, PolicyError> {
        if guard_s <= 86_400 { Ok(Policy { guard_s, ..self }) } else { Err(PolicyError::Guard(guard_s)) }
    }

    /// How long a candidate that has the traffic alone is held against the baseline's past, in seconds.
    pub fn guard_s(&self) -> u32 {
        self.guard_s
    }

    /// The increase up to which a candidate passes.
    pub fn pass(&self) -> f64 {
        self.pass.unwrap_or(self.regression / 2.0)
    }

    /// Pass and regression of one quantile where it has its own.
    pub fn thresholds_of(&self, metric: Metric) -> Option<(f64, f64)> {
        QUANTILES.iter().zip(self.own).find(|((known, _), _)| *known == metric).and_then(|(_, own)| own)
    }

    pub(crate) fn regression_of(&self, metric: Metric) -> f64 {
        self.thresholds_of(metric).map_or(self.regression, |(_, regression)| regression)
    }

    pub(crate) fn pass_of(&self, metric: Metric) -> f64 {
        self.thresholds_of(metric).map_or(self.pass(), |(pass, _)| pass)
    }

    /// The limits: metric, quantile and latency.
    pub fn limits(&self) -> impl Iterator<Item = (Metric, f64, Micros)> {
        let limits = self.limits;
        QUANTILES.into_iter().zip(limits).filter_map(|((metric, q), limit)| Some((metric, q, limit?)))
    }

    /// The smallest increase that is worth a rollback: 0.10 is +10%.
    pub fn regression(&self) -> f64 {
        self.regression
    }

    /// The probability that a candidate no worse than its baseline is ever rolled back in one trial.
    pub fn false_rollback(&self) -> f64 {
        self.false_rollback
    }

    /// The probability that a candidate worse by `regression` is called healthy.
    pub fn false_pass(&self) -> f64 {
        self.false_pass
    }

    /// How long a trial lasts, in seconds.
    pub fn trial_s(&self) -> u32 {
        self.trial_s
    }

    /// This policy with the false-rollback probability that leaves room for a second test with `share` of it.
    pub(crate) fn with_room_for(self, share: f64) -> Self {
        Policy { false_rollback: self.false_rollback / (1.0 + share), ..self }
    }

    /// This policy as one of `n` that share the false-rollback probability (Bonferroni).
    #[must_use]
    pub fn one_of(self, n: usize) -> Self {
        Policy { false_rollback: self.false_rollback / n.max(1) as f64, ..self }
    }
}

impl Default for Policy {
    /// +10%, 0.1% false rollbacks, 5% false passes, 30 min, and 30 min alone.
    fn default() -> Self {
        Policy {
            regression: 0.10,
            false_rollback: 1e-3,
            false_pass: 0.05,
            trial_s: 1_800,
            limits: [None; QUANTILES.len()],
            pass: None,
            own: [None; QUANTILES.len()],
            guard_s: 1_800,
        }
    }
}
