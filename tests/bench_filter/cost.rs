//! CPU time a request of each variant.

use std::{collections::BTreeMap, fs, net::SocketAddr, path::Path, process::Command, time::Duration};

use anyhow::{Context, Result, ensure};
use serde_json::json;
use support::{
    access_log::AccessLog,
    bootstrap::Bootstrap,
    collector::{Collected, Collector},
    envoy::Envoy,
    gateway::ACCESS_LOG,
    poll,
};

use crate::{
    cpu,
    report::{Cost, median},
    variant::{Around, VARIANTS, Variant},
};

/// Rounds before all Envoys are started anew: where code and data lie differs from start to start, by more than what is
/// measured.
const ROUNDS_A_START: usize = 5;
/// Requests before the first round: V8 makes its calls into and out of a module faster once they were made some thousand times.
const WARM_UP: u64 = 20_000;
const CONNECTIONS: &str = "8";

/// All that the variants have around them.
pub(crate) struct Stage {
    dir: tempfile::TempDir,
    upstream: Envoy,
    collector: Collector,
    sink: AccessLog,
}

impl Stage {
    pub(crate) async fn open() -> Result<Self> {
        let dir = tempfile::Builder::new().prefix("serin-bench-").tempdir()?;
        let upstream = upstream(dir.path()).await?;
        let (collector, sink) = (Collector::start().await?, AccessLog::sink().await?);
        cpu::pin(std::process::id(), false);
        Ok(Stage { dir, upstream, collector, sink })
    }

    /// Starts every variant.
    pub(crate) async fn variants(&self, routes: usize) -> Result<BTreeMap<Variant, Envoy>> {
        let (aggregator, sink) = (self.collector.address, self.sink.address);
        let around = Around { upstream: self.upstream.address, aggregator, sink, routes, dir: self.dir.path() };
        let mut started = BTreeMap::new();
        for variant in VARIANTS {
            started.insert(variant, variant.start(around).await?);
        }
        Ok(started)
    }
}

impl Stage {
    /// Waits until both attachments have reported so many requests each: what does not count is cheap.
    async fn all_counted(&self, each: u64) -> Result<()> {
        let counted = async || Ok((self.collector.look(Collected::requests) == 2 * each).then_some(()));
        poll::until("both attachments to have counted all requests", Duration::from_secs(20), counted).await
    }
}

/// An Envoy that answers by itself, at little cost.
async fn upstream(dir: &Path) -> Result<Envoy> {
    let dir = dir.join("upstream");
    fs::create_dir_all(&dir)?;
    let route = json!({ "match": { "prefix": "/" },
        "direct_response": { "status": 200, "body": { "inline_string": "{\"item\":\"finch\",\"price\":4}\n" } } });
    let routes = json!({ "virtual_hosts": [{ "name": "all", "domains": ["*"], "routes": [route] }] });
    let bootstrap = Bootstrap::shipped(ACCESS_LOG)?.connection_manager(|manager| {
        manager["access_log"] = json!([]);
        manager["route_config"] = routes;
        manager.as_object_mut().and_then(|manager| manager.remove("rds"));
    })?;
    let envoy = Envoy::start(&bootstrap, 1, &dir).await?;
    cpu::pin(envoy.process.id(), false);
    Ok(envoy)
}

/// Measures all variants.
pub(crate) async fn measure(
    http2: bool,
    routes: usize,
    rounds: usize,
    requests: u64,
) -> Result<BTreeMap<Variant, Cost>> {
    let stage = Stage::open().await?;
    let mut taken: BTreeMap<Variant, Vec<f64>> = BTreeMap::new();
    let mut running = BTreeMap::new();
    let mut sent = 0;
    for round in 0..rounds {
        if round % ROUNDS_A_START == 0 {
            stage.all_counted(sent).await?;
            running.clear();
            running = stage.variants(routes).await?;
            for envoy in running.values() {
                load(envoy.address, http2, routes, WARM_UP)?;
            }
            sent += WARM_UP;
        }
        sent += requests;
        // Each round begins with another one, so that none always follows the same.
        for at in 0..VARIANTS.len() {
            let variant = VARIANTS[(round + at) % VARIANTS.len()];
            let envoy = running.get(&variant).context("a variant is missing")?;
            let before = cpu::nanoseconds(envoy.process.id())?;
            load(envoy.address, http2, routes, requests)?;
            let took = cpu::nanoseconds(envoy.process.id())? - before;
            taken.entry(variant).or_default().push(took as f64 / 1_000.0 / requests as f64);
        }
    }
    stage.all_counted(sent).await?;
    let bare = taken.get(&Variant::Bare).cloned().unwrap_or_default();
    let cost = |us: &Vec<f64>| {
        let extra: Vec<f64> = us.iter().zip(&bare).map(|(us, bare)| us - bare).collect();
        Cost { cpu_us: median(us), extra_us: median(&extra), spread_us: crate::report::spread(&extra) }
    };
    Ok(taken.iter().map(|(variant, us)| (*variant, cost(us))).collect())
}

/// Sends requests as fast as they are answered, over the routes in turn.
fn load(target: SocketAddr, http2: bool, routes: usize, requests: u64) -> Result<()> {
    let mut command = Command::new("h2load");
    command.args(["-c", CONNECTIONS, "-n", &requests.to_string()]);
    if !http2 {
        command.arg("--h1");
    }
    command.args((0..routes).map(|route| format!("http://{target}/{route}/items")));
    let output = command.output().context("cannot run h2load: `apt-get install nghttp2-client` brings it")?;
    let text = String::from_utf8_lossy(&output.stdout);
    let all = format!("{requests} succeeded");
    ensure!(text.contains(&all), "h2load did not have all of {requests} requests answered:\n{text}");
    Ok(())
}
