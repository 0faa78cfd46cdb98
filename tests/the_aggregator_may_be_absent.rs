//! Callers notice nothing when `serin` is away, and what was counted meanwhile arrives later, once.

use std::time::Duration;

use anyhow::{Context, Result};
use support::{
    feed::Feed,
    gateway::{ACCESS_LOG, Shop},
    load::{self, Load, Plan, Protocol},
    poll,
    rig::Rig,
    serin,
    serin::Serin,
};

const SOON: Duration = Duration::from_secs(30);

/// Waits until so many more requests were sent.
async fn sent_more(load: &Load, more: u64) -> Result<()> {
    let goal = load.tally().sent + more;
    let reached = async || Ok((load.tally().sent >= goal).then_some(()));
    poll::until("requests to be sent", SOON, reached).await
}

/// It says so when it is back, and what goes on; not when it begins.
#[tokio::test(flavor = "multi_thread")]
async fn an_absence_is_said() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let config = serin::configure(dir.path(), &dir.path().join("rds.yaml"))?;
    let log = dir.path().join("serin.log");
    let mut serin = Serin::start(&config, &log).await?;
    let feed = Feed::start(serin.grpc);
    // More than one report of it: the first was acknowledged, so it is on disk.
    let counted = async || Ok((serin.requests(&[("release", "v2")]).await? > 300).then_some(()));
    poll::until("v2 to be served", SOON, counted).await?;
    drop(feed);
    serin.process.kill();
    assert!(!serin.process.log().contains("was away"), "{}", serin.process.log());
    serin = Serin::start(&config, &log).await?;
    let said = serin.process.log();
    let line = said.lines().find(|line| line.contains("serin was away: the last second that is kept is 20"));
    let line = line.with_context(|| format!("nothing is said: {said}"))?;
    // On a slow machine it may have been condemned meanwhile.
    let is_listed =
        ["trials that go on: v2 of shop", "still condemned: v2 of shop"].iter().any(|part| line.contains(part));
    assert!(is_listed, "{line}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn at_the_start() -> Result<()> {
    let rig = Rig::start(Shop::open(2, 0.1).await?, ACCESS_LOG).await?;
    // Long enough for several reports to find nobody.
    let plan = Plan { rate_per_s: 250.0, requests: 1_000, ..Plan::new(rig.envoy.address, Protocol::Http1) };
    assert_eq!(load::run(plan).await?.ok, 1_000);
    let serin = rig.serin().await?;
    assert_eq!(rig.agree(&serin).await?, 1_000);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn in_between_because_the_connection_broke() -> Result<()> {
    let rig = Rig::start(Shop::open(2, 0.1).await?, ACCESS_LOG).await?;
    let serin = rig.serin().await?;
    let plan = Plan { rate_per_s: 250.0, requests: 30_000, ..Plan::new(rig.envoy.address, Protocol::Http2) };
    let load = Load::start(plan)?;
    for _ in 0..3 {
        sent_more(&load, 300).await?;
        rig.proxy.cut();
        sent_more(&load, 400).await?;
        rig.proxy.heal(serin.grpc);
        // Reports flow again before the next cut.
        let before = serin.requests(&[]).await?;
        let flowing = async || Ok((serin.requests(&[]).await? > before).then_some(()));
        poll::until("reports to arrive again", SOON, flowing).await?;
    }
    let tally = load.stop(SOON).await;
    assert_eq!(tally.ok, tally.sent);
    assert_eq!(rig.agree(&serin).await?, tally.sent);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn in_between_because_it_stood_still() -> Result<()> {
    let rig = Rig::start(Shop::open(2, 0.1).await?, ACCESS_LOG).await?;
    let serin = rig.serin().await?;
    let load = Load::start(Plan { requests: 30_000, ..Plan::new(rig.envoy.address, Protocol::Http1) })?;
    sent_more(&load, 500).await?;
    serin.process.pause();
    // At 500/s this is longer than Envoy's keepalive lets a silent connection live (5 s + 2 s).
    sent_more(&load, 4_500).await?;
    serin.process.resume();
    sent_more(&load, 500).await?;
    let tally = load.stop(SOON).await;
    assert_eq!(tally.ok, tally.sent);
    assert_eq!(rig.agree(&serin).await?, tally.sent);
    Ok(())
}

/// What the first run had acknowledged is gone with it, but not unknown: the filters say how much it was.
#[tokio::test(flavor = "multi_thread")]
async fn in_between_because_it_was_killed() -> Result<()> {
    let rig = Rig::start(Shop::open(2, 0.1).await?, ACCESS_LOG).await?;
    let mut serin = rig.serin().await?;
    let load = Load::start(Plan { requests: 30_000, ..Plan::new(rig.envoy.address, Protocol::Http1) })?;
    let reported = async || Ok((serin.requests(&[]).await? > 500).then_some(()));
    poll::until("reports to arrive", SOON, reported).await?;
    serin.process.kill();
    sent_more(&load, 500).await?;
    let serin = rig.serin().await?;
    sent_more(&load, 500).await?;
    let tally = load.stop(SOON).await;
    assert_eq!(tally.ok, tally.sent);
    assert_eq!(rig.envoy.idle(SOON).await?, tally.sent);

    let both = async || {
        let before = serin.metric("serin_requests_delivered_before", &[]).await?;
        let since = serin.requests(&[]).await?;
        Ok((before > 0 && before + since == tally.sent).then_some(()))
    };
    poll::until("both runs' requests to be Envoy's", SOON, both).await
}
