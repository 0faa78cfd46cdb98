//! The `serin` binary, as a user starts it.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use serin_proto::v1::{CompareRequest, CompareResponse, Decision, ListDecisionsRequest, query_client::QueryClient};
use tonic::transport::{Channel, Endpoint};

use crate::{artifacts, poll, process::Process};

/// How long `serin` may take until it listens.
const READY_WITHIN: Duration = Duration::from_secs(20);
/// How long an answer may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// A running `serin serve`. Dropping it ends it.
#[derive(Debug)]
pub struct Serin {
    /// Where filters report and queries are answered.
    pub grpc: SocketAddr,
    /// Where Prometheus scrapes.
    pub metrics: SocketAddr,
    /// The process.
    pub process: Process,
    channel: Channel,
}

/// Writes a `serin.yaml` to `dir` that judges v2 of the service `shop` against v1 at the gateway, and rolls back
/// in the RDS file `routes`.
///
/// # Errors
/// When the file cannot be written.
pub fn configure(dir: &Path, routes: &Path) -> Result<PathBuf> {
    let quoted = |path: &Path| serde_json::to_string(path);
    let text = format!(
        "listen: {{ grpc: \"127.0.0.1:0\", metrics: \"127.0.0.1:0\" }}\n\
         data_dir: {data}\n\
         services:\n\
         - name: shop\n\
         \x20 vantage: gateway\n\
         \x20 baseline: v1\n\
         \x20 candidate: v2\n\
         \x20 rollback:\n\
         \x20   confirm_within: 15s\n\
         \x20   envoy_rds: {{ file: {routes}, cluster: \"shop-{{release}}\" }}\n",
        data = quoted(&dir.join("serin-data"))?,
        routes = quoted(routes)?,
    );
    let file = dir.join("serin.yaml");
    fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))?;
    Ok(file)
}

impl Serin {
    /// Starts `serin serve --config FILE` and waits until it listens. What it says goes to `log`.
    ///
    /// # Errors
    /// When it was not built, or ends, or does not listen in time; with its last words.
    pub async fn start(config: &Path, log: &Path) -> Result<Self> {
        Self::start_with(config, log, &[]).await
    }

    /// The same with more arguments.
    ///
    /// # Errors
    /// As above.
    pub async fn start_with(config: &Path, log: &Path, arguments: &[&str]) -> Result<Self> {
        Self::start_in(config, log, arguments, &[]).await
    }

    /// The same, with variables in its environment, too.
    ///
    /// # Errors
    /// As above.
    pub async fn start_in(
        config: &Path,
        log: &Path,
        arguments: &[&str],
        environment: &[(&str, &Path)],
    ) -> Result<Self> {
        let mut command = Command::new(artifacts::serin()?);
        command.arg("serve").arg("--config").arg(config).args(arguments);
        command.env("NO_COLOR", "1").envs(environment.iter().copied());
        // A log that is appended to (a restart) has old addresses in it.
        let before = fs::metadata(log).map_or(0, |metadata| usize::try_from(metadata.len()).unwrap_or(usize::MAX));
        let mut process = Process::start("serin", command, log.to_owned())?;
        let listening = poll::until("serin to listen", READY_WITHIN, async || {
            process.must_be_running()?;
            Ok(process.log().get(before..).and_then(addresses))
        });
        let (grpc, metrics) = match listening.await {
            Ok(addresses) => addresses,
            Err(error) => return Err(error.context(process.last_words())),
        };
        let endpoint = Endpoint::from_shared(format!("http://{grpc}"))?.timeout(ANSWER_WITHIN);
        Ok(Serin { grpc, metrics, process, channel: endpoint.connect_lazy() })
    }

    /// A client of the query API.
    pub fn query(&self) -> QueryClient<Channel> {
        QueryClient::new(self.channel.clone())
    }

    /// Both releases of `shop` over the last `window_s` seconds; 0 is the whole live window.
    ///
    /// # Errors
    /// When `serin` does not answer.
    pub async fn compare(&self, window_s: u32) -> Result<CompareResponse> {
        self.compare_of("shop", window_s).await
    }

    /// The same of another service.
    ///
    /// # Errors
    /// When `serin` does not answer.
    pub async fn compare_of(&self, service: &str, window_s: u32) -> Result<CompareResponse> {
        let request = CompareRequest { service: service.to_owned(), window_s };
        Ok(self.query().compare(request).await.context("serin does not compare")?.into_inner())
    }

    /// The decisions about `shop`, newest first.
    ///
    /// # Errors
    /// When `serin` does not answer.
    pub async fn decisions(&self) -> Result<Vec<Decision>> {
        self.decisions_of("shop").await
    }

    /// The same of another service.
    ///
    /// # Errors
    /// When `serin` does not answer.
    pub async fn decisions_of(&self, service: &str) -> Result<Vec<Decision>> {
        let request = ListDecisionsRequest { service: service.to_owned(), limit: 0 };
        Ok(self.query().list_decisions(request).await.context("serin lists no decisions")?.into_inner().decisions)
    }

    /// The requests in all its series that have all of these labels, from `serin_requests_total` at `/metrics`.
    ///
    /// # Errors
    /// When `serin` does not answer.
    pub async fn requests(&self, labels: &[(&str, &str)]) -> Result<u64> {
        self.metric("serin_requests_total", labels).await
    }

    /// The sum of a metric's samples that have all of these labels.
    ///
    /// # Errors
    /// When `serin` does not answer.
    pub async fn metric(&self, name: &str, labels: &[(&str, &str)]) -> Result<u64> {
        let text = poll::get(self.metrics, "/metrics").await.context("serin has no /metrics")?;
        Ok(sum(&text, name, labels))
    }

    /// Waits until it has counted this many requests in all, which is as soon as the filters' next reports are in.
    ///
    /// # Errors
    /// When it has counted another number when `within` is over, or more at any time.
    pub async fn counts(&self, requests: u64, within: Duration) -> Result<()> {
        let mut seen = 0;
        let exact = poll::until("serin's count to be Envoy's", within, async || {
            seen = self.requests(&[]).await?;
            ensure!(seen <= requests, "serin counted {seen} requests, Envoy {requests}");
            Ok((seen == requests).then_some(()))
        });
        exact.await.with_context(|| format!("serin counted {seen} requests, Envoy {requests}"))
    }
}

/// From a line such as `listening grpc=127.0.0.1:9400 metrics=127.0.0.1:9090`.
fn addresses(log: &str) -> Option<(SocketAddr, SocketAddr)> {
    let line =
        log.lines().find(|line| line.contains("listening") && line.contains("grpc=") && line.contains("metrics="))?;
    let after = |key: &str| line.split_once(key)?.1.split_whitespace().next()?.trim_matches('"').parse().ok();
    Some((after("grpc=")?, after("metrics=")?))
}

/// Adds up the samples of a counter in Prometheus' text format.
fn sum(text: &str, name: &str, labels: &[(&str, &str)]) -> u64 {
    let wanted: Vec<String> = labels.iter().map(|(label, value)| format!("{label}=\"{value}\"")).collect();
    // Another metric's name may begin with this one.
    let own = |line: &'_ str| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' ']));
    let samples = text.lines().filter(|line| own(line)).filter_map(|line| line.rsplit_once(' '));
    let matching = samples.filter(|(series, _)| wanted.iter().all(|label| series.contains(label)));
    matching.filter_map(|(_, value)| value.parse::<f64>().ok()).map(|value| value as u64).sum()
}
