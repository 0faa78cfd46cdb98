//! The wire: messages of one stream, in which every series is defined once.

use std::{collections::BTreeMap, rc::Rc};

use prost::Message;
use serin_proto::{
    convert,
    v1::{InFlight, ReportRequest, ReportResponse, Reporter, ReporterState, SeriesDelta},
};

use serin_sketch::{Counts, Micros};

use crate::{labels, outbox::Numbered, recorder::SERIES_MAX, sealed::Interval};

/// Series defined in one stream, at most: the aggregator takes no more. Where more come up (pods that come and go), a new
/// stream starts afresh.
const DEFINED_MAX: usize = 4_096;
/// What their keys may take before it does: commonly 4,096 x 80 B = 330 kB. One more report adds at most 512 x 1,033 B.
const DEFINED_BYTES_MAX: usize = 512 << 10;
/// Series in one report, at most: those with labels, and an overflow series for each outcome.
const REPORT_SERIES_MAX: usize = SERIES_MAX + 8;

/// Requests in all numbered reports, and those of them that are in an overflow series.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Delivered {
    pub requests: u64,
    pub overflow: u64,
}

/// What a reporter says beside what is numbered.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Beside {
    /// How it fares.
    pub state: Option<ReporterState>,
    /// What waits for a response, and when it did.
    pub in_flight: Vec<InFlight>,
    /// In microseconds since 1970.
    pub in_flight_unix_us: u64,
}

/// Kinds of requests under way that are told of at once, at most.
const IN_FLIGHT_MAX: usize = 64;

/// Requests under way by the keys of their series, with their ages in microseconds, for the wire.
pub fn in_flight(mut waiting: Vec<(Rc<[u8]>, u64)>) -> Vec<InFlight> {
    waiting.sort_unstable();
    let kinds = waiting.chunk_by(|(a, _), (b, _)| a == b).take(IN_FLIGHT_MAX);
    let kind = |kind: &[(Rc<[u8]>, u64)]| {
        let mut ages = Counts::new();
        kind.iter().for_each(|(_, age_us)| ages.record(Micros(*age_us)));
        let labels = labels::series(0, &kind.first()?.0);
        let (service, route, release, pod) = (labels.service, labels.route, labels.release, labels.pod);
        Some(InFlight { service, route, release, pod, ages: Some(convert::to_wire(&ages)) })
    };
    kinds.filter_map(kind).collect()
}

/// Encodes the messages of one stream.
#[derive(Debug)]
pub struct Encoder {
    reporter: Option<Reporter>,
    defined: BTreeMap<Rc<[u8]>, u32>,
    defined_bytes: usize,
}

impl Encoder {
    /// For a new stream, whose first message names the reporter.
    pub fn new(reporter: Reporter) -> Self {
        Encoder { reporter: Some(reporter), defined: BTreeMap::new(), defined_bytes: 0 }
    }

    /// Whether another report might define more series than a stream may: then a new stream is needed.
    pub fn is_worn(&self) -> bool {
        self.defined.len() + REPORT_SERIES_MAX > DEFINED_MAX || self.defined_bytes > DEFINED_BYTES_MAX
    }

    /// A report, with the definitions of the series that this stream has not seen.
    pub fn report(&mut self, report: &Numbered, beside: Beside) -> Vec<u8> {
        let mut request = ReportRequest {
            reporter: self.reporter.take(),
            sequence: report.sequence,
            requests_before: report.requests_before,
            overflow_requests: report.overflow_requests,
            ..during(report.sealed.interval(), beside)
        };
        for counts in report.sealed.series() {
            let next = self.defined.len() as u32;
            let id = *self.defined.entry(counts.key.clone()).or_insert_with(|| {
                self.defined_bytes += counts.key.len();
                request.new_series.push(labels::series(next, &counts.key));
                next
            });
            let upstream = (!counts.upstream.is_empty()).then(|| convert::to_wire(&counts.upstream));
            let total = Some(convert::to_wire(&counts.total));
            request.deltas.push(SeriesDelta { series: id, upstream, total, retries: counts.retries });
        }
        request.encode_to_vec()
    }

    /// A sign of life from a reporter that has nothing to report.
    pub fn heartbeat(&mut self, interval: Interval, delivered: Delivered, beside: Beside) -> Vec<u8> {
        let reporter = self.reporter.take();
        let Delivered { requests, overflow } = delivered;
        let told = during(interval, beside);
        ReportRequest { reporter, requests_before: requests, overflow_requests: overflow, ..told }.encode_to_vec()
    }
}

fn during(interval: Interval, Beside { state, in_flight, in_flight_unix_us }: Beside) -> ReportRequest {
    ReportRequest {
        interval_start_unix_us: interval.start_us,
        interval_ms: interval.ms,
        state,
        in_flight,
        in_flight_unix_us,
        ..ReportRequest::default()
    }
}

/// The number that an aggregator's message acknowledges; `None` where it is no such message.
pub fn acknowledged(message: &[u8]) -> Option<u64> {
    ReportResponse::decode(message).ok().map(|response| response.acked_sequence)
}

/// The gRPC target for Envoy's host call: `envoy.config.core.v3.GrpcService{envoy_grpc{cluster_name, authority}}`. A bare name
/// would be taken as well, but then be the `:authority` of the stream too, and servers reset a stream whose authority is no
/// host: Istio's cluster names are `outbound|9400||host`.
pub fn target(cluster: &str) -> Vec<u8> {
    #[derive(Clone, PartialEq, Message)]
    struct GrpcService {
        #[prost(message, optional, tag = "1")]
        envoy_grpc: Option<EnvoyGrpc>,
    }
    #[derive(Clone, PartialEq, Message)]
    struct EnvoyGrpc {
        #[prost(string, tag = "1")]
        cluster_name: String,
        #[prost(string, tag = "2")]
        authority: String,
    }
    let host = cluster.rsplit('|').next().unwrap_or_default();
    let fits = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_') { c } else { '-' };
    let envoy_grpc = EnvoyGrpc { cluster_name: cluster.to_owned(), authority: host.chars().map(fits).collect() };
    GrpcService { envoy_grpc: Some(envoy_grpc) }.encode_to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        labels::{Labels, Sources},
        measure::Timings,
        outbox::Outbox,
        recorder::Recorder,
    };
    use serin_proto::v1::{Attachment, Outcome, Vantage};
    use serin_sketch::Micros;

    const INTERVAL: Interval = Interval { start_us: 0x0102_0304_0506_0708, ms: 1_000 };

    fn reporter() -> Reporter {
        Reporter {
            node_id: "n".to_owned(),
            boot_nonce: 0x1112_1314_1516_1718,
            context_id: 2,
            vantage: Vantage::Gateway as i32,
            attachment: Attachment::AccessLog as i32,
            filter_version: "0.1.0".to_owned(),
            first_sequence: 1,
            workload: String::new(),
        }
    }

    fn numbered(requests: u64) -> Numbered {
        let mut key = Vec::new();
        let labels = Labels::new(Sources::of_vantage(Vantage::Gateway), "n", |_| None);
        labels.write_key(Outcome::Success, &[Some(b"o|8|v|h"), Some(b"r")], &mut key);
        let mut recorder = Recorder::new(8);
        (0..requests).for_each(|_| recorder.record(&key, Timings { upstream: Some(Micros(5)), total: Micros(7) }, 0));
        let mut outbox = Outbox::default();
        outbox.push(recorder.seal(INTERVAL).unwrap());
        outbox.next_to_send().unwrap().clone()
    }

    /// Worked out by hand from the protobuf encoding and `ingest.proto`.
    #[test]
    fn golden_bytes() {
        let mut encoder = Encoder::new(reporter());
        #[rustfmt::skip]
        let first = [
            // 1 reporter: node_id, boot_nonce (fixed64), context_id, vantage, attachment, filter_version, first_sequence.
            0x0a, 27, 0x0a, 1, b'n', 0x11, 0x18, 0x17, 0x16, 0x15, 0x14, 0x13, 0x12, 0x11, 0x18, 2, 0x20, 3, 0x28, 1,
            0x32, 5, b'0', b'.', b'1', b'.', b'0', 0x38, 1,
            // 2 sequence, 3 start (fixed64), 4 interval_ms (1,000 = 0xe8 0x07).
            0x10, 1, 0x19, 8, 7, 6, 5, 4, 3, 2, 1, 0x20, 0xe8, 0x07,
            // 5 new_series: id 0 is left out; service, route, release; no pod; outcome.
            0x2a, 11, 0x12, 1, b'h', 0x1a, 1, b'r', 0x22, 1, b'v', 0x30, 1,
            // 6 deltas: series 0 is left out; upstream and total with packed gaps and counts.
            0x32, 16, 0x12, 6, 0x0a, 1, 5, 0x12, 1, 3, 0x1a, 6, 0x0a, 1, 7, 0x12, 1, 3,
        ];
        assert_eq!(encoder.report(&numbered(3), Beside::default()), first);
        #[rustfmt::skip]
        let second = [
            0x10, 1, 0x19, 8, 7, 6, 5, 4, 3, 2, 1, 0x20, 0xe8, 0x07,
            0x32, 16, 0x12, 6, 0x0a, 1, 5, 0x12, 1, 2, 0x1a, 6, 0x0a, 1, 7, 0x12, 1, 2,
        ];
        assert_eq!(encoder.report(&numbered(2), Beside::default()), second, "neither reporter nor series come twice");
        let heartbeat = [0x19, 8, 7, 6, 5, 4, 3, 2, 1, 0x20, 0xe8, 0x07, 0x38, 5];
        let none = Beside::default();
        assert_eq!(encoder.heartbeat(INTERVAL, Delivered { requests: 5, overflow: 0 }, none), heartbeat);
        // Where the workload is known it comes after all that was there before: 8 workload.
        let named = Reporter { workload: "a/b".to_owned(), ..reporter() };
        let told = [&[0x0a, 32], &first[2..29], &[0x42, 3, b'a', b'/', b'b'], &heartbeat[..12]].concat();
        assert_eq!(Encoder::new(named).heartbeat(INTERVAL, Delivered::default(), Beside::default()), told);
        let state = ReporterState { interval_ms: 1_000, tick_us: 300, sent_bytes: 5, ..ReporterState::default() };
        // 9 state: interval_ms, tick_us, sent_bytes.
        let told = [&heartbeat[..12], &[0x4a, 8, 0x08, 0xe8, 0x07, 0x10, 0xac, 0x02, 0x18, 5]].concat();
        let beside = Beside { state: Some(state), ..Beside::default() };
        assert_eq!(encoder.heartbeat(INTERVAL, Delivered::default(), beside), told);
        let mut key = vec![0];
        for label in [b"h", b"r", b"v"] {
            key.extend([1, 0, label[0]]);
        }
        key.extend([0, 0]);
        let in_flight = in_flight(vec![(Rc::from(key), 5)]);
        // 10 in_flight: service, route, release, no pod, ages; 11 when (fixed64).
        let waits = [0x52, 17, 0x0a, 1, b'h', 0x12, 1, b'r', 0x1a, 1, b'v', 0x2a, 6, 0x0a, 1, 5, 0x12, 1, 1];
        let told = [&heartbeat[..12], &waits, &[0x59, 8, 7, 6, 5, 4, 3, 2, 1]].concat();
        let beside = Beside { in_flight, in_flight_unix_us: INTERVAL.start_us, ..Beside::default() };
        assert_eq!(encoder.heartbeat(INTERVAL, Delivered::default(), beside), told);
    }

    #[test]
    fn the_target_is_a_grpc_service() {
        assert_eq!(target("serin"), *b"\x0a\x0e\x0a\x05serin\x12\x05serin");
        assert_eq!(target("outbound|80||a.b"), *b"\x0a\x17\x0a\x10outbound|80||a.b\x12\x03a.b");
        assert_eq!(target("a b:1"), *b"\x0a\x0e\x0a\x05a b:1\x12\x05a-b-1");
    }

    #[test]
    fn acknowledgements_are_read() {
        assert_eq!(acknowledged(&[0x08, 0xac, 0x02]), Some(300));
        assert_eq!(acknowledged(&[]), Some(0));
        assert_eq!(acknowledged(&[0x08]), None);
    }
}
