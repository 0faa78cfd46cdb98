//! Is every request on disk once, however often the aggregator is killed?

use std::{process::Command, time::Duration};

use anyhow::{Context, Result, ensure};
use support::{
    artifacts,
    gateway::{ACCESS_LOG, Shop},
    load::{Load, Plan, Protocol},
    poll,
    rig::Rig,
    serin::Serin,
};

const SOON: Duration = Duration::from_secs(30);
const KILLS: usize = 4;

/// Requests in the history, from `serin export`.
fn exported(serin: &Serin, rig: &Rig, name: &str) -> Result<u64> {
    let file = rig.shop.dir().join(name);
    let mut command = Command::new(artifacts::serin()?);
    command.args(["export", "shop", "--format", "csv", "--server", &serin.grpc.to_string(), "--out"]).arg(&file);
    let output = command.output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = std::fs::read_to_string(&file)?;
    let totals = text.lines().filter(|line| line.contains(",total,"));
    totals.map(|line| line.rsplit(',').next().and_then(|count| count.parse::<u64>().ok()).context("no count")).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn when_the_aggregator_is_killed() -> Result<()> {
    let rig = Rig::start(Shop::open(1, 0.1).await?, ACCESS_LOG).await?;
    let mut serin = rig.serin().await?;
    let load =
        Load::start(Plan { requests: 200 * 300, rate_per_s: 200.0, ..Plan::new(rig.envoy.address, Protocol::Http1) })?;
    for kill in 0..KILLS {
        let before = serin.requests(&[]).await?;
        poll::until("some requests to be counted", SOON, async || {
            Ok((serin.requests(&[]).await? > before + 100).then_some(()))
        })
        .await?;
        // Not at the same moment of its second each time.
        tokio::time::sleep(Duration::from_millis(230 * kill as u64)).await;
        serin.process.kill();
        serin = rig.serin().await?;
    }
    let tally = load.stop(SOON).await;
    let ended = rig.envoy.idle(SOON).await?;
    assert_eq!(ended, tally.sent);
    let (mut kept, mut tries) = (0, 0);
    let all = poll::until("every request to be on disk", SOON, async || {
        tries += 1;
        kept = exported(&serin, &rig, &format!("{tries}.csv"))?;
        ensure!(kept <= ended, "{kept} requests are on disk, and Envoy had {ended}");
        Ok((kept == ended).then_some(()))
    });
    all.await.with_context(|| format!("{kept} requests are on disk, and Envoy had {ended}"))
}
