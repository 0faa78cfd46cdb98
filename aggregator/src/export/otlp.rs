//! Histograms as OpenTelemetry's exponential ones (pure). The buckets are those of `metrics/native.rs`; scale 5 is schema 5, and what ends at
//! 2^(i / 32) is bucket i - 1.

use opentelemetry_proto::tonic::{
    collector::metrics::v1::ExportMetricsServiceRequest,
    common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value::Value},
    metrics::v1::{
        AggregationTemporality, ExponentialHistogram, ExponentialHistogramDataPoint, Metric, ResourceMetrics,
        ScopeMetrics, exponential_histogram_data_point::Buckets, metric::Data,
    },
    resource::v1::Resource,
};
use serin_sketch::Counts;

use crate::{
    metrics::{
        Labels,
        latency::sum_s,
        native::{SCHEMA, buckets},
    },
    time::UnixMicros,
};

pub(super) type Request = ExportMetricsServiceRequest;

/// One metric, `serin.request.duration`, with a point for each histogram.
pub(super) fn request(histograms: &[(Labels, Counts)], started: UnixMicros, now: UnixMicros) -> Request {
    let points = histograms.iter().map(|(labels, counts)| point(labels, counts, started, now));
    let histogram = ExponentialHistogram {
        data_points: points.collect(),
        aggregation_temporality: AggregationTemporality::Cumulative.into(),
    };
    let metric = Metric {
        name: "serin.request.duration".to_owned(),
        description: "Latencies of the requests that are judged".to_owned(),
        unit: "s".to_owned(),
        data: Some(Data::ExponentialHistogram(histogram)),
        ..Metric::default()
    };
    let scope = InstrumentationScope {
        name: "serin".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        ..InstrumentationScope::default()
    };
    let resource = Resource { attributes: vec![attribute("service.name", "serin")], ..Resource::default() };
    let metrics = ScopeMetrics { scope: Some(scope), metrics: vec![metric], ..ScopeMetrics::default() };
    let of = ResourceMetrics { resource: Some(resource), scope_metrics: vec![metrics], ..ResourceMetrics::default() };
    Request { resource_metrics: vec![of] }
}

fn point(labels: &Labels, counts: &Counts, started: UnixMicros, now: UnixMicros) -> ExponentialHistogramDataPoint {
    let (zero_count, buckets) = buckets(counts);
    ExponentialHistogramDataPoint {
        attributes: labels.iter().map(|(key, value)| attribute(key, value)).collect(),
        start_time_unix_nano: started.0.saturating_mul(1_000),
        time_unix_nano: now.0.saturating_mul(1_000),
        count: counts.total(),
        sum: Some(sum_s(counts)),
        scale: SCHEMA,
        zero_count,
        positive: dense(&buckets),
        ..ExponentialHistogramDataPoint::default()
    }
}

/// From the first bucket to the last without a gap: at most the 29 octaves from 1 us to 10 min, 935 buckets.
fn dense(buckets: &[(i32, i64)]) -> Option<Buckets> {
    let ((first, _), (last, _)) = (buckets.first()?, buckets.last()?);
    let mut bucket_counts = vec![0; usize::try_from(last - first).ok()? + 1];
    for (index, count) in buckets {
        let at = usize::try_from(index - first).ok()?;
        *bucket_counts.get_mut(at)? = u64::try_from(*count).unwrap_or_default();
    }
    Some(Buckets { offset: first - 1, bucket_counts })
}

fn attribute(key: &str, value: &str) -> KeyValue {
    let value = AnyValue { value: Some(Value::StringValue(value.to_owned())) };
    KeyValue { key: key.to_owned(), value: Some(value), ..KeyValue::default() }
}

#[cfg(test)]
mod tests {
    use serin_sketch::{Bucket, Micros};

    use super::*;

    #[test]
    fn buckets_are_where_opentelemetry_has_them() {
        // 0.25 s is 2^-2, and the middle of its bucket is above: in what begins there, whose index is -64. 0.99 s is in what ends at 1 s.
        let counts: Counts =
            [(0, 7), (250_000, 5), (990_000, 2)].map(|(us, n)| (Bucket::of(Micros(us)), n)).into_iter().collect();
        let point = point(&vec![("route", "all".to_owned())], &counts, UnixMicros(3), UnixMicros(5));
        assert_eq!((point.count, point.zero_count, point.scale), (14, 7, 5));
        assert_eq!((point.start_time_unix_nano, point.time_unix_nano), (3_000, 5_000));
        let buckets = point.positive.unwrap();
        let filled: Vec<_> = buckets.bucket_counts.iter().enumerate().filter(|(_, n)| **n > 0).collect();
        assert_eq!((buckets.offset, filled), (-64, vec![(0, &5), (63, &2)]));
    }

    #[test]
    fn nothing_has_no_buckets() {
        let point = point(&Labels::new(), &Counts::new(), UnixMicros(0), UnixMicros(0));
        assert_eq!((point.positive, point.count), (None, 0));
    }
}
