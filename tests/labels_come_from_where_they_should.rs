//! Each source of a label, on the real Envoy: is what the filter reads there what Envoy has? And what has none is `unknown`.

use std::time::Duration;

use anyhow::Result;
use serde_json::{Value, json};
use serin_proto::v1::Series;
use support::{
    collector::{Collected, Collector},
    envoy::Envoy,
    gateway::{ACCESS_LOG, HTTP_FILTER, Shop},
    load::{self, Plan, Protocol},
    poll,
};

const SOON: Duration = Duration::from_secs(30);

/// The labels of 10 requests of each kind, with these sources.
async fn labels(file: &str, sources: &Value) -> Result<Vec<(Series, u64)>> {
    let shop = Shop::open(1, 0.1).await?;
    let collector = Collector::start().await?;
    let mut bootstrap = shop.bootstrap(file, collector.address)?.change(|bootstrap| {
        bootstrap["node"]["metadata"] = json!({ "LABELS": { "app.kubernetes.io/version": "n3" } });
        let clusters = bootstrap["static_resources"]["clusters"].as_array_mut().into_iter().flatten();
        for cluster in clusters.filter(|cluster| cluster["name"] != "serin") {
            let metadata = json!({ "filter_metadata": { "envoy.lb": { "version": format!("host of {}", cluster["name"].as_str().unwrap()) } } });
            cluster["load_assignment"]["endpoints"][0]["lb_endpoints"][0]["metadata"] = metadata;
        }
    });
    for (key, source) in sources.as_object().into_iter().flatten() {
        bootstrap = bootstrap.plugin_key(key, source)?;
    }
    let envoy = Envoy::start(&bootstrap, 1, shop.dir()).await?;
    for (protocol, path) in [(Protocol::Http1, "/users/17?page=2"), (Protocol::Grpc, "/shop.v1.Shop/Get")] {
        assert_eq!(load::run(Plan { path, requests: 10, ..Plan::new(envoy.address, protocol) }).await?.ok, 10);
    }
    let all = async || Ok((collector.look(Collected::requests) == 20).then_some(()));
    poll::until("all requests to be reported", SOON, all).await?;
    Ok(collector.look(|seen| seen.series().map(|(series, timings)| (series.clone(), timings.total.total())).collect()))
}

fn count(all: &[(Series, u64)], is: impl Fn(&Series) -> bool) -> u64 {
    all.iter().filter(|(series, _)| is(series)).map(|(_, requests)| requests).sum()
}

async fn check(file: &str) -> Result<()> {
    let sources = json!({
        "service": { "node_metadata": ["LABELS", "app.kubernetes.io/version"] },
        "release": { "response_header": "X-Release" },
        "route": { "path_templates": ["/users/{id}"] },
        "pod": { "host_metadata": ["envoy.lb", "version"] },
    });
    let all = labels(file, &sources).await?;
    assert_eq!(count(&all, |series| series.service == "n3"), 20, "{all:?}");
    // Only HTTP answers have the header, and only their path fits.
    assert_eq!(count(&all, |series| series.release == "r7" && series.route == "/users/{id}"), 10, "{all:?}");
    assert_eq!(count(&all, |series| series.release == "unknown" && series.route == "unknown"), 10, "{all:?}");
    assert_eq!(count(&all, |series| ["host of shop-v1", "host of shop-v2"].contains(&&*series.pod)), 20, "{all:?}");

    let sources = json!({
        "service": "virtual_host",
        "release": { "node_label": "absent" },
        "route": "grpc_method",
        "pod": "node_id",
    });
    let all = labels(file, &sources).await?;
    let is = |series: &Series| series.service == "shop" && series.release == "unknown" && series.pod == "gateway-1";
    assert_eq!(count(&all, is), 20, "{all:?}");
    assert_eq!(count(&all, |series| series.route == "/shop.v1.Shop/Get"), 10, "{all:?}");
    assert_eq!(count(&all, |series| series.route == "unknown"), 10, "{all:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn with_the_access_logger() -> Result<()> {
    check(ACCESS_LOG).await
}

#[tokio::test(flavor = "multi_thread")]
async fn with_the_http_filter() -> Result<()> {
    check(HTTP_FILTER).await
}
