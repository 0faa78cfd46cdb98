//! What the NATS servers take.

use std::time::Duration;

use anyhow::Result;
use support::{nats::Nats, process::Process};

/// All of them together.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Taken {
    servers: usize,
    cpu_s: f64,
    resident_bytes: u64,
    written_bytes: u64,
}

impl Taken {
    /// Up to now; the memory is that of now.
    pub(crate) fn by(nats: &Nats) -> Result<Self> {
        Ok(Taken {
            servers: nats.processes().count(),
            cpu_s: nats.processes().map(Process::cpu_s).sum::<Result<f64>>()?,
            resident_bytes: nats.processes().map(Process::resident_bytes).sum::<Result<u64>>()?,
            written_bytes: nats.processes().map(Process::written_bytes).sum::<Result<u64>>()?,
        })
    }

    /// In words: what it is since this earlier time, so long ago.
    pub(crate) fn since(&self, before: &Taken, took: Duration) -> String {
        let (servers, seconds) = (self.servers as f64, took.as_secs_f64());
        let each_mb = |bytes: u64| bytes as f64 / servers / f64::from(1 << 20);
        format!(
            "{:.3} cores together; each server {:.0} MB of memory, {:.3} MB/s written to disk",
            (self.cpu_s - before.cpu_s) / seconds,
            each_mb(self.resident_bytes),
            each_mb(self.written_bytes - before.written_bytes) / seconds
        )
    }
}
