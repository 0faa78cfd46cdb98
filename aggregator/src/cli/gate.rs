use std::{process::ExitCode, time::Duration};

use serin_proto::v1::{
    CompareRequest, ListDecisionsRequest, Verdict, VerdictState, WatchVerdictsRequest, query_client::QueryClient,
};
use tokio::time::{Instant, sleep, timeout_at};
use tonic::{Code, transport::Channel};

use super::client;
use crate::{shell::now, time::UnixMicros};

/// How long after a failure serin is asked again.
const AGAIN: Duration = Duration::from_secs(1);

/// More than a service has of other candidates since the last one of this.
const DECISIONS: u32 = 100;
/// What ends a trial, and a condemnation.
const ANEW: &str = "when a ReleaseGuard sees its pods replaced by those of another ReplicaSet";

/// How a gate ends. The exit codes are what pipelines go by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    Healthy = 0,
    Regressed = 1,
    Undecided = 2,
}

/// What a pipeline waits for.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) service: String,
    /// Of no other release: the one on trial may still be that of before.
    pub(super) candidate: Option<String>,
    /// Of no trial that began before: its label may be given to other pods just now.
    pub(super) since: Option<UnixMicros>,
}

/// What serin says.
#[derive(Debug, Default)]
struct Heard {
    verdict: Verdict,
    /// When the candidate was condemned, where that is of interest.
    decided: Option<UnixMicros>,
}

/// Why nothing was decided.
enum Lost {
    /// Asking again cannot help.
    ForGood(String),
    /// Perhaps it comes back.
    ForNow(String),
}

pub(super) async fn run(asked: Asked, within: Duration, server: String) -> anyhow::Result<ExitCode> {
    let deadline = Instant::now() + within;
    let mut last = None;
    let lost = loop {
        match timeout_at(deadline, watch(&asked, &server, &mut last)).await {
            Ok(Ok(answer)) => return Ok(ended(answer, &asked, last.as_ref(), None)),
            Ok(Err(Lost::ForGood(why))) => break Some(why),
            Ok(Err(Lost::ForNow(why))) if Instant::now() + AGAIN >= deadline => break Some(why),
            Ok(Err(Lost::ForNow(_))) => sleep(AGAIN).await,
            Err(_) => break last.is_none().then(|| format!("serin at {server} did not answer in time")),
        }
    };
    Ok(ended(Answer::Undecided, &asked, last.as_ref(), lost.as_deref()))
}

/// A time, or how long ago it was.
pub(super) fn since(text: &str) -> Result<UnixMicros, String> {
    if let Ok(time) = text.parse::<jiff::Timestamp>() {
        return u64::try_from(time.as_microsecond()).map(UnixMicros).map_err(|_| "must not be before 1970".to_owned());
    }
    let ago = super::duration(text);
    ago.map(|ago| now().minus(ago)).map_err(|why| format!("{why}, or a time such as 2026-11-26T09:30:00Z"))
}

/// Waits for a verdict that decides; `last` is the newest of those that do not.
async fn watch(asked: &Asked, server: &str, last: &mut Option<Heard>) -> Result<Answer, Lost> {
    let for_now = |status: tonic::Status| Lost::ForNow(client::told(status).to_string());
    let channel = client::endless(server).await.map_err(|error| Lost::ForNow(format!("{error:#}")))?;
    let mut query = QueryClient::new(channel);
    // Of a service that it does not know, serin would send nothing for ever.
    let known = query.compare(CompareRequest { service: asked.service.clone(), window_s: 1 }).await;
    known.map_err(|status| match status.code() {
        Code::NotFound => Lost::ForGood(client::told(status).to_string()),
        _ => for_now(status),
    })?;
    let request = WatchVerdictsRequest { service: asked.service.clone() };
    let mut verdicts = query.watch_verdicts(request).await.map_err(for_now)?.into_inner();
    while let Some(verdict) = verdicts.message().await.map_err(for_now)? {
        let decided = match asked.since {
            Some(_) if verdict.condemned => decided(&mut query, &verdict).await.map_err(for_now)?,
            _ => None,
        };
        let heard = Heard { verdict, decided };
        let answer = answer(asked, &heard);
        *last = Some(heard);
        if let Some(answer) = answer {
            return Ok(answer);
        }
    }
    Err(Lost::ForNow(format!("serin at {server} has stopped")))
}

/// When its candidate was condemned: a verdict that a restart left does not tell.
async fn decided(query: &mut QueryClient<Channel>, verdict: &Verdict) -> Result<Option<UnixMicros>, tonic::Status> {
    let Verdict { service, candidate, .. } = verdict;
    let request = ListDecisionsRequest { service: service.clone(), limit: DECISIONS };
    let decisions = query.list_decisions(request).await?.into_inner().decisions;
    let newest = decisions.iter().filter(|decision| decision.candidate == *candidate).map(|decision| decision.unix_us);
    Ok(newest.max().map(UnixMicros))
}

/// What a verdict decides, if it does.
fn answer(asked: &Asked, heard: &Heard) -> Option<Answer> {
    let verdict = &heard.verdict;
    match verdict.state() {
        _ if asked.is_other(verdict) || asked.was_condemned(heard) => None,
        _ if verdict.condemned => Some(Answer::Regressed),
        VerdictState::Regressed => Some(Answer::Regressed),
        VerdictState::Healthy if asked.is_old(verdict) => None,
        VerdictState::Healthy => Some(Answer::Healthy),
        VerdictState::Gathering | VerdictState::Marginal | VerdictState::Unspecified => None,
    }
}

impl Asked {
    fn is_other(&self, verdict: &Verdict) -> bool {
        self.candidate.as_ref().is_some_and(|candidate| *candidate != verdict.candidate)
    }

    /// A verdict is of one or two seconds before it was reached.
    fn is_old(&self, verdict: &Verdict) -> bool {
        let began = UnixMicros(verdict.unix_us).minus(Duration::from_secs(verdict.trial_s.into()));
        self.since.is_some_and(|since| began < since)
    }

    /// Before what is asked about.
    fn was_condemned(&self, heard: &Heard) -> bool {
        self.since.zip(heard.decided).is_some_and(|(since, decided)| decided < since)
    }

    /// Why a verdict does not count.
    fn passed_over(&self, heard: &Heard) -> Option<String> {
        let verdict = &heard.verdict;
        match &self.candidate {
            Some(candidate) if self.is_other(verdict) => Some(format!("{candidate} is not on trial yet")),
            _ if self.was_condemned(heard) => {
                let again = format!("`serin clear {} {}`", self.service, verdict.candidate);
                Some(format!("it was condemned before --since, which is lifted {ANEW}, or by {again}"))
            }
            _ if verdict.state() == VerdictState::Healthy && self.is_old(verdict) => {
                let Verdict { trial_s, candidate, .. } = verdict;
                Some(format!(
                    "the trial began {trial_s} s ago, before --since; it ends {ANEW}, or when {candidate} gets no requests for 15 min"
                ))
            }
            _ => None,
        }
    }
}

#[allow(clippy::print_stdout, reason = "the answer of a command line tool")]
fn ended(answer: Answer, asked: &Asked, last: Option<&Heard>, lost: Option<&str>) -> ExitCode {
    println!("{}", show(answer, asked, last, lost));
    ExitCode::from(answer as u8)
}

fn show(answer: Answer, asked: &Asked, last: Option<&Heard>, lost: Option<&str>) -> String {
    let word = match answer {
        Answer::Healthy => "healthy",
        Answer::Regressed => "regressed",
        Answer::Undecided => "undecided",
    };
    let passed_over = last.and_then(|heard| asked.passed_over(heard)).map(|why| format!(": {why}"));
    let about = last.map(|Heard { verdict, .. }| {
        let Verdict { candidate, baseline, sentence, .. } = verdict;
        let state = verdict.state().word();
        let condemned = if verdict.condemned { "condemned, " } else { "" };
        format!(": {candidate} against {baseline}: {condemned}{state}: {sentence}")
    });
    let lost = lost.map(|why| format!(": {why}"));
    [Some(format!("{} is {word}", asked.service)), passed_over, about, lost].into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(candidate: Option<&str>, since: Option<u64>) -> Asked {
        Asked { service: "shop".to_owned(), candidate: candidate.map(str::to_owned), since: since.map(UnixMicros) }
    }

    fn verdict(state: VerdictState, sentence: &str) -> Verdict {
        let [service, baseline, candidate, sentence] = ["shop", "v1", "v2", sentence].map(str::to_owned);
        Verdict { service, baseline, candidate, state: state.into(), sentence, ..Verdict::default() }
    }

    fn heard(verdict: Verdict) -> Heard {
        Heard { verdict, decided: None }
    }

    #[test]
    fn only_what_is_proven_decides() {
        let check = |state, want| assert_eq!(answer(&asked(None, None), &heard(verdict(state, ""))), want, "{state:?}");
        check(VerdictState::Healthy, Some(Answer::Healthy));
        check(VerdictState::Regressed, Some(Answer::Regressed));
        check(VerdictState::Gathering, None);
        check(VerdictState::Marginal, None);
        check(VerdictState::Unspecified, None);
        let condemned = Verdict { condemned: true, ..verdict(VerdictState::Gathering, "") };
        assert_eq!(answer(&asked(None, None), &heard(condemned)), Some(Answer::Regressed));
    }

    #[test]
    fn the_verdict_of_another_release_decides_nothing() {
        let check = |candidate, state, condemned, want| {
            let verdict = Verdict { condemned, ..verdict(state, "") };
            assert_eq!(
                answer(&asked(Some(candidate), None), &heard(verdict)),
                want,
                "{candidate} {state:?} {condemned}"
            );
        };
        check("v2", VerdictState::Healthy, false, Some(Answer::Healthy));
        check("v2", VerdictState::Gathering, true, Some(Answer::Regressed));
        check("v3", VerdictState::Healthy, false, None);
        check("v3", VerdictState::Regressed, false, None);
        check("v3", VerdictState::Gathering, true, None);
    }

    #[test]
    fn an_older_trial_proves_nothing() {
        let check = |state, trial_s, want| {
            let verdict = Verdict { unix_us: 1_000_000_000, trial_s, ..verdict(state, "") };
            assert_eq!(answer(&asked(None, Some(900_000_000)), &heard(verdict)), want, "{state:?} {trial_s}");
        };
        check(VerdictState::Healthy, 100, Some(Answer::Healthy));
        check(VerdictState::Healthy, 101, None);
        check(VerdictState::Regressed, 101, Some(Answer::Regressed));
    }

    #[test]
    fn a_condemnation_of_before_decides_nothing() {
        let check = |since, decided, want| {
            let verdict = Verdict { condemned: true, ..verdict(VerdictState::Regressed, "") };
            assert_eq!(answer(&asked(None, since), &Heard { verdict, decided: Some(UnixMicros(decided)) }), want);
        };
        check(Some(900), 899, None);
        check(Some(900), 900, Some(Answer::Regressed));
        check(None, 899, Some(Answer::Regressed));
    }

    #[test]
    fn a_time_or_how_long_ago() {
        assert_eq!(since("1970-01-01T00:01:00Z"), Ok(UnixMicros(60_000_000)));
        let at = since("5m").unwrap();
        let ago = now().since(at);
        assert!(ago >= Duration::from_secs(300) && ago < Duration::from_secs(400), "{ago:?}");
        for wrong in ["", "yesterday", "-5m", "1969-12-31T23:59:59Z"] {
            assert!(since(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_sentence_is_said() {
        let regressed = verdict(VerdictState::Regressed, "p99 slower: 1.44x");
        insta::assert_snapshot!(
            show(Answer::Regressed, &asked(None, None), Some(&heard(regressed.clone())), None),
            @"shop is regressed: v2 against v1: regressed: p99 slower: 1.44x"
        );
        let gathering = verdict(VerdictState::Gathering, "no requests to v2 yet");
        insta::assert_snapshot!(
            show(Answer::Undecided, &asked(None, None), Some(&heard(gathering.clone())), Some("serin at 127.0.0.1:1 has stopped")),
            @"shop is undecided: v2 against v1: gathering: no requests to v2 yet: serin at 127.0.0.1:1 has stopped"
        );
        let condemned = Verdict { condemned: true, ..gathering };
        insta::assert_snapshot!(
            show(Answer::Regressed, &asked(None, None), Some(&heard(condemned.clone())), None),
            @"shop is regressed: v2 against v1: condemned, gathering: no requests to v2 yet"
        );
        insta::assert_snapshot!(
            show(Answer::Undecided, &asked(None, None), None, Some("cannot reach serin")),
            @"shop is undecided: cannot reach serin"
        );
        let healthy = verdict(VerdictState::Healthy, "no slower");
        insta::assert_snapshot!(
            show(Answer::Undecided, &asked(Some("v3"), None), Some(&heard(healthy.clone())), None),
            @"shop is undecided: v3 is not on trial yet: v2 against v1: healthy: no slower"
        );
        let old = Verdict { unix_us: 1_000_000_000, trial_s: 300, ..healthy };
        insta::assert_snapshot!(
            show(Answer::Undecided, &asked(None, Some(900_000_000)), Some(&heard(old.clone())), None),
            @"shop is undecided: the trial began 300 s ago, before --since; it ends when a ReleaseGuard sees its pods replaced by those of another ReplicaSet, or when v2 gets no requests for 15 min: v2 against v1: healthy: no slower"
        );
        let old = Heard { verdict: Verdict { condemned: true, ..regressed }, decided: Some(UnixMicros(1)) };
        insta::assert_snapshot!(
            show(Answer::Undecided, &asked(None, Some(2)), Some(&old), None),
            @"shop is undecided: it was condemned before --since, which is lifted when a ReleaseGuard sees its pods replaced by those of another ReplicaSet, or by `serin clear shop v2`: v2 against v1: condemned, regressed: p99 slower: 1.44x"
        );
    }
}
