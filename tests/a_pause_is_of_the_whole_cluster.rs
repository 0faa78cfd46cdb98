//! Does a pause hold wherever the work goes: for the replica that leads next, and for every aggregator? And is one that a person writes into
//! the Lease as good as `serin pause`?

use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::{Value, json};
use serin_kubernetes::lease::{PAUSED_BECAUSE, PAUSED_SINCE};
use serin_proto::v1::DecisionStage;
use support::{feed::Feed, nats::Nats, poll, serin, serin::Serin};

use crate::{
    a_pause_holds_until_a_person_resumes::{order, reaches},
    several_aggregators_are_one::judges,
    two_replicas_one_acts::{Replicas, leads},
};

const SOON: Duration = Duration::from_secs(30);

async fn is_paused(serin: &Serin, want: bool) -> Result<()> {
    poll::until("all to follow", SOON, async || {
        Ok((serin.metric("serin_paused", &[]).await? == u64::from(want)).then_some(()))
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_a_standby_was_told_outlives_the_leader() -> Result<()> {
    let mut replicas = Replicas::start().await?;
    let Replicas { api, first, second, .. } = &mut replicas;
    let _feed = Feed::start(second.grpc);
    order(second, &["pause", "a drill"]).await?;
    assert_eq!(api.annotations()[PAUSED_BECAUSE], "a drill", "it is kept when it is answered");
    assert_eq!(second.metric("serin_paused", &[]).await?, 1);
    is_paused(first, true).await?;
    first.process.kill();
    leads(second).await?;
    let said = reaches(second, DecisionStage::NotWritten).await?;
    assert!(said.starts_with("held back: serin is paused since ") && said.contains("(a drill)"), "{said}");
    assert_eq!(api.patches(), [""; 0]);
    // As a person does with kubectl.
    api.annotate(PAUSED_BECAUSE, Value::Null);
    reaches(second, DecisionStage::Written).await?;
    assert_eq!((api.patches().len(), api.annotations()), (1, Value::Null));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_a_person_annotates_is_followed_and_resumed() -> Result<()> {
    let replicas = Replicas::start().await?;
    let Replicas { api, first, second, .. } = &replicas;
    api.annotate("example.org/others", json!("stay"));
    api.annotate(PAUSED_BECAUSE, json!("release freeze"));
    for replica in [first, second] {
        is_paused(replica, true).await?;
        let health = poll::get(replica.metrics, "/healthz").await.context("it is healthy")?;
        assert!(health.contains("but paused since ") && health.contains("(release freeze)"), "{health}");
    }
    let noted = async || Ok(api.annotations()[PAUSED_SINCE].as_str().map(drop));
    poll::until("who leads to note since when", SOON, noted).await?;
    order(first, &["resume"]).await?;
    assert_eq!(api.annotations(), json!({ "example.org/others": "stay" }));
    assert_eq!(first.metric("serin_paused", &[]).await?, 0);
    is_paused(second, false).await
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_any_aggregator_was_told_holds_for_all() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let nats = Nats::start(1, dir.path()).await?;
    let config = serin::configure(dir.path(), &dir.path().join("rds.yaml"))?;
    let start = async |name: &str| {
        let history = ["--history", &Nats::url(&nats.addresses)];
        Serin::start_with(&config, &dir.path().join(name), &history).await
    };
    let mut members = vec![start("0.log").await?, start("1.log").await?];
    let partition = ::serin::partition::of("shop");
    let judge =
        poll::until("somebody to judge", SOON, async || Ok(members.iter().position(|serin| judges(serin, partition))));
    let mut judge = members.remove(judge.await?);
    let other = members.remove(0);
    order(&other, &["pause", "--for", "1h", "a drill"]).await?;
    assert_eq!(other.metric("serin_paused", &[]).await?, 1, "when it is answered");
    is_paused(&judge, true).await?;
    let feed = Feed::start(judge.grpc);
    let said = reaches(&judge, DecisionStage::NotWritten).await?;
    assert!(said.starts_with("held back: serin is paused since ") && said.contains("(a drill)"), "{said}");
    judge.process.kill();
    drop(feed);
    // One that comes later knows it before it judges, and one that takes over holds it back as well.
    let later = start("2.log").await?;
    let _feeds = [Feed::start(other.grpc), Feed::start(later.grpc)];
    poll::until("somebody else to judge", SOON, async || {
        Ok([&other, &later].into_iter().any(|serin| judges(serin, partition)).then_some(()))
    })
    .await?;
    assert_eq!(later.metric("serin_paused", &[]).await?, 1);
    let decisions = other.decisions().await?;
    assert!(decisions.iter().flat_map(|decision| &decision.events).all(|event| event.stage() != DecisionStage::Failed));
    order(&later, &["resume"]).await?;
    // The file to write is not there: that it was tried is what counts.
    reaches(&other, DecisionStage::Failed).await?;
    is_paused(&other, false).await
}
