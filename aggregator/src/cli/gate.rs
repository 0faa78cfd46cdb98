use std::{process::ExitCode, time::Duration};

use serin_proto::v1::{CompareRequest, Verdict, VerdictState, WatchVerdictsRequest, query_client::QueryClient};
use tokio::time::{Instant, sleep, timeout_at};
use tonic::Code;

use super::client;

/// How long after a failure serin is asked again.
const AGAIN: Duration = Duration::from_secs(1);

/// How a gate ends. The exit codes are what pipelines go by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    Healthy = 0,
    Regressed = 1,
    Undecided = 2,
}

/// Why nothing was decided.
enum Lost {
    /// Asking again cannot help.
    ForGood(String),
    /// Perhaps it comes back.
    ForNow(String),
}

pub(super) async fn run(service: String, within: Duration, server: String) -> anyhow::Result<ExitCode> {
    let deadline = Instant::now() + within;
    let mut last = None;
    let lost = loop {
        match timeout_at(deadline, watch(&service, &server, &mut last)).await {
            Ok(Ok(answer)) => return Ok(ended(answer, &service, last.as_ref(), None)),
            Ok(Err(Lost::ForGood(why))) => break Some(why),
            Ok(Err(Lost::ForNow(why))) if Instant::now() + AGAIN >= deadline => break Some(why),
            Ok(Err(Lost::ForNow(_))) => sleep(AGAIN).await,
            Err(_) => break last.is_none().then(|| format!("serin at {server} did not answer in time")),
        }
    };
    Ok(ended(Answer::Undecided, &service, last.as_ref(), lost.as_deref()))
}

/// Waits for a verdict that decides; `last` is the newest of those that do not.
async fn watch(service: &str, server: &str, last: &mut Option<Verdict>) -> Result<Answer, Lost> {
    let for_now = |status: tonic::Status| Lost::ForNow(client::told(status).to_string());
    let channel = client::endless(server).await.map_err(|error| Lost::ForNow(format!("{error:#}")))?;
    let mut query = QueryClient::new(channel);
    // Of a service that it does not know, serin would send nothing for ever.
    let asked = query.compare(CompareRequest { service: service.to_owned(), window_s: 1 }).await;
    asked.map_err(|status| match status.code() {
        Code::NotFound => Lost::ForGood(client::told(status).to_string()),
        _ => for_now(status),
    })?;
    let request = WatchVerdictsRequest { service: service.to_owned() };
    let mut verdicts = query.watch_verdicts(request).await.map_err(for_now)?.into_inner();
    while let Some(verdict) = verdicts.message().await.map_err(for_now)? {
        let answer = answer(&verdict);
        *last = Some(verdict);
        if let Some(answer) = answer {
            return Ok(answer);
        }
    }
    Err(Lost::ForNow(format!("serin at {server} has stopped")))
}

/// What a verdict decides, if it does.
fn answer(verdict: &Verdict) -> Option<Answer> {
    match verdict.state() {
        _ if verdict.condemned => Some(Answer::Regressed),
        VerdictState::Regressed => Some(Answer::Regressed),
        VerdictState::Healthy => Some(Answer::Healthy),
        VerdictState::Gathering | VerdictState::Marginal | VerdictState::Unspecified => None,
    }
}

#[allow(clippy::print_stdout, reason = "the answer of a command line tool")]
fn ended(answer: Answer, service: &str, last: Option<&Verdict>, lost: Option<&str>) -> ExitCode {
    println!("{}", show(answer, service, last, lost));
    ExitCode::from(answer as u8)
}

fn show(answer: Answer, service: &str, last: Option<&Verdict>, lost: Option<&str>) -> String {
    let word = match answer {
        Answer::Healthy => "healthy",
        Answer::Regressed => "regressed",
        Answer::Undecided => "undecided",
    };
    let about = last.map(|Verdict { candidate, baseline, sentence, .. }| {
        let state = last.map_or_else(String::new, |verdict| verdict.state().word());
        let condemned = if last.is_some_and(|verdict| verdict.condemned) { "condemned, " } else { "" };
        format!(": {candidate} against {baseline}: {condemned}{state}: {sentence}")
    });
    let lost = lost.map(|why| format!(": {why}")).unwrap_or_default();
    format!("{service} is {word}{}{lost}", about.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(state: VerdictState, sentence: &str) -> Verdict {
        let [service, baseline, candidate, sentence] = ["shop", "v1", "v2", sentence].map(str::to_owned);
        Verdict { service, baseline, candidate, state: state.into(), sentence, ..Verdict::default() }
    }

    #[test]
    fn only_what_is_proven_decides() {
        let check = |state, want| assert_eq!(answer(&verdict(state, "")), want, "{state:?}");
        check(VerdictState::Healthy, Some(Answer::Healthy));
        check(VerdictState::Regressed, Some(Answer::Regressed));
        check(VerdictState::Gathering, None);
        check(VerdictState::Marginal, None);
        check(VerdictState::Unspecified, None);
        let condemned = Verdict { condemned: true, ..verdict(VerdictState::Gathering, "") };
        assert_eq!(answer(&condemned), Some(Answer::Regressed));
    }

    #[test]
    fn the_sentence_is_said() {
        let regressed = verdict(VerdictState::Regressed, "p99 slower: 1.44x");
        insta::assert_snapshot!(
            show(Answer::Regressed, "shop", Some(&regressed), None),
            @"shop is regressed: v2 against v1: regressed: p99 slower: 1.44x"
        );
        let gathering = verdict(VerdictState::Gathering, "no requests to v2 yet");
        insta::assert_snapshot!(
            show(Answer::Undecided, "shop", Some(&gathering), Some("serin at 127.0.0.1:1 has stopped")),
            @"shop is undecided: v2 against v1: gathering: no requests to v2 yet: serin at 127.0.0.1:1 has stopped"
        );
        let condemned = Verdict { condemned: true, ..gathering };
        insta::assert_snapshot!(
            show(Answer::Regressed, "shop", Some(&condemned), None),
            @"shop is regressed: v2 against v1: condemned, gathering: no requests to v2 yet"
        );
        insta::assert_snapshot!(
            show(Answer::Undecided, "shop", None, Some("cannot reach serin")),
            @"shop is undecided: cannot reach serin"
        );
    }
}
