//! What is lost when the proxy dies: at most what it had not delivered, and that is seen.

use std::time::Duration;

use anyhow::{Context, Result};
use serin_proto::{
    envoy_metrics::{
        Metric, MetricFamily, Node, StreamMetricsMessage, Value, metrics_service_client::MetricsServiceClient,
        stream_metrics_message::Identifier,
    },
    v1::{ListProxiesRequest, Proxy},
};
use support::{
    envoy::Envoy,
    gateway::{ACCESS_LOG, Shop},
    load::{Load, Plan, Protocol},
    poll,
    serin::{self, Serin},
};

/// A push is looked at when it is 15 s old.
const SOON: Duration = Duration::from_secs(60);
const RATE_PER_S: u64 = 250;
/// A tick of a second, and as much for a round trip and what a busy machine takes for both.
const UNDELIVERED_S: u64 = 2;

async fn proxy(serin: &Serin) -> Result<Proxy> {
    let proxies = serin.query().list_proxies(ListProxiesRequest {}).await?.into_inner().proxies;
    proxies.into_iter().find(|proxy| proxy.node_id == "gateway-1").context("serin does not know the proxy")
}

/// `serin`, and then a proxy that reports to it.
struct Running {
    shop: Shop,
    envoy: Envoy,
    serin: Serin,
}

async fn open() -> Result<Running> {
    let shop = Shop::open(2, 0.1).await?;
    let config = serin::configure(shop.dir(), &shop.routes)?;
    let serin = Serin::start(&config, &shop.dir().join("serin.log")).await?;
    let envoy = shop.gateway(ACCESS_LOG, 2, serin.grpc).await?;
    Ok(Running { shop, envoy, serin })
}

fn load(running: &Running) -> Result<Load> {
    Load::start(Plan {
        rate_per_s: RATE_PER_S as f64,
        requests: 30_000,
        ..Plan::new(running.envoy.address, Protocol::Http1)
    })
}

/// Load on the proxy until Envoy's own count has been held against serin's and nothing was missing.
async fn start() -> Result<(Running, Load)> {
    let running = open().await?;
    let load = load(&running)?;
    let agreed = async || {
        let Ok(proxy) = proxy(&running.serin).await else { return Ok(None) };
        assert_eq!(proxy.missing, 0, "{proxy:?}");
        Ok(proxy.ended.filter(|ended| *ended > RATE_PER_S))
    };
    poll::until("Envoy to push its count", SOON, agreed).await?;
    assert_eq!(proxy(&running.serin).await?.workload, "local", "the cluster of its node");
    Ok((running, load))
}

/// Waits until the last that Envoy said is old enough to be held against what was counted.
async fn settled(serin: &Serin, at_least: u64) -> Result<Proxy> {
    let late = async || Ok(Some(proxy(serin).await?).filter(|proxy| proxy.ended >= Some(at_least)));
    poll::until("Envoy's last count", SOON, late).await
}

#[expect(clippy::print_stdout, reason = "a measured figure")]
async fn dies(end: impl FnOnce(&mut Envoy)) -> Result<()> {
    let (Running { mut envoy, serin, shop: _shop }, load) = start().await?;
    let said = envoy.requests_ended().await?;
    end(&mut envoy);
    let tally = load.stop(Duration::from_secs(1)).await;
    // Answered by Envoy, whoever heard of it.
    let counted = serin.requests(&[]).await?;
    assert!(counted <= tally.sent, "{counted} of {}", tally.sent);
    let lost = tally.ok.saturating_sub(counted);
    println!("{lost} of {} requests lost, at {RATE_PER_S}/s", tally.ok);
    assert!(lost <= RATE_PER_S * UNDELIVERED_S, "{lost} requests lost");
    // What Envoy had said before the end and was not delivered is missing, and no more than that.
    let proxy = settled(&serin, said.saturating_sub(RATE_PER_S * UNDELIVERED_S)).await?;
    assert_eq!(proxy.counted, counted);
    assert!(proxy.missing <= lost, "{proxy:?}, {lost} lost");
    Ok(())
}

/// Says in the proxy's place how many requests it had.
async fn push(serin: &Serin, requests: u64) -> Result<()> {
    let counter = Metric { counter: Some(Value { value: requests as f64 }), gauge: None };
    let family = MetricFamily { name: "http.gateway.downstream_rq_total".to_owned(), metric: vec![counter] };
    let identifier = Identifier { node: Some(Node { id: "gateway-1".to_owned() }) };
    let message = StreamMetricsMessage { identifier: Some(identifier), envoy_metrics: vec![family] };
    let mut client = MetricsServiceClient::connect(format!("http://{}", serin.grpc)).await?;
    client.stream_metrics(tokio_stream::iter([message])).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn at_once() -> Result<()> {
    dies(|envoy| envoy.process.kill()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn when_told_to() -> Result<()> {
    dies(|envoy| envoy.process.stop()).await
}

/// What Istio does, but for the seconds: drain, go on for a while, kill. Nothing is lost that ended before the last tick.
#[tokio::test(flavor = "multi_thread")]
async fn after_a_drain() -> Result<()> {
    let (Running { mut envoy, serin, shop: _shop }, load) = start().await?;
    poll::post(envoy.admin, "/drain_listeners?graceful&skip_exit").await.context("Envoy does not drain")?;
    let tally = load.stop(SOON).await;
    let ended = envoy.idle(SOON).await?;
    serin.counts(ended, SOON).await?;
    envoy.process.kill();
    assert!(ended >= tally.ok, "{ended} ended, {} answered", tally.ok);
    assert_eq!(settled(&serin, ended.saturating_sub(RATE_PER_S * UNDELIVERED_S)).await?.missing, 0);
    Ok(())
}

/// What the proxy said last, and its filters did not deliver any more: here said in its place, for how much that is must be known.
#[tokio::test(flavor = "multi_thread")]
async fn and_the_loss_is_seen() -> Result<()> {
    let mut running = open().await?;
    let load = load(&running)?;
    let serin = &running.serin;
    poll::until("reports", SOON, async || Ok((serin.requests(&[]).await? > RATE_PER_S).then_some(()))).await?;
    load.stop(SOON).await;
    let ended = running.envoy.idle(SOON).await?;
    serin.counts(ended, SOON).await?;
    running.envoy.process.kill();
    push(&running.serin, ended + 41).await?;
    let seen = async || Ok(Some(proxy(&running.serin).await?).filter(|proxy| proxy.missing > 0));
    let proxy = poll::until("the loss to be seen", SOON, seen).await?;
    assert_eq!((proxy.counted, proxy.ended, proxy.missing), (ended, Some(ended + 41), 41));
    assert_eq!(running.serin.metric("serin_proxy_requests_missing", &[]).await?, 41);
    Ok(())
}
