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
    gateway::{ACCESS_LOG, Shop},
    load::{Load, Plan, Protocol},
    poll,
    rig::Rig,
    serin::Serin,
};

/// A push is looked at when it is 15 s old.
const SOON: Duration = Duration::from_secs(60);
const RATE_PER_S: u64 = 250;
/// A tick of a second, as much for a round trip and what the machine may take for both, and as much between two looks.
const UNDELIVERED_S: u64 = 3;

async fn proxy(serin: &Serin) -> Result<Proxy> {
    let proxies = serin.query().list_proxies(ListProxiesRequest {}).await?.into_inner().proxies;
    proxies.into_iter().find(|proxy| proxy.node_id == "gateway-1").context("serin does not know the proxy")
}

/// Load on the proxy until Envoy's own count has been held against serin's and nothing was missing.
async fn start() -> Result<(Rig, Serin, Load)> {
    let rig = Rig::start(Shop::open(2, 0.1).await?, ACCESS_LOG).await?;
    let serin = rig.serin().await?;
    let plan =
        Plan { rate_per_s: RATE_PER_S as f64, requests: 30_000, ..Plan::new(rig.envoy.address, Protocol::Http1) };
    let load = Load::start(plan)?;
    let agreed = async || {
        let Ok(proxy) = proxy(&serin).await else { return Ok(None) };
        assert_eq!(proxy.missing, 0, "{proxy:?}");
        Ok(proxy.ended.filter(|ended| *ended > RATE_PER_S))
    };
    poll::until("Envoy to push its count", SOON, agreed).await?;
    Ok((rig, serin, load))
}

/// Waits until the last that Envoy said is old enough to be held against what was counted.
async fn settled(serin: &Serin, at_least: u64) -> Result<Proxy> {
    let late = async || Ok(Some(proxy(serin).await?).filter(|proxy| proxy.ended >= Some(at_least)));
    poll::until("Envoy's last count", SOON, late).await
}

async fn dies(end: impl FnOnce(&mut Rig)) -> Result<()> {
    let (mut rig, serin, load) = start().await?;
    let said = rig.envoy.requests_ended().await?;
    end(&mut rig);
    let tally = load.stop(Duration::from_secs(1)).await;
    // Answered by Envoy, whoever heard of it.
    let counted = serin.requests(&[]).await?;
    assert!(counted <= tally.sent, "{counted} of {}", tally.sent);
    let lost = tally.ok.saturating_sub(counted);
    assert!(lost <= RATE_PER_S * UNDELIVERED_S, "{lost} requests lost");
    // All that Envoy had said before the end is accounted for: as counted or as missing.
    let proxy = settled(&serin, said.saturating_sub(RATE_PER_S * UNDELIVERED_S)).await?;
    assert_eq!(proxy.counted, serin.requests(&[]).await?);
    assert_eq!(proxy.missing, proxy.ended.unwrap_or(0).saturating_sub(proxy.counted));
    assert!(proxy.missing <= RATE_PER_S * UNDELIVERED_S, "{proxy:?}");
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
    dies(|rig| rig.envoy.process.kill()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn when_told_to() -> Result<()> {
    dies(|rig| rig.envoy.process.stop()).await
}

/// What Istio does, but for the seconds: drain, go on for a while, kill. Nothing is lost that ended before the last tick.
#[tokio::test(flavor = "multi_thread")]
async fn after_a_drain() -> Result<()> {
    let (mut rig, serin, load) = start().await?;
    poll::post(rig.envoy.admin, "/drain_listeners?graceful&skip_exit").await.context("Envoy does not drain")?;
    let tally = load.stop(SOON).await;
    let ended = rig.agree(&serin).await?;
    rig.envoy.process.kill();
    assert!(ended >= tally.ok, "{ended} ended, {} answered", tally.ok);
    assert_eq!(serin.requests(&[]).await?, ended);
    assert_eq!(settled(&serin, ended - RATE_PER_S * UNDELIVERED_S).await?.missing, 0);
    Ok(())
}

/// What the proxy said last, and its filters did not deliver any more: here said in its place, for how much that is must be known.
#[tokio::test(flavor = "multi_thread")]
async fn and_the_loss_is_seen() -> Result<()> {
    let shop = Shop::open(1, 0.1).await?;
    let mut rig = Rig::start(shop, ACCESS_LOG).await?;
    let serin = rig.serin().await?;
    let plan =
        Plan { rate_per_s: RATE_PER_S as f64, requests: 30_000, ..Plan::new(rig.envoy.address, Protocol::Http1) };
    let load = Load::start(plan)?;
    poll::until("reports", SOON, async || Ok((serin.requests(&[]).await? > RATE_PER_S).then_some(()))).await?;
    let tally = load.stop(SOON).await;
    let ended = rig.agree(&serin).await?;
    assert_eq!(ended, tally.sent);
    rig.envoy.process.kill();
    push(&serin, ended + 41).await?;
    let seen = async || Ok(Some(proxy(&serin).await?).filter(|proxy| proxy.missing > 0));
    let proxy = poll::until("the loss to be seen", SOON, seen).await?;
    assert_eq!((proxy.counted, proxy.missing), (ended, 41));
    let missing = serin.metric("serin_proxy_requests_missing", &[]).await?;
    assert_eq!(missing, 41);
    Ok(())
}
