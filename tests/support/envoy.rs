//! A real Envoy.

use std::{collections::BTreeMap, fs, net::SocketAddr, path::Path, process::Command, time::Duration};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::{artifacts, bootstrap::Bootstrap, poll, process::Process};

/// How long Envoy may take until it takes traffic. Compiling the filter is most of it.
const READY_WITHIN: Duration = Duration::from_secs(60);

/// A running Envoy. Dropping it ends it.
#[derive(Debug)]
pub struct Envoy {
    /// Where it takes requests.
    pub address: SocketAddr,
    /// Where it tells of itself.
    pub admin: SocketAddr,
    /// The process.
    pub process: Process,
    stat_prefix: String,
}

impl Envoy {
    /// Starts Envoy with this many worker threads, its files in `dir`, and waits until it takes traffic.
    ///
    /// # Errors
    /// When there is no Envoy, or it does not get ready; with its last words.
    pub async fn start(bootstrap: &Bootstrap, workers: usize, dir: &Path) -> Result<Self> {
        let mut envoy = Self::start_at(bootstrap, workers, dir, SocketAddr::from(([127, 0, 0, 1], 0))).await?;
        let listeners = poll::get(envoy.admin, "/listeners?format=json").await.context("Envoy lists no listeners")?;
        envoy.address = listener_address(&listeners).with_context(|| envoy.process.last_words())?;
        Ok(envoy)
    }

    /// The same where it is known at which `address` Envoy takes requests.
    ///
    /// # Errors
    /// When there is no Envoy, or it does not get ready; with its last words.
    pub async fn start_at(bootstrap: &Bootstrap, workers: usize, dir: &Path, address: SocketAddr) -> Result<Self> {
        let (config, admin) = (dir.join("envoy.json"), dir.join("admin-address"));
        fs::write(&config, serde_json::to_vec_pretty(bootstrap.json())?)?;
        // One that ran here before has left its own.
        let _ = fs::remove_file(&admin);
        let mut command = Command::new(artifacts::envoy()?);
        command.arg("--disable-hot-restart").arg("-c").arg(&config).arg("--admin-address-path").arg(&admin);
        command.args(["--concurrency", &workers.to_string(), "--log-level", "warning"]);
        // A replaced listener lets go of its connections after 2 s.
        command.args(["--component-log-level", "wasm:info", "--drain-time-s", "2"]);
        let mut process = Process::start("envoy", command, dir.join("envoy.log"))?;

        let admin = poll::until("Envoy's admin address", READY_WITHIN, async || {
            process.must_be_running()?;
            Ok(fs::read_to_string(&admin).ok().and_then(|text| text.trim().parse().ok()))
        });
        let admin: SocketAddr = admin.await?;
        let ready = poll::until("Envoy to be ready", READY_WITHIN, async || {
            process.must_be_running()?;
            Ok(poll::get(admin, "/ready").await)
        });
        if let Err(error) = ready.await {
            return Err(error.context(process.last_words()));
        }
        Ok(Envoy { address, admin, process, stat_prefix: bootstrap.stat_prefix().to_owned() })
    }

    /// The statistics whose names match a regular expression (histograms left out).
    ///
    /// # Errors
    /// When Envoy does not answer.
    pub async fn stats(&self, filter: &str) -> Result<BTreeMap<String, u64>> {
        let filter = filter.replace('|', "%7C");
        let text = poll::get(self.admin, &format!("/stats?format=json&filter={filter}")).await;
        let all: Value = serde_json::from_str(&text.context("Envoy does not tell its statistics")?)?;
        let stats = all.get("stats").and_then(Value::as_array).context("no stats in Envoy's answer")?;
        let named = |stat: &Value| Some((stat.get("name")?.as_str()?.to_owned(), stat.get("value")?.as_u64()?));
        Ok(stats.iter().filter_map(named).collect())
    }

    /// Requests that began and are over: `downstream_rq_total - downstream_rq_active`, which is how many the
    /// filter must have counted.
    ///
    /// # Errors
    /// When Envoy does not answer.
    pub async fn requests_ended(&self) -> Result<u64> {
        let prefix = format!("http.{}.downstream_rq_", self.stat_prefix);
        let stats = self.stats(&format!("^{prefix}(total|active)$")).await?;
        let stat =
            |name: &str| stats.get(&format!("{prefix}{name}")).copied().with_context(|| format!("no {prefix}{name}"));
        Ok(stat("total")?.saturating_sub(stat("active")?))
    }

    /// Waits until no request is active, and returns how many there were.
    ///
    /// # Errors
    /// When some still are after `within`.
    pub async fn idle(&self, within: Duration) -> Result<u64> {
        let active = format!("http.{}.downstream_rq_active", self.stat_prefix);
        let idle = async || Ok((self.stats(&format!("^{active}$")).await?.get(&active) == Some(&0)).then_some(()));
        poll::until("Envoy's last request to end", within, idle).await?;
        self.requests_ended().await
    }
}

/// What `envoy --mode validate` says against a bootstrap file, run in the repository's root; nothing if it is valid.
///
/// # Errors
/// When it is not valid, or there is no Envoy.
pub fn validate(config: &Path) -> Result<()> {
    let mut command = Command::new(artifacts::envoy()?);
    command.args(["--mode", "validate", "--disable-hot-restart", "--log-level", "warning", "-c"]).arg(config);
    let output = command.current_dir(artifacts::root()).output().context("cannot start Envoy")?;
    if !output.status.success() {
        bail!("{} is not valid: {}", config.display(), String::from_utf8_lossy(&output.stderr));
    }
    Ok(())
}

fn listener_address(json: &str) -> Result<SocketAddr> {
    let all: Value = serde_json::from_str(json)?;
    let address = all.pointer("/listener_statuses/0/local_address/socket_address").context("Envoy has no listener")?;
    let ip = address.get("address").and_then(Value::as_str).context("the listener has no address")?;
    let port = address.get("port_value").and_then(Value::as_u64).context("the listener has no port")?;
    Ok(SocketAddr::new(ip.parse()?, u16::try_from(port)?))
}
