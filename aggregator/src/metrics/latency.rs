//! Latencies of the configured services: histograms, native and classic, and quantiles.

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric, MetricEncoder, NativeHistogram, NativeHistogramBuckets, NoLabelSet},
    metrics::{MetricType, gauge::ConstGauge},
    registry::Unit,
};
use serin_sketch::{BUCKETS, Bucket, Counts, Micros};

use super::{
    Labels,
    native::{Native, SCHEMA, ZERO_THRESHOLD_S},
};
use crate::{config::Timing, engine::Engine};

/// Upper bounds of the classic buckets, in microseconds: the limits that rules are commonly made of, 200 and 500 ms among them. What lies in a bucket
/// of Serin's that a bound cuts (at most 0.8% wide) counts as above the bound.
const CLASSIC_US: [u64; 15] = [
    5_000, 10_000, 25_000, 50_000, 75_000, 100_000, 150_000, 200_000, 300_000, 500_000, 1_000_000, 2_500_000,
    5_000_000, 10_000_000, 60_000_000,
];
const PERCENTILES: [(&str, f64); 4] = [("p50", 0.5), ("p95", 0.95), ("p99", 0.99), ("p99.9", 0.999)];

/// Latencies as they were when they were scraped.
#[derive(Debug)]
pub(super) struct Latencies(Vec<Scraped>);

#[derive(Debug)]
struct Scraped {
    labels: Labels,
    counts: Counts,
    recent: Counts,
}

impl Latencies {
    pub(super) fn of(engine: &Engine) -> Self {
        let scraped = engine.latencies.iter().map(|(key, timing, latency)| {
            let timing = match timing {
                Timing::Upstream => "upstream",
                Timing::Total => "total",
            };
            let labels = vec![
                ("service", key.service.clone()),
                ("route", key.route.clone()),
                ("release", key.release.clone()),
                ("timing", timing.to_owned()),
            ];
            Scraped { labels, counts: latency.counts(), recent: latency.recent() }
        });
        Latencies(scraped.collect())
    }
}

/// Each histogram since the start, with its labels.
pub(crate) fn histograms(engine: &Engine) -> Vec<(Labels, Counts)> {
    Latencies::of(engine).0.into_iter().map(|scraped| (scraped.labels, scraped.counts)).collect()
}

/// What all requests took together, in seconds: each with the middle of its bucket, which is within 0.4% of it.
pub(crate) fn sum_s(counts: &Counts) -> f64 {
    counts.iter().map(|(bucket, count)| seconds(bucket.mid()) * count as f64).sum()
}

impl Collector for Latencies {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let help = "Latencies of the requests that are judged, since the start of serin";
        let mut family =
            encoder.encode_descriptor("serin_request_duration", help, Some(&Unit::Seconds), MetricType::Histogram)?;
        for Scraped { labels, counts, .. } in &self.0 {
            histogram(family.encode_family(labels)?, counts)?;
        }
        let help = "Percentiles of the same, of the last one to two minutes";
        let mut family = encoder.encode_descriptor("serin_latency", help, Some(&Unit::Seconds), MetricType::Gauge)?;
        for Scraped { labels, recent, .. } in &self.0 {
            for (name, q) in PERCENTILES {
                let Some(bucket) = recent.quantile(q) else { continue };
                let labels: Labels = labels.iter().cloned().chain([("percentile", name.to_owned())]).collect();
                ConstGauge::new(seconds(bucket.mid())).encode(family.encode_family(&labels)?)?;
            }
        }
        Ok(())
    }
}

fn seconds(us: Micros) -> f64 {
    us.0 as f64 / 1e6
}

fn histogram(mut encoder: MetricEncoder<'_>, counts: &Counts) -> Result<(), std::fmt::Error> {
    let sum = sum_s(counts);
    let native = Native::of(counts);
    let positive = NativeHistogramBuckets { spans: &native.spans, deltas: &native.deltas };
    let native = NativeHistogram {
        schema: SCHEMA,
        zero_threshold: ZERO_THRESHOLD_S,
        zero_count: native.zero_count,
        negative: NativeHistogramBuckets { spans: &[], deltas: &[] },
        positive,
        created: None,
    };
    encoder.encode_histogram_with_native::<NoLabelSet>(sum, counts.total(), &classic(counts), None, native)
}

/// Upper bounds in seconds, with how many requests are in each bucket and not in the one before.
fn classic(counts: &Counts) -> Vec<(f64, u64)> {
    let mut buckets: Vec<(f64, u64)> =
        CLASSIC_US.iter().map(|us| (seconds(Micros(*us)), 0)).chain([(f64::INFINITY, 0)]).collect();
    for (bucket, count) in counts.iter() {
        let above = bucket.index() + 1;
        let upper = if above < BUCKETS { Bucket::from_index(above as u32).map(Bucket::lower) } else { None };
        // What is in a bucket took less than where the next one begins.
        let at = CLASSIC_US.iter().position(|bound| upper.is_some_and(|upper| upper.0 <= bound + 1));
        if let Some((_, sum)) = buckets.get_mut(at.unwrap_or(CLASSIC_US.len())) {
            *sum += count;
        }
    }
    buckets
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classic_buckets_hold_what_is_surely_below_their_bound() {
        let counts: Counts = [(0, 1), (4_000, 2), (5_000, 4), (199_000, 8), (200_000, 16), (120_000_000, 32)]
            .into_iter()
            .map(|(us, count)| (Bucket::of(Micros(us)), count))
            .collect();
        let filled: Vec<_> = classic(&counts).into_iter().filter(|(_, count)| *count > 0).collect();
        // 5 ms and 200 ms are somewhere in a bucket that goes beyond them.
        assert_eq!(filled, [(0.005, 3), (0.01, 4), (0.2, 8), (0.3, 16), (f64::INFINITY, 32)]);
    }
}
