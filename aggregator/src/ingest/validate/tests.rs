use proptest::prelude::*;
use prost::Message;
use serin_proto::{
    raw,
    v1::{Attachment, Distribution, ReportRequest, Series, SeriesDelta},
};

use super::*;

/// What spoils a message, and what is said about it.
type Case<T> = (fn(&mut T), Refusal);

fn hello() -> v1::Reporter {
    v1::Reporter {
        node_id: "gateway-1".into(),
        boot_nonce: 7,
        context_id: 1,
        vantage: Vantage::Gateway.into(),
        attachment: Attachment::AccessLog.into(),
        filter_version: "0.1.0".into(),
        first_sequence: 1,
        workload: "shop/gateway".into(),
    }
}

fn first() -> ReportRequest {
    ReportRequest { reporter: Some(hello()), interval_ms: 1_000, ..Default::default() }
}

/// As it is received.
fn raw(message: ReportRequest) -> raw::ReportRequest {
    raw::ReportRequest::decode(message.encode_to_vec().as_slice()).unwrap()
}

fn session() -> Session {
    Session::open(&mut raw(first())).unwrap().0
}

fn series(id: u32) -> Series {
    Series {
        id,
        service: "shop".into(),
        route: "all".into(),
        release: "v1".into(),
        pod: String::new(),
        outcome: Outcome::Success.into(),
    }
}

fn counts(bucket: u32, count: u64) -> Option<Distribution> {
    Some(Distribution { bucket_gaps: vec![bucket], counts: vec![count] })
}

fn report(sequence: u64) -> ReportRequest {
    ReportRequest {
        sequence,
        interval_start_unix_us: 5_000_000,
        interval_ms: 1_000,
        new_series: vec![series(3)],
        deltas: vec![SeriesDelta { series: 3, upstream: counts(9, 2), total: counts(10, 2), retries: 5 }],
        ..Default::default()
    }
}

#[test]
fn a_good_report_comes_through_whole() {
    let Ok(Accepted::Report(got)) = session().accept(raw(report(4))) else { panic!("refused") };
    assert_eq!((got.sequence, got.requests(), got.interval_end), (4, 2, UnixMicros(6_000_000)));
    assert_eq!(got.deltas.iter().next().unwrap().series.release, "v1");
}

#[test]
fn a_stream_begins_with_who_reports() {
    let cases: [Case<v1::Reporter>; 5] = [
        (|r| r.node_id.clear(), Refusal::Length { field: "reporter.node_id", len: 0 }),
        (|r| r.node_id = "x".repeat(257), Refusal::Length { field: "reporter.node_id", len: 257 }),
        (|r| r.workload = "x".repeat(257), Refusal::Length { field: "reporter.workload", len: 257 }),
        (|r| r.vantage = 9, Refusal::Enum { field: "reporter.vantage", value: 9 }),
        (|r| r.attachment = 0, Refusal::Enum { field: "reporter.attachment", value: 0 }),
    ];
    for (spoil, want) in cases {
        let mut message = first();
        spoil(message.reporter.as_mut().unwrap());
        assert_eq!(Session::open(&mut raw(message)).unwrap_err(), want);
    }
    let workload = |spoil: fn(&mut v1::Reporter)| {
        let mut message = first();
        spoil(message.reporter.as_mut().unwrap());
        Session::open(&mut raw(message)).unwrap().1.workload
    };
    assert_eq!(&*workload(|r| r.workload = "w".repeat(256)), "w".repeat(256));
    assert_eq!(&*workload(|r| r.workload.clear()), "", "an older filter does not say it");
    let nobody = ReportRequest { reporter: None, ..first() };
    assert_eq!(Session::open(&mut raw(nobody)).unwrap_err(), Refusal::NoReporter);
}

#[test]
fn each_broken_rule_is_named() {
    let cases: [Case<ReportRequest>; 11] = [
        (|m| m.reporter = Some(hello()), Refusal::ReporterAgain),
        (|m| m.interval_ms = 0, Refusal::Interval(0)),
        (|m| m.interval_ms = u32::MAX, Refusal::Interval(u32::MAX)),
        (|m| m.sequence = 0, Refusal::HeartbeatWithData),
        (|m| m.new_series[0].id = 65_536, Refusal::SeriesId(65_536)),
        (|m| m.new_series.push(series(3)), Refusal::SeriesId(3)),
        (|m| m.new_series[0].route = "r".repeat(300), Refusal::Length { field: "series.route", len: 300 }),
        (|m| m.deltas[0].series = 4, Refusal::UnknownSeries(4)),
        (|m| m.deltas.push(m.deltas[0].clone()), Refusal::RepeatedSeries(3)),
        (|m| m.deltas[0].total = counts(1, 1), Refusal::UpstreamExceedsTotal(3)),
        (|m| m.deltas[0].retries = u64::MAX, Refusal::Retries { series: 3, retries: u64::MAX }),
    ];
    for (spoil, want) in cases {
        let mut message = report(1);
        spoil(&mut message);
        assert_eq!(session().accept(raw(message)).unwrap_err(), want);
    }
}

#[test]
fn sequences_have_no_gaps_within_a_stream() {
    let mut stream = session();
    stream.accept(raw(report(4))).unwrap();
    let mut next = report(6);
    next.new_series.clear();
    assert_eq!(stream.accept(raw(next.clone())).unwrap_err(), Refusal::Sequence { before: 4, got: 6 });
    next.sequence = 5;
    assert!(stream.accept(raw(next)).is_ok());
}

#[test]
fn a_stream_may_define_a_bounded_number_of_series() {
    let mut stream = session();
    let mut message = report(1);
    message.deltas.clear();
    message.new_series = (0..4_097).map(series).collect();
    assert_eq!(stream.accept(raw(message)).unwrap_err(), Refusal::TooManySeries);
}

proptest! {
    /// Whatever the numbers: an answer, not a panic.
    #[test]
    fn never_panics(sequence: u64, start: u64, ms: u32, id: u32, gaps: Vec<u32>, values: Vec<u64>, outcome: i32) {
        let mut message = report(sequence);
        message.interval_start_unix_us = start;
        message.interval_ms = ms;
        message.new_series[0].id = id;
        message.new_series[0].outcome = outcome;
        message.deltas[0].total = Some(Distribution { bucket_gaps: gaps, counts: values });
        let accepted = session().accept(raw(message)).is_ok();
        prop_assert!(!accepted || (ms > 0 && id < 65_536));
    }
}
