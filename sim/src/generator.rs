//! Traffic of two releases, second by second, from a seed. Nothing here knows the judge's inside.

use std::collections::VecDeque;

use rand::{RngExt, SeedableRng, rngs::StdRng};
use serin_judge::{Arm, PodId, PodSlice, Slice, Stratum};
use serin_sketch::{Bucket, Counts, Micros};

use crate::{
    latency::{Latency, Shape},
    random::{Episodes, normal, poisson},
    world::{Change, Noise, World},
};

/// Seconds in which latencies drift up and down once.
const DRIFT_S: f64 = 3_600.0;
/// Unix time of a world's first second.
pub const EPOCH: u64 = 1_700_000_000;
/// A request that hangs ends by timeout after this.
const TIMEOUT_S: u64 = 3;

#[derive(Clone, Debug)]
struct Pod {
    arm: Arm,
    id: PodId,
    scale: f64,
    episodes: Episodes,
    freezes: Episodes,
    /// Requests that wait for a freeze to end, and the second each came in.
    waiting: Vec<(u64, u64)>,
    /// Requests that hang, and the second in which each times out.
    hanging: VecDeque<(u64, u64)>,
}

/// What one pod does in one second.
#[derive(Clone, Copy, Debug)]
struct Doing {
    shape: Shape,
    scale: f64,
    failing: f64,
    hanging: f64,
    lost: f64,
    frozen: bool,
}

/// A world that runs.
#[derive(Debug)]
pub struct Generator {
    world: World,
    rng: StdRng,
    latency: Latency,
    pods: Vec<Pod>,
    shared: Episodes,
    /// Where the drift begins, 0 to 1.
    phase: f64,
}

impl Generator {
    /// The same world and seed give the same traffic.
    pub fn new(world: World, seed: u64) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let spread = if let Noise::Bursty { spread, .. } = world.noise { spread } else { 0.0 };
        let baseline = (0..world.baseline_pods).map(|_| Arm::Baseline);
        let arms = baseline.chain((0..world.candidate_pods).map(|_| Arm::Candidate));
        let longest = if let Change::Freezes(longest) = world.change { longest } else { f64::INFINITY };
        let pods = arms.zip(0..).map(|(arm, id)| Pod {
            arm,
            id: PodId(id),
            scale: 1.0 + spread * normal(&mut rng),
            episodes: Episodes::new(&mut rng, 120.0, 6.0),
            freezes: Episodes::new(&mut rng, 600.0, 2.0).at_most(longest),
            waiting: Vec::new(),
            hanging: VecDeque::new(),
        });
        let pods = pods.collect();
        let shared = Episodes::new(&mut rng, 60.0, 4.0);
        let phase = if world.drift > 0.0 { rng.random() } else { 0.0 };
        Generator { world, rng, latency: Latency::default(), pods, shared, phase }
    }

    /// The slice of one second, `from_candidate` seconds after the candidate's first request; before it (negative)
    /// there is only the baseline.
    pub fn second(&mut self, second: u64, from_candidate: i64) -> Slice {
        let age = u64::try_from(from_candidate).ok();
        let share = age.map_or(0.0, |age| self.world.share(age));
        let (shared, episode) = match self.world.noise {
            Noise::Iid => (1.0, 1.0),
            Noise::Bursty { episode, .. } => (1.8, episode),
        };
        let drift = 1.0 + self.world.drift * (std::f64::consts::TAU * (self.phase + second as f64 / DRIFT_S)).sin();
        let slow = drift * if self.shared.at(&mut self.rng, second) { shared } else { 1.0 };
        let mut all = std::mem::take(&mut self.pods);
        let mut pods = Vec::with_capacity(all.len());
        for (at, pod) in all.iter_mut().enumerate() {
            let own = if pod.episodes.at(&mut self.rng, second) { episode } else { 1.0 };
            let frozen = pod.freezes.at(&mut self.rng, second) && matches!(self.world.change, Change::Freezes(_));
            if pod.arm == Arm::Candidate && age.is_none() {
                continue;
            }
            let (share, pods_of_arm) = match pod.arm {
                Arm::Candidate => (share, self.world.candidate_pods),
                Arm::Baseline => (1.0 - share, self.world.baseline_pods),
            };
            let doing = self.doing(pod, at, pod.scale * slow * own, age.unwrap_or(0), second);
            let rate = self.world.rps * share / f64::from(pods_of_arm);
            let doing = Doing { frozen, ..doing };
            let slow_share = self.slow_share(pod.arm);
            pods.push(self.pod(pod, rate * (1.0 - slow_share), doing, second));
            if let Change::Mix { factor, .. } = self.world.change {
                let slow = self.pod(pod, rate * slow_share, Doing { scale: doing.scale * factor, ..doing }, second);
                pods.push(PodSlice { stratum: Stratum(1), ..slow });
            }
        }
        self.pods = all;
        let weight = age.filter(|_| self.world.weight_known).map(|_| share);
        Slice { pods, pods_known: self.world.pods_known, weight, ..Slice::new(EPOCH + second) }
    }

    /// The share of an arm's requests that are of the slow kind.
    fn slow_share(&self, arm: Arm) -> f64 {
        match (self.world.change, arm) {
            (Change::Mix { baseline, .. }, Arm::Baseline) => baseline,
            (Change::Mix { candidate, .. }, Arm::Candidate) => candidate,
            _ => 0.0,
        }
    }

    fn pods_in_all(&self) -> usize {
        (self.world.baseline_pods + self.world.candidate_pods) as usize
    }

    fn doing(&self, pod: &Pod, at: usize, scale: f64, age: u64, second: u64) -> Doing {
        let world = &self.world;
        let since = age.checked_sub(world.onset);
        let candidate = since.filter(|_| pod.arm == Arm::Candidate);
        let mut doing =
            Doing { shape: Shape::PLAIN, scale, failing: world.base_errors, hanging: 0.0, lost: 0.0, frozen: false };
        match (world.change, candidate) {
            (Change::Tail(tail) | Change::Mix { tail, .. }, Some(_)) => doing.shape.tail = tail,
            (Change::Lost(share), Some(_)) => doing.lost = share,
            (Change::Body(body), Some(_)) => doing.shape.body = body,
            (Change::Whole(factor), Some(_)) => doing.scale *= factor,
            (Change::SickPod(factor), Some(_)) if at + 1 == self.pods_in_all() => doing.scale *= factor,
            (Change::Leak { by, over_s }, Some(since)) => doing.scale *= 1.0 + by * (since as f64 / over_s).min(1.0),
            (Change::Gc, Some(since)) => {
                let within = (since + 7 * at as u64) % 30;
                doing.scale *= 1.0 + 0.2 * within as f64 / 30.0;
                if within == 29 {
                    doing.shape.added = (0.5, 150_000.0);
                }
            }
            (Change::Added(share, ms), Some(_)) => doing.shape.added = (share, ms * 1_000.0),
            (Change::WarmUp(tau), Some(_)) => doing.scale *= 1.0 + (-(age as f64) / tau).exp(),
            (Change::Errors(share), Some(_)) => doing.failing = share,
            (Change::Hang(share), Some(_)) => doing.hanging = share,
            (Change::ReadinessGap(seconds), Some(since)) if since < seconds => doing.failing = 1.0,
            (Change::Common(factor, seconds), _) if since.is_some_and(|since| since < seconds) => doing.scale *= factor,
            (Change::ErrorBursts(share, seconds), _) if second % 60 < seconds => doing.failing = share,
            (Change::BadBaselinePod(share), _) if at == 0 => doing.failing = share,
            _ => {}
        }
        doing
    }

    fn pod(&mut self, pod: &mut Pod, rate: f64, doing: Doing, second: u64) -> PodSlice {
        let arrived = poisson(&mut self.rng, rate * (1.0 - doing.lost));
        if doing.frozen {
            pod.waiting.push((second, arrived));
            return self.slice(pod, Vec::new(), 0, 0, second);
        }
        let mut buckets = Vec::with_capacity(arrived as usize);
        let (mut requests, mut errors, mut hanging) = (0, 0, 0);
        let waited = std::mem::take(&mut pod.waiting);
        for (came_in, arrived) in waited.into_iter().chain([(second, arrived)]) {
            let waited_us = (second - came_in) as f64 * 1e6;
            for _ in 0..arrived {
                if doing.failing > 0.0 && self.rng.random::<f64>() < doing.failing {
                    requests += 1;
                    errors += 1;
                } else if doing.hanging > 0.0 && self.rng.random::<f64>() < doing.hanging {
                    hanging += 1;
                } else {
                    requests += 1;
                    let us = self.latency.draw(&mut self.rng, &doing.shape) * doing.scale + waited_us;
                    buckets.push(Bucket::of(Micros(us as u64)));
                }
            }
        }
        // What hangs is not heard of before it times out.
        pod.hanging.push_back((second + TIMEOUT_S, hanging));
        while let Some((_, timed_out)) = pod.hanging.pop_front_if(|(at, _)| *at <= second) {
            requests += timed_out;
            errors += timed_out;
            buckets.extend((0..timed_out).map(|_| Bucket::of(Micros(TIMEOUT_S * 1_000_000))));
        }
        self.slice(pod, buckets, requests, errors, second)
    }

    fn slice(&self, pod: &Pod, mut buckets: Vec<Bucket>, requests: u64, errors: u64, second: u64) -> PodSlice {
        buckets.sort_unstable();
        let runs = buckets.chunk_by(|a, b| a == b);
        let latency: Counts = runs.filter_map(|run| Some((*run.first()?, run.len() as u64))).collect();
        let id = match (self.world.pods_known, pod.arm) {
            (true, _) => pod.id,
            (false, Arm::Baseline) => PodId(0),
            (false, Arm::Candidate) => PodId(1),
        };
        let hanging = pod.hanging.iter().map(|(times_out, n)| (times_out - TIMEOUT_S, *n));
        let under_way = pod.waiting.iter().copied().chain(hanging);
        // Requests come in half a second before their second ends, on average.
        let aged = under_way.filter(|(came_in, n)| *came_in < second && *n > 0);
        let in_flight =
            aged.map(|(came_in, n)| (Bucket::of(Micros((second - came_in) * 1_000_000 + 500_000)), n)).collect();
        PodSlice { latency, in_flight, requests, errors, ..PodSlice::new(pod.arm, id, Stratum(0)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn requests(slice: &Slice, arm: Arm) -> u64 {
        slice.pods.iter().filter(|pod| pod.arm == arm).map(|pod| pod.requests).sum()
    }

    #[test]
    fn traffic_is_split_as_the_shares_say() {
        let world = World { shares: vec![(0, 0.05), (50, 0.5)], ..World::new(0.5, Noise::Iid, Change::Nothing) };
        let mut generator = Generator::new(world, 1);
        let of = |generator: &mut Generator, ages: std::ops::Range<i64>| {
            ages.map(|age| generator.second(100u64.saturating_add_signed(age), age)).fold((0, 0), |(a, b), slice| {
                (a + requests(&slice, Arm::Baseline), b + requests(&slice, Arm::Candidate))
            })
        };
        let (before, from, later) =
            (of(&mut generator, -50..0), of(&mut generator, 0..50), of(&mut generator, 50..100));
        assert_eq!(before.1, 0);
        assert!((before.0 as f64 / 50_000.0 - 1.0).abs() < 0.02, "{before:?}");
        assert!((from.1 as f64 / 2_500.0 - 1.0).abs() < 0.1 && (later.1 as f64 / 25_000.0 - 1.0).abs() < 0.05);
    }

    #[test]
    fn the_same_seed_gives_the_same_traffic() {
        let world = || World::new(0.05, Noise::BURSTY, Change::Gc);
        let (mut one, mut two) = (Generator::new(world(), 9), Generator::new(world(), 9));
        assert!((0..50).all(|s| one.second(s, s as i64) == two.second(s, s as i64)));
        assert_ne!(Generator::new(world(), 9).second(0, 0), Generator::new(world(), 10).second(0, 0));
    }

    /// What waits for a freeze to end is counted when it ends, once.
    #[test]
    fn a_freeze_loses_no_request() {
        let mut frozen = Generator::new(World::new(0.5, Noise::Iid, Change::Freezes(f64::INFINITY)), 3);
        let all: Vec<Slice> = (0..2_000).map(|s| frozen.second(s, s as i64)).collect();
        let idle = all.iter().flat_map(|slice| &slice.pods).filter(|pod| pod.requests == 0).count();
        // 20 pods for 2,000 s, 2 s of every 602.
        assert!((70..210).contains(&idle), "{idle} frozen pod-seconds");
        let served: u64 =
            all.iter().map(|slice| requests(slice, Arm::Baseline) + requests(slice, Arm::Candidate)).sum();
        assert!((served as f64 / 2_000_000.0 - 1.0).abs() < 0.005, "{served}");
    }
}
