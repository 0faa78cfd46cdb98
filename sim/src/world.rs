//! What happens in a rollout: traffic, noise, and what is wrong with whom. Seconds count from the candidate's first request.

/// How pods differ and when they are slow.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Noise {
    /// Independent requests.
    Iid,
    /// Persistent scale per pod, shared slow periods x1.8 every 60 s for 4 s, and episodes of single pods every 120 s for 6 s.
    Bursty {
        /// Standard deviation of the pods' scales.
        spread: f64,
        /// The factor of a pod's episode.
        episode: f64,
    },
}

impl Noise {
    /// JUDGE.md's *bursty*.
    pub const BURSTY: Noise = Noise::Bursty { spread: 0.03, episode: 1.5 };
}

/// What is wrong.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Change {
    /// Nothing.
    Nothing,
    /// Candidate latencies above p95 to p97 times a factor.
    Tail(f64),
    /// Candidate latencies below p80 to p95 times a factor.
    Body(f64),
    /// All candidate latencies times a factor.
    Whole(f64),
    /// All candidate latencies, by so much more from one second to another: a leak.
    Leak {
        /// At the end: 0.3 is +30%.
        by: f64,
        /// How many seconds it takes.
        over_s: f64,
    },
    /// Candidate pods get up to 20% slower over 30 s, then half of the requests of one second take 150 ms more.
    Gc,
    /// This share of candidate requests takes so many milliseconds more.
    Added(f64, f64),
    /// All latencies of one candidate pod times a factor.
    SickPod(f64),
    /// Both arms times a factor for so many seconds.
    Common(f64, u64),
    /// Candidate scale 1 + exp(-age/tau).
    WarmUp(f64),
    /// This share of candidate requests fails at once.
    Errors(f64),
    /// This share of candidate requests hangs until a timeout of 3 s.
    Hang(f64),
    /// This share of both arms' requests fails for so many seconds of every 60.
    ErrorBursts(f64, u64),
    /// This share of one baseline pod's requests fails.
    BadBaselinePod(f64),
    /// Each candidate pod fails all its requests in its first seconds.
    ReadinessGap(u64),
    /// This share of the baseline's requests is of a kind that takes so many times as long, and that share of the candidate's.
    Mix {
        /// Of the baseline's.
        baseline: f64,
        /// Of the candidate's.
        candidate: f64,
        /// How many times as long.
        factor: f64,
        /// What is wrong with the candidate's latencies above p95 to p97: 1 is nothing.
        tail: f64,
    },
    /// This share of candidate requests is never heard of again.
    Lost(f64),
    /// Every pod, each for itself, answers nothing for 2 s every 600 s, and for so many at most; then all at once.
    Freezes(f64),
}

/// A rollout.
#[derive(Clone, Debug, PartialEq)]
pub struct World {
    /// Requests a second, both arms together.
    pub rps: f64,
    /// The candidate's share of the requests, from the seconds given on.
    pub shares: Vec<(u64, f64)>,
    /// How many pods the baseline has.
    pub baseline_pods: u32,
    /// How many pods the candidate has.
    pub candidate_pods: u32,
    /// How pods differ.
    pub noise: Noise,
    /// What is wrong.
    pub change: Change,
    /// Seconds until it is.
    pub onset: u64,
    /// Share of all requests that fail at once, whatever else happens.
    pub base_errors: f64,
    /// Whether pods can be told apart.
    pub pods_known: bool,
    /// Whether the weights are known by which requests were sent.
    pub weight_known: bool,
    /// All latencies go up and down by this part of them within an hour.
    pub drift: f64,
    /// Minutes of the baseline alone, and days of its pods, that the judge knows beforehand.
    pub past: Past,
}

/// What the judge is told of the time before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Past {
    /// Minutes right before.
    pub minutes: u64,
    /// Days with other pods.
    pub days: u64,
}

impl World {
    /// 1,000 requests a second on 20 pods, of which the candidate has its share, and at least one.
    pub fn new(share: f64, noise: Noise, change: Change) -> Self {
        let candidate_pods = (20.0 * share).round().max(1.0) as u32;
        World {
            rps: 1_000.0,
            shares: vec![(0, share)],
            baseline_pods: 20 - candidate_pods,
            candidate_pods,
            noise,
            change,
            onset: 0,
            base_errors: 0.0,
            pods_known: true,
            weight_known: false,
            drift: 0.0,
            past: Past::default(),
        }
    }

    /// With so many requests a second.
    #[must_use]
    pub fn rps(self, rps: f64) -> Self {
        World { rps, ..self }
    }

    /// With so many pods in each arm.
    #[must_use]
    pub fn pods(self, baseline_pods: u32, candidate_pods: u32) -> Self {
        World { baseline_pods, candidate_pods, ..self }
    }

    /// With the change so many seconds after the candidate's first request.
    #[must_use]
    pub fn onset(self, onset: u64) -> Self {
        World { onset, ..self }
    }

    /// The candidate's share at an age.
    pub fn share(&self, age: u64) -> f64 {
        self.shares.iter().rev().find(|(from, _)| age >= *from).map_or(0.0, |(_, share)| *share)
    }
}
