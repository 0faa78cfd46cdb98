//! Does a change of the filter's configuration under load lose or double a request? The old and the new context run
//! beside each other in one VM until the old filter chain has let go of its connections.

use std::{fs, time::Duration};

use anyhow::{Context, Result};
use serde_json::{Value, json};
use support::{
    bootstrap::Bootstrap,
    envoy::Envoy,
    gateway::{ACCESS_LOG, HTTP_FILTER, Shop},
    load::{Load, Plan, Protocol},
    poll,
    proxy::Proxy,
    serin::{self, Serin},
};

const SOON: Duration = Duration::from_secs(30);

#[tokio::test(flavor = "multi_thread")]
async fn of_the_listener_with_the_access_logger() -> Result<()> {
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

/// The HTTP filter through extension configuration discovery, as Istio attaches it: no connection is drained, and requests that
/// began under the old configuration end under it.
#[tokio::test(flavor = "multi_thread")]
async fn of_the_http_filter_alone() -> Result<()> {
    let shop = Shop::open(2, 0.1).await?;
    let file = shop.dir().join("ecds.json");
    let config = serin::configure(shop.dir(), &shop.routes)?;
    let serin = Serin::start(&config, &shop.dir().join("serin.log")).await?;
    let proxy = Proxy::start(Some(serin.grpc)).await?;
    let mut filter = Value::Null;
    let bootstrap = shop.bootstrap(HTTP_FILTER, proxy.address)?.connection_manager(|manager| {
        let source = json!({ "resource_api_version": "V3", "path_config_source": { "path": file } });
        let discovery = json!({ "config_source": source, "type_urls": [filter_type()] });
        filter = std::mem::replace(
            &mut manager["http_filters"][0],
            json!({ "name": "serin", "config_discovery": discovery }),
        );
    })?;
    let write = |change: u64| -> Result<()> {
        let mut config = filter["typed_config"].clone();
        let plugin = config.pointer_mut("/config/configuration/value").context("the filter has no configuration")?;
        let text = plugin.as_str().unwrap_or_default().replace(r#""shop""#, &format!(r#""shop{change}""#));
        *plugin = json!(text);
        let kind = "type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig";
        let resource = json!({ "@type": kind, "name": "serin", "typed_config": config });
        // Envoy takes up what is moved over the old file.
        let fresh = file.with_extension("new");
        fs::write(&fresh, json!({ "resources": [resource] }).to_string())?;
        Ok(fs::rename(&fresh, &file)?)
    };
    write(0)?;
    let envoy = Envoy::start(&bootstrap, 2, shop.dir()).await?;
    let load = Load::start(Plan { rate_per_s: 250.0, requests: 30_000, ..Plan::new(envoy.address, Protocol::Http1) })?;
    for change in 1..=3 {
        // The last change finds the aggregator away.
        if change == 3 {
            proxy.cut();
        }
        write(change)?;
        let taken_up = async || {
            let reloads: u64 = envoy.stats("extension_config_discovery.*config_reload$").await?.values().sum();
            Ok((reloads > change).then_some(()))
        };
        poll::until("the new configuration to be taken up", SOON, taken_up).await?;
        let sent = load.tally().sent;
        poll::until("more requests", SOON, async || Ok((load.tally().sent > sent + 200).then_some(()))).await?;
    }
    proxy.heal(serin.grpc);
    let tally = load.stop(SOON).await;
    let ended = envoy.idle(SOON).await?;
    assert_eq!((tally.ok, ended), (tally.sent, tally.sent));
    serin.counts(ended, SOON).await
}

fn filter_type() -> &'static str {
    "type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm"
}
