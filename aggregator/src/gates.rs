//! The verdict over HTTP, for controllers that roll out by themselves (IO around pure answers): as JSON for Argo Rollouts' `web` metric,
//! and as status codes for Flagger's webhooks. They ask, nothing here acts.

use axum::{
    Router,
    body::Bytes,
    extract::{DefaultBodyLimit, Path, RawQuery},
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
    /// Of which release.
    candidate: Option<String>,
}

/// Whose verdict is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Asked {
    service: String,
    /// Of no other release.
    candidate: Option<String>,
}

/// What is served beside `/metrics`. `guards`: whether ReleaseGuards bring services.
pub fn routes(engine: Handle, guards: bool) -> Router {
    let asking = engine.clone();
    let verdict = move |Path(service): Path<String>, RawQuery(query): RawQuery| async move {
        let asked = Asked { service, candidate: candidate(query.as_deref()) };
        current(&asking, &asked, guards).await.map_or_else(IntoResponse::into_response, |verdict| json(&verdict))
    };
    let hook = |hook: Hook| {
        let engine = engine.clone();
        post(move |body: Bytes| async move {
            let asked = match asked(&body) {
                Ok(asked) => asked,
                Err(error) => return (StatusCode::BAD_REQUEST, error),
            };
            current(&engine, &asked, guards).await.map_or_else(|error| error, |verdict| answer(hook, &verdict))
        })
    };
    Router::new()
        .route("/v1/verdict/{service}", get(verdict))
        .route("/flagger/rollout", hook(Hook::Rollout))
        .route("/flagger/promotion", hook(Hook::Promotion))
        .route("/flagger/rollback", hook(Hook::Rollback))
        .layer(DefaultBodyLimit::max(BODY_MAX))
}

/// The verdict of the release that is asked about. A service that is not known may still come where ReleaseGuards bring services: one that
/// names no releases does once two of them get requests, which a controller that waits for a yes before the first increase would never see.
async fn current(engine: &Handle, asked: &Asked, guards: bool) -> Result<Verdict, (StatusCode, String)> {
    let Asked { service, candidate } = asked.clone();
    let found = engine.ask(move |engine, _| {
        let guarded = engine.verdicts().find(|verdict| verdict.service == service).cloned();
        // What is condemned stays so while its ReleaseGuard is not read yet.
        guarded.or_else(|| engine.condemned(&service, candidate.as_deref()).filter(|_| guards))
    });
    match found.await.map_err(|stopped| (StatusCode::SERVICE_UNAVAILABLE, format!("{stopped}\n")))? {
        Some(verdict) => Ok(asked.of(verdict)),
        None if guards => Ok(asked.not_yet(unguarded(&asked.service))),
        None => {
            let why = format!("service `{}` is not in the configuration of this serin\n", asked.service);
            Err((StatusCode::NOT_FOUND, why))
        }
    }
}

impl Asked {
    /// The verdict, unless it is another release's.
    fn of(&self, verdict: Verdict) -> Verdict {
        match &self.candidate {
            Some(candidate) if *candidate != verdict.candidate => {
                let why = format!("{candidate} is not on trial yet: {} is", verdict.candidate);
                Verdict { unix_us: verdict.unix_us, baseline: verdict.baseline, ..self.not_yet(why) }
            }
            _ => verdict,
        }
    }

    fn not_yet(&self, sentence: String) -> Verdict {
        let (service, candidate) = (self.service.clone(), self.candidate.clone().unwrap_or_default());
        Verdict { service, candidate, state: VerdictState::Gathering.into(), sentence, ..Verdict::default() }
    }
}

/// What there is to say of a service that is not known, where ReleaseGuards bring services.
pub(crate) fn unguarded(service: &str) -> String {
    format!("service `{service}` is not guarded yet: no ReleaseGuard of it has a release on trial")
}

/// `?candidate=` of an address. Empty is none: that is what a template without a value makes of it.
fn candidate(query: Option<&str>) -> Option<String> {
    let mut pairs = form_urlencoded::parse(query?.as_bytes());
    let (_, value) = pairs.find(|(key, _)| key == "candidate")?;
    Some(value.into_owned()).filter(|value| !value.is_empty())
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

/// What a webhook asks about.
fn asked(body: &[u8]) -> Result<Asked, String> {
    let payload: Payload = serde_json::from_slice(body).map_err(|error| {
        format!("not a webhook of Flagger ({error}): it has a `name`, and may name the service as `metadata.service`\n")
    })?;
    let Metadata { service, candidate } = payload.metadata;
    let candidate = candidate.filter(|candidate| !candidate.is_empty());
    Ok(Asked { service: service.unwrap_or(payload.name), candidate })
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
    let candidate = if candidate.is_empty() { "the candidate" } else { candidate };
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
        let shop = |service: &str, candidate: Option<&str>| {
            Ok(Asked { service: service.to_owned(), candidate: candidate.map(str::to_owned) })
        };
        assert_eq!(asked(canary), shop("shop", None));
        assert_eq!(asked(br#"{"name": "shop", "metadata": {"service": "cart"}}"#), shop("cart", None));
        assert_eq!(asked(br#"{"name": "shop", "metadata": {"candidate": "v3"}}"#), shop("shop", Some("v3")));
        assert_eq!(asked(br#"{"name": "shop", "metadata": {"candidate": ""}}"#), shop("shop", None));
        for wrong in
            [&b""[..], b"{}", b"[1]", br#"{"name": 1}"#, br#"{"name": "shop", "metadata": {"service": 1}}"#, b"\xff"]
        {
            assert!(asked(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn the_verdict_of_another_release_is_not_told() {
        let asked =
            |candidate: Option<&str>| Asked { service: "shop".to_owned(), candidate: candidate.map(str::to_owned) };
        for state in [VerdictState::Healthy, VerdictState::Regressed] {
            let known = verdict(state, true);
            assert_eq!(asked(Some("v2")).of(known.clone()), known);
            assert_eq!(asked(None).of(known.clone()), known);
            let other = asked(Some("v3")).of(known);
            assert_eq!(
                (other.state(), other.condemned, other.candidate.as_str()),
                (VerdictState::Gathering, false, "v3")
            );
            assert_eq!(other.sentence, "v3 is not on trial yet: v2 is");
        }
    }

    #[test]
    fn the_candidate_of_an_address() {
        let check =
            |query: Option<&str>, want: Option<&str>| assert_eq!(candidate(query).as_deref(), want, "{query:?}");
        check(None, None);
        check(Some(""), None);
        check(Some("candidate="), None);
        check(Some("candidate"), None);
        check(Some("candidate=v3"), Some("v3"));
        check(Some("a=b&candidate=v3%2B1"), Some("v3+1"));
        check(Some("xcandidate=v3"), None);
    }
}
