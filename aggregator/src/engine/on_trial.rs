//! A service on trial: one trial for each of its routes, fed from the live store or from a recording.

use serin_judge::Trial;
use serin_proto::v1;

use super::verdict;
use crate::recording::{Observed, Setup};

/// A verdict that does not decide anything is estimated anew this often.
const ESTIMATE_EVERY_S: u64 = 5;

/// The trials of one service.
#[derive(Debug)]
pub struct OnTrial {
    setup: Setup,
    trials: Vec<Trial>,
    /// What the pods are called, by their numbers.
    pods: Vec<String>,
}

impl OnTrial {
    /// Begins.
    pub fn new(setup: Setup) -> Self {
        let policy = setup.policy.one_of(setup.routes.len());
        let trial = |history| Trial::knowing(history, policy, setup.first_second);
        OnTrial { trials: setup.histories.iter().map(trial).collect(), setup, pods: Vec::new() }
    }

    /// Takes in one second.
    pub fn observe(&mut self, observed: &Observed) {
        self.pods.extend_from_slice(&observed.new_pods);
        for (trial, slice) in self.trials.iter_mut().zip(&observed.slices) {
            trial.observe(slice);
        }
    }

    /// Whether a second brings a verdict that is worth what it costs: each one does while there is evidence for a regression.
    pub fn is_due(&self, second: u64) -> bool {
        second.is_multiple_of(ESTIMATE_EVERY_S) || self.trials.iter().any(Trial::is_suspicious)
    }

    /// What the judge says of all routes together.
    pub fn verdict(&self, unix_us: u64) -> v1::Verdict {
        let names = self.setup.routes.iter().map(String::as_str);
        let routes: Vec<_> = names.zip(self.trials.iter().map(Trial::verdict)).collect();
        verdict::combine(&self.setup, &routes, &self.pods, unix_us)
    }
}
