//! `make bench-filter`: what the filter costs, beside what Envoy brings itself, all in one run.
//!
//! ```text
//! cost    interleaved rounds of the same requests through each variant ─► CPU time of each Envoy, from the kernel
//! delay   an open-loop load through each variant ─► latency at p50 and p99
//! wire    the shop's traffic ─► bytes a series and second, beside Prometheus text and OpenTelemetry
//! ```

mod cost;
mod cpu;
mod delay;
mod exposition;
mod report;
mod variant;
mod wire;

use anyhow::Result;
use clap::Parser;

use report::Results;

/// Measures what the filter costs.
#[derive(Debug, Parser)]
struct Options {
    /// Rounds of each comparison
    #[arg(long, env = "ROUNDS", default_value_t = 15)]
    rounds: usize,
    /// Requests of each variant in a round
    #[arg(long, env = "REQUESTS", default_value_t = 15_000)]
    requests: u64,
}

#[tokio::main]
async fn main() -> Result<()> {
    let options = Options::parse();
    let mut results = Results::default();
    for http2 in [false, true] {
        for routes in [1, 50] {
            let cost = cost::measure(http2, routes, options.rounds, options.requests).await?;
            results.add_cost(http2, routes, cost);
        }
        results.add_delay(http2, delay::measure(http2, options.rounds.min(5)).await?);
    }
    results.wire = wire::measure().await?;
    results.print();
    results.write()
}
