use std::{fmt::Write, process::ExitCode};

use anyhow::bail;
use serin_proto::v1::{
    Decision, ListDecisionsRequest, ReadRecordingRequest, Verdict, query_client::QueryClient,
    read_recording_request::Of,
};
use serin_sketch::{Micros, thousands};

use super::{client, replay, text};
use crate::recording::{Recording, file::Reader};

/// Decisions that are looked through: as many as the server keeps.
const DECISIONS_MAX: u32 = 1_000;

#[allow(clippy::print_stdout, reason = "the answer of a command line tool")]
pub(super) async fn run(id: u64, server: String) -> anyhow::Result<ExitCode> {
    let mut query = QueryClient::new(client::connect(&server).await?);
    let request = ListDecisionsRequest { limit: DECISIONS_MAX, ..Default::default() };
    let decisions = query.list_decisions(request).await.map_err(client::told)?.into_inner().decisions;
    let Some(decision) = decisions.into_iter().find(|decision| decision.id == id) else {
        bail!("there is no decision {id}: `serin decisions` lists them");
    };
    let verdict = decision.verdict.clone().unwrap_or_default();
    print!("{}", show(&decision, &verdict));
    let request = ReadRecordingRequest { of: Some(Of::Decision(id)) };
    let mut parts = query.read_recording(request).await.map_err(client::told)?.into_inner();
    let mut reader = Reader::default();
    while let Some(part) = parts.message().await.map_err(client::told)? {
        reader.take(part)?;
    }
    let recording = reader.end()?;
    let again = replay::replay(&recording, &mut |_, _| ());
    match difference(&verdict, again.verdict(), &recording) {
        None => println!("judged again from its {} recorded seconds: the same verdict", recording.seconds.len()),
        Some(difference) => bail!("judged again from its recording the verdict is another one: {difference}"),
    }
    Ok(ExitCode::SUCCESS)
}

fn show(decision: &Decision, verdict: &Verdict) -> String {
    let Decision { id, service, candidate, baseline, unix_us, .. } = decision;
    let mut shown = format!("#{id} {service}: {candidate} against {baseline}, {}\n", text::utc(*unix_us));
    let mut line = |text: String| {
        // Writing to a string does not fail.
        let _ = writeln!(shown, "{}", text.trim_end());
    };
    line(verdict.sentence.clone());
    let (b, c) = (thousands(verdict.baseline_requests), thousands(verdict.candidate_requests));
    line(format!("after {} s, {c} candidate and {b} baseline requests", verdict.trial_s));
    line(String::new());
    line(format!(
        "{:<12} {:<10} {:>8} {:>16} {:>12} {:>12} {:>8} {:>10} {:>10}",
        "route", "metric", "ratio", "95% interval", "evidence", "it takes", "/ scatter", "seen", "expected"
    ));
    for finding in &verdict.findings {
        let ratio = if finding.ratio > 0.0 { format!("{:.2}x", finding.ratio) } else { "-".to_owned() };
        let interval = if finding.ratio_high > 0.0 {
            format!("{:.2} to {:.2}", finding.ratio_low, finding.ratio_high)
        } else {
            "-".to_owned()
        };
        line(format!(
            "{:<12} {:<10} {ratio:>8} {interval:>16} {:>12} {:>12} {:>9.1} {:>10} {:>10}",
            if finding.route.is_empty() { "all" } else { &finding.route },
            finding.metric,
            text::odds(finding.log_evidence),
            text::odds(finding.log_threshold),
            finding.dispersion,
            thousands(finding.candidate_beyond),
            thousands(finding.candidate_beyond_expected.round() as u64),
        ));
    }
    for limit in &verdict.limits {
        let percent = |share: f64| format!("{:.2}%", share * 100.0);
        let (allowed, a, b) = (percent(limit.allowed), percent(limit.baseline_beyond), percent(limit.candidate_beyond));
        let limited = Micros(limit.limit_us);
        line(format!(
            "{} < {limited}: {b} of the candidate's take longer, {a} of the baseline's, {allowed} may",
            limit.metric
        ));
    }
    if !decision.sources.is_empty() {
        line(String::new());
        line(format!("who sent {candidate} requests, and until when after the rollback was written"));
        decision.sources.iter().for_each(|source| line(text::source(source)));
    }
    line(String::new());
    shown
}

/// In what the verdict that was judged again is another one; what time it is does not count, nor what was done about it.
fn difference(was: &Verdict, is: &Verdict, recording: &Recording) -> Option<String> {
    let comparable = |verdict: &Verdict| Verdict { unix_us: 0, condemned: false, ..verdict.clone() };
    if comparable(was) == comparable(is) {
        return None;
    }
    let (version, recorded) = (env!("CARGO_PKG_VERSION"), &recording.setup.version);
    let mut text = format!("`{}` then, `{}` now", was.sentence, is.sentence);
    if was.sentence == is.sentence {
        text = "the sentence is the same, the figures differ".to_owned();
    }
    let _ = write!(text, "; it was judged by serin {recorded}, and this is {version}");
    Some(text)
}

#[cfg(test)]
mod tests {
    use serin_proto::v1::{Finding, LimitFinding, Source, SourceState};

    use super::*;
    use crate::recording::Setup;

    fn verdict() -> Verdict {
        let finding = Finding {
            metric: "p99".into(),
            ratio: 1.31,
            ratio_low: 1.18,
            ratio_high: 1.46,
            log_evidence: 9.1,
            log_threshold: 8.29,
            dispersion: 1.2,
            candidate_beyond: 412,
            candidate_beyond_expected: 148.2,
            ..Finding::default()
        };
        let limit = LimitFinding {
            metric: "p99".into(),
            limit_us: 500_000,
            allowed: 0.01,
            candidate_beyond: 0.023,
            ..LimitFinding::default()
        };
        Verdict {
            sentence: "p99 slower: 1.31x".into(),
            trial_s: 96,
            baseline_requests: 91_200,
            candidate_requests: 4_800,
            findings: vec![finding],
            limits: vec![limit],
            ..Verdict::default()
        }
    }

    #[test]
    fn the_evidence_is_a_table() {
        let decision = Decision {
            id: 7,
            service: "shop".into(),
            candidate: "v2".into(),
            baseline: "v1".into(),
            unix_us: 1_500_000,
            sources: vec![Source {
                node_id: "client-7".into(),
                state: SourceState::Stopped.into(),
                share_before: 0.05,
                stopped_after_ms: 1_700,
                proxies: 1,
                ..Source::default()
            }],
            ..Decision::default()
        };
        insta::assert_snapshot!(show(&decision, &verdict()), @"
        #7 shop: v2 against v1, 1970-01-01T00:00:01.500Z
        p99 slower: 1.31x
        after 96 s, 4,800 candidate and 91,200 baseline requests

        route        metric        ratio     95% interval     evidence     it takes / scatter       seen   expected
        all          p99           1.31x     1.18 to 1.46        8,955        3,984       1.2        412        148
        p99 < 500ms: 2.30% of the candidate's take longer, 0.00% of the baseline's, 1.00% may

        who sent v2 requests, and until when after the rollback was written
        client-7: stopped after 1.7 s, 5.0% before, 0.0% now
        ");
    }

    #[test]
    fn another_verdict_is_said() {
        let setup = Setup { version: "0.0.9".into(), ..Setup::plain("shop", "v1", "v2") };
        let recording = Recording { setup, seconds: Vec::new(), is_cut: false };
        let acted_on = Verdict { condemned: true, unix_us: 5, ..verdict() };
        assert_eq!(difference(&acted_on, &verdict(), &recording), None);
        let said = difference(&acted_on, &Verdict { trial_s: 97, ..verdict() }, &recording).unwrap();
        assert!(
            said.starts_with("the sentence is the same, the figures differ; it was judged by serin 0.0.9"),
            "{said}"
        );
    }
}
