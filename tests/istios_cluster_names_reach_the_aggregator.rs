//! Does a filter reach the aggregator through a cluster that is named as Istio names it? Envoy makes the name the `:authority` of a
//! stream unless told otherwise, and gRPC servers reset streams whose authority has a `|`.

use std::time::Duration;

use anyhow::Result;
use serde_json::json;
use support::{
    collector::{Collected, Collector},
    envoy::Envoy,
    gateway::{ACCESS_LOG, HTTP_FILTER, Shop},
    load::{self, Plan, Protocol},
    poll,
};

const NAME: &str = "outbound|9400||serin.serin-system.svc.cluster.local";

async fn check(file: &str) -> Result<()> {
    let shop = Shop::open(1, 0.1).await?;
    let collector = Collector::start().await?;
    let bootstrap = shop.bootstrap(file, collector.address)?;
    let bootstrap =
        bootstrap.another_cluster("serin", NAME, &[collector.address])?.plugin_key("cluster", &json!(NAME))?;
    let envoy = Envoy::start(&bootstrap, 1, shop.dir()).await?;
    assert_eq!(load::run(Plan { requests: 10, ..Plan::new(envoy.address, Protocol::Http1) }).await?.ok, 10);
    let all = async || Ok((collector.look(Collected::requests) == 10).then_some(()));
    poll::until("all requests to be reported", Duration::from_secs(30), all).await
}

#[tokio::test]
async fn of_an_access_logger() -> Result<()> {
    check(ACCESS_LOG).await
}

#[tokio::test]
async fn of_an_http_filter() -> Result<()> {
    check(HTTP_FILTER).await
}
