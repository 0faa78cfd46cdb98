//! Does a change of the filter's configuration under load lose or double a request? The old and the new context run
//! beside each other in one VM until the old filter chain has let go of its connections.

use std::time::Duration;

use anyhow::{Context, Result};
use support::{
    bootstrap::Bootstrap,
    envoy::Envoy,
    gateway::{ACCESS_LOG, Shop},
    load::{Load, Plan, Protocol},
    poll,
    proxy::Proxy,
    serin::{self, Serin},
};

const SOON: Duration = Duration::from_secs(30);

#[tokio::test(flavor = "multi_thread")]
async fn a_configuration_change_loses_nothing() -> Result<()> {
    let shop = Shop::open(2, 0.1).await?;
    let proxy = Proxy::start(None).await?;
    let bootstrap = Bootstrap::shipped(ACCESS_LOG)?.routes(&shop.routes)?.cluster("serin", &[proxy.address])?;
    let bootstrap = bootstrap.cluster("shop-v1", &shop.v1.addresses)?.cluster("shop-v2", &shop.v2.addresses)?;
    let (bootstrap, mut listener) = bootstrap.listener_in(&shop.dir().join("lds.json"))?;
    let envoy = Envoy::start(&bootstrap, 2, shop.dir()).await?;
    let config = serin::configure(shop.dir(), &shop.routes)?;
    let serin = Serin::start(&config, &shop.dir().join("serin.log")).await?;
    proxy.heal(serin.grpc);

    let load = Load::start(Plan { rate_per_s: 250.0, requests: 30_000, ..Plan::new(envoy.address, Protocol::Http1) })?;
    let plugin = listener.plugin().context("the listener has no filter")?.to_owned();
    for change in 1..=3u64 {
        // The last change finds the aggregator away, so that the old context has to keep what it counted.
        if change == 3 {
            proxy.cut();
        }
        let named = plugin.replace("\"fixed\": \"shop\"", &format!("\"fixed\": \"shop{change}\""));
        assert_ne!(named, plugin);
        listener.reconfigure(&named)?;
        // Envoy replaces the filter chain in place, and lets go of the old one with its connections.
        let replaced = async || {
            let stats = "^listener_manager.(listener_in_place_updated|total_filter_chains_draining)$";
            let stats = envoy.stats(stats).await?;
            let is = |name: &str, n: u64| stats.get(&format!("listener_manager.{name}")) == Some(&n);
            Ok((is("listener_in_place_updated", change) && is("total_filter_chains_draining", 0)).then_some(()))
        };
        poll::until("the old filter chain to be gone", SOON, replaced).await?;
        let sent = load.tally().sent;
        poll::until("more requests", SOON, async || Ok((load.tally().sent > sent + 200).then_some(()))).await?;
    }
    proxy.heal(serin.grpc);
    load.stop(SOON).await;
    let ended = envoy.idle(SOON).await?;
    serin.counts(ended, SOON).await?;
    Ok(())
}
