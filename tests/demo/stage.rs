//! Everything that runs: `serin`, the releases, Envoy and the load.

use std::time::Duration;

use anyhow::{Context, Result};
use support::{
    artifacts,
    envoy::Envoy,
    gateway::{ACCESS_LOG, Shop},
    load::{Arrivals, Load, Plan, Protocol},
    serin::{self, Serin},
};

use crate::screen;

const INSTANCES: usize = 3;
/// The load ends by itself after this, whatever happens to the rest.
const LOAD_ENDS_AFTER_S: f64 = 900.0;

/// Dropping it stops everything, the load first.
pub(crate) struct Stage {
    pub(crate) load: Load,
    pub(crate) envoy: Envoy,
    pub(crate) serin: Serin,
    pub(crate) shop: Shop,
}

impl Stage {
    /// Starts everything, with half of the traffic for each release.
    pub(crate) async fn set(rate_per_s: f64) -> Result<Self> {
        // What is missing is said before anything starts.
        let (filter, _, _) = (artifacts::filter()?, artifacts::envoy()?, artifacts::serin()?);
        let shop = Shop::open(INSTANCES, 1.0).await?;
        let config = serin::configure(shop.dir(), &shop.routes)?;
        let serin = Serin::start(&config, &shop.dir().join("serin.log")).await.context("serin did not start")?;
        screen::line(&format!("  serin    reports and queries at {}, metrics at {}", serin.grpc, serin.metrics));
        screen::line(&format!("  shop     v1 and v2, {INSTANCES} instances each: p50 40 ms, p99 156 ms"));
        let envoy = shop.gateway(ACCESS_LOG, 2, serin.grpc).await.context("Envoy did not start")?;
        let filter = filter.file_name().unwrap_or_default().display();
        screen::line(&format!("  envoy    at {}, half of the requests to each release, with {filter}", envoy.address));
        let load = Load::start(Plan {
            rate_per_s,
            arrivals: Arrivals::Poisson(1),
            requests: (rate_per_s * LOAD_ENDS_AFTER_S) as u64,
            timeout: Duration::from_secs(10),
            ..Plan::new(envoy.address, Protocol::Http1)
        })?;
        screen::line(&format!("  load     {rate_per_s} requests/s, sent whether or not earlier ones were answered\n"));
        Ok(Stage { load, envoy, serin, shop })
    }
}
