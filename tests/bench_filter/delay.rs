//! Latency of each variant under an open-loop load.

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Context, Result, ensure};
use support::load::{self, Arrivals, Plan, Protocol};

use crate::{
    cost::Stage,
    report::{Delay, median},
    variant::{VARIANTS, Variant},
};

/// A tenth of what one worker can serve, so that what is measured is not a queue.
const RATE_PER_S: f64 = 1_000.0;
const REQUESTS: u64 = 3_000;

/// Measures all variants.
pub(crate) async fn measure(http2: bool, rounds: usize) -> Result<BTreeMap<Variant, Delay>> {
    let stage = Stage::open().await?;
    let running = stage.variants(1).await?;
    let mut taken: BTreeMap<Variant, Vec<(f64, f64)>> = BTreeMap::new();
    for round in 0..rounds {
        for at in 0..VARIANTS.len() {
            let variant = VARIANTS[(round + at) % VARIANTS.len()];
            let envoy = running.get(&variant).context("a variant is missing")?;
            let protocol = if http2 { Protocol::Http2 } else { Protocol::Http1 };
            let plan = Plan {
                path: "/0/items",
                rate_per_s: RATE_PER_S,
                requests: REQUESTS,
                arrivals: Arrivals::Poisson(round as u64),
                timeout: Duration::from_secs(5),
                ..Plan::new(envoy.address, protocol)
            };
            let tally = load::run(plan).await?;
            ensure!(tally.ok == REQUESTS, "{} of {REQUESTS} answered by {}", tally.ok, variant.name());
            let quantile = |q| tally.latency.quantile(q).map_or(0.0, |bucket| bucket.mid().0 as f64);
            taken.entry(variant).or_default().push((quantile(0.5), quantile(0.99)));
        }
    }
    let delay = |us: &Vec<(f64, f64)>| Delay {
        p50_us: median(&us.iter().map(|us| us.0).collect::<Vec<_>>()),
        p99_us: median(&us.iter().map(|us| us.1).collect::<Vec<_>>()),
    };
    Ok(taken.iter().map(|(variant, us)| (*variant, delay(us))).collect())
}
