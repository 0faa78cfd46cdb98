//! The verdict over HTTP, for controllers that roll out by themselves (IO around pure answers): as JSON for Argo Rollouts' `web` metric,
//! and as status codes for Flagger's webhooks. They ask, nothing here acts.

use axum::{
    Router,
    body::Bytes,
    extract::{DefaultBodyLimit, Path},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use serde::{Deserialize, Serialize};
use serin_proto::v1::{Verdict, VerdictState};

use crate::shell::Handle;

/// The largest webhook that is read: Flagger's have some hundred bytes, and what a Canary gives as metadata.
const BODY_MAX: usize = 64 << 10;

/// What the verdict decides in Flagger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hook {
    /// May more requests go to the candidate?
    Rollout,
    /// May it become the stable release?
    Promotion,
    /// Is it to be rolled back?
    Rollback,
}

/// What `/v1/verdict/{service}` says. Its field names are in users' AnalysisTemplates.
#[derive(Debug, Serialize)]
struct Said<'a> {
    service: &'a str,
    baseline: &'a str,
    candidate: &'a str,
    verdict: String,
    condemned: bool,
    sentence: &'a str,
    trial_s: u32,
    baseline_requests: u64,
    candidate_requests: u64,
    unix_us: u64,
}

/// A webhook of Flagger, as far as it is of interest.
#[derive(Debug, Deserialize)]
struct Payload {
    /// The Canary.
    name: String,
    #[serde(default)]
    metadata: Metadata,
}

#[derive(Debug, Default, Deserialize)]
struct Metadata {
    /// Where the service is called otherwise than the Canary.
    service: Option<String>,
}

/// What is served beside `/metrics`.
pub fn routes(engine: Handle) -> Router {
    let asked = engine.clone();
    let verdict = move |Path(service): Path<String>| async move {
        match current(&asked, &service).await {
            Ok(verdict) => json(&verdict),
            Err(answer) => answer.into_response(),
        }
    };
    let hook = |hook: Hook| {
        let engine = engine.clone();
        post(move |body: Bytes| async move {
            let service = match service(&body) {
                Ok(service) => service,
                Err(error) => return (StatusCode::BAD_REQUEST, error),
            };
            current(&engine, &service).await.map_or_else(|answer| answer, |verdict| answer(hook, &verdict))
        })
    };
    Router::new()
        .route("/v1/verdict/{service}", get(verdict))
        .route("/flagger/rollout", hook(Hook::Rollout))
        .route("/flagger/promotion", hook(Hook::Promotion))
        .route("/flagger/rollback", hook(Hook::Rollback))
        .layer(DefaultBodyLimit::max(BODY_MAX))
}

async fn current(engine: &Handle, service: &str) -> Result<Verdict, (StatusCode, String)> {
    let wanted = service.to_owned();
    let found = engine.ask(move |engine, _| engine.verdicts().find(|verdict| verdict.service == wanted).cloned()).await;
    let found = found.map_err(|stopped| (StatusCode::SERVICE_UNAVAILABLE, format!("{stopped}\n")))?;
    let unknown = || format!("service `{service}` is not in the configuration of this serin\n");
    found.ok_or_else(|| (StatusCode::NOT_FOUND, unknown()))
}

fn json(verdict: &Verdict) -> Response {
    let said = Said {
        service: &verdict.service,
        baseline: &verdict.baseline,
        candidate: &verdict.candidate,
        verdict: verdict.state().word(),
        condemned: verdict.condemned,
        sentence: &verdict.sentence,
        trial_s: verdict.trial_s,
        baseline_requests: verdict.baseline_requests,
        candidate_requests: verdict.candidate_requests,
        unix_us: verdict.unix_us,
    };
    match serde_json::to_string(&said) {
        Ok(text) => ([(header::CONTENT_TYPE, "application/json")], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

/// Which service a webhook asks about.
fn service(body: &[u8]) -> Result<String, String> {
    let payload: Payload = serde_json::from_slice(body).map_err(|error| {
        format!("not a webhook of Flagger ({error}): it has a `name`, and may name the service as `metadata.service`\n")
    })?;
    Ok(payload.metadata.service.unwrap_or(payload.name))
}

/// Flagger takes 200 for yes and all beyond 202 for no, and shows the text in its events.
fn answer(hook: Hook, verdict: &Verdict) -> (StatusCode, String) {
    let is_bad = verdict.condemned || verdict.state() == VerdictState::Regressed;
    let is_yes = match hook {
        Hook::Rollout => !is_bad,
        Hook::Promotion => !is_bad && verdict.state() == VerdictState::Healthy,
        Hook::Rollback => is_bad,
    };
    let status = if is_yes { StatusCode::OK } else { StatusCode::CONFLICT };
    let condemned = if verdict.condemned { "condemned, " } else { "" };
    let Verdict { service, candidate, sentence, .. } = verdict;
    (status, format!("{service}: {candidate} is {condemned}{}: {sentence}\n", verdict.state().word()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(state: VerdictState, condemned: bool) -> Verdict {
        let [service, candidate, sentence] = ["shop", "v2", "p99 slower"].map(str::to_owned);
        Verdict { service, candidate, sentence, state: state.into(), condemned, ..Verdict::default() }
    }

    #[test]
    fn each_hook_in_each_state() {
        let check = |state, condemned, want: [bool; 3]| {
            let verdict = verdict(state, condemned);
            let got =
                [Hook::Rollout, Hook::Promotion, Hook::Rollback].map(|hook| answer(hook, &verdict).0.is_success());
            assert_eq!(got, want, "{state:?} {condemned}");
        };
        check(VerdictState::Gathering, false, [true, false, false]);
        check(VerdictState::Marginal, false, [true, false, false]);
        check(VerdictState::Healthy, false, [true, true, false]);
        check(VerdictState::Regressed, false, [false, false, true]);
        check(VerdictState::Gathering, true, [false, false, true]);
        check(VerdictState::Healthy, true, [false, false, true]);
        check(VerdictState::Unspecified, false, [true, false, false]);
    }

    #[test]
    fn the_answer_says_why() {
        let (_, said) = answer(Hook::Rollback, &verdict(VerdictState::Gathering, true));
        insta::assert_snapshot!(said, @"shop: v2 is condemned, gathering: p99 slower");
    }

    #[test]
    fn the_service_is_the_canary_unless_its_metadata_say_otherwise() {
        let canary = br#"{"name": "shop", "namespace": "test", "phase": "Progressing", "metadata": {"token": "1"}}"#;
        assert_eq!(service(canary).as_deref(), Ok("shop"));
        assert_eq!(service(br#"{"name": "shop", "metadata": {"service": "cart"}}"#).as_deref(), Ok("cart"));
        for wrong in
            [&b""[..], b"{}", b"[1]", br#"{"name": 1}"#, br#"{"name": "shop", "metadata": {"service": 1}}"#, b"\xff"]
        {
            assert!(service(wrong).is_err(), "{wrong:?}");
        }
    }
}
