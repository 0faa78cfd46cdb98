//! One plain sentence for each verdict.

use std::fmt;

use crate::metric::Metric;
use crate::verdict::{Cause, Finding, Missing, State, Verdict};

/// 12960 -> "12,960".
fn grouped(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

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
        grouped(ln.exp().round().max(0.0) as u64)
    } else {
        format!("10^{}", (ln / std::f64::consts::LN_10).floor())
    }
}

fn regressed(f: &mut fmt::Formatter<'_>, verdict: &Verdict, cause: &Cause) -> fmt::Result {
    if cause.metric == Metric::Errors {
        let (a, b) = verdict.error_rates;
        write!(f, "errors: {} of the candidate's requests fail against {}", percent(b), percent(a))?;
    } else if cause.fast {
        write!(f, "{} more than {} times slower", cause.metric, crate::fast_lane::RATIO)?;
    } else if let Some(finding) = verdict.finding(cause.metric) {
        slower(f, finding)?;
    }
    write!(f, "; evidence {} against the {} it takes", odds(cause.log_evidence), odds(cause.log_threshold))?;
    write!(f, ", after {} s", verdict.trial_s)
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
        let (beyond, total) = (grouped(finding.beyond), grouped(finding.beyond_total));
        let expected = grouped(finding.beyond_expected.round() as u64);
        write!(
            f,
            "; {beyond} of {total} requests beyond {threshold} are the candidate's where {expected} were expected"
        )?;
    }
    Ok(())
}

fn missing(f: &mut fmt::Formatter<'_>, verdict: &Verdict) -> fmt::Result {
    match verdict.missing {
        Some(Missing::Candidate) => write!(f, "gathering: the candidate has no requests yet"),
        Some(Missing::Baseline(n)) => {
            write!(f, "gathering: the baseline needs {} more requests within a minute", grouped(n))
        }
        Some(Missing::WarmUp(s)) => write!(f, "gathering: the candidate's pods are warming up, for {s} s so far"),
        Some(Missing::Requests { requests, seconds }) => write!(
            f,
            "gathering: about {} more candidate requests ({} s at this rate) would prove a healthy one",
            grouped(requests),
            grouped(seconds)
        ),
        Some(Missing::Growth) => {
            write!(f, "gathering: this traffic cannot tell a healthy candidate from a regressed one")
        }
        Some(Missing::Comparison) | None => write!(f, "gathering: no second with requests of both releases yet"),
    }
}

fn marginal(f: &mut fmt::Formatter<'_>, verdict: &Verdict) -> fmt::Result {
    let slower = verdict.findings.iter().filter(|x| x.metric != Metric::Errors && x.lower.is_some_and(|l| l > 1.0));
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
        if self.still_warming {
            write!(f, "; the candidate is still warming up")?;
        }
        if !self.pods_known && self.candidate_requests > 0 {
            write!(f, "; pods cannot be told apart here, so one bad pod would look the same")?;
        }
        Ok(())
    }
}
