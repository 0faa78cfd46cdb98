//! The plugin configurations in `envoy-configs/local` say what they mean to say: the filter has no complaint, and labels
//! requests with the service and the release.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use anyhow::Result;
use serde_json::json;
use support::{
    bootstrap::Bootstrap,
    envoy::Envoy,
    gateway::{ACCESS_LOG, HTTP_FILTER, Shop},
    load::{self, Plan, Protocol},
    poll,
    serin::{self, Serin},
    service::Release,
};

const SIDECAR: &str = "sidecar-inbound.yaml";
const SOON: Duration = Duration::from_secs(30);
/// Discard: nobody listens there.
const NOBODY: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 9);

fn complaints(envoy: &Envoy) -> Vec<String> {
    envoy.process.log().lines().filter(|line| line.contains("serin: ")).map(str::to_owned).collect()
}

/// The filter is configured before Envoy is ready, so what it has to say is said.
#[tokio::test(flavor = "multi_thread")]
async fn in_the_gateways() -> Result<()> {
    for file in [ACCESS_LOG, HTTP_FILTER] {
        let shop = Shop::open(1, 0.1).await?;
        let envoy = shop.gateway(file, 1, NOBODY).await?;
        assert_eq!(complaints(&envoy), [""; 0], "{file}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn in_the_sidecar() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let app = Release::start(1, 0.1).await?;
    let config = serin::configure(dir.path(), &dir.path().join("rds.yaml"))?;
    // Judged where it is measured.
    fs::write(&config, fs::read_to_string(&config)?.replace("vantage: gateway", "vantage: inbound"))?;
    let serin = Serin::start(&config, &dir.path().join("serin.log")).await?;
    let bootstrap = Bootstrap::shipped(SIDECAR)?.cluster("app", &app.addresses)?.cluster("serin", &[serin.grpc])?;
    let envoy = Envoy::start(&bootstrap, 1, dir.path()).await?;
    assert_eq!(complaints(&envoy), [""; 0]);

    assert_eq!(load::run(Plan::new(envoy.address, Protocol::Http1)).await?.ok, 100);
    serin.counts(envoy.idle(SOON).await?, SOON).await?;
    let labels = [("service", "shop"), ("release", "v2"), ("vantage", "inbound"), ("outcome", "success")];
    assert_eq!(serin.requests(&labels).await?, 100);
    assert_eq!(serin.compare(0).await?.candidate.map(|candidate| candidate.requests), Some(100));
    Ok(())
}

/// A configuration that means nothing is said to be one, and hurts nobody.
#[tokio::test(flavor = "multi_thread")]
async fn and_complains_of_a_mistake() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let app = Release::start(1, 0.1).await?;
    let bootstrap = Bootstrap::shipped(SIDECAR)?.cluster("app", &app.addresses)?;
    let mistake = bootstrap.replacing("configuration", "value", &json!(r#"{"clutser": "serin"}"#))?;
    let envoy = Envoy::start(&mistake, 1, dir.path()).await?;
    let said = async || Ok(complaints(&envoy).into_iter().find(|line| line.contains("clutser")));
    poll::until("the filter to name the key", SOON, said).await?;
    assert_eq!(load::run(Plan::new(envoy.address, Protocol::Http1)).await?.ok, 100);
    Ok(())
}
