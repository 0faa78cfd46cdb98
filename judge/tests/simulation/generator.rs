//! Traffic of two releases, second by second, from a seed: nothing here knows the judge's inside.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serin_judge::{Arm, PodId, PodSlice, Slice};
use serin_sketch::{BUCKETS, Bucket, Counts, Micros};

/// Unix time of a world's first second.
pub(crate) const EPOCH: u64 = 1_700_000_000;
/// Quantiles in the table of the latency distribution's body.
const STRATA: usize = 4_096;
/// Where the lognormal body ends and the Pareto tail begins: p95.
const TAIL_FROM: f64 = 0.95;

/// How pods differ and when they are slow.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Noise {
    /// Independent requests.
    Iid,
    /// Persistent scale per pod (standard deviation), shared slow periods x1.8 every 60 s for 4 s, a pod's own
    /// x1.5 every 120 s for 6 s.
    Bursty(f64),
}

/// What is wrong with whom, in seconds from the candidate's first request.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Change {
    Nothing,
    /// Candidate latencies above p95 to p97 times a factor.
    Tail(f64),
    /// All candidate latencies times a factor.
    Whole(f64),
    /// Both arms times a factor.
    Common(f64),
    /// Candidate scale 1 + exp(-age/tau).
    WarmUp(f64),
    /// This share of candidate requests fails at once.
    Errors(f64),
    /// This share of candidate requests hangs until a timeout of 3 s.
    Hang(f64),
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct World {
    pub(crate) rps: f64,
    /// The candidate's share of the requests.
    pub(crate) share: f64,
    pub(crate) baseline_pods: u32,
    pub(crate) candidate_pods: u32,
    pub(crate) noise: Noise,
    pub(crate) change: Change,
    /// Seconds from the candidate's first request until the change.
    pub(crate) onset: u64,
    /// Share of all requests that fail at once.
    pub(crate) base_errors: f64,
    pub(crate) pods_known: bool,
}

impl World {
    /// 1,000 requests a second on 20 pods, of which the candidate has its share.
    pub(crate) fn new(share: f64, noise: Noise, change: Change) -> Self {
        let candidate_pods = (20.0 * share).round().max(1.0) as u32;
        World {
            rps: 1_000.0,
            share,
            baseline_pods: 20 - candidate_pods,
            candidate_pods,
            noise,
            change,
            onset: 0,
            base_errors: 0.0,
            pods_known: true,
        }
    }

    pub(crate) fn pods(self, baseline_pods: u32, candidate_pods: u32) -> Self {
        World { baseline_pods, candidate_pods, ..self }
    }
}

/// On and off for exponential times.
struct Episodes {
    on: bool,
    until: f64,
    every: f64,
    lasting: f64,
}

impl Episodes {
    fn new(rng: &mut StdRng, every: f64, lasting: f64) -> Self {
        Episodes { on: false, until: exponential(rng, every), every, lasting }
    }

    fn at(&mut self, rng: &mut StdRng, second: u64) -> bool {
        while self.until <= second as f64 {
            self.on = !self.on;
            self.until += exponential(rng, if self.on { self.lasting } else { self.every });
        }
        self.on
    }
}

struct SimPod {
    arm: Arm,
    id: PodId,
    scale: f64,
    episodes: Episodes,
}

/// A world that runs.
pub(crate) struct Generator {
    world: World,
    rng: StdRng,
    body: Vec<f64>,
    pods: Vec<SimPod>,
    shared: Episodes,
}

impl Generator {
    pub(crate) fn new(world: World, seed: u64) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let arms =
            (0..world.baseline_pods).map(|_| Arm::Baseline).chain((0..world.candidate_pods).map(|_| Arm::Candidate));
        let arms: Vec<Arm> = arms.collect();
        let spread = if let Noise::Bursty(sd) = world.noise { sd } else { 0.0 };
        let pods = arms.into_iter().enumerate().map(|(i, arm)| SimPod {
            arm,
            id: PodId(i as u32),
            scale: 1.0 + spread * normal(&mut rng),
            episodes: Episodes::new(&mut rng, 120.0, 6.0),
        });
        let pods = pods.collect();
        let body = (0..STRATA).map(|i| body_us((i as f64 + 0.5) / STRATA as f64 * TAIL_FROM)).collect();
        let shared = Episodes::new(&mut rng, 60.0, 4.0);
        Generator { world, rng, body, pods, shared }
    }

    /// The slice of one second, `from_candidate` seconds after the candidate's first request; before it (negative)
    /// there is only the baseline.
    pub(crate) fn second(&mut self, second: u64, from_candidate: i64) -> Slice {
        let age = u64::try_from(from_candidate).ok();
        let bursty = matches!(self.world.noise, Noise::Bursty(_));
        let slow = if self.shared.at(&mut self.rng, second) && bursty { 1.8 } else { 1.0 };
        let mut pods = Vec::with_capacity(self.pods.len());
        for at in 0..self.pods.len() {
            let pod = &mut self.pods[at];
            let own = if pod.episodes.at(&mut self.rng, second) && bursty { 1.5 } else { 1.0 };
            if pod.arm == Arm::Candidate && age.is_none() {
                continue;
            }
            let (arm, id, scale) = (pod.arm, pod.id, pod.scale * slow * own);
            let share = match (arm, age) {
                (Arm::Candidate, _) => self.world.share / f64::from(self.world.candidate_pods),
                (Arm::Baseline, Some(_)) => (1.0 - self.world.share) / f64::from(self.world.baseline_pods),
                (Arm::Baseline, None) => 1.0 / f64::from(self.world.baseline_pods),
            };
            let id = match (self.world.pods_known, arm) {
                (true, _) => id,
                (false, Arm::Baseline) => PodId(0),
                (false, Arm::Candidate) => PodId(1),
            };
            pods.push(self.pod(arm, id, share * self.world.rps, scale, age.unwrap_or(0)));
        }
        Slice { second: EPOCH + second, pods, pods_known: self.world.pods_known }
    }

    fn pod(&mut self, arm: Arm, pod: PodId, rate: f64, mut scale: f64, age: u64) -> PodSlice {
        let on = age >= self.world.onset;
        let candidate = arm == Arm::Candidate && on;
        let (mut tail, mut failing, mut hanging) = (1.0, self.world.base_errors, 0.0);
        match self.world.change {
            Change::Tail(factor) if candidate => tail = factor,
            Change::Whole(factor) if candidate => scale *= factor,
            Change::Common(factor) if on => scale *= factor,
            Change::WarmUp(tau) if arm == Arm::Candidate => scale *= 1.0 + (-(age as f64) / tau).exp(),
            Change::Errors(share) if candidate => failing = share,
            Change::Hang(share) if candidate => hanging = share,
            _ => {}
        }
        let requests = poisson(&mut self.rng, rate);
        let mut buckets = Vec::with_capacity(requests as usize);
        let mut errors = 0;
        for _ in 0..requests {
            if failing > 0.0 && self.rng.random::<f64>() < failing {
                errors += 1;
                continue;
            }
            if hanging > 0.0 && self.rng.random::<f64>() < hanging {
                errors += 1;
                buckets.push(Bucket::of(Micros(3_000_000)).index() as u16);
                continue;
            }
            buckets.push(Bucket::of(Micros((self.latency_us(tail) * scale) as u64)).index() as u16);
        }
        PodSlice { arm, pod, latency: counted(buckets), requests, errors }
    }

    fn latency_us(&mut self, tail: f64) -> f64 {
        let u: f64 = self.rng.random();
        if u < TAIL_FROM {
            return self.body[((u / TAIL_FROM * STRATA as f64) as usize).min(STRATA - 1)];
        }
        let pareto = body_us(TAIL_FROM) * ((1.0 - u) / (1.0 - TAIL_FROM)).powf(-1.0 / 3.0);
        pareto * (1.0 + (tail - 1.0) * ((u - TAIL_FROM) / 0.02).min(1.0))
    }
}

fn counted(mut buckets: Vec<u16>) -> Counts {
    buckets.sort_unstable();
    let runs = buckets.chunk_by(|a, b| a == b);
    runs.filter_map(|run| Some((Bucket::from_index(u32::from(*run.first()?))?, run.len() as u64))).collect()
}

/// The body's u-quantile: lognormal with median 40 ms and sigma 0.5.
fn body_us(u: f64) -> f64 {
    40_000.0 * (0.5 * normal_quantile(u)).exp()
}

/// Acklam's rational approximation, relative error 1.2e-9.
fn normal_quantile(p: f64) -> f64 {
    const A: [f64; 6] = [
        -39.69683028665376,
        220.9460984245205,
        -275.9285104469687,
        138.357751867269,
        -30.66479806614716,
        2.506628277459239,
    ];
    const B: [f64; 5] =
        [-54.47609879822406, 161.5858368580409, -155.6989798598866, 66.80131188771972, -13.28068155288572];
    const C: [f64; 6] = [
        -0.007784894002430293,
        -0.3223964580411365,
        -2.400758277161838,
        -2.549732539343734,
        4.374664141464968,
        2.938163982698783,
    ];
    const D: [f64; 4] = [0.007784695709041462, 0.3224671290700398, 2.445134137142996, 3.754408661907416];
    let poly = |c: &[f64], x: f64| c.iter().fold(0.0, |sum, c| sum * x + c);
    if p < 0.02425 {
        let q = (-2.0 * p.ln()).sqrt();
        return poly(&C, q) / (poly(&D, q) * q + 1.0);
    }
    if p > 1.0 - 0.02425 {
        return -normal_quantile(1.0 - p);
    }
    let q = p - 0.5;
    poly(&A, q * q) * q / (poly(&B, q * q) * q * q + 1.0)
}

fn exponential(rng: &mut StdRng, mean: f64) -> f64 {
    -mean * (1.0 - rng.random::<f64>()).ln()
}

/// Box and Muller.
fn normal(rng: &mut StdRng) -> f64 {
    (-2.0 * (1.0 - rng.random::<f64>()).ln()).sqrt() * (std::f64::consts::TAU * rng.random::<f64>()).cos()
}

/// Knuth's product below 30, the rounded normal distribution above.
fn poisson(rng: &mut StdRng, mean: f64) -> u64 {
    if mean > 30.0 {
        return (mean + mean.sqrt() * normal(rng)).round().max(0.0) as u64;
    }
    let limit = (-mean).exp();
    let mut product: f64 = rng.random();
    let mut n = 0;
    while product > limit {
        product *= rng.random::<f64>();
        n += 1;
    }
    n
}

#[test]
fn the_distribution_is_the_designs() {
    let world = World::new(0.5, Noise::Iid, Change::Nothing);
    let mut generator = Generator::new(world, 1);
    let mut all = Counts::new();
    for s in 0..400 {
        generator.second(s, s as i64).pods.iter().for_each(|p| all.merge(&p.latency));
    }
    for (q, ms) in [(0.5, 38.0), (0.95, 91.0), (0.99, 156.0), (0.999, 335.0)] {
        let got = all.quantile(q).unwrap().mid().as_millis_f64();
        assert!((got / ms - 1.0).abs() < 0.06, "{q}: {got} ms");
    }
    assert!((all.total() as f64 / 400_000.0 - 1.0).abs() < 0.01 && all.iter().all(|(b, _)| b.index() < BUCKETS));
}
