use serin_sketch::{Bucket, Counts};

use crate::in_flight::InFlight;
use crate::split::Split;

/// Which side of the comparison served a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Arm {
    /// The stable release.
    Baseline,
    /// The release on trial.
    Candidate,
}

/// A pod, numbered by the caller; the same pod keeps its number during a trial.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PodId(pub u32);

/// Requests of one kind (a route and a method, and whether they were the caller's fault), numbered by the caller. Latencies are compared
/// within a stratum alone, so that a release that gets another mix of requests is not taken for a slow one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Stratum(pub u16);

/// What one pod served in one second on the judged route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodSlice {
    /// The release it runs.
    pub arm: Arm,
    /// Which pod.
    pub pod: PodId,
    /// Which requests.
    pub stratum: Stratum,
    /// Durations of the requests that were answered without a server error, and those of requests that timed
    /// out, were reset or aborted, at their lower bound: a request that never finishes must not look fast.
    pub latency: Counts,
    /// Ages of the requests that had not ended when the second did, of 1 s and more. Empty where that is not known.
    pub in_flight: Counts,
    /// All requests that ended.
    pub requests: u64,
    /// Server errors, timeouts and resets. More than `requests` counts as `requests`.
    pub errors: u64,
}

impl PodSlice {
    /// A pod's second without a request.
    pub fn new(arm: Arm, pod: PodId, stratum: Stratum) -> Self {
        PodSlice { arm, pod, stratum, latency: Counts::new(), in_flight: Counts::new(), requests: 0, errors: 0 }
    }
}

/// One second of both arms.
#[derive(Clone, Debug, PartialEq)]
pub struct Slice {
    /// Unix time, seconds.
    pub second: u64,
    /// One entry a pod and stratum; several of the same are added. A pod that is not in it was not heard of.
    pub pods: Vec<PodSlice>,
    /// Whether this vantage can tell pods apart. Without, each arm is one [`PodId`] and the verdict says so.
    pub pods_known: bool,
    /// The candidate's share of the weights by which requests were sent, 0 to 1. `None` where it is not known, was just changed, or is not
    /// what the share of the requests is to be held against.
    pub weight: Option<f64>,
}

impl Slice {
    /// A second without a request.
    pub fn new(second: u64) -> Self {
        Slice { second, pods: Vec::new(), pods_known: true, weight: None }
    }
}

/// The most pods of one arm that are told apart; those past it count as one pod. It bounds a trial's memory: 180
/// cells of 4 quantiles and 128 pods are about 2 MiB.
pub(crate) const PODS_MAX: usize = 128;
/// The most strata that are told apart in one second; the last ones are compared as one.
const STRATA_MAX: usize = 32;
/// What the pods past [`PODS_MAX`] are counted under.
const OTHERS: PodId = PodId(u32::MAX);

/// How many durations are in a bucket or a later one, for every bucket, in one lookup.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tail {
    ended: Vec<(Bucket, f64)>,
    /// The same of [`InFlight::gain`]; what it adds may be negative.
    gain: Vec<(Bucket, f64)>,
}

impl Tail {
    pub(crate) fn new(counts: &Counts) -> Self {
        let mut ended: Vec<(Bucket, f64)> = counts.iter().map(|(b, n)| (b, n as f64)).collect();
        accumulate(&mut ended);
        Tail { ended, gain: Vec::new() }
    }

    fn with_gain(self, mut gain: Vec<(Bucket, f64)>) -> Self {
        accumulate(&mut gain);
        Tail { gain, ..self }
    }

    /// All requests that ended, or are now known to take a second or longer.
    pub(crate) fn total(&self) -> f64 {
        (first(&self.ended) + first(&self.gain)).max(0.0)
    }

    /// Those that are now known to take this long or longer.
    pub(crate) fn at_or_above(&self, bucket: Bucket) -> f64 {
        (from(&self.ended, bucket) + from(&self.gain, bucket)).max(0.0)
    }

    /// Those of which it is now known whether they take this long: at least [`Tail::at_or_above`].
    pub(crate) fn known(&self, bucket: Bucket) -> f64 {
        (first(&self.ended) + from(&self.gain, bucket)).max(0.0)
    }
}

fn accumulate(tail: &mut [(Bucket, f64)]) {
    let mut sum = 0.0;
    for (_, n) in tail.iter_mut().rev() {
        sum += *n;
        *n = sum;
    }
}

fn first(tail: &[(Bucket, f64)]) -> f64 {
    tail.first().map_or(0.0, |(_, n)| *n)
}

fn from(tail: &[(Bucket, f64)], bucket: Bucket) -> f64 {
    let at = tail.partition_point(|(b, _)| *b < bucket);
    tail.get(at).map_or(0.0, |(_, n)| *n)
}

/// One pod's second, ready for counting.
#[derive(Clone, Debug)]
pub(crate) struct Pod {
    pub(crate) id: PodId,
    pub(crate) tail: Tail,
    pub(crate) requests: f64,
    pub(crate) errors: f64,
    /// How many had lasted a second or longer and were still under way.
    pub(crate) in_flight: f64,
}

impl Pod {
    fn new(slice: &PodSlice, in_flight: &InFlight) -> Self {
        let requests = slice.requests as f64;
        Pod {
            id: slice.pod,
            tail: Tail::new(&slice.latency).with_gain(in_flight.gain(slice)),
            requests,
            errors: (slice.errors as f64).min(requests),
            in_flight: slice.in_flight.total() as f64,
        }
    }

    /// The pod, how many of its requests took `edge` or longer, and of how many that is known.
    pub(crate) fn part(&self, edge: Bucket) -> (PodId, f64, f64) {
        (self.id, self.tail.at_or_above(edge), self.tail.known(edge))
    }
}

/// One arm's second: its pods in order, and all of them together.
#[derive(Clone, Debug, Default)]
pub(crate) struct ArmSecond {
    pub(crate) pods: Vec<Pod>,
    pub(crate) counts: Counts,
    pub(crate) tail: Tail,
    pub(crate) requests: f64,
    pub(crate) errors: f64,
}

impl ArmSecond {
    /// The entries of one arm that pass `keep`.
    pub(crate) fn of(slice: &Slice, arm: Arm, in_flight: &InFlight, keep: impl Fn(&PodSlice) -> bool) -> Self {
        let mut slices: Vec<&PodSlice> = slice.pods.iter().filter(|p| p.arm == arm && keep(p)).collect();
        slices.sort_by_key(|p| p.pod);
        let mut all: Vec<(Bucket, u64)> = slices.iter().flat_map(|slice| slice.latency.iter()).collect();
        all.sort_unstable_by_key(|(bucket, _)| *bucket);
        let counts: Counts = all.into_iter().collect();
        let mut gain: Vec<(Bucket, f64)> = slices.iter().flat_map(|slice| in_flight.gain(slice)).collect();
        gain.sort_unstable_by_key(|(bucket, _)| *bucket);
        let pods: Vec<Pod> = slices.iter().map(|slice| Pod::new(slice, in_flight)).collect();
        let requests = pods.iter().map(|p| p.requests).sum();
        let errors = pods.iter().map(|p| p.errors).sum();
        ArmSecond { tail: Tail::new(&counts).with_gain(gain), counts, pods, requests, errors }
    }

    /// How many requests ended, or are now known to take a second or longer.
    pub(crate) fn n(&self) -> f64 {
        self.tail.total()
    }

    /// The parts of its pods: see [`Pod::part`].
    pub(crate) fn parts(&self, edge: Bucket) -> impl Iterator<Item = (PodId, f64, f64)> {
        self.pods.iter().map(move |pod| pod.part(edge))
    }
}

/// What is held against what in one second: the requests of one stratum in both arms.
#[derive(Clone, Debug)]
pub(crate) struct Pair {
    pub(crate) stratum: Stratum,
    pub(crate) baseline: ArmSecond,
    pub(crate) candidate: ArmSecond,
}

impl Pair {
    /// Whether there is something to compare.
    pub(crate) fn is_comparable(&self) -> bool {
        self.baseline.n() > 0.0 && self.candidate.n() > 0.0
    }

    /// The table of what is beyond `a` of the baseline's and beyond `b` of the candidate's.
    pub(crate) fn split(&self, a: Bucket, b: Bucket) -> Split {
        let (at, bt) = (&self.baseline.tail, &self.candidate.tail);
        Split { n_a: at.known(a), n_b: bt.known(b), beyond: at.at_or_above(a) + bt.at_or_above(b) }
    }
}

/// A second of both arms: all requests, and each stratum's.
#[derive(Clone, Debug)]
pub(crate) struct Second {
    pub(crate) all: Pair,
    /// Empty where there is but one.
    several: Vec<Pair>,
}

impl Second {
    /// The entries that pass `keep`.
    pub(crate) fn of(slice: &Slice, in_flight: &InFlight, keep: impl Fn(&PodSlice) -> bool) -> Self {
        let pair = |stratum, is_in: &dyn Fn(&PodSlice) -> bool| {
            let arm = |arm| ArmSecond::of(slice, arm, in_flight, |pod| is_in(pod) && keep(pod));
            Pair { stratum, baseline: arm(Arm::Baseline), candidate: arm(Arm::Candidate) }
        };
        let mut strata: Vec<Stratum> = slice.pods.iter().map(|pod| pod.stratum).collect();
        strata.sort_unstable();
        strata.dedup();
        strata.truncate(STRATA_MAX);
        let last = strata.last().copied().unwrap_or_default();
        let all = pair(last, &|_| true);
        if strata.len() < 2 {
            return Second { all, several: Vec::new() };
        }
        let several = strata.into_iter().map(|stratum| pair(stratum, &|pod| pod.stratum.min(last) == stratum));
        Second { all, several: several.collect() }
    }

    /// Each stratum by itself.
    pub(crate) fn strata(&self) -> &[Pair] {
        if self.several.is_empty() { std::slice::from_ref(&self.all) } else { &self.several }
    }
}

/// The number a pod is counted under, given how many are already told apart.
pub(crate) fn counted_as(pod: PodId, known: bool, told_apart: usize) -> PodId {
    if known || told_apart < PODS_MAX { pod } else { OTHERS }
}
