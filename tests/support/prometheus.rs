//! A real Prometheus.

use std::{
    fs,
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::{poll, process::Process};

const READY_WITHIN: Duration = Duration::from_secs(30);

/// A running Prometheus. Dropping it ends it.
#[derive(Debug)]
pub struct Prometheus {
    /// Where it answers.
    pub address: SocketAddr,
    /// The process.
    pub process: Process,
}

/// A program of Prometheus's (`prometheus`, `promtool`): `$PROMETHEUS_DIR`'s, else the one on the PATH, else where Debian's package has it. `None`
/// where it is not installed, which is an error when `SERIN_REQUIRE_PROMETHEUS` is set.
///
/// # Errors
/// When it must be there and is not.
pub fn program(name: &str) -> Result<Option<PathBuf>> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let given = std::env::var_os("PROMETHEUS_DIR").map(PathBuf::from);
    let mut places = given.into_iter().chain(std::env::split_paths(&path)).map(|directory| directory.join(name));
    let found = places.find(|path| path.is_file());
    if found.is_none() && std::env::var_os("SERIN_REQUIRE_PROMETHEUS").is_some() {
        bail!("{name} is not installed (Debian: apt-get install prometheus), and SERIN_REQUIRE_PROMETHEUS asks for it");
    }
    Ok(found)
}

impl Prometheus {
    /// Starts one that scrapes these every second, with more arguments, its files in `dir`.
    ///
    /// # Errors
    /// When it does not start.
    pub async fn start(program: &Path, scraped: &[SocketAddr], arguments: &[&str], dir: &Path) -> Result<Self> {
        let targets: Vec<String> = scraped.iter().map(SocketAddr::to_string).collect();
        let config = serde_json::json!({
            "global": { "scrape_interval": "1s", "scrape_timeout": "1s" },
            "scrape_configs": [{ "job_name": "serin", "static_configs": [{ "targets": targets }] }],
        });
        Self::configured(program, &config, arguments, dir).await
    }

    /// Starts one with this configuration.
    ///
    /// # Errors
    /// When it does not start.
    pub async fn configured(program: &Path, config: &Value, arguments: &[&str], dir: &Path) -> Result<Self> {
        fs::create_dir_all(dir)?;
        let file = dir.join("prometheus.yml");
        fs::write(&file, serde_json::to_vec(config)?)?;
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let mut command = Command::new(program);
        command.arg(format!("--config.file={}", file.display()));
        command.arg(format!("--storage.tsdb.path={}", dir.join("tsdb").display()));
        command.arg(format!("--web.listen-address={address}")).args(arguments);
        let mut process = Process::start("prometheus", command, dir.join("prometheus.log"))?;
        let ready = poll::until("Prometheus to be ready", READY_WITHIN, async || {
            process.must_be_running()?;
            Ok(poll::get(address, "/-/ready").await)
        });
        if let Err(error) = ready.await {
            return Err(error.context(process.last_words()));
        }
        Ok(Prometheus { address, process })
    }

    /// The values of an instant query, by their labels.
    ///
    /// # Errors
    /// When Prometheus does not take it.
    pub async fn query(&self, promql: &str) -> Result<Vec<(Value, f64)>> {
        let encoded: String = promql.bytes().map(|byte| format!("%{byte:02X}")).collect();
        let answer = poll::get(self.address, &format!("/api/v1/query?query={encoded}")).await;
        let answer: Value = serde_json::from_str(&answer.with_context(|| format!("Prometheus refuses {promql}"))?)?;
        ensure!(answer.pointer("/status") == Some(&Value::from("success")), "{promql}: {answer}");
        let results = answer.pointer("/data/result").and_then(Value::as_array).context("no result")?;
        let value = |result: &Value| {
            let labels = result.get("metric").cloned().unwrap_or_default();
            let value = result.pointer("/value/1").and_then(Value::as_str).and_then(|value| value.parse().ok());
            value.map(|value| (labels, value))
        };
        results.iter().map(|result| value(result).with_context(|| format!("{promql}: {result}"))).collect()
    }

    /// The only value of a query; `None` while there is none.
    ///
    /// # Errors
    /// When there are several.
    pub async fn value(&self, promql: &str) -> Result<Option<f64>> {
        let values = self.query(promql).await?;
        ensure!(values.len() <= 1, "{promql} has {} values: {values:?}", values.len());
        Ok(values.first().map(|(_, value)| *value))
    }
}

/// What `promtool` says of this input; its exit code must be 0.
///
/// # Errors
/// With what it found.
pub fn promtool(program: &Path, arguments: &[&str], input: &str) -> Result<String> {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn()?;
    let mut stdin = child.stdin.take().context("no input")?;
    std::io::Write::write_all(&mut stdin, input.as_bytes())?;
    drop(stdin);
    let output = child.wait_with_output()?;
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    ensure!(output.status.success(), "promtool {arguments:?}: {said}");
    Ok(said)
}
