//! Reports as they are received: each delta stays in the bytes it came in, until they are checked. At some thousand deltas a
//! second, most of the cost of a message would else be the vectors that it is decoded to.
//!
//! On the wire a message within a message is bytes, so these are [`v1`]'s messages (a test holds them against each other).

use prost::bytes::Bytes;

use crate::v1::{InFlight, Reporter, ReporterState, Series};

/// [`v1::ReportRequest`](crate::v1::ReportRequest), whose fields these are.
#[allow(missing_docs, reason = "they are those of ingest.proto")]
#[derive(Clone, PartialEq, prost::Message)]
pub struct ReportRequest {
    #[prost(message, optional, tag = "1")]
    pub reporter: Option<Reporter>,
    #[prost(uint64, tag = "2")]
    pub sequence: u64,
    #[prost(fixed64, tag = "3")]
    pub interval_start_unix_us: u64,
    #[prost(uint32, tag = "4")]
    pub interval_ms: u32,
    #[prost(message, repeated, tag = "5")]
    pub new_series: Vec<Series>,
    /// Each is a [`v1::SeriesDelta`](crate::v1::SeriesDelta).
    #[prost(bytes = "bytes", repeated, tag = "6")]
    pub deltas: Vec<Bytes>,
    #[prost(uint64, tag = "7")]
    pub requests_before: u64,
    #[prost(uint64, tag = "8")]
    pub overflow_requests: u64,
    #[prost(message, optional, tag = "9")]
    pub state: Option<ReporterState>,
    #[prost(message, repeated, tag = "10")]
    pub in_flight: Vec<InFlight>,
    #[prost(fixed64, tag = "11")]
    pub in_flight_unix_us: u64,
}

/// [`v1::LoggedReports`](crate::v1::LoggedReports), whose field this is.
#[derive(Clone, PartialEq, prost::Message)]
pub struct LoggedReports {
    /// Reports, each with its reporter and the series it needs.
    #[prost(message, repeated, tag = "1")]
    pub reports: Vec<ReportRequest>,
}

#[cfg(feature = "grpc")]
pub use generated::ingest_server;

/// `serin.v1.Ingest` with these messages.
#[cfg(feature = "grpc")]
#[allow(missing_docs, clippy::all)]
mod generated {
    include!("generated/serin.v1.Ingest.rs");
}

#[cfg(test)]
mod tests {
    use prost::Message;

    use super::*;
    use crate::v1;

    #[test]
    fn they_are_the_messages_of_the_contract() {
        let counts = || Some(v1::Distribution { bucket_gaps: vec![500, 1], counts: vec![3, 300] });
        let delta = v1::SeriesDelta { series: 3, upstream: counts(), total: counts(), retries: 2 };
        let report = v1::ReportRequest {
            reporter: Some(v1::Reporter { node_id: "n".into(), ..Default::default() }),
            sequence: 1,
            interval_start_unix_us: 2,
            interval_ms: 3,
            new_series: vec![v1::Series { id: 3, ..Default::default() }],
            deltas: vec![delta.clone(), v1::SeriesDelta::default()],
            requests_before: 4,
            overflow_requests: 5,
            state: Some(v1::ReporterState { tick_us: 6, ..Default::default() }),
            in_flight: vec![v1::InFlight { pod: "p".into(), ..Default::default() }],
            in_flight_unix_us: 7,
        };
        let logged = v1::LoggedReports { reports: vec![report] };
        let bytes = logged.encode_to_vec();
        let raw = LoggedReports::decode(bytes.as_slice()).unwrap();
        assert_eq!(v1::SeriesDelta::decode(raw.reports[0].deltas[0].clone()).unwrap(), delta);
        assert_eq!(raw.encode_to_vec(), bytes, "no field is left out, or of another type");
    }
}
