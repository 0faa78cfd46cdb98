//! What the judge says of each route, as one verdict of the service.

use serin_judge::{By, Missing, State};
use serin_proto::v1::{self, VerdictState};

use crate::{config::Service, recording::Setup};

/// One route's verdict; the name is empty when all routes are judged together.
type OfRoute<'a> = (&'a str, serin_judge::Verdict);

/// The verdict of a service without a trial.
pub(super) fn waiting(service: &Service, sentence: String, unix_us: u64) -> v1::Verdict {
    of(&service.name, &service.baseline, &service.candidate, VerdictState::Gathering, sentence, unix_us)
}

fn of(
    service: &str,
    baseline: &str,
    candidate: &str,
    state: VerdictState,
    sentence: String,
    unix_us: u64,
) -> v1::Verdict {
    let [service, baseline, candidate] = [service, baseline, candidate].map(str::to_owned);
    v1::Verdict { service, baseline, candidate, state: state.into(), sentence, unix_us, ..Default::default() }
}

/// The verdict of a service on trial: regressed when one route is, healthy when all are.
pub(super) fn combine(setup: &Setup, routes: &[OfRoute<'_>], pods: &[String], unix_us: u64) -> v1::Verdict {
    let state = overall(routes);
    let speaker = routes.iter().find(|(_, verdict)| proto_state(verdict.state) == state);
    let sentence = speaker.map_or_else(String::new, |(route, verdict)| match *route {
        "" => said(verdict, pods),
        name => format!("route {name}: {}", said(verdict, pods)),
    });
    let requests = |of: fn(&serin_judge::Verdict) -> u64| routes.iter().map(|(_, verdict)| of(verdict)).sum();
    let warming = |(_, verdict): &OfRoute<'_>| matches!(verdict.missing, Some(Missing::WarmUp(_)));
    let since = routes.iter().filter_map(|(_, verdict)| verdict.evidence_since).min();
    let needed = routes.iter().filter_map(|(_, verdict)| match verdict.missing {
        Some(Missing::Requests { requests, seconds, left_s, .. }) => Some((requests, (seconds, left_s))),
        _ => None,
    });
    let (needed_requests, (needed_s, left_s)) = needed.max().unwrap_or_default();
    let is_past = |(_, verdict): &OfRoute<'_>| verdict.cause.is_some_and(|cause| cause.by == By::Past);
    v1::Verdict {
        trial_s: routes.iter().map(|(_, verdict)| verdict.trial_s).max().unwrap_or(0),
        baseline_requests: requests(|verdict| verdict.baseline_requests),
        candidate_requests: requests(|verdict| verdict.candidate_requests),
        findings: routes.iter().flat_map(findings).collect(),
        warming_up: routes.iter().any(warming),
        evidence_since_unix_us: since.map_or(0, |second| second.saturating_mul(1_000_000)),
        limits: routes.iter().flat_map(limits).collect(),
        past: routes.iter().flat_map(past).collect(),
        without_baseline: routes.iter().any(is_past),
        needed_requests,
        needed_s: if needed_s <= left_s { needed_s } else { 0 },
        ..of(&setup.service, &setup.baseline, &setup.candidate, state, sentence, unix_us)
    }
}

/// The judge's sentence, with the name of the pod that drives it alone.
fn said(verdict: &serin_judge::Verdict, pods: &[String]) -> String {
    match verdict.driving_pod().and_then(|worst| pods.get(worst.pod.0 as usize)) {
        Some(name) => format!("{verdict}; the pod is {name}"),
        None => verdict.to_string(),
    }
}

fn overall(routes: &[OfRoute<'_>]) -> VerdictState {
    let any = |state| routes.iter().any(|(_, verdict)| verdict.state == state);
    if any(State::Regressed) {
        VerdictState::Regressed
    } else if routes.is_empty() || any(State::Gathering) {
        VerdictState::Gathering
    } else if any(State::Marginal) {
        VerdictState::Marginal
    } else {
        VerdictState::Healthy
    }
}

fn proto_state(state: State) -> VerdictState {
    match state {
        State::Gathering => VerdictState::Gathering,
        State::Healthy => VerdictState::Healthy,
        State::Marginal => VerdictState::Marginal,
        State::Regressed => VerdictState::Regressed,
    }
}

fn findings<'a>((route, verdict): &'a OfRoute<'_>) -> impl Iterator<Item = v1::Finding> + 'a {
    verdict.findings.iter().map(move |finding| {
        let (ratio_low, ratio_high) = finding.interval.unwrap_or_default();
        v1::Finding {
            route: (*route).to_owned(),
            metric: finding.metric.to_string(),
            ratio: finding.ratio.unwrap_or_default(),
            ratio_low,
            ratio_high,
            log_evidence: finding.log_evidence,
            log_threshold: finding.log_threshold,
            dispersion: finding.dispersion,
            candidate_beyond: finding.beyond,
            candidate_beyond_expected: finding.beyond_expected,
        }
    })
}

fn limits<'a>((route, verdict): &'a OfRoute<'_>) -> impl Iterator<Item = v1::LimitFinding> + 'a {
    verdict.limits.iter().map(move |limit| v1::LimitFinding {
        route: (*route).to_owned(),
        metric: limit.metric.to_string(),
        limit_us: limit.limit.0,
        allowed: limit.allowed,
        baseline_beyond: limit.baseline_beyond,
        candidate_beyond: limit.candidate_beyond,
        log_evidence: limit.log_evidence,
    })
}

fn past<'a>((route, verdict): &'a OfRoute<'_>) -> impl Iterator<Item = v1::PastFinding> + 'a {
    verdict.past.iter().map(move |past| v1::PastFinding {
        route: (*route).to_owned(),
        metric: past.metric.to_string(),
        ratio: past.ratio,
        seconds: past.seconds,
        threshold_us: past.threshold.0,
        beyond: past.beyond,
        usual: past.usual,
        log_evidence: past.log_evidence,
    })
}
