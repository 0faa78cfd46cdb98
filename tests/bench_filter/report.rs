//! What was measured: a table for a person, and `target/bench/filter.json`.

use std::{collections::BTreeMap, fs};

use anyhow::Result;
use serde_json::{Map, Value, json};
use support::artifacts;

use crate::{variant::Variant, wire::Wire};

/// CPU time a request, in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Cost {
    /// All of it.
    pub(crate) cpu_us: f64,
    /// Beyond the bare Envoy of the same round.
    pub(crate) extra_us: f64,
    /// Between the quartiles of `extra_us`.
    pub(crate) spread_us: f64,
}

/// Latency, in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Delay {
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
}

/// All of it.
#[derive(Debug, Default)]
pub(crate) struct Results {
    cost: BTreeMap<(bool, usize), BTreeMap<Variant, Cost>>,
    delay: BTreeMap<bool, BTreeMap<Variant, Delay>>,
    pub(crate) wire: Wire,
}

/// The middle value, or the mean of the two in the middle; 0 where there is none.
pub(crate) fn median(values: &[f64]) -> f64 {
    quartile(values, 2)
}

/// From the first quartile to the third.
pub(crate) fn spread(values: &[f64]) -> f64 {
    quartile(values, 3) - quartile(values, 1)
}

/// By linear interpolation between neighbours (Hyndman and Fan's definition 7).
fn quartile(values: &[f64], quarter: usize) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let at = quarter as f64 / 4.0 * sorted.len().saturating_sub(1) as f64;
    let value = |at: f64| sorted.get(at as usize).copied().unwrap_or_default();
    value(at.floor()) + (value(at.ceil()) - value(at.floor())) * at.fract()
}

impl Results {
    pub(crate) fn add_cost(&mut self, http2: bool, routes: usize, cost: BTreeMap<Variant, Cost>) {
        self.cost.insert((http2, routes), cost);
    }

    pub(crate) fn add_delay(&mut self, http2: bool, delay: BTreeMap<Variant, Delay>) {
        self.delay.insert(http2, delay);
    }

    #[allow(clippy::print_stdout, reason = "the answer of a command line tool")]
    pub(crate) fn print(&self) {
        for ((http2, routes), costs) in &self.cost {
            let grpc = costs.get(&Variant::GrpcAccessLog).map_or(f64::NAN, |cost| cost.extra_us);
            println!("\n{}, {routes} route(s): CPU time of Envoy a request", protocol(*http2));
            println!("  {:<16} {:>9} {:>9} {:>9} {:>9}", "", "all", "extra", "quartiles", "of gRPC");
            for (variant, cost) in costs {
                let Cost { cpu_us, extra_us, spread_us } = cost;
                let share = extra_us / grpc;
                println!(
                    "  {:<16} {cpu_us:>6.2} us {extra_us:>6.2} us {spread_us:>6.2} us {share:>9.2}",
                    variant.name()
                );
            }
        }
        for (http2, delays) in &self.delay {
            println!("\n{}: latency at 1,000 requests/s, from when each should have been sent", protocol(*http2));
            for (variant, Delay { p50_us, p99_us }) in delays {
                println!("  {:<16} p50 {p50_us:>7.0} us  p99 {p99_us:>7.0} us", variant.name());
            }
        }
        let Wire { serin, prometheus_text, otlp, memory_bytes, .. } = self.wire;
        println!(
            "\nbytes a series and second: serin {serin:.0}, Prometheus text {prometheus_text:.0}, OpenTelemetry {otlp:.0}"
        );
        println!("memory of the module in a worker: {memory_bytes} bytes");
    }

    /// # Errors
    /// When the file cannot be written.
    pub(crate) fn write(&self) -> Result<()> {
        let mut all = Map::new();
        for http2 in [false, true] {
            let of = |routes| {
                let costs = self.cost.get(&(http2, routes)).cloned().unwrap_or_default();
                let delays = self.delay.get(&http2).cloned().unwrap_or_default();
                let entry = |(variant, cost): (Variant, Cost)| {
                    let delay = delays.get(&variant).copied().unwrap_or_default();
                    let value = json!({ "cpu_us_per_request": cost.cpu_us, "extra_us_per_request": cost.extra_us,
                        "extra_us_quartiles": cost.spread_us, "p50_latency_us": delay.p50_us, "p99_latency_us": delay.p99_us });
                    (variant.name().to_owned(), value)
                };
                Value::Object(costs.into_iter().map(entry).collect())
            };
            let name = if http2 { "http2" } else { "http1" };
            all.insert(name.to_owned(), of(1));
            all.insert(format!("{name}_50_routes"), of(50));
        }
        let Wire { serin, prometheus_text, otlp, memory_bytes, series } = self.wire;
        let wire = json!({ "serin": serin, "prometheus_text": prometheus_text, "otlp": otlp });
        all.insert("wire_bytes_per_series".to_owned(), wire);
        all.insert("wire_series".to_owned(), json!(series));
        all.insert("wasm_memory_bytes".to_owned(), json!(memory_bytes));
        let dir = artifacts::root().join("target/bench");
        fs::create_dir_all(&dir)?;
        Ok(fs::write(dir.join("filter.json"), serde_json::to_vec_pretty(&Value::Object(all))?)?)
    }
}

fn protocol(http2: bool) -> &'static str {
    if http2 { "HTTP/2" } else { "HTTP/1.1" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_and_quartiles() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), 2.5);
        assert_eq!(median(&[]), 0.0);
        assert_eq!(spread(&[5.0, 1.0, 2.0, 3.0, 4.0]), 2.0);
    }
}
