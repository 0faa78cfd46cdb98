use serin_sketch::Micros;

use crate::metric::Metric;
use crate::shape::Shape;
use crate::slice::PodId;

/// What is known about the candidate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum State {
    /// Not enough evidence for anything yet; [`Verdict::missing`] says what is missing.
    Gathering,
    /// Proven not slower by the policy's regression at p50, p95 and p99, and at no quantile proven slower by its
    /// pass ([`crate::Policy::pass`]).
    Healthy,
    /// Proven not slower by the policy's regression, but proven slower by more than its pass at some quantile, or beyond a limit; or the
    /// trial's time is over and neither a regression nor its absence is proven.
    Marginal,
    /// Proven worse. Final: the verdict stays as it was at that moment.
    Regressed,
}

/// What a verdict waits for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Missing {
    /// The candidate has had no request yet.
    Candidate,
    /// The baseline needs this many more requests within a minute for a first threshold.
    Baseline(u64),
    /// Every candidate pod is warming up, the youngest for this many seconds.
    WarmUp(u64),
    /// Both arms have traffic but no second of it could be compared yet.
    Comparison,
    /// About this many candidate requests and seconds more prove health, if the arms are equal.
    Requests {
        /// Candidate requests.
        requests: u64,
        /// Seconds at the present rate.
        seconds: u64,
        /// Seconds until the trial's time is over.
        left_s: u64,
        /// The largest dispersion that evidence is divided by: where pods scatter, more of them help more than more requests.
        dispersion: f64,
    },
    /// Evidence does not grow at this traffic.
    Growth,
}

/// Which test decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// The quantiles against the baseline's, pooled.
    Quantiles,
    /// The fast lane: the candidate is far worse.
    FastLane,
    /// An absolute limit, of this much.
    Limit(Micros),
    /// The baseline's past, as it has no requests now.
    Past,
}

/// What decided a regression.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cause {
    /// The metric.
    pub metric: Metric,
    /// The test.
    pub by: By,
    /// ln of the evidence that decided.
    pub log_evidence: f64,
    /// ln of the evidence it takes.
    pub log_threshold: f64,
}

/// The evidence on one metric.
#[derive(Clone, Debug, PartialEq)]
pub struct Finding {
    /// The metric.
    pub metric: Metric,
    /// Candidate over baseline: of the quantiles over the judged time, or of the error rates over the trial.
    pub ratio: Option<f64>,
    /// The same ratio over the last 60 s (latency only).
    pub recent_ratio: Option<f64>,
    /// 95% interval of the ratio over the judged time, valid at every moment at once; `None` until both ends are.
    pub interval: Option<(f64, f64)>,
    /// The largest ratio that is refuted as "at most", on its own.
    pub lower: Option<f64>,
    /// The smallest ratio that is refuted as "at least", on its own.
    pub upper: Option<f64>,
    /// ln of the e-value against "the candidate is not worse".
    pub log_evidence: f64,
    /// ln of the e-value that decides on its own.
    pub log_threshold: f64,
    /// The factor that evidence was divided by for pods that scatter more than chance; 1 in the fast lane.
    pub dispersion: f64,
    /// Latency that requests are counted beyond, as last chosen.
    pub threshold: Option<Micros>,
    /// Candidate requests beyond the threshold (or failed).
    pub beyond: u64,
    /// Requests of both arms beyond it (or failed).
    pub beyond_total: u64,
    /// Candidate requests that would be beyond it if the arms were equal.
    pub beyond_expected: f64,
}

/// The candidate pod that has the most evidence against it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct WorstPod {
    /// Which one.
    pub pod: PodId,
    /// How many candidate pods were judged.
    pub pods: usize,
    /// Its share of the candidate's requests beyond the threshold.
    pub share: f64,
    /// ln of the evidence at the same quantile without it; in the fast lane that is not kept.
    pub log_evidence_without: Option<f64>,
}

impl WorstPod {
    /// Whether one sick pod may be all there is: hardly any evidence without it, or most of what is slow is its.
    pub fn is_alone(&self) -> bool {
        self.log_evidence_without.map_or(self.share > 0.5 && self.pods > 2, |without| without < 20f64.ln())
    }
}

/// A candidate that has the traffic alone, against the baseline's past.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PastFinding {
    /// Which quantile.
    pub metric: Metric,
    /// Its ratio, now over before.
    pub ratio: f64,
    /// Seconds in which the candidate alone had requests.
    pub seconds: u64,
    /// Latency that requests are counted beyond.
    pub threshold: Micros,
    /// Candidate requests beyond it.
    pub beyond: u64,
    /// As many as the service may come to by itself, going by its past.
    pub usual: f64,
    /// ln of the evidence that it is more.
    pub log_evidence: f64,
}

/// What is known of an absolute limit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LimitFinding {
    /// Which quantile must be below it.
    pub metric: Metric,
    /// The limit.
    pub limit: Micros,
    /// The share of requests that may take longer: 0.01 for p99.
    pub allowed: f64,
    /// The share that did in the last 60 s, of the baseline's requests.
    pub baseline_beyond: f64,
    /// The same of the candidate's.
    pub candidate_beyond: f64,
    /// ln of the evidence that the candidate breaks it and is worse than the baseline.
    pub log_evidence: f64,
}

impl LimitFinding {
    /// Whether both arms are beyond it: a common cause.
    pub fn is_common(&self) -> bool {
        self.baseline_beyond > self.allowed && self.candidate_beyond > self.allowed
    }
}

/// What the judge says, and the evidence for it. Its `Display` is one plain sentence.
#[derive(Clone, Debug, PartialEq)]
pub struct Verdict {
    /// The verdict.
    pub state: State,
    /// Seconds since the candidate's first request; 0 before it.
    pub trial_s: u32,
    /// Whether the trial's time is over.
    pub over: bool,
    /// Requests since the trial began.
    pub baseline_requests: u64,
    /// Requests since the trial began.
    pub candidate_requests: u64,
    /// One a metric, as far as there is data: p50, p95, p99, p99.9, errors.
    pub findings: Vec<Finding>,
    /// One for each limit of the policy.
    pub limits: Vec<LimitFinding>,
    /// One a quantile, once the candidate had the traffic alone and where the baseline's past is known.
    pub past: Vec<PastFinding>,
    /// What decided; with [`State::Regressed`] only.
    pub cause: Option<Cause>,
    /// The candidate pod that drives the evidence, where there are several; with [`State::Regressed`] only.
    pub worst_pod: Option<WorstPod>,
    /// What form a slowdown has; with a [`State::Regressed`] of latency against the baseline only.
    pub shape: Option<Shape>,
    /// What is missing; with [`State::Gathering`] only.
    pub missing: Option<Missing>,
    /// The smallest increase of p99 (0.1 is +10%) that the traffic of the time left would prove on average; while nothing is decided, and
    /// `None` where no increase up to 400% would be.
    pub resolvable: Option<f64>,
    /// How many times slower the baseline's p99 was in the last minute than over the whole time.
    pub baseline_moved: Option<f64>,
    /// The increase (0.1 is +10%) that is ruled out at p50, p95 and p99 with 95% confidence each.
    pub ruled_out: Option<f64>,
    /// Unix second since which the largest e-value of any lane is above 20 without a break.
    pub evidence_since: Option<u64>,
    /// Error rates over the last 10 s: baseline, candidate.
    pub error_rates: (f64, f64),
    /// Whether pods could be told apart all along. If not, one bad pod looks like a bad release.
    pub pods_known: bool,
    /// Whether candidate pods are judged that never stopped getting faster.
    pub still_warming: bool,
}
