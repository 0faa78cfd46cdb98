//! Histograms as Prometheus's remote write 1.0 has them, native ones (pure). The messages are those of `prompb/remote.proto` and `prompb/types.proto`
//! of Prometheus, as far as they are used here.

use prost::Message;
use serin_sketch::Counts;

use crate::{
    metrics::{
        Labels,
        latency::sum_s,
        native::{Native, SCHEMA, ZERO_THRESHOLD_S},
    },
    time::UnixMicros,
};

const NAME: &str = "serin_request_duration_seconds";

#[derive(Clone, PartialEq, Message)]
struct WriteRequest {
    #[prost(message, repeated, tag = "1")]
    timeseries: Vec<TimeSeries>,
}

#[derive(Clone, PartialEq, Message)]
struct TimeSeries {
    #[prost(message, repeated, tag = "1")]
    labels: Vec<Label>,
    #[prost(message, repeated, tag = "4")]
    histograms: Vec<Histogram>,
}

#[derive(Clone, PartialEq, Message)]
struct Label {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    value: String,
}

#[derive(Clone, PartialEq, Message)]
struct Histogram {
    // In a `oneof` there, so that zero is written, too.
    #[prost(uint64, optional, tag = "1")]
    count_int: Option<u64>,
    #[prost(double, tag = "3")]
    sum: f64,
    #[prost(sint32, tag = "4")]
    schema: i32,
    #[prost(double, tag = "5")]
    zero_threshold: f64,
    #[prost(uint64, optional, tag = "6")]
    zero_count_int: Option<u64>,
    #[prost(message, repeated, tag = "11")]
    positive_spans: Vec<BucketSpan>,
    #[prost(sint64, repeated, tag = "12")]
    positive_deltas: Vec<i64>,
    /// In milliseconds.
    #[prost(int64, tag = "15")]
    timestamp: i64,
}

#[derive(Clone, PartialEq, Message)]
struct BucketSpan {
    #[prost(sint32, tag = "1")]
    offset: i32,
    #[prost(uint32, tag = "2")]
    length: u32,
}

/// The body of a request: Snappy in its block format.
pub(super) fn body(histograms: &[(Labels, Counts)], now: UnixMicros) -> Result<Vec<u8>, String> {
    let request = WriteRequest { timeseries: histograms.iter().map(|(labels, of)| series(labels, of, now)).collect() };
    snap::raw::Encoder::new().compress_vec(&request.encode_to_vec()).map_err(|error| error.to_string())
}

fn series(labels: &Labels, counts: &Counts, now: UnixMicros) -> TimeSeries {
    let label = |name: &str, value: &str| Label { name: name.to_owned(), value: value.to_owned() };
    // An empty label is none, and the order of names is the protocol's.
    let some = labels.iter().filter(|(_, value)| !value.is_empty()).map(|(name, value)| label(name, value));
    let mut labels: Vec<Label> = some.chain([label("__name__", NAME), label("job", "serin")]).collect();
    labels.sort_by(|a, b| a.name.cmp(&b.name));
    let native = Native::of(counts);
    let histogram = Histogram {
        count_int: Some(counts.total()),
        sum: sum_s(counts),
        schema: SCHEMA,
        zero_threshold: ZERO_THRESHOLD_S,
        zero_count_int: Some(native.zero_count),
        positive_spans: native.spans.into_iter().map(|(offset, length)| BucketSpan { offset, length }).collect(),
        positive_deltas: native.deltas,
        timestamp: i64::try_from(now.0 / 1_000).unwrap_or(i64::MAX),
    };
    TimeSeries { labels, histograms: vec![histogram] }
}

#[cfg(test)]
mod tests {
    use serin_sketch::{Bucket, Micros};

    use super::*;

    #[test]
    fn labels_are_in_order_and_empty_ones_are_left_out() {
        let labels = vec![("service", "shop".to_owned()), ("route", String::new()), ("release", "v1".to_owned())];
        let counts = Counts::from_iter([(Bucket::of(Micros(990_000)), 3)]);
        let body = body(&[(labels, counts)], UnixMicros(5_000_000)).unwrap();
        let bytes = snap::raw::Decoder::new().decompress_vec(&body).unwrap();
        let series = WriteRequest::decode(bytes.as_slice()).unwrap().timeseries.remove(0);
        let names: Vec<_> = series.labels.iter().map(|label| label.name.as_str()).collect();
        assert_eq!(names, ["__name__", "job", "release", "service"]);
        let histogram = &series.histograms[0];
        // Bucket 0 ends at 1 s.
        assert_eq!(
            (histogram.count_int, histogram.timestamp, &histogram.positive_deltas[..]),
            (Some(3), 5_000, &[3][..])
        );
        assert_eq!((histogram.positive_spans[0].offset, histogram.positive_spans[0].length), (0, 1));
    }
}
