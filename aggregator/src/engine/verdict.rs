//! What the judge says of each route, as one verdict of the service.

use serin_judge::{Missing, State};
use serin_proto::v1::{self, VerdictState};

use super::evidence::Pods;
use crate::config::Service;

/// One route's verdict; the name is empty when all routes are judged together.
pub(super) type OfRoute = (String, serin_judge::Verdict);

/// The verdict of a service without a trial.
pub(super) fn waiting(service: &Service, sentence: String, unix_us: u64) -> v1::Verdict {
    v1::Verdict {
        service: service.name.clone(),
        baseline: service.baseline.clone(),
        candidate: service.candidate.clone(),
        state: VerdictState::Gathering.into(),
        sentence,
        unix_us,
        ..Default::default()
    }
}

/// The verdict of a service on trial: regressed when one route is, healthy when all are.
pub(super) fn combine(service: &Service, routes: &[OfRoute], pods: &Pods, unix_us: u64) -> v1::Verdict {
    let state = overall(routes);
    let speaker = routes.iter().find(|(_, verdict)| proto_state(verdict.state) == state);
    let sentence = speaker.map_or_else(String::new, |(route, verdict)| match route.as_str() {
        "" => said(verdict, pods),
        name => format!("route {name}: {}", said(verdict, pods)),
    });
    let requests = |of: fn(&serin_judge::Verdict) -> u64| routes.iter().map(|(_, verdict)| of(verdict)).sum();
    let warming = |(_, verdict): &OfRoute| matches!(verdict.missing, Some(Missing::WarmUp(_)));
    let since = routes.iter().filter_map(|(_, verdict)| verdict.evidence_since).min();
    v1::Verdict {
        state: state.into(),
        trial_s: routes.iter().map(|(_, verdict)| verdict.trial_s).max().unwrap_or(0),
        baseline_requests: requests(|verdict| verdict.baseline_requests),
        candidate_requests: requests(|verdict| verdict.candidate_requests),
        findings: routes.iter().flat_map(findings).collect(),
        warming_up: routes.iter().any(warming),
        evidence_since_unix_us: since.map_or(0, |second| second.saturating_mul(1_000_000)),
        ..waiting(service, sentence, unix_us)
    }
}

/// The judge's sentence, with the name of the pod that drives it alone.
fn said(verdict: &serin_judge::Verdict, pods: &Pods) -> String {
    match verdict.driving_pod() {
        Some(worst) => format!("{verdict}; the pod is {}", pods.name(worst.pod)),
        None => verdict.to_string(),
    }
}

fn overall(routes: &[OfRoute]) -> VerdictState {
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

fn findings((route, verdict): &OfRoute) -> impl Iterator<Item = v1::Finding> {
    verdict.findings.iter().map(move |finding| {
        let (ratio_low, ratio_high) = finding.interval.unwrap_or_default();
        v1::Finding {
            route: route.clone(),
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
