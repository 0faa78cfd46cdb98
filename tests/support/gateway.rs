//! The whole of what a user runs: two releases of the service `shop`, and an Envoy with the filter in front.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use serde_json::Value;
use tempfile::TempDir;

use crate::{
    bootstrap::{self, Bootstrap},
    envoy::Envoy,
    service::Release,
};

/// The shipped bootstrap with the filter as access logger.
pub const ACCESS_LOG: &str = "gateway-access-log.yaml";
/// The shipped bootstrap with the filter as HTTP filter.
pub const HTTP_FILTER: &str = "gateway-http-filter.yaml";

/// A directory of its own with the RDS file in it, and the two releases running.
#[derive(Debug)]
pub struct Shop {
    /// The stable release.
    pub v1: Release,
    /// The release on trial.
    pub v2: Release,
    /// The RDS file: a copy of the shipped one until somebody writes it.
    pub routes: PathBuf,
    dir: TempDir,
}

impl Shop {
    /// Starts this many instances of each release; `scale` multiplies all latencies.
    ///
    /// # Errors
    /// When there are no ports, or no files can be written.
    pub async fn open(instances: usize, scale: f64) -> Result<Self> {
        let dir = tempfile::Builder::new().prefix("serin-").tempdir().context("no temporary directory")?;
        let routes = dir.path().join("rds.yaml");
        fs::copy(bootstrap::directory().join("rds.yaml"), &routes).context("cannot copy rds.yaml")?;
        let (v1, v2) = (Release::start(instances, scale).await?, Release::start(instances, scale).await?);
        Ok(Shop { v1, v2, routes, dir })
    }

    /// Where files of this run belong.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Starts an Envoy in front, from a shipped bootstrap, that reports to `aggregator`.
    ///
    /// # Errors
    /// When Envoy does not start.
    pub async fn gateway(&self, file: &str, workers: usize, aggregator: SocketAddr) -> Result<Envoy> {
        Envoy::start(&self.bootstrap(file, aggregator)?, workers, self.dir()).await
    }

    /// A shipped bootstrap that leads to the releases of this shop, and reports to `aggregator`.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn bootstrap(&self, file: &str, aggregator: SocketAddr) -> Result<Bootstrap> {
        let bootstrap = Bootstrap::shipped(file)?.routes(&self.routes)?.cluster("serin", &[aggregator])?;
        bootstrap.cluster("shop-v1", &self.v1.addresses)?.cluster("shop-v2", &self.v2.addresses)
    }

    /// What weight the RDS file gives to a cluster.
    ///
    /// # Errors
    /// When the file cannot be read, or does not name the cluster.
    pub fn weight(&self, cluster: &str) -> Result<u64> {
        let text = fs::read_to_string(&self.routes)?;
        let routes: Value = serde_saphyr::from_str(&text).context("the RDS file is no YAML")?;
        let weights = "/resources/0/virtual_hosts/0/routes/0/route/weighted_clusters/clusters";
        let clusters = routes.pointer(weights).and_then(Value::as_array).context("the RDS file has no weights")?;
        let found = clusters.iter().find(|entry| entry.get("name").and_then(Value::as_str) == Some(cluster));
        let weight = found.and_then(|entry| entry.get("weight")?.as_u64());
        weight.with_context(|| format!("the RDS file has no weight for {cluster}"))
    }
}
