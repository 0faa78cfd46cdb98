//! A candidate that has the traffic alone, held against the baseline's past: after a promotion, or a switch-over.
//!
//! Nothing cancels what slows the service itself down meanwhile, so the past must say how much it changes by itself. From `k` windows of
//! the past come log rates beyond a threshold, with mean `m` and variance `s2`. A new window of the same release has a rate of at most
//!
//! ```text
//! exp(m + t sqrt(s2 (1 + 1/k) + 2 (1.5 tau)^2 / pods))
//! ```
//!
//! but for a probability `p`, `t` being Student's upper quantile with `k - 1` degrees of freedom (the prediction interval of a normal
//! sample) and `tau` the pods' spread: both releases have pods of their own. Half of this test's alpha is `p`; the other half is for a
//! one-armed count e-process against that rate. It finds gross slowdowns only, which is what can be told from the past.

use serin_sketch::{Bucket, Counts};

use crate::dispersion::{ASSUMED_SPREAD, SPREAD_MARGIN};
use crate::evidence::Evidence;
use crate::history::{History, log_rate};
use crate::metric::{Metric, QUANTILES};
use crate::policy::Policy;
use crate::slice::ArmSecond;
use crate::stat::student_t_upper;
use crate::verdict::PastFinding;

/// How much of alpha this test has beside the rest.
pub(crate) const SHARE: f64 = 0.5;
/// The standard deviation of log rates from window to window is taken to be at least this at p50, p95, p99 and p99.9: what 3% of latency
/// make at the median of a lognormal with a sigma of 0.5, and in a tail as heavy as x^-3.
const DRIFT_MIN: [f64; QUANTILES.len()] = [0.05, 0.1, 0.1, 0.1];
/// Requests of all windows beyond a threshold, at least.
const BEYOND_MIN: f64 = 50.0;
/// No rate above this is one of a tail.
const RATE_MAX: f64 = 0.95;

/// The baseline's past at one quantile.
#[derive(Clone, Debug)]
struct Lane {
    metric: Metric,
    quantile: f64,
    threshold: Bucket,
    mean: f64,
    drift: f64,
    /// Variance of the difference of two pods' log rates.
    pods: f64,
    t: f64,
    evidence: Evidence,
}

impl Lane {
    fn new(at: usize, history: &History, all: &Counts, policy: &Policy, blocks: u32) -> Option<Self> {
        let (metric, quantile) = QUANTILES.get(at).copied()?;
        let threshold = all.quantile(quantile)?;
        if (all.at_or_above(threshold) as f64) < BEYOND_MIN {
            return None;
        }
        let windows = history.windows.iter().filter(|window| !window.is_empty());
        let rates: Vec<f64> = windows.map(|w| log_rate(w.at_or_above(threshold) as f64, w.total() as f64).0).collect();
        let k = rates.len() as f64;
        let mean = rates.iter().sum::<f64>() / k;
        let variance = rates.iter().map(|rate| (rate - mean).powi(2)).sum::<f64>() / (k - 1.0);
        let spread = SPREAD_MARGIN * history.pods.at(at).unwrap_or(ASSUMED_SPREAD);
        let drift = DRIFT_MIN.get(at).copied()?;
        let p = SHARE * policy.false_rollback() / 2.0 / QUANTILES.len() as f64;
        Some(Lane {
            metric,
            quantile,
            threshold,
            mean,
            drift: variance.max(drift.powi(2)) * (1.0 + 1.0 / k),
            pods: 2.0 * spread.powi(2),
            t: student_t_upper(p, k - 1.0),
            evidence: Evidence::new(policy.false_rollback(), blocks).alone(),
        })
    }

    /// The largest rate that the service is taken to come to by itself with so many pods.
    fn usual(&self, pods: usize) -> f64 {
        let sd = (self.drift + self.pods / pods.max(1) as f64).sqrt();
        (self.mean + self.t * sd).exp().min(RATE_MAX)
    }
}

/// The past of a baseline, and what is known of a candidate that is held against it.
#[derive(Clone, Debug)]
pub(crate) struct Past {
    lanes: Vec<Lane>,
    before: Counts,
    now: Counts,
    seconds: u64,
    guard_s: u64,
}

impl Past {
    /// `None` where the past says too little. `blocks`: how many 10 s blocks the trial lasts.
    pub(crate) fn new(history: &History, policy: &Policy, blocks: u32) -> Option<Self> {
        let windows = || history.windows.iter().filter(|window| !window.is_empty());
        if windows().count() < History::WINDOWS_MIN {
            return None;
        }
        let mut before = Counts::new();
        windows().for_each(|window| before.merge(window));
        let lanes = (0..QUANTILES.len()).filter_map(|at| Lane::new(at, history, &before, policy, blocks)).collect();
        Some(Past { lanes, before, now: Counts::new(), seconds: 0, guard_s: policy.guard_s().into() })
    }

    /// A second in which the candidate alone had requests, for as long as it is guarded.
    pub(crate) fn observe(&mut self, candidate: &ArmSecond) {
        if self.seconds >= self.guard_s {
            return;
        }
        self.seconds += 1;
        self.now.merge(&candidate.counts);
        for lane in &mut self.lanes {
            let n = candidate.tail.known(lane.threshold);
            let usual = lane.usual(candidate.pods.len());
            let parts = candidate.parts(lane.threshold);
            lane.evidence.observe_against(|tilt| n * (usual * tilt.exp_m1()).ln_1p(), n * usual, parts);
        }
    }

    pub(crate) fn close_block(&mut self) {
        self.lanes.iter_mut().for_each(|lane| lane.evidence.close_block());
    }

    pub(crate) fn weigh(&mut self) {
        self.lanes.iter_mut().for_each(|lane| lane.evidence.weigh(1.0));
    }

    /// What is known at each quantile, once there is something.
    pub(crate) fn findings(&self) -> Vec<PastFinding> {
        if self.seconds == 0 {
            return Vec::new();
        }
        let finding = |lane: &Lane| {
            let (before, now) = (self.before.quantile(lane.quantile)?, self.now.quantile(lane.quantile)?);
            Some(PastFinding {
                metric: lane.metric,
                ratio: now.mid().0 as f64 / (before.mid().0 as f64).max(1.0),
                seconds: self.seconds,
                threshold: lane.threshold.lower(),
                beyond: lane.evidence.beyond_b as u64,
                usual: lane.evidence.expected_b,
                log_evidence: lane.evidence.ln_e(),
            })
        };
        self.lanes.iter().filter_map(finding).collect()
    }

    /// The strongest evidence there is, in ln, without estimating anything.
    pub(crate) fn ln_e(&self) -> f64 {
        self.lanes.iter().map(|lane| lane.evidence.ln_e()).fold(f64::NEG_INFINITY, f64::max)
    }
}

/// ln of the evidence that decides: half of the share, for as many quantiles.
pub(crate) fn threshold(alpha: f64) -> f64 {
    (2.0 * QUANTILES.len() as f64 / (SHARE * alpha)).ln()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::in_flight::InFlight;
    use crate::slice::{Arm, PodId, PodSlice, Slice, Stratum};
    use serin_sketch::Micros;

    /// 1,000 requests from 1 to 1,000 times `step_us`.
    fn uniform(step_us: u64) -> Counts {
        (1..=1_000).map(|i| (Bucket::of(Micros(i * step_us)), 1)).collect()
    }

    fn past(windows: Vec<Counts>) -> Option<Past> {
        Past::new(&History { windows, ..History::default() }, &Policy::default(), 180)
    }

    /// Seconds until it is slower than before, of 300, with 10 pods of 100 requests a second.
    fn slower(step_us: u64) -> Option<u64> {
        let pod = |id| {
            let latency: Counts = (1..=100).map(|i| (Bucket::of(Micros(i * 10 * step_us)), 1)).collect();
            PodSlice { latency, requests: 100, ..PodSlice::new(Arm::Candidate, PodId(id), Stratum(0)) }
        };
        let slice = Slice { pods: (0..10).map(pod).collect(), ..Slice::new(0) };
        let candidate = ArmSecond::of(&slice, Arm::Candidate, &InFlight::default(), |_| true);
        let mut past = past(vec![uniform(100); 14]).unwrap();
        (1..=300).find(|second| {
            past.observe(&candidate);
            if second % 10 == 0 {
                past.close_block();
            }
            past.weigh();
            past.ln_e() >= threshold(1e-3)
        })
    }

    #[test]
    fn twice_as_slow_is_found_and_the_same_is_not() {
        assert!(slower(200).is_some_and(|s| (50..=90).contains(&s)), "{:?}", slower(200));
        assert_eq!(slower(100), None);
    }

    /// Worked out by hand: five equal windows, so the least drift there is; t_4 at 1e-3 * 0.5 / 8 = 6.25e-5 is 14.689, from
    /// P(T > t) = 1/2 - t/(2 sqrt(4 + t^2)) (1 + 2/(4 + t^2)) (Abramowitz & Stegun 26.7.4).
    #[test]
    fn the_usual_rate_is_a_prediction_interval() {
        let past = past(vec![uniform(100); 5]).unwrap();
        let p95 = &past.lanes[1];
        assert!((p95.t - 14.689).abs() < 0.001, "{}", p95.t);
        let sd = (0.01 * 1.2 + 2.0 * 0.18f64.powi(2) / 100.0).sqrt();
        assert!((p95.usual(100) / (p95.mean + p95.t * sd).exp() - 1.0).abs() < 1e-9);
        assert!((p95.mean.exp() - 0.05).abs() < 0.01);
    }

    #[test]
    fn too_short_a_past_is_none() {
        assert!(past(vec![uniform(100); 4]).is_none());
        assert!(past(vec![Counts::new(); 9]).is_none());
        let few: Vec<Counts> = vec![(1..=20).map(|i| (Bucket::of(Micros(i * 1_000)), 1)).collect(); 6];
        let few = past(few).unwrap();
        assert_eq!(few.lanes.iter().map(|lane| lane.metric).collect::<Vec<_>>(), [Metric::P50], "120 requests");
    }
}
