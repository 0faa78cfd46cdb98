//! Does `serin pause` keep a rollback from being written, also across a restart, and `serin resume` have it written?

use std::time::Duration;

use anyhow::{Result, ensure};
use serin_proto::v1::DecisionStage;
use support::{artifacts, feed::Feed, poll, serin, serin::Serin};
use tokio::process::Command;

const DECIDED_WITHIN: Duration = Duration::from_secs(60);

pub(crate) async fn order(serin: &Serin, arguments: &[&str]) -> Result<()> {
    let server = serin.grpc.to_string();
    let done = Command::new(artifacts::serin()?).args(arguments).args(["--server", &server]).output().await?;
    ensure!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    Ok(())
}

pub(crate) async fn reaches(serin: &Serin, wanted: DecisionStage) -> Result<String> {
    poll::until("the decision to come this far", DECIDED_WITHIN, async || {
        let decisions = serin.decisions().await?;
        let mut events = decisions.iter().flat_map(|decision| &decision.events);
        Ok(events.find(|event| event.stage() == wanted).map(|event| event.sentence.clone()))
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_held_back_is_written_after_it() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let (config, log) = (serin::configure(dir.path(), &dir.path().join("rds.yaml"))?, dir.path().join("serin.log"));
    let serin = Serin::start(&config, &log).await?;
    order(&serin, &["pause", "--for", "1h", "a drill"]).await?;
    let feed = Feed::start(serin.grpc);
    let said = reaches(&serin, DecisionStage::NotWritten).await?;
    assert!(said.starts_with("held back: serin is paused since ") && said.contains("(a drill)"), "{said}");
    drop((feed, serin));

    let serin = Serin::start(&config, &log).await?;
    assert_eq!(serin.metric("serin_paused", &[]).await?, 1, "after a restart");
    let health = poll::get(serin.metrics, "/healthz").await.unwrap_or_default();
    assert!(health.starts_with("ok, but paused since "), "{health}");
    let _feed = Feed::start(serin.grpc);
    order(&serin, &["resume"]).await?;
    // The file to write is not there: that it was tried is what counts.
    reaches(&serin, DecisionStage::Failed).await?;
    assert_eq!(serin.metric("serin_paused", &[]).await?, 0);
    Ok(())
}
