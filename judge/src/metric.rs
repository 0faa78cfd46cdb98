use std::fmt;

/// What a finding is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Metric {
    /// The median latency.
    P50,
    /// The 95th percentile of latency.
    P95,
    /// The 99th percentile of latency.
    P99,
    /// The 99.9th percentile of latency.
    P999,
    /// The share of requests that failed.
    Errors,
    /// Pods that answer nothing while requests wait.
    Stalls,
    /// Completed requests against those that the candidate's weight promises.
    Throughput,
}

/// The quantiles that are judged, in the order of every per-quantile array in this crate.
pub(crate) const QUANTILES: [(Metric, f64); 4] =
    [(Metric::P50, 0.5), (Metric::P95, 0.95), (Metric::P99, 0.99), (Metric::P999, 0.999)];

impl Metric {
    /// The quantile of latency that is called so: `p50`, `p95`, `p99` or `p99.9`.
    pub fn latency_named(name: &str) -> Option<Self> {
        Self::latencies().find(|metric| metric.to_string() == name)
    }

    /// The quantiles of latency, ascending.
    pub fn latencies() -> impl Iterator<Item = Self> {
        QUANTILES.into_iter().map(|(metric, _)| metric)
    }

    /// Whether it is a quantile of latency.
    pub fn is_latency(self) -> bool {
        Self::latencies().any(|metric| metric == self)
    }
}

impl fmt::Display for Metric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Metric::P50 => "p50",
            Metric::P95 => "p95",
            Metric::P99 => "p99",
            Metric::P999 => "p99.9",
            Metric::Errors => "errors",
            Metric::Stalls => "stalls",
            Metric::Throughput => "throughput",
        })
    }
}
