//! Rollouts made of real traffic: some of a release's own pods play the candidate, and are made slower. Noise, pods and latencies are those
//! that were recorded.

use rand::{RngExt, SeedableRng, rngs::StdRng};
use serin_judge::{Arm, Metric, PodId, PodSlice, Policy, Slice, State, Trial};
use serin_sketch::{Bucket, Counts, Micros};

use crate::{
    generator::EPOCH,
    run::{HEALTH_EVERY_S, LEAD_S, Outcome, on_all_cores},
};

/// Seconds of one release, with pods that are told apart.
#[derive(Clone, Debug, Default)]
pub struct Recorded {
    seconds: Vec<Vec<PodSlice>>,
    pods: Vec<PodId>,
    /// Latencies from which on a request belongs to the tail (p95), and below which to the body (p80).
    tail: Option<Bucket>,
    body: Option<Bucket>,
}

/// What a recording must have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "it has {pods} pods of the baseline in {seconds} seconds with requests: there must be 2 pods and 60 s at least"
)]
pub struct TooLittle {
    pods: usize,
    seconds: usize,
}

impl Recorded {
    /// Takes the baseline's requests of each second.
    ///
    /// # Errors
    /// When that is too little to make two releases of.
    pub fn new(slices: impl Iterator<Item = Slice>) -> Result<Self, TooLittle> {
        let of_baseline =
            |slice: Slice| slice.pods.into_iter().filter(|pod| pod.arm == Arm::Baseline).collect::<Vec<_>>();
        let seconds: Vec<Vec<PodSlice>> = slices.map(of_baseline).filter(|pods| !pods.is_empty()).collect();
        let mut pods: Vec<PodId> = seconds.iter().flatten().map(|pod| pod.pod).collect();
        pods.sort_unstable();
        pods.dedup();
        if pods.len() < 2 || seconds.len() < 60 {
            return Err(TooLittle { pods: pods.len(), seconds: seconds.len() });
        }
        let mut all = Counts::new();
        seconds.iter().flatten().for_each(|pod| all.merge(&pod.latency));
        Ok(Recorded { tail: all.quantile(0.95), body: all.quantile(0.8), seconds, pods })
    }

    /// How many pods there are.
    pub fn pods(&self) -> usize {
        self.pods.len()
    }

    /// How many of them play the candidate for a share of the traffic.
    pub fn candidates(&self, share: f64) -> usize {
        ((self.pods.len() as f64 * share).round() as usize).clamp(1, self.pods.len() - 1)
    }

    /// Requests a second.
    pub fn rps(&self) -> f64 {
        let requests: u64 = self.seconds.iter().flatten().map(|pod| pod.requests).sum();
        requests as f64 / self.seconds.len() as f64
    }

    /// So many rollouts in which a quantile is slower by `increase`; 0 is a healthy candidate, of which it is told when it is proven.
    pub fn rollouts(&self, share: f64, metric: Metric, increase: f64, policy: Policy, runs: u64) -> Vec<Outcome> {
        let one = |seed| vec![self.rollout(share, metric, increase, policy, seed)];
        on_all_cores(1..1 + runs, &one, &|_| {}).into_iter().flatten().collect()
    }

    fn rollout(&self, share: f64, metric: Metric, increase: f64, policy: Policy, seed: u64) -> Outcome {
        let mut rng = StdRng::seed_from_u64(seed);
        let mut pods = self.pods.clone();
        for at in (1..pods.len()).rev() {
            pods.swap(at, rng.random_range(0..=at));
        }
        pods.truncate(self.candidates(share));
        let from = rng.random_range(0..self.seconds.len());
        let mut trial = Trial::new(policy, EPOCH);
        let mut outcome = Outcome::default();
        for second in 0..LEAD_S + u64::from(policy.trial_s()) {
            let recorded =
                self.seconds.get((from + second as usize) % self.seconds.len()).map_or(&[][..], Vec::as_slice);
            let is_there = second >= LEAD_S;
            let played = recorded.iter().filter_map(|pod| match pods.contains(&pod.pod) {
                true => is_there.then(|| PodSlice {
                    arm: Arm::Candidate,
                    latency: self.slower(&pod.latency, metric, increase),
                    ..pod.clone()
                }),
                false => Some(pod.clone()),
            });
            trial.observe(&Slice { pods: played.collect(), ..Slice::new(EPOCH + second) });
            let age = (second + 1).saturating_sub(LEAD_S);
            if trial.regressed().is_some() {
                return Outcome { rolled_back: Some(age), ..outcome };
            }
            let looks = increase == 0.0 && age > 0 && age.is_multiple_of(HEALTH_EVERY_S);
            if looks && trial.verdict().state == State::Healthy {
                outcome.healthy = Some(age);
                return outcome;
            }
        }
        outcome
    }

    /// Latencies with one quantile slower: the body for p50, all for p95, the tail for what is above.
    fn slower(&self, latency: &Counts, metric: Metric, increase: f64) -> Counts {
        let is_slow = |bucket: Bucket| match metric {
            Metric::P50 => self.body.is_none_or(|body| bucket < body),
            Metric::P95 => true,
            _ => self.tail.is_some_and(|tail| bucket >= tail),
        };
        let scaled = |bucket: Bucket| Bucket::of(Micros((bucket.mid().0 as f64 * (1.0 + increase)) as u64));
        let moved = latency.iter().map(|(bucket, n)| (if is_slow(bucket) { scaled(bucket) } else { bucket }, n));
        moved.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        generator::Generator,
        world::{Change, Noise, World},
    };

    fn recorded(seconds: u64) -> Result<Recorded, TooLittle> {
        let mut generator = Generator::new(World::new(0.05, Noise::BURSTY, Change::Nothing), 7);
        Recorded::new((0..seconds).map(|second| generator.second(second, -1)))
    }

    #[test]
    fn a_slower_tail_is_found_in_real_traffic_and_nothing_else() {
        let recorded = recorded(600).unwrap();
        assert_eq!((recorded.pods(), recorded.candidates(0.5), recorded.candidates(0.01)), (19, 10, 1));
        assert!((recorded.rps() / 1_000.0 - 1.0).abs() < 0.02, "{}", recorded.rps());
        let policy = Policy::new(0.1, 1e-3, 0.05, 600).unwrap();
        let bad = recorded.rollouts(0.5, Metric::P99, 0.5, policy, 8);
        assert!(bad.iter().all(|run| run.rolled_back.is_some_and(|s| (45..200).contains(&s))), "{bad:?}");
        let good = recorded.rollouts(0.5, Metric::P99, 0.0, policy, 8);
        assert!(good.iter().all(|run| run.rolled_back.is_none()), "{good:?}");
        assert_eq!(bad, recorded.rollouts(0.5, Metric::P99, 0.5, policy, 8), "the same seeds");
    }

    #[test]
    fn too_little_is_said() {
        assert_eq!(recorded(59).err(), Some(TooLittle { pods: 19, seconds: 59 }));
        assert_eq!(Recorded::new(std::iter::empty()).err(), Some(TooLittle { pods: 0, seconds: 0 }));
    }
}
