use serin_sketch::Bucket;

use super::Trial;
use crate::effect::Ratios;
use crate::fast_lane;
use crate::limit::{self, Limit};
use crate::metric::{Metric, QUANTILES};
use crate::past::{self, Past};
use crate::resolvable;
use crate::shape::Shape;
use crate::stat::ln_mean_exp;
use crate::verdict::{By, Cause, Finding, LimitFinding, Missing, State, Verdict, WorstPod};

/// Fewer candidate requests beyond a threshold never decide.
const BEYOND_MIN: f64 = 10.0;
/// The quantiles (p50, p95, p99) at which health must be proven.
const PASSES: usize = 3;
/// The quantile that what can be found, and whether the baseline moved, is told for.
const P99: f64 = 0.99;
/// [`Verdict::evidence_since`] counts e-values above this.
const EVIDENCE: f64 = 20.0;

impl Trial {
    /// Weighs the evidence after a slice and latches a regression.
    pub(super) fn weigh(&mut self, second: u64) {
        self.lanes.iter_mut().for_each(|lane| lane.weigh());
        self.limits.iter_mut().for_each(Limit::weigh);
        self.past.iter_mut().for_each(Past::weigh);
        // Most of the time there is no evidence at all, which costs little to see.
        let slow = self.lanes.iter().map(|lane| lane.evidence.ln_e_at_most());
        let fast = self.fast_evidence().map(|(_, ln_e)| ln_e);
        let limits = self.limits.iter().map(Limit::ln_e);
        let past = self.past.iter().map(Past::ln_e);
        let beside = fast.chain(limits).chain(past).fold(0.0, f64::max);
        if slow.fold(beside, f64::max) <= EVIDENCE.ln() {
            self.evidence_since = None;
            return;
        }
        let most = self.lanes.iter().map(|lane| lane.evidence.ln_e()).fold(beside, f64::max);
        self.evidence_since = if most > EVIDENCE.ln() { self.evidence_since.or(Some(second)) } else { None };
        if let Some(cause) = self.cause() {
            let verdict = Verdict {
                state: State::Regressed,
                cause: Some(cause),
                missing: None,
                worst_pod: self.worst_pod(cause),
                shape: (cause.metric.is_latency() && cause.by != By::Past).then(|| self.shape()),
                ..self.assess()
            };
            self.regressed = Some(Box::new(verdict));
        }
    }

    /// What proves a regression now, if anything does.
    fn cause(&self) -> Option<Cause> {
        let alpha = self.policy.false_rollback();
        let log_threshold = fast_lane::threshold(alpha);
        let fired = self.fast_evidence().filter(|(_, ln_e)| *ln_e >= log_threshold);
        if let Some((metric, log_evidence)) = fired.last() {
            return Some(Cause { metric, by: By::FastLane, log_evidence, log_threshold });
        }
        if let Some(cause) = self.broken_limit(alpha).or_else(|| self.worse_than_before(alpha)) {
            return Some(cause);
        }
        // Pooled over quantiles: the mean of e-processes is one.
        let log_evidence = ln_mean_exp(&self.lanes.each_ref().map(|lane| lane.evidence.ln_e()));
        let log_threshold = (1.0 / alpha).ln();
        if log_evidence < log_threshold {
            return None;
        }
        let ratios = self.effect.ratios(QUANTILES.map(|(_, q)| q));
        let proven = self.lanes.iter().zip(QUANTILES).zip(ratios).filter(|((lane, (metric, _)), ratios)| {
            let worst = 1.0 + self.policy.regression_of(*metric);
            let seen = ratios.whole.unwrap_or(0.0).max(ratios.recent.unwrap_or(0.0));
            lane.evidence.ln_e() >= log_threshold && seen >= worst && lane.evidence.beyond_b >= BEYOND_MIN
        });
        let most = proven.max_by(|((x, _), _), ((y, _), _)| x.evidence.ln_e().total_cmp(&y.evidence.ln_e()));
        most.map(|((_, (metric, _)), _)| Cause { metric, by: By::Quantiles, log_evidence, log_threshold })
    }

    /// ln of the evidence of each fast lane, in ascending order of what is said if several fire at once: of a release that answers nothing,
    /// not that it is slow.
    fn fast_evidence(&self) -> impl Iterator<Item = (Metric, f64)> {
        let latency = self.fast.iter().zip(QUANTILES).map(|(lane, (metric, _))| (metric, lane.ln_e()));
        let throughput = (Metric::Throughput, self.throughput.ln_e());
        latency.chain([throughput, (Metric::Stalls, self.stall.ln_e()), (Metric::Errors, self.errors.ln_e())])
    }

    fn broken_limit(&self, alpha: f64) -> Option<Cause> {
        let log_threshold = limit::threshold(alpha, self.limits.len());
        let proven = self.limits.iter().filter(|l| l.ln_e() >= log_threshold && l.beyond_b() >= BEYOND_MIN);
        let most = proven.max_by(|x, y| x.ln_e().total_cmp(&y.ln_e()))?;
        let by = By::Limit(most.latency);
        Some(Cause { metric: most.metric, by, log_evidence: most.ln_e(), log_threshold })
    }

    fn worse_than_before(&self, alpha: f64) -> Option<Cause> {
        let log_threshold = past::threshold(alpha);
        let past = self.past.as_ref().filter(|past| past.ln_e() >= log_threshold)?;
        let worst = |metric| 1.0 + self.policy.regression_of(metric);
        let findings = past.findings().into_iter();
        let proven =
            findings.filter(|finding| finding.log_evidence >= log_threshold && finding.ratio >= worst(finding.metric));
        let most = proven.max_by(|x, y| x.log_evidence.total_cmp(&y.log_evidence))?;
        Some(Cause { metric: most.metric, by: By::Past, log_evidence: most.log_evidence, log_threshold })
    }

    fn shape(&self) -> Shape {
        let dispersion = self.lanes.iter().map(|lane| lane.factor).fold(1.0, f64::max);
        self.shape.describe(&self.effect, dispersion)
    }

    fn worst_pod(&self, cause: Cause) -> Option<WorstPod> {
        if !self.pods_known {
            return None;
        }
        if cause.by == By::FastLane {
            let lane = self.fast.iter().zip(QUANTILES).find(|(_, (metric, _))| *metric == cause.metric);
            return lane.and_then(|(lane, _)| lane.worst_pod());
        }
        let lane = self.lanes.iter().max_by(|x, y| x.evidence.ln_e().total_cmp(&y.evidence.ln_e()))?;
        lane.evidence.without_worst(lane.factor)
    }

    /// The verdict of a regression, once there is one: cheaper than [`Trial::verdict`], which estimates everything.
    pub fn regressed(&self) -> Option<&Verdict> {
        self.regressed.as_deref()
    }

    /// Whether there is evidence for a regression, above 20 to 1, now: then every second counts for those who look on.
    pub fn is_suspicious(&self) -> bool {
        self.evidence_since.is_some()
    }

    /// The verdict as of the last slice. It estimates everything, which costs several times what a slice does.
    pub fn verdict(&self) -> Verdict {
        self.regressed.as_deref().cloned().unwrap_or_else(|| self.assess())
    }

    /// Seconds since the candidate's first request.
    fn trial_s(&self) -> u32 {
        match (self.candidate_since, self.last_second) {
            (Some(since), Some(last)) => u32::try_from(last - since).unwrap_or(u32::MAX).saturating_add(1),
            _ => 0,
        }
    }

    /// Everything but a regression.
    fn assess(&self) -> Verdict {
        let trial_s = self.trial_s();
        let findings = self.findings();
        let over = trial_s >= self.policy.trial_s();
        let passing = self.lanes.iter().take(PASSES);
        let ln_pass = (1.0 / self.policy.false_pass()).ln();
        let healthy = passing.clone().all(|l| l.threshold.is_some() && l.non_inferiority.ln_e(l.factor) >= ln_pass);
        let pass = |metric| (1.0 + self.policy.pass_of(metric)) * (1.0 - 1e-9);
        let slower = findings.iter().any(|f| f.lower.is_some_and(|lower| lower >= pass(f.metric)));
        let limits: Vec<LimitFinding> = self.limits.iter().map(Limit::finding).collect();
        let breaks = limits.iter().any(|limit| limit.candidate_beyond > limit.allowed);
        let state = match (healthy, slower || breaks) {
            (true, false) => State::Healthy,
            (true, true) => State::Marginal,
            (false, _) if over && self.judged_s > 0 => State::Marginal,
            (false, _) => State::Gathering,
        };
        let upper = passing.map(|l| l.bounds().1).try_fold(0.0, |most: f64, upper| upper.map(|u| most.max(u)));
        Verdict {
            state,
            trial_s,
            over,
            baseline_requests: self.baseline_requests,
            candidate_requests: self.candidate_requests,
            findings,
            limits,
            past: self.past.as_ref().map_or_else(Vec::new, Past::findings),
            cause: None,
            worst_pod: None,
            shape: None,
            missing: (state == State::Gathering).then(|| self.missing(ln_pass)),
            resolvable: if state == State::Gathering { self.resolvable() } else { None },
            baseline_moved: self.effect.baseline_moved(P99),
            ruled_out: upper.map(|ratio| ratio - 1.0),
            evidence_since: self.evidence_since,
            error_rates: self.errors.recent(),
            pods_known: self.pods_known,
            still_warming: self.last_second.is_some_and(|second| self.warm_up.still_warming(second)),
        }
    }

    /// See [`Verdict::resolvable`].
    fn resolvable(&self) -> Option<f64> {
        let lane = self.lanes.iter().zip(QUANTILES).find(|(_, (_, q))| *q == P99).map(|(lane, _)| lane)?;
        let threshold = lane.threshold?.lower().0 as f64;
        let (n_a, a) = lane.non_inferiority.baseline()?;
        let left = f64::from(self.policy.trial_s().saturating_sub(self.trial_s()));
        let requests = left * self.judged_requests / self.judged_s.max(1) as f64;
        // Pooled over quantiles with one that shows it, after a restart.
        let takes = (2.0 * QUANTILES.len() as f64 / self.policy.false_rollback()).ln();
        let found = resolvable::RATIOS.into_iter().find(|ratio| {
            let b = self.effect.baseline_from(threshold / ratio);
            let needed = resolvable::requests_needed(n_a, a, b, lane.factor, takes);
            needed.is_some_and(|needed| needed <= requests)
        });
        found.map(|ratio| ratio - 1.0)
    }

    fn missing(&self, ln_pass: f64) -> Missing {
        let (Some(_), Some(second)) = (self.candidate_since, self.last_second) else { return Missing::Candidate };
        let baseline = self.thresholds.missing();
        if baseline > 0 {
            return Missing::Baseline(baseline);
        }
        if self.judged_s == 0 {
            return self.warm_up.warming_for(second).map_or(Missing::Comparison, Missing::WarmUp);
        }
        let lanes = self.lanes.iter().take(PASSES);
        let mut needed = lanes.map(|l| l.non_inferiority.requests_needed(l.factor, ln_pass));
        match needed.try_fold(0.0, |most: f64, n| n.map(|n| most.max(n))) {
            Some(requests) => {
                let rate = self.judged_requests / self.judged_s as f64;
                let left_s = self.policy.trial_s().saturating_sub(self.trial_s()).into();
                let dispersion = self.lanes.iter().take(PASSES).map(|lane| lane.factor).fold(1.0, f64::max);
                let (requests, seconds) = (requests.ceil() as u64, (requests / rate).ceil() as u64);
                Missing::Requests { requests, seconds, left_s, dispersion }
            }
            None => Missing::Growth,
        }
    }

    fn findings(&self) -> Vec<Finding> {
        let ratios = self.effect.ratios(QUANTILES.map(|(_, q)| q));
        let judged = self.lanes.iter().zip(QUANTILES).zip(ratios).enumerate();
        let mut findings: Vec<Finding> = judged
            .filter(|(at, ((lane, _), _))| {
                lane.threshold.is_some() || self.fast.get(*at).is_some_and(|f| f.ln_e() > 0.0)
            })
            .map(|(at, ((_, (metric, _)), ratios))| self.latency_finding(at, metric, ratios))
            .collect();
        if self.errors.b.1 > 0.0 {
            findings.push(self.errors_finding());
        }
        if self.stall.pod_seconds > 0 {
            let beyond = self.stall.pod_seconds;
            findings.push(Finding { beyond, ..self.fast_finding(Metric::Stalls, self.stall.ln_e()) });
        }
        if self.throughput.promised > 0.0 {
            findings.push(self.throughput_finding());
        }
        findings
    }

    /// A finding of a fast lane that is not one of latency.
    fn fast_finding(&self, metric: Metric, log_evidence: f64) -> Finding {
        Finding {
            metric,
            ratio: None,
            recent_ratio: None,
            interval: None,
            lower: None,
            upper: None,
            log_evidence,
            log_threshold: fast_lane::threshold(self.policy.false_rollback()),
            dispersion: 1.0,
            threshold: None,
            beyond: 0,
            beyond_total: 0,
            beyond_expected: 0.0,
        }
    }

    fn throughput_finding(&self) -> Finding {
        let lane = &self.throughput;
        Finding {
            ratio: Some(lane.completed / lane.promised),
            beyond: lane.completed as u64,
            beyond_total: lane.of as u64,
            beyond_expected: lane.promised,
            ..self.fast_finding(Metric::Throughput, lane.ln_e())
        }
    }

    fn latency_finding(&self, at: usize, metric: Metric, ratios: Ratios) -> Finding {
        let alpha = self.policy.false_rollback();
        let slow_threshold = (QUANTILES.len() as f64 / alpha).ln();
        let fast_threshold = fast_lane::threshold(alpha);
        let fast = self.fast.get(at).map_or(f64::NEG_INFINITY, |lane| lane.ln_e());
        let lane = self.lanes.get(at);
        let slow = lane.map_or(0.0, |l| l.evidence.ln_e());
        let is_fast = fast - fast_threshold > slow - slow_threshold && fast >= fast_threshold;
        let (lower, upper) = lane.map_or((None, None), |l| l.bounds());
        let threshold = lane.and_then(|l| l.threshold);
        Finding {
            metric,
            ratio: ratios.whole,
            recent_ratio: ratios.recent,
            interval: lower.zip(upper),
            lower,
            upper,
            log_evidence: if is_fast { fast } else { slow },
            log_threshold: if is_fast { fast_threshold } else { slow_threshold },
            dispersion: if is_fast { 1.0 } else { lane.map_or(1.0, |l| l.factor) },
            threshold: threshold.map(Bucket::lower),
            beyond: lane.map_or(0, |l| l.evidence.beyond_b as u64),
            beyond_total: lane.map_or(0, |l| l.evidence.beyond as u64),
            beyond_expected: lane.map_or(0.0, |l| l.evidence.expected_b),
        }
    }

    fn errors_finding(&self) -> Finding {
        let (a, b) = (self.errors.a, self.errors.b);
        Finding {
            ratio: (a.0 > 0.0 && b.1 > 0.0).then(|| (b.0 / b.1) / (a.0 / a.1)),
            beyond: b.0 as u64,
            beyond_total: (a.0 + b.0) as u64,
            beyond_expected: self.errors.expected_b,
            ..self.fast_finding(Metric::Errors, self.errors.ln_e())
        }
    }
}
