//! What is asked for a verdict, once a second.

use serin_judge::{
    Arm, History, Policy, Slice, State, Trial,
    reference::{fixed::FixedThreshold, kayenta::Kayenta},
};
use serin_sketch::Counts;

use crate::generator::EPOCH;

/// The rules that are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Name {
    /// This project's judge.
    Serin,
    /// "p99 +10% over 5 min", looked at every second.
    Fixed,
    /// Kayenta's Mann-Whitney classification of one point a minute, looked at every minute.
    Kayenta,
}

impl Name {
    /// As in the results.
    pub fn as_str(self) -> &'static str {
        match self {
            Name::Serin => "serin",
            Name::Fixed => "fixed",
            Name::Kayenta => "kayenta",
        }
    }

    /// A rollout begins; policy and history are for the judge.
    pub fn begin(self, policy: Policy, history: &History) -> Rule {
        match self {
            Name::Serin => Rule::Serin(Box::new(Trial::knowing(history, policy, EPOCH))),
            Name::Fixed => Rule::Fixed(Box::new(FixedThreshold::new(0.99, 0.1, 300, 1))),
            Name::Kayenta => Rule::Kayenta(Box::new(Kayenta::new(None))),
        }
    }
}

/// All of them, in the table's order.
pub const ALL: [Name; 3] = [Name::Serin, Name::Fixed, Name::Kayenta];

/// A rule in a rollout.
#[derive(Clone, Debug)]
pub enum Rule {
    /// See [`Name::Serin`].
    Serin(Box<Trial>),
    /// See [`Name::Fixed`].
    Fixed(Box<FixedThreshold>),
    /// See [`Name::Kayenta`].
    Kayenta(Box<Kayenta>),
}

impl Rule {
    /// One second, and all of its pods together; says whether the candidate is to be rolled back now.
    pub fn observe(&mut self, slice: &Slice, (baseline, candidate): &(Counts, Counts)) -> bool {
        match self {
            Rule::Serin(trial) => {
                trial.observe(slice);
                trial.regressed().is_some()
            }
            Rule::Fixed(rule) => rule.observe(baseline, candidate),
            Rule::Kayenta(rule) => rule.observe(baseline, candidate),
        }
    }

    /// Whether health is proven. Costs more than a second.
    pub fn is_healthy(&self) -> bool {
        match self {
            Rule::Serin(trial) => trial.verdict().state == State::Healthy,
            // They never say so before the end.
            Rule::Fixed(_) | Rule::Kayenta(_) => false,
        }
    }

    /// What it says of its decision.
    pub fn sentence(&self) -> String {
        match self {
            Rule::Serin(trial) => trial.verdict().to_string(),
            Rule::Fixed(_) | Rule::Kayenta(_) => String::new(),
        }
    }
}

/// The latencies of both arms, all pods together.
pub fn arms(slice: &Slice) -> (Counts, Counts) {
    let mut arms = (Counts::new(), Counts::new());
    for pod in &slice.pods {
        if pod.arm == Arm::Baseline { arms.0.merge(&pod.latency) } else { arms.1.merge(&pod.latency) }
    }
    arms
}
