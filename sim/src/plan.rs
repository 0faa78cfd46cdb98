//! What a rollout can find, and how soon: simulated under the model before it is begun.

use serin_judge::{Metric, Policy};

use crate::{
    latency::{Latency, PARETO, TAIL_FROM},
    recorded::Recorded,
    run::{Outcome, rollouts_of},
    scenarios::Reach,
    world::{Change, Noise, World},
};

/// A rollout that is planned.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Question {
    /// Requests a second, both releases together.
    pub rps: f64,
    /// The candidate's share, between 0 and 1.
    pub share: f64,
    /// Pods of both releases.
    pub pods: u32,
    /// The quantile that would be slower.
    pub metric: Metric,
    /// By how much: 0.1 is +10%.
    pub increase: f64,
    /// How it is judged.
    pub policy: Policy,
    /// How pods differ.
    pub noise: Noise,
}

/// What simulation says of it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// The share of rollouts in which the regression is found before the trial ends.
    pub found: f64,
    /// Seconds until it is, on average of those.
    pub mean_s: Option<f64>,
    /// Seconds in which nine of ten rollouts find it; `None` where fewer do.
    pub p90_s: Option<u64>,
    /// Requests that the bad candidate serves until then, on average; those of the whole trial where it is not found.
    pub requests: f64,
    /// Seconds in which half of the rollouts of a healthy candidate are proven healthy.
    pub healthy_s: Option<u64>,
    /// The same of nine of ten.
    pub healthy_p90_s: Option<u64>,
    /// What no rule can do without, in candidate requests ([`bound`]).
    pub bound: f64,
}

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// Not so many requests a second.
    #[error("rps must be above 0 and at most 100,000")]
    Rate,
    /// No share.
    #[error("share must be above 0% and below 100%")]
    Share,
    /// One pod is both releases.
    #[error("pods must be from 2 to 1,000")]
    Pods,
    /// No increase.
    #[error("increase must be above 0% and at most 1000%")]
    Increase,
    /// No latency.
    #[error("quantile must be p50, p95, p99 or p99.9")]
    Metric,
}

impl Question {
    /// Simulates `runs` rollouts of a regressed candidate, and as many of a healthy one.
    ///
    /// # Errors
    /// When a number is out of its range.
    pub fn answer(&self, runs: u64) -> Result<Plan, PlanError> {
        let is_within = |value: f64, most: f64| value > 0.0 && value <= most;
        if !is_within(self.rps, 100_000.0) {
            return Err(PlanError::Rate);
        }
        if !(self.share > 0.0 && self.share < 1.0) {
            return Err(PlanError::Share);
        }
        if !(2..=1_000).contains(&self.pods) {
            return Err(PlanError::Pods);
        }
        if !is_within(self.increase, 10.0) {
            return Err(PlanError::Increase);
        }
        let change = match self.metric {
            Metric::P50 => Change::Body(1.0 + self.increase),
            Metric::P95 => Change::Whole(1.0 + self.increase),
            Metric::P99 | Metric::P999 => Change::Tail(1.0 + self.increase),
            Metric::Errors | Metric::Stalls | Metric::Throughput => return Err(PlanError::Metric),
        };
        let trial_s = u64::from(self.policy.trial_s());
        let rollouts = |change, reach| -> Vec<Outcome> {
            rollouts_of(&self.world(change), 1..1 + runs, trial_s, self.policy, reach)
        };
        let bad = rollouts(change, Reach::WithinS(trial_s));
        let good = rollouts(Change::Nothing, Reach::HealthyWithinS(trial_s));
        self.plan(&bad, &good)
    }

    /// The same from real traffic, whose rate and pods take the place of the question's.
    ///
    /// # Errors
    /// When a number is out of its range.
    pub fn answer_from(&self, recorded: &Recorded, runs: u64) -> Result<Plan, PlanError> {
        let Question { share, metric, increase, policy, .. } = *self;
        if !(share > 0.0 && share < 1.0) {
            return Err(PlanError::Share);
        }
        if !(increase > 0.0 && increase <= 10.0) {
            return Err(PlanError::Increase);
        }
        let bad = recorded.rollouts(share, metric, increase, policy, runs);
        let good = recorded.rollouts(share, metric, 0.0, policy, runs);
        let share = recorded.candidates(share) as f64 / recorded.pods() as f64;
        Question { rps: recorded.rps(), share, ..*self }.plan(&bad, &good)
    }

    fn plan(&self, bad: &[Outcome], good: &[Outcome]) -> Result<Plan, PlanError> {
        let quantile = match self.metric {
            Metric::P50 => 0.5,
            Metric::P95 => 0.95,
            Metric::P99 => 0.99,
            Metric::P999 => 0.999,
            Metric::Errors | Metric::Stalls | Metric::Throughput => return Err(PlanError::Metric),
        };
        let (runs, trial_s) = (bad.len() as u64, u64::from(self.policy.trial_s()));
        let mut found: Vec<u64> = bad.iter().filter_map(|run| run.rolled_back).collect();
        let mut healthy: Vec<u64> = good.iter().filter_map(|run| run.healthy).collect();
        found.sort_unstable();
        healthy.sort_unstable();
        let of_all = |sorted: &[u64], share: f64| sorted.get((runs as f64 * share).ceil() as usize - 1).copied();
        let served_s: u64 = bad.iter().map(|run| run.rolled_back.unwrap_or(trial_s)).sum();
        Ok(Plan {
            found: found.len() as f64 / runs.max(1) as f64,
            mean_s: (!found.is_empty()).then(|| found.iter().sum::<u64>() as f64 / found.len() as f64),
            p90_s: of_all(&found, 0.9),
            requests: served_s as f64 / runs.max(1) as f64 * self.rps * self.share,
            healthy_s: of_all(&healthy, 0.5),
            healthy_p90_s: of_all(&healthy, 0.9),
            bound: bound(quantile, self.increase, self.policy.false_rollback()),
        })
    }

    fn world(&self, change: Change) -> World {
        let candidate = ((f64::from(self.pods) * self.share).round() as u32).clamp(1, self.pods - 1);
        World::new(self.share, self.noise, change).rps(self.rps).pods(self.pods - candidate, candidate)
    }
}

/// Candidate requests that the sequential probability ratio test needs on average, which no test with this probability of a false
/// rollback undercuts (Wald 1945; Wald & Wolfowitz 1948): ln(1/alpha) over the Kullback-Leibler divergence of the exceedance of
/// the baseline's quantile, were that known exactly.
pub fn bound(quantile: f64, increase: f64, alpha: f64) -> f64 {
    let latency = Latency::default();
    let allowed = 1.0 - quantile;
    // In the tail as if it went on below p95, as JUDGE.md's figures do.
    let slower = if quantile > TAIL_FROM {
        (allowed * (1.0 + increase).powf(PARETO)).min(0.99)
    } else {
        latency.beyond(latency.quantile(quantile) / (1.0 + increase))
    };
    let divergence = slower * (slower / allowed).ln() + (1.0 - slower) * ((1.0 - slower) / (1.0 - allowed)).ln();
    (1.0 / alpha).ln() / divergence
}

#[cfg(test)]
mod tests {
    use super::*;

    /// JUDGE.md, "What no judge can do": for p99 and alpha 1e-3.
    #[test]
    fn the_bound_is_the_designs() {
        for (increase, want) in [(0.1, 13_780.0), (0.2, 3_142.0), (0.5, 393.0), (1.0, 70.0)] {
            let got = bound(0.99, increase, 1e-3);
            assert!((got / want - 1.0).abs() < 0.02, "+{increase}: {got}, wanted {want}");
        }
        assert!(bound(0.5, 0.2, 1e-3) < bound(0.5, 0.1, 1e-3));
    }

    fn question() -> Question {
        Question {
            rps: 1_000.0,
            share: 0.5,
            pods: 20,
            metric: Metric::P99,
            increase: 0.5,
            policy: Policy::default(),
            noise: Noise::Iid,
        }
    }

    #[test]
    fn a_large_regression_is_found_and_health_is_proven() {
        let plan = question().answer(6).unwrap();
        assert_eq!(plan.found, 1.0);
        assert!(plan.mean_s.is_some_and(|s| (40.0..80.0).contains(&s)), "{plan:?}");
        assert!(plan.p90_s.is_some_and(|s| s as f64 >= plan.mean_s.unwrap_or(0.0) - 5.0), "{plan:?}");
        assert!((plan.requests / plan.mean_s.unwrap_or(0.0) / 500.0 - 1.0).abs() < 1e-9, "{plan:?}");
        assert!(plan.healthy_s.is_some_and(|s| (60..250).contains(&s)), "{plan:?}");
    }

    #[test]
    fn what_cannot_be_is_said() {
        let wrong = |question: Question| question.answer(1).unwrap_err();
        assert_eq!(wrong(Question { rps: f64::NAN, ..question() }), PlanError::Rate);
        assert_eq!(wrong(Question { share: 1.0, ..question() }), PlanError::Share);
        assert_eq!(wrong(Question { pods: 1, ..question() }), PlanError::Pods);
        assert_eq!(wrong(Question { increase: 0.0, ..question() }), PlanError::Increase);
        assert_eq!(wrong(Question { metric: Metric::Errors, ..question() }), PlanError::Metric);
    }
}
