//! Everything together: two releases, the Envoy in front, `serin`, and a proxy between those two.

use std::{path::PathBuf, time::Duration};

use anyhow::Result;

use crate::{
    envoy::Envoy,
    gateway::Shop,
    proxy::Proxy,
    serin::{self, Serin},
};

/// How long Envoy's requests may take to end: the route's timeout is 3 s.
const ENDED_WITHIN: Duration = Duration::from_secs(15);
/// How long the filters' last reports may take: a tick of 1 s and a round trip, or the wait before connecting anew.
const REPORTED_WITHIN: Duration = Duration::from_secs(30);

/// All running. `serin` is absent until [`Rig::serin`] starts it.
#[derive(Debug)]
pub struct Rig {
    /// In front of the releases, with two workers.
    pub envoy: Envoy,
    /// Between Envoy and `serin`.
    pub proxy: Proxy,
    /// The releases, and the directory.
    pub shop: Shop,
    config: PathBuf,
}

impl Rig {
    /// Starts Envoy in front of a shop, from a shipped bootstrap.
    ///
    /// # Errors
    /// When something does not start.
    pub async fn start(shop: Shop, file: &str) -> Result<Self> {
        let proxy = Proxy::start(None).await?;
        let config = serin::configure(shop.dir(), &shop.routes)?;
        let envoy = shop.gateway(file, 2, proxy.address).await?;
        Ok(Rig { envoy, proxy, shop, config })
    }

    /// Starts `serin`, again or for the first time, and lets Envoy reach it.
    ///
    /// # Errors
    /// When it does not start.
    pub async fn serin(&self) -> Result<Serin> {
        let serin = Serin::start(&self.config, &self.shop.dir().join("serin.log")).await?;
        self.proxy.heal(serin.grpc);
        Ok(serin)
    }

    /// Waits until Envoy is idle and `serin` has counted as many requests as Envoy, and returns how many.
    ///
    /// # Errors
    /// When the two do not come to agree.
    pub async fn agree(&self, serin: &Serin) -> Result<u64> {
        let ended = self.envoy.idle(ENDED_WITHIN).await?;
        serin.counts(ended, REPORTED_WITHIN).await?;
        Ok(ended)
    }
}
