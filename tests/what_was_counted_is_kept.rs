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

/// A disk that does not take it stops neither the counting nor the judging, and is said.
#[tokio::test(flavor = "multi_thread")]
async fn when_the_disk_does_not_take_it() -> Result<()> {
    let shop = Shop::open(1, 0.1).await?;
    // A directory where the file should be: a root may write wherever permissions say no.
    std::fs::create_dir_all(shop.dir().join("serin-data/histograms.redb"))?;
    let rig = Rig::start(shop, ACCESS_LOG).await?;
    let serin = rig.serin().await?;
    let load = Load::start(Plan { requests: 1_000, ..Plan::new(rig.envoy.address, Protocol::Http1) })?;
    let said = async || Ok(poll::get(serin.metrics, "/healthz").await.filter(|text| text.contains("not kept on disk")));
    poll::until("the health to say so", SOON, said).await?;
    serin.counts(1_000, SOON).await?;
    assert_eq!(load.stop(SOON).await.ok, 1_000);
    assert!(serin.process.log().contains("there is no history"), "{}", serin.process.log());
    Ok(())
}
