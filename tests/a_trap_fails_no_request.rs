//! A defect in the filter that traps its VM costs counts, never a request: tried with a build that traps on demand.

use std::time::Duration;

use anyhow::Result;
use serin_proto::v1::ListProxiesRequest;
use support::{
    artifacts,
    envoy::Envoy,
    gateway::{ACCESS_LOG, HTTP_FILTER, Shop},
    load::{self, Plan, Protocol},
    poll,
    serin::{self, Serin},
};

const SOON: Duration = Duration::from_secs(30);

/// An Envoy with one worker whose filter traps on demand, and `serin`.
async fn start(shop: &Shop, file: &str) -> Result<(Envoy, Serin)> {
    let config = serin::configure(shop.dir(), &shop.routes)?;
    let serin = Serin::start(&config, &shop.dir().join("serin.log")).await?;
    let bootstrap = shop.bootstrap(file, serin.grpc)?.filter(&artifacts::trapping_filter()?)?;
    Ok((Envoy::start(&bootstrap, 1, shop.dir()).await?, serin))
}

fn traps(envoy: &Envoy) -> usize {
    envoy.process.log().matches("Uncaught RuntimeError: unreachable").count()
}

/// Sends so many requests, one after the other in time, of which none may fail.
async fn send(envoy: &Envoy, requests: u64, trap: Option<&'static str>) -> Result<()> {
    let header = trap.map(|place| ("x-serin-trap", place));
    let plan = Plan { requests, header, ..Plan::new(envoy.address, Protocol::Http1) };
    let tally = load::run(plan).await?;
    assert_eq!((tally.sent, tally.ok), (requests, requests), "{trap:?}");
    Ok(())
}

/// FAIL_RELOAD: a later request has a new VM. Missing is what the old one had not delivered, and what came before the new one,
/// which Envoy makes no sooner than about a second after the old one.
#[tokio::test(flavor = "multi_thread")]
async fn with_the_access_logger() -> Result<()> {
    let shop = Shop::open(1, 0.1).await?;
    let (envoy, serin) = start(&shop, ACCESS_LOG).await?;
    let (mut lost, mut lost_at_most) = (0, 0);
    for (trapped, place) in ["log", "tick"].into_iter().enumerate() {
        send(&envoy, 200, None).await?;
        let delivered = envoy.idle(SOON).await? - lost;
        serin.counts(delivered, SOON).await?;
        send(&envoy, 1, Some(place)).await?;
        poll::until("the trap", SOON, async || Ok((traps(&envoy) > trapped).then_some(()))).await?;
        lost_at_most += 1;
        let resumed = poll::until("counting to resume", SOON, async || {
            send(&envoy, 1, None).await?;
            lost_at_most += 1;
            Ok((serin.requests(&[]).await? > delivered).then_some(()))
        });
        resumed.await?;
        // All that was sent is delivered when what is sent last is: these have a series of their own.
        let plan = Plan { answer: "418", ..Plan::new(envoy.address, Protocol::Http1) };
        let marks = serin.requests(&[("outcome", "client_error")]).await? + load::run(plan).await?.client_errors;
        let arrived = async || Ok((serin.requests(&[("outcome", "client_error")]).await? == marks).then_some(()));
        poll::until("the last requests to arrive", SOON, arrived).await?;
        lost = envoy.idle(SOON).await? - serin.requests(&[]).await?;
        assert!((1..=lost_at_most).contains(&lost), "{place}: {lost} lost of {lost_at_most} that might be");
    }
    // The loss is shown, as soon as what Envoy says is old enough to be held against what was counted.
    let shown = async || {
        let proxies = serin.query().list_proxies(ListProxiesRequest {}).await?.into_inner().proxies;
        let missing = proxies.iter().map(|proxy| proxy.missing).sum::<u64>();
        assert!(missing <= lost, "{missing} missing, {lost} lost");
        Ok((missing == lost).then_some(()))
    };
    poll::until("serin to show what is missing", Duration::from_secs(60), shown).await
}

/// `fail_open: true`: even the request that meets the trap is answered by the service. Nothing counts any more.
#[tokio::test(flavor = "multi_thread")]
async fn with_the_http_filter() -> Result<()> {
    for place in ["headers", "log", "tick"] {
        let shop = Shop::open(1, 0.1).await?;
        let (envoy, serin) = start(&shop, HTTP_FILTER).await?;
        send(&envoy, 100, None).await?;
        serin.counts(envoy.idle(SOON).await?, SOON).await?;
        send(&envoy, 1, Some(place)).await?;
        poll::until("the trap", SOON, async || Ok((traps(&envoy) > 0).then_some(()))).await?;
        send(&envoy, 100, None).await?;
        assert_eq!(envoy.idle(SOON).await?, 201, "{place}");
        assert_eq!(serin.requests(&[]).await?, 100, "{place}");
    }
    Ok(())
}
