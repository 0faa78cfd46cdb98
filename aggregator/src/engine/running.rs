//! The running trial of a service, and what feeds it.

use serin_judge::{Arm, History};
use serin_sketch::Counts;

use super::{
    Learned,
    evidence::{self, Numbers, Routes, Starts},
    on_trial::OnTrial,
};
use crate::{
    config::Service,
    recording::{Kept, Observed, Setup},
    store::{Second, Slices},
};

/// How much of the baseline's past a new trial begins with: what its thresholds look back on.
const BASELINE_BEFORE_S: u64 = 60;
/// How far a new trial looks back for what the baseline was like.
const PAST_MINUTES: usize = 14;

/// The running trial, and what feeds it.
#[derive(Debug)]
pub(super) struct Running {
    pub(super) trial: OnTrial,
    routes: Routes,
    numbers: Numbers,
    pub(super) recording: Kept,
    /// The second in which it began.
    pub(super) began: u64,
    pub(super) last_candidate: u64,
}

impl Running {
    /// A trial that knows the baseline's last minute, so that it has something to hold the first candidate request against, and its
    /// last quarter of an hour, for when the baseline has none any more.
    pub(super) fn begin(service: &Service, learned: &Learned, starts: &Starts, second: u64, slices: &Slices) -> Self {
        let names = if service.routes.is_empty() { vec![String::new()] } else { service.routes.clone() };
        let routes = Routes::new(&names);
        let minutes = evidence::windows(service, &routes, slices.minutes_before(second).take(PAST_MINUTES));
        let history = |(route, minutes): (&String, Vec<Counts>)| {
            // Earlier days have seen this time of day.
            let days = learned.windows.get(route).filter(|days| days.len() >= History::WINDOWS_MIN);
            History { pods: learned.pods, windows: days.cloned().unwrap_or(minutes) }
        };
        let histories = names.iter().zip(minutes).map(history).collect();
        let first_second = second.saturating_sub(BASELINE_BEFORE_S);
        let setup = Setup {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            service: service.name.clone(),
            baseline: service.baseline.clone(),
            candidate: service.candidate.clone(),
            routes: names,
            policy: service.policy,
            histories,
            first_second,
        };
        let recording = Kept::new(&setup);
        let (trial, numbers) = (OnTrial::new(setup), Numbers::default());
        let mut running = Running { trial, routes, numbers, recording, began: second, last_candidate: second };
        for past in first_second..second {
            running.look_back(service, past, slices.second(past), starts);
        }
        running
    }

    /// A second before the trial: what a candidate did that was cleared, or judged by other rules, is no evidence.
    fn look_back(&mut self, service: &Service, second: u64, seen: &Second, starts: &Starts) {
        let mut observed = evidence::observed(service, &self.routes, second, seen, &mut self.numbers, None, starts);
        observed.slices.iter_mut().for_each(|slice| slice.pods.retain(|pod| pod.arm == Arm::Baseline));
        self.take(&observed);
    }

    pub(super) fn observe(
        &mut self,
        service: &Service,
        second: u64,
        seen: &Second,
        weight: Option<f64>,
        starts: &Starts,
    ) {
        let observed = evidence::observed(service, &self.routes, second, seen, &mut self.numbers, weight, starts);
        self.take(&observed);
    }

    fn take(&mut self, observed: &Observed) {
        self.recording.add(observed);
        self.trial.observe(observed);
    }
}
