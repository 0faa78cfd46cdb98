//! The same histograms in two other forms: Prometheus' text and OpenTelemetry's exponential histograms.

use prost::Message;
use serin_proto::v1::Series;
use serin_sketch::Counts;

/// The labels, in the order of both forms.
fn labels(series: &Series) -> [(&'static str, String); 5] {
    let Series { service, route, release, pod, .. } = series.clone();
    [("service", service), ("route", route), ("release", release), ("pod", pod), ("outcome", series.outcome().word())]
}

/// Bytes of one scrape of a histogram in Prometheus' text format: a cumulative line for each bucket that is not empty,
/// `+Inf`, the sum and the count. `since_start` is all that was counted, since a scrape has all.
pub(crate) fn prometheus(name: &str, series: &Series, since_start: &Counts) -> usize {
    let labels: Vec<String> = labels(series).iter().map(|(name, value)| format!("{name}=\"{value}\"")).collect();
    let labels = labels.join(",");
    let (mut bytes, mut cumulative, mut sum_us) = (0, 0, 0);
    for (bucket, count) in since_start.iter() {
        cumulative += count;
        sum_us += bucket.mid().0 * count;
        let le = (bucket.mid().0 as f64 * 2.0 - bucket.lower().0 as f64) / 1e6;
        bytes += format!("{name}_bucket{{{labels},le=\"{le}\"}} {cumulative}\n").len();
    }
    bytes += format!("{name}_bucket{{{labels},le=\"+Inf\"}} {cumulative}\n").len();
    bytes + format!("{name}_sum{{{labels}}} {}\n{name}_count{{{labels}}} {cumulative}\n", sum_us as f64 / 1e6).len()
}

/// opentelemetry-proto, metrics/v1: `ExponentialHistogramDataPoint`.
#[derive(Clone, PartialEq, Message)]
struct DataPoint {
    #[prost(message, repeated, tag = "1")]
    attributes: Vec<KeyValue>,
    #[prost(fixed64, tag = "2")]
    start_time_unix_nano: u64,
    #[prost(fixed64, tag = "3")]
    time_unix_nano: u64,
    #[prost(fixed64, tag = "4")]
    count: u64,
    #[prost(double, optional, tag = "5")]
    sum: Option<f64>,
    #[prost(sint32, tag = "6")]
    scale: i32,
    #[prost(message, optional, tag = "8")]
    positive: Option<Buckets>,
}

/// `ExponentialHistogramDataPoint.Buckets`: dense from the first that is not empty to the last.
#[derive(Clone, PartialEq, Message)]
struct Buckets {
    #[prost(sint32, tag = "1")]
    offset: i32,
    #[prost(uint64, repeated, tag = "2")]
    bucket_counts: Vec<u64>,
}

/// opentelemetry-proto, common/v1.
#[derive(Clone, PartialEq, Message)]
struct KeyValue {
    #[prost(string, tag = "1")]
    key: String,
    #[prost(message, optional, tag = "2")]
    value: Option<AnyValue>,
}

#[derive(Clone, PartialEq, Message)]
struct AnyValue {
    #[prost(string, optional, tag = "1")]
    string_value: Option<String>,
}

/// 2^(1/64) from bucket to bucket: 1.1% wide, the coarsest scale with at most 1% relative error.
const SCALE: i32 = 6;

/// Bytes of one data point with delta temporality.
pub(crate) fn otlp(series: &Series, delta: &Counts) -> usize {
    let text = |value: String| Some(AnyValue { string_value: Some(value) });
    let attributes = labels(series).map(|(key, value)| KeyValue { key: key.to_owned(), value: text(value) });
    // Microseconds below 1 are in the first bucket.
    let index = |us: u64| ((us.max(1) as f64).log2() * f64::from(1 << SCALE)).ceil() as i32 - 1;
    let indexes: Vec<(i32, u64)> = delta.iter().map(|(bucket, count)| (index(bucket.mid().0), count)).collect();
    let (first, last) = (indexes.first().map_or(0, |i| i.0), indexes.last().map_or(0, |i| i.0));
    let mut bucket_counts = vec![0; (last - first) as usize + 1];
    for (index, count) in &indexes {
        bucket_counts[(index - first) as usize] += count;
    }
    let point = DataPoint {
        attributes: attributes.into(),
        start_time_unix_nano: 1,
        time_unix_nano: 1,
        count: delta.total(),
        sum: Some(1.0),
        scale: SCALE,
        positive: Some(Buckets { offset: first, bucket_counts }),
    };
    // As an element of a repeated field: a tag and a length before it.
    let length = point.encoded_len();
    1 + prost::length_delimiter_len(length) + length
}

#[cfg(test)]
mod tests {
    use super::*;
    use serin_sketch::{Bucket, Micros};

    fn series() -> Series {
        let text = str::to_owned;
        Series { service: text("s"), route: text("r"), release: text("v"), pod: text("p"), outcome: 1, id: 0 }
    }

    #[test]
    fn a_scrape_has_a_line_for_each_bucket_and_three_more() {
        let counts = Counts::from_iter([(Bucket::of(Micros(100)), 2), (Bucket::of(Micros(200)), 3)]);
        let labels = r#"service="s",route="r",release="v",pod="p",outcome="success""#;
        let text = format!(
            "t_bucket{{{labels},le=\"0.0001\"}} 2\nt_bucket{{{labels},le=\"0.0002\"}} 5\nt_bucket{{{labels},le=\"+Inf\"}} 5\n\
             t_sum{{{labels}}} 0.0008\nt_count{{{labels}}} 5\n"
        );
        assert_eq!(prometheus("t", &series(), &counts), text.len());
    }

    /// By hand: five attributes of 2 + 2 + key + 2 + 2 + value bytes; four numbers of 9; scale 2; buckets.
    #[test]
    fn a_data_point_has_its_attributes_and_all_buckets_between() {
        let counts = Counts::from_iter([(Bucket::of(Micros(100)), 2), (Bucket::of(Micros(200)), 3)]);
        let words = ["service", "route", "release", "pod", "outcome"].map(str::len).iter().sum::<usize>();
        let attributes = 5 * 8 + words + 4 + "success".len();
        // One octave is 64 buckets, so 65 counts of a byte each: tag, length; offset 425 takes 2 bytes zigzag.
        let buckets = 2 + (1 + 2) + 2 + 65;
        let point = attributes + 4 * 9 + 2 + buckets;
        assert_eq!(otlp(&series(), &counts), 1 + 2 + point);
    }
}
