//! One plain sentence for each verdict.

use std::fmt;

use serin_sketch::thousands;

use crate::metric::Metric;
use crate::shape::{Form, Shape};
use crate::verdict::{By, Cause, Finding, LimitFinding, Missing, PastFinding, State, Verdict, WorstPod};

/// A rate as a percentage with two significant digits below 10%.
fn percent(rate: f64) -> String {
    let value = rate * 100.0;
    let decimals = match value {
        v if v >= 9.95 || v == 0.0 => 0,
        v if v >= 0.095 => 1,
        _ => 2,
    };
    format!("{value:.decimals$}%")
}

/// Evidence as odds: "5,200 to 1"; beyond a million as a power of ten.
fn odds(ln: f64) -> String {
    if ln < 1e6f64.ln() {
        thousands(ln.exp().round().max(0.0) as u64)
    } else {
        format!("10^{}", (ln / std::f64::consts::LN_10).floor())
    }
}

fn regressed(f: &mut fmt::Formatter<'_>, verdict: &Verdict, cause: &Cause) -> fmt::Result {
    let is_limit = |x: &&LimitFinding| x.metric == cause.metric && By::Limit(x.limit) == cause.by;
    if let Some(limit) = verdict.limits.iter().find(is_limit) {
        write!(f, "{} over its limit of {}", limit.metric, limit.limit)?;
        let (a, b) = (percent(limit.baseline_beyond), percent(limit.candidate_beyond));
        let allowed = percent(limit.allowed);
        write!(f, ": {b} of the candidate's requests take longer where {allowed} may, and {a} of the baseline's")?;
    } else if let Some(past) = verdict.past.iter().find(|x| x.metric == cause.metric && cause.by == By::Past) {
        slower_than_before(f, past)?;
    } else if cause.metric == Metric::Errors {
        let (a, b) = verdict.error_rates;
        write!(f, "errors: {} of the candidate's requests fail against {}", percent(b), percent(a))?;
    } else if cause.metric == Metric::Stalls {
        let seconds = verdict.finding(Metric::Stalls).map_or(0, |finding| finding.beyond);
        write!(
            f,
            "the candidate answers nothing: requests wait in its pods, {} pod-seconds so far",
            thousands(seconds)
        )?;
    } else if cause.metric == Metric::Throughput {
        let (completed, promised) =
            verdict.finding(Metric::Throughput).map_or((0, 0.0), |finding| (finding.beyond, finding.beyond_expected));
        let (completed, promised) = (thousands(completed), thousands(promised.round() as u64));
        write!(f, "throughput: {completed} candidate requests were completed where its weight promises {promised}")?;
    } else if cause.by == By::FastLane {
        write!(f, "{} more than {} times slower", cause.metric, crate::fast_lane::RATIO)?;
    } else if let Some(finding) = verdict.finding(cause.metric) {
        slower(f, finding)?;
    }
    write!(f, "; evidence {} against the {} it takes", odds(cause.log_evidence), odds(cause.log_threshold))?;
    write!(f, ", after {} s", verdict.trial_s)?;
    if let Some(Shape { form, period_s }) = verdict.shape {
        match form {
            Form::Whole => write!(f, "; all latencies are slower")?,
            Form::Body => write!(f, "; most requests are slower, and not the slowest")?,
            Form::Tail => write!(f, "; the slowest requests alone are slower")?,
            Form::NewMode { share, latency } => {
                write!(f, "; {} of its requests are in a new mode near {latency}", percent(share))?
            }
            Form::Unclear => {}
        }
        if let Some(period_s) = period_s {
            write!(f, "; it comes and goes every {period_s} s")?;
        }
    }
    match verdict.driving_pod() {
        Some(worst) => {
            let share = percent(worst.share);
            write!(f, "; one of its {} pods drives this, with {share} of its slow requests", worst.pods)?;
            match worst.log_evidence_without {
                Some(without) => write!(f, ": without it the evidence is {}", odds(without)),
                None => Ok(()),
            }
        }
        None => Ok(()),
    }
}

fn slower(f: &mut fmt::Formatter<'_>, finding: &Finding) -> fmt::Result {
    write!(f, "{} slower", finding.metric)?;
    if let Some(ratio) = finding.ratio {
        write!(f, ": {ratio:.2}x")?;
    }
    if let Some(recent) = finding.recent_ratio.filter(|r| finding.ratio.is_some_and(|w| (r / w - 1.0).abs() > 0.05)) {
        write!(f, " ({recent:.2}x in the last minute)")?;
    }
    if let Some((lower, upper)) = finding.interval {
        write!(f, ", 95% interval {lower:.2} to {upper:.2}")?;
    }
    if let Some(threshold) = finding.threshold {
        let (beyond, total) = (thousands(finding.beyond), thousands(finding.beyond_total));
        let expected = thousands(finding.beyond_expected.round() as u64);
        write!(
            f,
            "; {beyond} of {total} requests beyond {threshold} are the candidate's where {expected} were expected"
        )?;
    }
    Ok(())
}

fn slower_than_before(f: &mut fmt::Formatter<'_>, past: &PastFinding) -> fmt::Result {
    let (beyond, usual) = (thousands(past.beyond), thousands(past.usual.round() as u64));
    write!(f, "{} slower than the baseline was: {:.2}x in the {} s", past.metric, past.ratio, thousands(past.seconds))?;
    write!(
        f,
        " since that has no requests; {beyond} requests beyond {} where its past explains {usual}",
        past.threshold
    )
}

/// Gathering, but the evidence is already above 20 to 1.
fn suspected(f: &mut fmt::Formatter<'_>, finding: &Finding) -> fmt::Result {
    write!(f, "gathering: {} of the candidate may be worse", finding.metric)?;
    if let Some(ratio) = finding.recent_ratio.or(finding.ratio) {
        write!(f, ": {ratio:.2}x")?;
    }
    write!(f, "; evidence {} of the {} it takes", odds(finding.log_evidence), odds(finding.log_threshold))
}

/// From this ratio on it is said that the baseline moved: a quarter is more than a minute's noise.
const MOVED: f64 = 1.25;
/// Evidence that is divided by more than this waits for pods rather than for requests.
const SCATTERED: f64 = 3.0;

fn missing(f: &mut fmt::Formatter<'_>, verdict: &Verdict) -> fmt::Result {
    let strongest = |x: &&Finding, y: &&Finding| x.log_evidence.total_cmp(&y.log_evidence);
    if let Some(finding) = verdict.findings.iter().max_by(strongest).filter(|_| verdict.evidence_since.is_some()) {
        return suspected(f, finding);
    }
    match verdict.missing {
        Some(Missing::Candidate) => write!(f, "gathering: the candidate has no requests yet"),
        Some(Missing::Baseline(n)) => {
            write!(f, "gathering: the baseline needs {} more requests within a minute", thousands(n))
        }
        Some(Missing::WarmUp(s)) => write!(f, "gathering: the candidate's pods are warming up, for {s} s so far"),
        Some(Missing::Requests { requests, seconds, left_s, dispersion }) => {
            let (requests, at_this_rate) = (thousands(requests), thousands(seconds));
            write!(
                f,
                "gathering: about {requests} more candidate requests ({at_this_rate} s at this rate) would prove a healthy one"
            )?;
            if seconds > left_s {
                let times = seconds as f64 / left_s.max(1) as f64;
                let what = if dispersion > SCATTERED { "as many candidate pods" } else { "the candidate's traffic" };
                write!(f, ", and the trial has {} s left: {times:.1} times {what} would do", thousands(left_s))?;
                match verdict.resolvable {
                    Some(increase) => {
                        write!(f, "; until then a p99 slower by {} or more would be found", percent(increase))?
                    }
                    None => write!(f, "; until then not even a p99 five times as slow would be found")?,
                }
            }
            Ok(())
        }
        Some(Missing::Growth) => {
            write!(f, "gathering: this traffic cannot tell a healthy candidate from a regressed one")
        }
        Some(Missing::Comparison) | None => write!(f, "gathering: no second with requests of both releases yet"),
    }
}

fn marginal(f: &mut fmt::Formatter<'_>, verdict: &Verdict) -> fmt::Result {
    let slower = verdict.findings.iter().filter(|x| x.metric.is_latency() && x.lower.is_some_and(|l| l > 1.0));
    match slower.max_by(|x, y| x.lower.unwrap_or(0.0).total_cmp(&y.lower.unwrap_or(0.0))) {
        Some(finding) => write!(
            f,
            "marginal: {} slower by at least {}",
            finding.metric,
            percent(finding.lower.unwrap_or(1.0) - 1.0)
        )?,
        None => write!(f, "no regression found in {} s", verdict.trial_s)?,
    }
    ruled_out(f, verdict)
}

fn ruled_out(f: &mut fmt::Formatter<'_>, verdict: &Verdict) -> fmt::Result {
    match verdict.ruled_out {
        Some(increase) => write!(f, ", ruled out more than {}", percent(increase.max(0.0))),
        None => write!(f, ", but too few requests to rule any out"),
    }
}

impl Verdict {
    /// The pod that alone drives a regression of latency, if one does.
    pub fn driving_pod(&self) -> Option<WorstPod> {
        let by_quantiles = self
            .cause
            .is_some_and(|cause| cause.metric.is_latency() && matches!(cause.by, By::Quantiles | By::FastLane));
        self.worst_pod.filter(|worst| by_quantiles && worst.is_alone())
    }

    /// The finding on one metric.
    pub fn finding(&self, metric: Metric) -> Option<&Finding> {
        self.findings.iter().find(|f| f.metric == metric)
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.state, &self.cause) {
            (State::Regressed, Some(cause)) => regressed(f, self, cause)?,
            (State::Regressed, None) => write!(f, "regressed")?,
            (State::Gathering, _) => missing(f, self)?,
            (State::Healthy, _) => {
                write!(f, "healthy: no slower at p50, p95 and p99 after {} s", self.trial_s)?;
                ruled_out(f, self)?;
            }
            (State::Marginal, _) => marginal(f, self)?,
        }
        for limit in self.limits.iter().filter(|limit| limit.candidate_beyond > limit.allowed && self.cause.is_none()) {
            write!(f, "; {} is over its limit of {}", limit.metric, limit.limit)?;
            if limit.is_common() {
                write!(f, " in both releases, which is no reason for a rollback")?;
            }
        }
        if let Some(past) = self.past.iter().find(|past| past.metric == Metric::P99 && self.cause.is_none()) {
            let seconds = thousands(past.seconds);
            write!(f, "; alone for {seconds} s, its p99 is {:.2}x what the baseline's was", past.ratio)?;
        }
        if let Some(moved) = self.baseline_moved.filter(|moved| *moved >= MOVED) {
            write!(f, "; the baseline is slower as well: its p99 is {moved:.2}x in the last minute")?;
        }
        if self.still_warming {
            write!(f, "; the candidate is still warming up")?;
        }
        if !self.pods_known && self.candidate_requests > 0 {
            write!(f, "; pods cannot be told apart here, so one bad pod would look the same")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::slice::PodId;
    use serin_sketch::Micros;

    fn verdict(state: State) -> Verdict {
        Verdict {
            state,
            trial_s: 96,
            over: false,
            baseline_requests: 91_200,
            candidate_requests: 4_800,
            findings: vec![finding()],
            limits: Vec::new(),
            past: Vec::new(),
            cause: None,
            worst_pod: None,
            shape: None,
            missing: None,
            resolvable: Some(0.3),
            baseline_moved: Some(1.02),
            ruled_out: Some(0.103),
            evidence_since: None,
            error_rates: (0.002, 0.5),
            pods_known: true,
            still_warming: false,
        }
    }

    fn finding() -> Finding {
        Finding {
            metric: Metric::P99,
            ratio: Some(1.31),
            recent_ratio: Some(1.33),
            interval: Some((1.18, 1.46)),
            lower: Some(1.18),
            upper: Some(1.46),
            log_evidence: 9.1,
            log_threshold: 8.29,
            dispersion: 1.2,
            threshold: Some(Micros(156_000)),
            beyond: 412,
            beyond_total: 2_960,
            beyond_expected: 148.0,
        }
    }

    fn because(metric: Metric, fast: bool, log_evidence: f64) -> Verdict {
        let by = if fast { By::FastLane } else { By::Quantiles };
        let cause = Cause { metric, by, log_evidence, log_threshold: 1e3f64.ln() };
        Verdict { cause: Some(cause), ..verdict(State::Regressed) }
    }

    fn gathering(missing: Missing) -> Verdict {
        Verdict { missing: Some(missing), ..verdict(State::Gathering) }
    }

    #[test]
    fn regressions() {
        insta::assert_snapshot!(because(Metric::P99, false, 7.2), @"p99 slower: 1.31x, 95% interval 1.18 to 1.46; 412 of 2,960 requests beyond 156ms are the candidate's where 148 were expected; evidence 1,339 against the 1,000 it takes, after 96 s");
        let mut late = because(Metric::P99, false, 70.0);
        late.findings[0].recent_ratio = Some(1.6);
        late.findings[0].interval = None;
        insta::assert_snapshot!(late, @"p99 slower: 1.31x (1.60x in the last minute); 412 of 2,960 requests beyond 156ms are the candidate's where 148 were expected; evidence 10^30 against the 1,000 it takes, after 96 s");
        let worst = WorstPod { pod: PodId(3), pods: 4, share: 0.83, log_evidence_without: Some(0.5) };
        let driven = Verdict { worst_pod: Some(worst), ..because(Metric::P99, false, 7.2) };
        insta::assert_snapshot!(driven, @"p99 slower: 1.31x, 95% interval 1.18 to 1.46; 412 of 2,960 requests beyond 156ms are the candidate's where 148 were expected; evidence 1,339 against the 1,000 it takes, after 96 s; one of its 4 pods drives this, with 83% of its slow requests: without it the evidence is 2");
        insta::assert_snapshot!(because(Metric::Errors, true, 11.0), @"errors: 50% of the candidate's requests fail against 0.2%; evidence 59,874 against the 1,000 it takes, after 96 s");
        insta::assert_snapshot!(because(Metric::P95, true, 11.0), @"p95 more than 2.5 times slower; evidence 59,874 against the 1,000 it takes, after 96 s");
        insta::assert_snapshot!(Verdict { pods_known: false, still_warming: true, ..because(Metric::P95, true, 11.0) }, @"p95 more than 2.5 times slower; evidence 59,874 against the 1,000 it takes, after 96 s; the candidate is still warming up; pods cannot be told apart here, so one bad pod would look the same");
    }

    #[test]
    fn what_form_it_has() {
        let of = |form, period_s| Verdict { shape: Some(Shape { form, period_s }), ..because(Metric::P95, true, 11.0) };
        insta::assert_snapshot!(of(Form::Whole, None), @"p95 more than 2.5 times slower; evidence 59,874 against the 1,000 it takes, after 96 s; all latencies are slower");
        insta::assert_snapshot!(of(Form::Body, None), @"p95 more than 2.5 times slower; evidence 59,874 against the 1,000 it takes, after 96 s; most requests are slower, and not the slowest");
        insta::assert_snapshot!(of(Form::Tail, Some(30)), @"p95 more than 2.5 times slower; evidence 59,874 against the 1,000 it takes, after 96 s; the slowest requests alone are slower; it comes and goes every 30 s");
        let mode = Form::NewMode { share: 0.0103, latency: Micros(339_000) };
        insta::assert_snapshot!(of(mode, None), @"p95 more than 2.5 times slower; evidence 59,874 against the 1,000 it takes, after 96 s; 1.0% of its requests are in a new mode near 339ms");
        insta::assert_snapshot!(of(Form::Unclear, None), @"p95 more than 2.5 times slower; evidence 59,874 against the 1,000 it takes, after 96 s");
    }

    #[test]
    fn what_does_not_come_back() {
        let finding = |metric, beyond, beyond_expected| Finding { metric, beyond, beyond_expected, ..finding() };
        let stalls = finding(Metric::Stalls, 9, 0.0);
        let stalls = Verdict { findings: vec![stalls], ..because(Metric::Stalls, true, 11.0) };
        insta::assert_snapshot!(stalls, @"the candidate answers nothing: requests wait in its pods, 9 pod-seconds so far; evidence 59,874 against the 1,000 it takes, after 96 s");
        let missing = finding(Metric::Throughput, 1_240, 4_800.2);
        let missing = Verdict { findings: vec![missing], ..because(Metric::Throughput, true, 11.0) };
        insta::assert_snapshot!(missing, @"throughput: 1,240 candidate requests were completed where its weight promises 4,800; evidence 59,874 against the 1,000 it takes, after 96 s");
    }

    #[test]
    fn after_a_promotion() {
        let past = PastFinding {
            metric: Metric::P95,
            ratio: 1.62,
            seconds: 240,
            threshold: Micros(91_000),
            beyond: 31_200,
            usual: 14_806.4,
            log_evidence: 9.0,
        };
        let p99 = PastFinding { metric: Metric::P99, ratio: 1.02, ..past };
        insta::assert_snapshot!(Verdict { past: vec![past, p99], ..verdict(State::Healthy) }, @"healthy: no slower at p50, p95 and p99 after 96 s, ruled out more than 10%; alone for 240 s, its p99 is 1.02x what the baseline's was");
        let mut slower = Verdict { past: vec![past], ..because(Metric::P95, false, 9.0) };
        slower.cause.as_mut().unwrap().by = By::Past;
        insta::assert_snapshot!(slower, @"p95 slower than the baseline was: 1.62x in the 240 s since that has no requests; 31,200 requests beyond 91.0ms where its past explains 14,806; evidence 8,103 against the 1,000 it takes, after 96 s");
    }

    #[test]
    fn limits() {
        let limit = |baseline_beyond| LimitFinding {
            metric: Metric::P99,
            limit: Micros(500_000),
            allowed: 0.01,
            baseline_beyond,
            candidate_beyond: 0.023,
            log_evidence: 3.0,
        };
        let mut broken = Verdict { limits: vec![limit(0.004)], ..because(Metric::P99, false, 9.5) };
        broken.cause.as_mut().unwrap().by = By::Limit(Micros(500_000));
        insta::assert_snapshot!(broken, @"p99 over its limit of 500ms: 2.3% of the candidate's requests take longer where 1.0% may, and 0.4% of the baseline's; evidence 13,360 against the 1,000 it takes, after 96 s");
        insta::assert_snapshot!(Verdict { limits: vec![limit(0.004)], ..verdict(State::Marginal) }, @"marginal: p99 slower by at least 18%, ruled out more than 10%; p99 is over its limit of 500ms");
        insta::assert_snapshot!(Verdict { limits: vec![limit(0.03)], ..verdict(State::Marginal) }, @"marginal: p99 slower by at least 18%, ruled out more than 10%; p99 is over its limit of 500ms in both releases, which is no reason for a rollback");
    }

    #[test]
    fn what_is_missing() {
        insta::assert_snapshot!(gathering(Missing::Candidate), @"gathering: the candidate has no requests yet");
        insta::assert_snapshot!(gathering(Missing::Baseline(34)), @"gathering: the baseline needs 34 more requests within a minute");
        insta::assert_snapshot!(gathering(Missing::WarmUp(17)), @"gathering: the candidate's pods are warming up, for 17 s so far");
        insta::assert_snapshot!(gathering(Missing::Comparison), @"gathering: no second with requests of both releases yet");
        insta::assert_snapshot!(gathering(Missing::Requests { requests: 38_200, seconds: 764, left_s: 900, dispersion: 1.2 }), @"gathering: about 38,200 more candidate requests (764 s at this rate) would prove a healthy one");
        let late =
            |dispersion| gathering(Missing::Requests { requests: 38_200, seconds: 764, left_s: 200, dispersion });
        insta::assert_snapshot!(late(1.2), @"gathering: about 38,200 more candidate requests (764 s at this rate) would prove a healthy one, and the trial has 200 s left: 3.8 times the candidate's traffic would do; until then a p99 slower by 30% or more would be found");
        let never = Verdict { resolvable: None, ..late(1.2) };
        insta::assert_snapshot!(never, @"gathering: about 38,200 more candidate requests (764 s at this rate) would prove a healthy one, and the trial has 200 s left: 3.8 times the candidate's traffic would do; until then not even a p99 five times as slow would be found");
        insta::assert_snapshot!(late(8.0), @"gathering: about 38,200 more candidate requests (764 s at this rate) would prove a healthy one, and the trial has 200 s left: 3.8 times as many candidate pods would do; until then a p99 slower by 30% or more would be found");
        let leaning = Verdict { evidence_since: Some(7), ..gathering(Missing::Growth) };
        insta::assert_snapshot!(leaning, @"gathering: p99 of the candidate may be worse: 1.33x; evidence 8,955 of the 3,984 it takes");
        insta::assert_snapshot!(gathering(Missing::Growth), @"gathering: this traffic cannot tell a healthy candidate from a regressed one");
    }

    #[test]
    fn healthy_and_marginal() {
        insta::assert_snapshot!(verdict(State::Healthy), @"healthy: no slower at p50, p95 and p99 after 96 s, ruled out more than 10%");
        insta::assert_snapshot!(verdict(State::Marginal), @"marginal: p99 slower by at least 18%, ruled out more than 10%");
        let common = Verdict { baseline_moved: Some(1.52), ..verdict(State::Healthy) };
        insta::assert_snapshot!(common, @"healthy: no slower at p50, p95 and p99 after 96 s, ruled out more than 10%; the baseline is slower as well: its p99 is 1.52x in the last minute");
        let mut inconclusive = verdict(State::Marginal);
        inconclusive.findings[0].lower = None;
        insta::assert_snapshot!(inconclusive, @"no regression found in 96 s, ruled out more than 10%");
        inconclusive.ruled_out = None;
        insta::assert_snapshot!(inconclusive, @"no regression found in 96 s, but too few requests to rule any out");
    }
}
