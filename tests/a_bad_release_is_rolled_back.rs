//! From the first error of a bad release to a confirmed rollback that a restart does not forget.

use std::{
    path::Path,
    process::{Command, Output, Stdio},
    time::Duration,
};

use anyhow::{Result, ensure};
use serin_proto::v1::{Decision, DecisionStage, VerdictState};
use support::{
    artifacts,
    gateway::{ACCESS_LOG, Shop},
    load::{Load, Plan, Protocol},
    poll,
    rig::Rig,
    serin::Serin,
    service::Behaviour,
};

const SOON: Duration = Duration::from_secs(30);
/// Errors are judged from the first second on, so this is generous for a busy machine.
const DECIDED_WITHIN: Duration = Duration::from_secs(120);

async fn decision(serin: &Serin, within: Duration, stage: DecisionStage) -> Result<Decision> {
    let reached = async || {
        let newest = serin.decisions().await?.into_iter().next();
        Ok(newest.filter(|decision| decision.events.iter().any(|event| event.stage() == stage)))
    };
    poll::until(stage.as_str_name(), within, reached).await
}

/// `serin record`, until the trial ends.
fn record(serin: &Serin, to: &Path) -> Result<std::process::Child> {
    let mut command = Command::new(artifacts::serin()?);
    command.args(["record", "shop", "--server", &serin.grpc.to_string(), "--out"]).arg(to);
    Ok(command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?)
}

fn said(output: Output) -> Result<String> {
    let text = String::from_utf8([output.stdout, output.stderr].concat())?;
    ensure!(output.status.success(), "{text}");
    Ok(text)
}

/// What was kept with the decision gives its verdict again, and so does what somebody recorded meanwhile.
fn is_explained(serin: &Serin, recording: &Path, recorded: Output) -> Result<()> {
    assert!(said(recorded)?.contains("seconds are in"), "a recording ends with its trial");
    let run = |arguments: &[&str]| said(Command::new(artifacts::serin()?).args(arguments).output()?);
    let explained = run(&["explain", "1", "--server", &serin.grpc.to_string()])?;
    assert!(explained.contains("#1 shop: v2 against v1") && explained.contains(": the same verdict"), "{explained}");
    let replayed = run(&["replay", &recording.display().to_string()])?;
    assert!(replayed.contains("regressed  errors: ") && replayed.contains("rolled back: 1 of 1"), "{replayed}");
    assert_eq!(replayed, run(&["replay", &recording.display().to_string()])?);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn when_it_answers_with_errors() -> Result<()> {
    let rig = Rig::start(Shop::open(2, 0.1).await?, ACCESS_LOG).await?;
    let serin = rig.serin().await?;
    let load = Load::start(Plan { requests: 500 * 300, ..Plan::new(rig.envoy.address, Protocol::Http1) })?;
    let known = async || {
        let candidate = serin.compare(0).await?.candidate;
        Ok(candidate.filter(|candidate| candidate.requests > 500).map(|_| ()))
    };
    poll::until("the candidate's requests to be counted", SOON, known).await?;
    assert!(serin.decisions().await?.is_empty());
    assert_eq!((rig.shop.weight("shop-v1")?, rig.shop.weight("shop-v2")?), (50, 50));

    let recording = rig.shop.dir().join("trial.rec");
    let recorder = record(&serin, &recording)?;
    rig.shop.v2.behave(Behaviour::Errors(0.5));
    let decided = decision(&serin, DECIDED_WITHIN, DecisionStage::Decided).await?;
    assert_eq!((decided.baseline.as_str(), decided.candidate.as_str()), ("v1", "v2"));
    let verdict = decided.verdict.as_ref().unwrap();
    assert_eq!(verdict.state(), VerdictState::Regressed);
    assert!(verdict.findings.iter().any(|finding| finding.log_evidence >= finding.log_threshold), "{verdict:?}");

    is_explained(&serin, &recording, recorder.wait_with_output()?)?;
    let confirmed = decision(&serin, SOON, DecisionStage::Confirmed).await?;
    let stages: Vec<_> = confirmed.events.iter().map(|event| event.stage()).collect();
    assert_eq!(stages, [DecisionStage::Decided, DecisionStage::Written, DecisionStage::Confirmed]);
    assert_eq!((rig.shop.weight("shop-v1")?, rig.shop.weight("shop-v2")?), (100, 0));
    // Envoy follows: only v1 still serves.
    let (v1, v2) = (rig.shop.v1.served(), rig.shop.v2.served());
    poll::until("v1 to serve 500 more", SOON, async || Ok((rig.shop.v1.served() > v1 + 500).then_some(()))).await?;
    assert_eq!(rig.shop.v2.served(), v2);

    let tally = load.stop(SOON).await;
    assert_eq!(rig.agree(&serin).await?, tally.sent);

    drop(serin);
    let serin = rig.serin().await?;
    assert_eq!(serin.decisions().await?, [confirmed]);
    let condemned = async || Ok(serin.compare(0).await?.verdict.filter(|verdict| verdict.condemned).map(|_| ()));
    poll::until("v2 to be known as condemned", SOON, condemned).await?;
    Ok(())
}
