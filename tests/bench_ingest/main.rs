//! `make bench-ingest`: what taking in reports costs, through the real gRPC, durable before they are acknowledged.
//!
//! Each simulated sidecar has one reporter that sends reports like a real one's, 20 series with 30 to 60 non-empty buckets in both timings, as
//! fast as they are acknowledged; with `NATS_SERVERS=1` or `3` these are what it is durable in. What counts is the CPU time of the `serin` process (`/proc/PID/stat`), so the load beside it does not.
#![expect(clippy::print_stdout, reason = "a program that prints figures")]

mod prometheus;
mod shared;
mod sidecar;

use std::{fs, time::Duration};

use anyhow::{Context, Result};
use serde_json::json;
use support::{poll, serin, serin::Serin};
use tokio::{task::JoinSet, time::Instant};

/// What is simulated unless the environment says otherwise.
const SIDECARS: usize = 32;
const SECONDS: u64 = 15;

fn from_environment<T: std::str::FromStr>(name: &str, default: T) -> T {
    std::env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(default)
}

#[tokio::main]
async fn main() -> Result<()> {
    let (sidecars, seconds) = (from_environment("SIDECARS", SIDECARS), from_environment("SECONDS_LONG", SECONDS));
    let dir = tempfile::Builder::new().prefix("serin-bench-").tempdir()?;
    let config = serin::configure(dir.path(), &dir.path().join("rds.yaml"))?;
    let log = dir.path().join("serin.log");
    let (nats, serin) = match from_environment("NATS_SERVERS", 0) {
        0 => (None, Serin::start(&config, &log).await?),
        servers => shared::start(servers, dir.path(), &config, &log).await.map(|(nats, serin)| (Some(nats), serin))?,
    };
    let (idle, before) = (serin.process.resident_bytes()?, serin.process.cpu_s()?);
    let nats_before = nats.as_ref().map(shared::cpu_s).transpose()?;
    let until = Instant::now() + Duration::from_secs(seconds);
    let mut load = JoinSet::new();
    (0..sidecars).for_each(|at| drop(load.spawn(sidecar::run(serin.grpc, at, until))));
    let mut sent = sidecar::Sent::default();
    while let Some(one) = load.join_next().await {
        sent.add(one??);
    }
    let cpu = serin.process.cpu_s()? - before;
    let memory = serin.process.resident_bytes()?.saturating_sub(idle);
    poll::until("every report to be counted", Duration::from_secs(10), async || {
        Ok((serin.requests(&[]).await? == sent.requests).then_some(()))
    })
    .await?;
    if let (Some(nats), Some(nats_before)) = (&nats, nats_before) {
        return shared::tell(nats, shared::cpu_s(nats)? - nats_before, cpu, memory, &sent).await;
    }
    let disk = fs::metadata(dir.path().join("serin-data/histograms.redb"))?.len();
    let series_per_core = sent.series as f64 / cpu;
    let disk_per_delta = disk as f64 / sent.series as f64;
    println!(
        "{sidecars} sidecars, {seconds} s: {} reports, {} series, acknowledged when on disk",
        sent.reports, sent.series
    );
    println!("{:.0} series/s per core ({:.1} us of CPU each); reach 300,000", series_per_core, 1e6 / series_per_core);
    println!(
        "{:.0} B of memory for each series and second of the live window; {disk_per_delta:.0} B of disk, before it is rolled up",
        memory as f64 / sent.series as f64
    );
    drop(serin);
    let beside = prometheus::compare(dir.path()).await?;
    let (classic, native) = match &beside {
        Some(cost) => tell(cost)?,
        None => {
            println!("Prometheus is not installed (Debian: apt-get install prometheus): not compared");
            (None, None)
        }
    };
    let history = fs::read_to_string("target/bench/history.json").context("run `make bench-history` before")?;
    let history: serde_json::Value = serde_json::from_str(&history)?;
    let result = json!({
        "series_per_s_per_core": series_per_core,
        "cpu_ratio_prometheus_classic": classic,
        "cpu_ratio_prometheus_native": native,
        "bytes_per_live_series": beside.as_ref().map(|cost| cost.bytes_per_series),
        "disk_bytes_per_series_day": history.get("disk_bytes_per_series_day"),
        "query_15d_ms": history.get("query_15d_ms"),
        "bytes_per_live_series_second": memory as f64 / sent.series as f64,
        "disk_bytes_per_series_second": disk_per_delta,
        "cpu_s": cpu,
    });
    fs::write("target/bench/ingest.json", serde_json::to_string_pretty(&result)?)?;
    Ok(())
}

/// Prints what Prometheus took for the same, and returns by how much it is more.
fn tell(cost: &prometheus::Cost) -> Result<(Option<f64>, Option<f64>)> {
    let prometheus::Cost { serin, classic, native, bytes_per_series } = cost;
    let (by_classic, by_native) = prometheus::ratios(cost)?;
    println!("one second of 1,000 sidecars (40,000 histograms), side by side:");
    println!("  serin {:.0} ms of CPU; {bytes_per_series:.0} B of memory a live series", 1e3 * serin);
    println!("  Prometheus, classic, 20 buckets: {:.0} ms, {by_classic:.1} times as much; reach 20", 1e3 * classic);
    println!("  Prometheus, native: {:.0} ms, {by_native:.1} times as much; reach 5", 1e3 * native);
    Ok((Some(by_classic), Some(by_native)))
}
