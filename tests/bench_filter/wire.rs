//! Bytes on the wire for the demo's traffic: two releases of three instances, 500 requests/s, pods told apart.

use std::{collections::BTreeMap, time::Duration};

use anyhow::Result;
use serin_proto::v1::Series;
use support::{
    collector::{Arrived, Collector, Timings},
    gateway::{ACCESS_LOG, Shop},
    load::{self, Arrivals, Plan, Protocol},
    poll,
};

use crate::exposition::{otlp, prometheus};

const RATE_PER_S: f64 = 500.0;
const SECONDS: u64 = 20;
/// Messages at the start, which define the series.
const FIRST: usize = 4;

/// Bytes of a series in a second, with both timings.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Wire {
    pub(crate) serin: f64,
    pub(crate) prometheus_text: f64,
    pub(crate) otlp: f64,
    /// Series-seconds that these are means of.
    pub(crate) series: u64,
    /// The largest memory that a worker's module said it has.
    pub(crate) memory_bytes: u64,
}

/// Measures all three on the same reports of a real Envoy with one worker.
pub(crate) async fn measure() -> Result<Wire> {
    let (shop, collector) = (Shop::open(3, 1.0).await?, Collector::start().await?);
    let envoy = shop.gateway(ACCESS_LOG, 1, collector.address).await?;
    let requests = RATE_PER_S as u64 * SECONDS;
    let plan = Plan {
        rate_per_s: RATE_PER_S,
        requests,
        arrivals: Arrivals::Poisson(1),
        ..Plan::new(envoy.address, Protocol::Http1)
    };
    load::run(plan).await?;
    let all = envoy.idle(Duration::from_secs(10)).await?;
    let arrived = async || Ok(collector.look(|seen| seen.requests() == all).then_some(()));
    poll::until("all requests to be reported", Duration::from_secs(10), arrived).await?;
    Ok(collector.look(|seen| sizes(&seen.arrived)))
}

/// The main thread's reports, which are heartbeats, are left out.
fn sizes(arrived: &[Arrived]) -> Wire {
    let mut since_start: BTreeMap<String, Timings> = BTreeMap::new();
    let mut sum = Wire::default();
    let reports = arrived.iter().filter(|message| !message.deltas.is_empty());
    for (at, message) in reports.enumerate() {
        let is_steady = at >= FIRST;
        sum.memory_bytes = sum.memory_bytes.max(message.state.memory_bytes);
        sum.serin += if is_steady { message.bytes as f64 } else { 0.0 };
        for (series, delta) in &message.deltas {
            let all = since_start.entry(format!("{series:?}")).or_default();
            all.upstream.merge(&delta.upstream);
            all.total.merge(&delta.total);
            if is_steady {
                sum.series += 1;
                sum.prometheus_text += scrape(series, all) as f64;
                sum.otlp += (otlp(series, &delta.upstream) + otlp(series, &delta.total)) as f64;
            }
        }
    }
    let each = |bytes: f64| bytes / sum.series.max(1) as f64;
    Wire { serin: each(sum.serin), prometheus_text: each(sum.prometheus_text), otlp: each(sum.otlp), ..sum }
}

fn scrape(series: &Series, all: &Timings) -> usize {
    prometheus("serin_upstream_seconds", series, &all.upstream) + prometheus("serin_total_seconds", series, &all.total)
}
