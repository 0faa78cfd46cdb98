//! The same where NATS keeps it.

use std::{path::Path, time::Duration};

use anyhow::Result;
use support::{nats::Nats, poll, process::Process, serin::Serin};

use crate::sidecar::Sent;

const SOON: Duration = Duration::from_secs(60);
const PARTITIONS: usize = 16;

/// Starts so many servers and one aggregator, and waits until that has all partitions.
pub(crate) async fn start(servers: usize, dir: &Path, config: &Path, log: &Path) -> Result<(Nats, Serin)> {
    let nats = Nats::start(servers, dir).await?;
    let serin = Serin::start_with(config, log, &["--history", &Nats::url(&nats.addresses)]).await?;
    poll::until("all partitions to be judged", SOON, async || {
        Ok((serin.process.log().matches("judging from the log").count() >= PARTITIONS).then_some(()))
    })
    .await?;
    Ok((nats, serin))
}

/// CPU seconds of all servers.
pub(crate) fn cpu_s(nats: &Nats) -> Result<f64> {
    nats.processes().map(Process::cpu_s).sum()
}

/// Prints what it cost.
pub(crate) async fn tell(nats: &Nats, nats_s: f64, serin_s: f64, memory: u64, sent: &Sent) -> Result<()> {
    let servers = nats.processes().count();
    let series = sent.series as f64;
    println!("{} reports, {} series, acknowledged when {servers} NATS servers have them", sent.reports, sent.series);
    println!(
        "{:.1} us of CPU for each series and second in serin, which also counts it, and {:.1} us in NATS",
        1e6 * serin_s / series,
        1e6 * nats_s / series
    );
    // The simulated reports repeat themselves, and would be compressed to nearly nothing.
    println!(
        "{:.0} B of serin's memory, and {:.0} B on each server's disk before compression",
        memory as f64 / series,
        nats.message_bytes(0).await? as f64 / series
    );
    Ok(())
}
