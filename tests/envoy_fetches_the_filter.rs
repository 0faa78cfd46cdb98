//! Can Envoy fetch the filter from `serin`, and what happens when it is not the one that was meant?

use std::{fs, path::PathBuf, time::Duration};

use anyhow::{Context, Result};
use support::{
    artifacts,
    envoy::Envoy,
    gateway::{ACCESS_LOG, HTTP_FILTER, Shop},
    load::{self, Plan, Protocol},
    poll,
    serin::{self, Serin},
};

const SOON: Duration = Duration::from_secs(30);

async fn offering(shop: &Shop, filter: &PathBuf) -> Result<Serin> {
    let config = serin::configure(shop.dir(), &shop.routes)?;
    let text = fs::read_to_string(&config)?;
    fs::write(&config, format!("filter: {}\n{text}", serde_json::to_string(filter)?))?;
    Serin::start(&config, &shop.dir().join("serin.log")).await
}

async fn sum(serin: &Serin) -> Result<String> {
    let text = poll::get(serin.metrics, "/filter.wasm.sha256").await.context("no sum")?;
    let (sum, name) = text.trim().split_once("  ").context("not as sha256sum prints it")?;
    assert_eq!((sum.len(), name), (64, "filter.wasm"));
    Ok(sum.to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn and_counts_with_it() -> Result<()> {
    for file in [ACCESS_LOG, HTTP_FILTER] {
        let shop = Shop::open(1, 0.1).await?;
        let serin = offering(&shop, &artifacts::filter()?).await?;
        let bootstrap = shop.bootstrap(file, serin.grpc)?.fetched_filter(serin.metrics, &sum(&serin).await?)?;
        let envoy = Envoy::start(&bootstrap, 2, shop.dir()).await?;
        assert_eq!(load::run(Plan::new(envoy.address, Protocol::Http1)).await?.ok, 100, "{file}");
        assert_eq!(envoy.idle(SOON).await?, 100);
        serin.counts(100, SOON).await?;
    }
    Ok(())
}

/// A module that is not the one that was meant does not run, and requests pass all the same.
#[tokio::test(flavor = "multi_thread")]
async fn but_not_another_one_and_requests_pass() -> Result<()> {
    for file in [ACCESS_LOG, HTTP_FILTER] {
        let shop = Shop::open(1, 0.1).await?;
        let serin = offering(&shop, &artifacts::filter()?).await?;
        let bootstrap = shop.bootstrap(file, serin.grpc)?.fetched_filter(serin.metrics, &"0".repeat(64))?;
        let envoy = Envoy::start(&bootstrap, 1, shop.dir()).await?;
        assert_eq!(load::run(Plan::new(envoy.address, Protocol::Http1)).await?.ok, 100, "{file}");
        assert_eq!(envoy.idle(SOON).await?, 100);
        assert_eq!(serin.metric("serin_reporters_alive", &[]).await?, 0, "{file}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn and_is_told_when_there_is_none() -> Result<()> {
    let shop = Shop::open(1, 0.1).await?;
    let config = serin::configure(shop.dir(), &shop.routes)?;
    let serin = Serin::start(&config, &shop.dir().join("serin.log")).await?;
    assert_eq!(poll::get(serin.metrics, "/filter.wasm").await, None);
    Ok(())
}
