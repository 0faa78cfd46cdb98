use serin_sketch::{Bucket, Counts};

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

/// What one pod served in one second on the judged route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodSlice {
    /// The release it runs.
    pub arm: Arm,
    /// Which pod.
    pub pod: PodId,
    /// Durations of the requests that were answered without a server error, and those of requests that timed
    /// out, were reset or aborted, at their lower bound: a request that never finishes must not look fast.
    pub latency: Counts,
    /// All requests.
    pub requests: u64,
    /// Server errors, timeouts and resets. More than `requests` counts as `requests`.
    pub errors: u64,
}

/// One second of both arms.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slice {
    /// Unix time, seconds.
    pub second: u64,
    /// One entry a pod; several of the same pod are added.
    pub pods: Vec<PodSlice>,
    /// Whether this vantage can tell pods apart. Without, each arm is one [`PodId`] and the verdict says so.
    pub pods_known: bool,
}

/// The most pods of one arm that are told apart; those past it count as one pod. It bounds a trial's memory: 180
/// cells of 4 quantiles and 128 pods are about 2 MiB.
pub(crate) const PODS_MAX: usize = 128;
/// What the pods past [`PODS_MAX`] are counted under.
const OTHERS: PodId = PodId(u32::MAX);

/// How many durations are in a bucket or a later one, for every bucket, in one lookup.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tail(Vec<(Bucket, f64)>);

impl Tail {
    pub(crate) fn new(counts: &Counts) -> Self {
        let mut tail: Vec<(Bucket, f64)> = counts.iter().map(|(b, n)| (b, n as f64)).collect();
        let mut sum = 0.0;
        for (_, n) in tail.iter_mut().rev() {
            sum += *n;
            *n = sum;
        }
        Tail(tail)
    }

    pub(crate) fn total(&self) -> f64 {
        self.0.first().map_or(0.0, |(_, n)| *n)
    }

    pub(crate) fn at_or_above(&self, bucket: Bucket) -> f64 {
        let at = self.0.partition_point(|(b, _)| *b < bucket);
        self.0.get(at).map_or(0.0, |(_, n)| *n)
    }
}

/// One pod's second, ready for counting.
#[derive(Clone, Debug)]
pub(crate) struct Pod {
    pub(crate) id: PodId,
    pub(crate) tail: Tail,
    pub(crate) requests: f64,
    pub(crate) errors: f64,
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
    /// The pods of one arm that pass `keep`.
    pub(crate) fn of(slice: &Slice, arm: Arm, keep: impl Fn(PodId) -> bool) -> Self {
        let mut slices: Vec<&PodSlice> = slice.pods.iter().filter(|p| p.arm == arm && keep(p.pod)).collect();
        slices.sort_by_key(|p| p.pod);
        let mut all: Vec<(Bucket, u64)> = slices.iter().flat_map(|slice| slice.latency.iter()).collect();
        all.sort_unstable_by_key(|(bucket, _)| *bucket);
        let counts: Counts = all.into_iter().collect();
        let mut pods: Vec<Pod> = Vec::with_capacity(slices.len().min(PODS_MAX));
        for same in slices.chunk_by(|a, b| a.pod == b.pod) {
            for slice in same {
                let requests = slice.requests as f64;
                pods.push(Pod {
                    id: slice.pod,
                    tail: Tail::new(&slice.latency),
                    requests,
                    errors: (slice.errors as f64).min(requests),
                });
            }
        }
        let requests = pods.iter().map(|p| p.requests).sum();
        let errors = pods.iter().map(|p| p.errors).sum();
        ArmSecond { tail: Tail::new(&counts), counts, pods, requests, errors }
    }

    /// How many durations there are.
    pub(crate) fn n(&self) -> f64 {
        self.tail.total()
    }
}

/// The number a pod is counted under, given how many are already told apart.
pub(crate) fn counted_as(pod: PodId, known: bool, told_apart: usize) -> PodId {
    if known || told_apart < PODS_MAX { pod } else { OTHERS }
}
