//! One candidate against one baseline, from the first slice to the verdict.

mod decide;

use crate::effect::Effect;
use crate::fast_lane::{self, Errors, LANES, Latency, Stall, Throughput};
use crate::history::History;
use crate::in_flight::InFlight;
use crate::limit::{self, Limit};
use crate::metric::QUANTILES;
use crate::past::{self, Past};
use crate::policy::Policy;
use crate::quantile_lane::QuantileLane;
use crate::shape;
use crate::slice::{Arm, ArmSecond, Pair, PodSlice, Second, Slice};
use crate::threshold::Thresholds;
use crate::verdict::Verdict;
use crate::warm_up::WarmUp;

/// Length of the blocks that evidence, dispersion and effect are kept in.
const BLOCK_S: u64 = 10;

/// A trial. Feed it slices, ask it for the verdict.
#[derive(Clone, Debug)]
pub struct Trial {
    policy: Policy,
    first_second: u64,
    last_second: Option<u64>,
    /// The candidate's first second with a request, and the block (counted from there) that is open.
    candidate_since: Option<u64>,
    block: u64,
    judged_s: u64,
    judged_requests: f64,
    baseline_requests: u64,
    candidate_requests: u64,
    pods_known: bool,
    thresholds: Thresholds,
    warm_up: WarmUp,
    lanes: [QuantileLane; QUANTILES.len()],
    effect: Effect,
    shape: shape::Watch,
    fast: [Latency; LANES],
    errors: Errors,
    stall: Stall,
    throughput: Throughput,
    in_flight: InFlight,
    limits: Vec<Limit>,
    past: Option<Past>,
    evidence_since: Option<u64>,
    regressed: Option<Box<Verdict>>,
}

impl Trial {
    /// A trial that begins at `first_second` (Unix time): earlier slices are ignored. Its limit counts from the
    /// candidate's first request.
    pub fn new(policy: Policy, first_second: u64) -> Self {
        Self::knowing(&History::default(), policy, first_second)
    }

    /// The same with what earlier days tell.
    pub fn knowing(history: &History, policy: Policy, first_second: u64) -> Self {
        let is_guarded = policy.guard_s() > 0 && history.windows.len() >= History::WINDOWS_MIN;
        let for_limits = if policy.limits().next().is_some() { limit::SHARE } else { 0.0 };
        let for_past = if is_guarded { past::SHARE } else { 0.0 };
        let policy = policy.with_room_for(fast_lane::SHARE + for_limits + for_past);
        let blocks = policy.trial_s().div_ceil(BLOCK_S as u32);
        let fast = Latency::new(policy.false_rollback(), policy.trial_s());
        Trial {
            policy,
            first_second,
            last_second: None,
            candidate_since: None,
            block: 0,
            judged_s: 0,
            judged_requests: 0.0,
            baseline_requests: 0,
            candidate_requests: 0,
            pods_known: true,
            thresholds: Thresholds::default(),
            warm_up: WarmUp::default(),
            lanes: std::array::from_fn(|at| QuantileLane::new(at, &policy, history.pods, blocks)),
            effect: Effect::new(),
            shape: shape::Watch::default(),
            fast: std::array::from_fn(|_| fast.clone()),
            errors: Errors::new(policy.false_rollback(), policy.trial_s()),
            stall: Stall::new(policy.false_rollback(), policy.trial_s()),
            throughput: Throughput::new(policy.false_rollback(), policy.trial_s()),
            in_flight: InFlight::default(),
            limits: Limit::all(&policy, blocks),
            past: is_guarded.then(|| Past::new(history, &policy, blocks)).flatten(),
            evidence_since: None,
            regressed: None,
        }
    }

    /// Takes in one second. A slice that is not later than the last one is ignored; gaps are seconds without
    /// traffic. After [`crate::State::Regressed`] nothing is taken in any more.
    pub fn observe(&mut self, slice: &Slice) {
        let second = slice.second;
        let stale = self.last_second.is_some_and(|last| second <= last) || second < self.first_second;
        if stale || self.regressed.is_some() {
            return;
        }
        self.last_second = Some(second);
        self.pods_known &= slice.pods_known;
        let counted = Second::of(slice, &self.in_flight, |_| true);
        let Pair { baseline, candidate, .. } = &counted.all;
        self.baseline_requests = self.baseline_requests.saturating_add(baseline.requests as u64);
        self.candidate_requests = self.candidate_requests.saturating_add(candidate.requests as u64);
        let busy = candidate.pods.iter().filter(|p| p.requests > 0.0 || p.tail.total() > 0.0).map(|p| p.id);
        self.warm_up.admit(second, busy);
        if candidate.requests > 0.0 || candidate.n() > 0.0 {
            self.candidate_since.get_or_insert(second);
        }
        self.observe_fast(slice, &counted);
        self.observe_judged(slice, &counted);
        self.thresholds.observe(second, &counted.all.baseline.counts);
        self.in_flight.remember(slice.pods.iter());
        self.weigh(second);
    }

    /// All candidate pods, warm or not. Errors are compared from the first second, also while there is no threshold.
    fn observe_fast(&mut self, slice: &Slice, counted: &Second) {
        let Pair { baseline, candidate, .. } = &counted.all;
        self.errors.observe(slice.second, counted.strata());
        self.stall.observe(baseline, candidate);
        if let Some(weight) = slice.weight {
            let completed = |arm: &ArmSecond| arm.requests - arm.errors;
            self.throughput.observe(completed(baseline), completed(candidate), weight);
        }
        for (lane, threshold) in self.fast.iter_mut().zip(self.thresholds.chosen()) {
            if let Some(threshold) = threshold {
                lane.observe(counted.strata(), threshold);
            }
        }
    }

    /// Warm candidate pods only; with none of them the slice counts for neither arm.
    fn observe_judged(&mut self, slice: &Slice, counted: &Second) {
        let second = slice.second;
        let block = self.candidate_since.map_or(0, |since| (second - since) / BLOCK_S);
        if block != self.block {
            self.block = block;
            self.effect.close_block();
            self.lanes.iter_mut().for_each(QuantileLane::close_block);
            self.limits.iter_mut().for_each(Limit::close_block);
            self.past.iter_mut().for_each(Past::close_block);
        }
        let [p50, p95, ..] = self.thresholds.chosen();
        if let (Some(p50), Some(p95)) = (p50, p95) {
            self.warm_up.observe(&counted.all, p50, p95);
        }
        let is_judged = |pod: &PodSlice| pod.arm == Arm::Baseline || self.warm_up.is_judged(pod.pod, second);
        let all_are = slice.pods.iter().all(is_judged);
        let warm = (!all_are).then(|| Second::of(slice, &self.in_flight, is_judged));
        let judged = warm.as_ref().unwrap_or(counted);
        if let Some(past) = self.past.as_mut().filter(|_| judged.all.baseline.n() <= 0.0) {
            past.observe(&judged.all.candidate);
        }
        if !judged.all.is_comparable() {
            return;
        }
        self.limits.iter_mut().for_each(|limit| limit.observe(judged));
        let thresholds = self.thresholds.chosen();
        if thresholds.iter().all(Option::is_none) {
            return;
        }
        for (lane, threshold) in self.lanes.iter_mut().zip(thresholds) {
            if let Some(threshold) = threshold {
                lane.observe(threshold, judged);
            }
        }
        if let [_, Some(p95), ..] = thresholds {
            self.shape.observe(&judged.all, p95);
        }
        judged.strata().iter().for_each(|pair| self.effect.observe(&pair.baseline.counts, &pair.candidate.counts));
        self.judged_s += 1;
        self.judged_requests += judged.all.candidate.n();
    }
}
