//! `make soak`: 10,000 simulated sidecars, each with a connection of its own, report to one `serin serve` every second; does it go on like that?
//!
//! Each minute tells of memory, of CPU, and of how long acknowledgements take. It fails when the second half takes more memory or longer for an acknowledgement
//! than the first one. With `NATS_SERVERS=1` or `3` these keep what is reported, and it is told what they take; reports have both timings then.
#![expect(clippy::print_stdout, reason = "a program that prints figures")]

mod sidecar;
mod taken;

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use anyhow::{Result, ensure};
use support::{nats::Nats, poll, serin, serin::Serin};
use taken::Taken;
use tokio::{task::JoinSet, time::Instant};

const SIDECARS: usize = 10_000;
const MINUTES: usize = 10;
const MINUTE: Duration = Duration::from_secs(60);
/// Sidecars that connect each second: a mesh does not come all at once.
const CONNECTED_PER_S: usize = 1_000;
/// What memory may differ between minutes by itself: the allocator's and the store's own ways.
const SLACK: f64 = 1.15;

/// How long acknowledgements took since it was looked at.
pub(crate) type Lags = Arc<Mutex<Vec<Duration>>>;

struct Minute {
    resident_mb: f64,
    cpu_share: f64,
    p50_ms: f64,
    p99_ms: f64,
    reports: usize,
}

fn from_environment(name: &str, default: usize) -> usize {
    std::env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(default)
}

#[tokio::main]
async fn main() -> Result<()> {
    let (sidecars, minutes) = (from_environment("SIDECARS", SIDECARS), from_environment("MINUTES", MINUTES));
    let servers = from_environment("NATS_SERVERS", 0);
    let series = u32::try_from(from_environment("SERIES", 2))?;
    let contents = sidecar::Contents { series, both_timings: servers > 0 };
    let dir = tempfile::Builder::new().prefix("serin-soak-").tempdir()?;
    let config = serin::configure(dir.path(), &dir.path().join("rds.yaml"))?;
    let nats = if servers > 0 { Some(Nats::start(servers, dir.path()).await?) } else { None };
    let history = nats.as_ref().map(|nats| Nats::url(&nats.addresses));
    let arguments: Vec<&str> = history.iter().flat_map(|url| ["--history", url]).collect();
    let serin = Serin::start_with(&config, &dir.path().join("serin.log"), &arguments).await?;
    let lags = Lags::default();
    let mut load = JoinSet::new();
    let start = Instant::now();
    for at in 0..sidecars {
        let from = start + Duration::from_secs_f64(at as f64 / CONNECTED_PER_S as f64);
        load.spawn(sidecar::run(serin.grpc, at, contents, from, Arc::clone(&lags)));
    }
    println!("{sidecars} sidecars, {series} series each, one report a second; this takes {} min", minutes + 1);
    // The first minute is for connecting, and for the window that is kept by seconds.
    tokio::time::sleep(MINUTE).await;
    let mut seen = Vec::new();
    for minute in 1..=minutes {
        lags.lock().unwrap_or_else(PoisonError::into_inner).clear();
        let before = serin.process.cpu_s()?;
        let theirs = nats.as_ref().map(Taken::by).transpose()?;
        tokio::time::sleep(MINUTE).await;
        let mut took = std::mem::take(&mut *lags.lock().unwrap_or_else(PoisonError::into_inner));
        took.sort_unstable();
        let at = |q: f64| took.get((took.len() as f64 * q) as usize).map_or(f64::NAN, |lag| lag.as_secs_f64() * 1e3);
        let cpu_share = (serin.process.cpu_s()? - before) / MINUTE.as_secs_f64();
        let one = Minute {
            resident_mb: serin.process.resident_bytes()? as f64 / (1 << 20) as f64,
            cpu_share,
            p50_ms: at(0.5),
            p99_ms: at(0.99),
            reports: took.len(),
        };
        println!(
            "minute {minute}: {:.0} reports/s, {:.0} MB, {:.3} cores, acknowledged after {:.0} ms (p99 {:.0} ms)",
            one.reports as f64 / MINUTE.as_secs_f64(),
            one.resident_mb,
            one.cpu_share,
            one.p50_ms,
            one.p99_ms
        );
        if let Some((nats, theirs)) = nats.as_ref().zip(theirs) {
            println!("  NATS: {}", Taken::by(nats)?.since(&theirs, MINUTE));
        }
        while let Some(ended) = load.try_join_next() {
            ended??;
        }
        seen.push(one);
    }
    let shed = serin.metric("serin_streams_shed_total", &[]).await?;
    ensure!(shed == 0, "{shed} streams were shed: this machine is too small for that many");
    let counted = async || Ok(Some(serin.requests(&[]).await?).filter(|requests| *requests > 0));
    println!("{} requests counted", poll::until("requests to be counted", MINUTE, counted).await?);
    judge(&seen)
}

/// Whether the second half was like the first.
fn judge(minutes: &[Minute]) -> Result<()> {
    let (first, second) = minutes.split_at(minutes.len() / 2);
    let median = |half: &[Minute], of: fn(&Minute) -> f64| {
        let mut values: Vec<f64> = half.iter().map(of).collect();
        values.sort_by(f64::total_cmp);
        values.get(values.len() / 2).copied().unwrap_or_default()
    };
    let memory = [first, second].map(|half| median(half, |minute| minute.resident_mb));
    let lag = [first, second].map(|half| median(half, |minute| minute.p50_ms));
    ensure!(memory[1] <= memory[0] * SLACK, "memory grew from {:.0} to {:.0} MB", memory[0], memory[1]);
    // A gathering interval more or less is no growth.
    ensure!(lag[1] <= lag[0] * 2.0 + 100.0, "acknowledgements took {:.0} ms, and then {:.0} ms", lag[0], lag[1]);
    println!(
        "PASS: {:.0} MB, then {:.0} MB; acknowledged after {:.0} ms, then {:.0} ms",
        memory[0], memory[1], lag[0], lag[1]
    );
    Ok(())
}
