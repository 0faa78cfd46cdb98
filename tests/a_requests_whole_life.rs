//! From a request to the message that tells of it, and what becomes of the message: the filter as it is shipped, in a small host.
//! Every expected number is worked out by hand from `ingest.proto` and the bucket layout.

use anyhow::{Context, Result};
use serin_proto::v1::{
    Attachment, Distribution, InFlight, Outcome, ReportRequest, Reporter, ReporterState, Series, SeriesDelta, Vantage,
};
use support::vm::{Request, Vm};

const SECOND: u64 = 1_000_000_000;
/// When a VM begins: 1,000 s after 1970.
const BEGIN_US: u64 = 1_000_000_000;

fn plugin(attachment: &str) -> String {
    format!(
        r#"{{"cluster": "serin", "vantage": "outbound", "attachment": "{attachment}", "service": {{"fixed": "shop"}},
            "release": "subset", "route": "route_name", "pod": "upstream_address", "retries": "counted"}}"#
    )
}

/// Took 5 ms, 4 of them in the upstream, in two attempts.
fn request() -> Request {
    let mut request = Request::success("checkout", "outbound|80|v2|shop.default.svc.cluster.local", 5_000, 4_000);
    request.number("upstream.request_attempt_count", 2);
    request
}

fn start(attachment: &str) -> Result<Vm> {
    let mut vm = Vm::load()?;
    let around = vm.around();
    around.request.text("xds.node.id", "pod-7").text("xds.node.metadata.NAMESPACE", "shop");
    around.request.text("xds.node.metadata.WORKLOAD_NAME", "checkout").text("xds.node.cluster", "checkout.shop");
    vm.configure(1, &plugin(attachment))?;
    Ok(vm)
}

fn second(vm: &mut Vm) -> Result<()> {
    vm.around().now_ns += SECOND;
    vm.tick(1)
}

/// One request, in this bucket for each timing.
fn told(attachment: Attachment, upstream: u32, total: u32, requests: u64) -> ReportRequest {
    let one = |bucket| Some(Distribution { bucket_gaps: vec![bucket], counts: vec![requests] });
    ReportRequest {
        reporter: Some(Reporter {
            node_id: "pod-7".to_owned(),
            boot_nonce: 0,
            context_id: 1,
            vantage: Vantage::Outbound as i32,
            attachment: attachment as i32,
            filter_version: env!("CARGO_PKG_VERSION").to_owned(),
            first_sequence: 1,
            workload: "shop/checkout".to_owned(),
        }),
        sequence: 1,
        interval_start_unix_us: BEGIN_US,
        interval_ms: 1_000,
        new_series: vec![Series {
            id: 0,
            service: "shop".to_owned(),
            route: "checkout".to_owned(),
            release: "v2".to_owned(),
            pod: "10.0.0.7:80".to_owned(),
            outcome: Outcome::Success as i32,
        }],
        deltas: vec![SeriesDelta { series: 0, upstream: one(upstream), total: one(total), retries: requests }],
        ..ReportRequest::default()
    }
}

/// Without what differs from VM to VM, and what the reporter says of itself.
fn comparable(message: &ReportRequest) -> ReportRequest {
    let mut message = ReportRequest { state: None, ..message.clone() };
    message.reporter.as_mut().into_iter().for_each(|reporter| reporter.boot_nonce = 0);
    message
}

fn sent(vm: &mut Vm) -> Vec<ReportRequest> {
    vm.around().sent.iter().map(|(_, message)| comparable(message)).collect()
}

/// With two significant digits a bucket has 128 steps an octave from 256 us on (HdrHistogram): 5,000 us is step 5,000 / 2^5 = 156
/// of octave 6, in bucket 6 x 128 + 156 - 128 = 796; 4,000 us is step 250 of octave 5, in bucket 762.
#[test]
fn with_the_access_logger() -> Result<()> {
    let mut vm = start("access_log")?;
    (0..3).try_for_each(|_| vm.log(1, &request()))?;
    second(&mut vm)?;
    assert_eq!(sent(&mut vm), [told(Attachment::AccessLog, 762, 796, 3)]);
    let (token, state) = vm.around().sent.first().map(|(token, message)| (*token, message.state)).unwrap_or_default();
    let ReporterState { interval_ms, backlog_reports, active_requests, .. } = state.context("no state")?;
    assert_eq!((interval_ms, backlog_reports, active_requests), (1_000, 1, 0));
    // Acknowledged, there is nothing to say but that it lives.
    vm.acknowledge(token, 1)?;
    second(&mut vm)?;
    let heartbeat = ReportRequest {
        interval_start_unix_us: BEGIN_US + 1_000_000,
        interval_ms: 1_000,
        requests_before: 3,
        ..ReportRequest::default()
    };
    assert_eq!(sent(&mut vm).get(1..), Some(&[heartbeat][..]));
    assert_eq!(vm.around().logs, [""; 0]);
    Ok(())
}

/// 3 ms to the response's headers, step 187 of octave 5, in bucket 699; 7 ms in all, step 218 of octave 6, in bucket 858. What waits has done
/// so for a second: step 1,000,000 / 2^12 = 244 of octave 13, in bucket 1,780.
#[test]
fn with_the_http_filter() -> Result<()> {
    let mut vm = start("http_filter")?;
    let request = request();
    vm.headers(10, "request", &request)?;
    vm.headers(11, "request", &request)?;
    vm.around().now_ns += 3_000_000;
    vm.headers(10, "response", &request)?;
    vm.around().now_ns += 4_000_000;
    vm.log(10, &request)?;
    vm.around().now_ns += SECOND - 7_000_000;
    vm.tick(1)?;
    let [service, route, release, pod] = ["shop", "checkout", "v2", "10.0.0.7:80"].map(str::to_owned);
    let ages = Some(Distribution { bucket_gaps: vec![1_780], counts: vec![1] });
    let waits = ReportRequest {
        in_flight: vec![InFlight { service, route, release, pod, ages }],
        in_flight_unix_us: BEGIN_US + 1_000_000,
        ..told(Attachment::HttpFilter, 699, 858, 1)
    };
    assert_eq!(sent(&mut vm), [waits]);
    let state = vm.around().sent.first().and_then(|(_, message)| message.state).context("no state")?;
    assert_eq!((state.active_requests, state.oldest_active_ms), (1, 1_000), "the other one is under way");
    Ok(())
}

/// Istio says the workload; elsewhere the node's cluster is it; and no name is longer than what the aggregator takes.
#[test]
fn who_it_is_for() -> Result<()> {
    let long = "w".repeat(250);
    let cases: [(&[(&str, &str)], &str); 7] = [
        (&[], ""),
        (&[("cluster", "local")], "local"),
        (&[("cluster", "local"), ("metadata.NAMESPACE", "shop"), ("metadata.WORKLOAD_NAME", "cart")], "shop/cart"),
        (&[("cluster", "local"), ("metadata.NAMESPACE", "shop")], "local"),
        (&[("cluster", "local"), ("metadata.NAMESPACE", "shop"), ("metadata.WORKLOAD_NAME", "")], "local"),
        (&[("metadata.NAMESPACE", "shop-ns"), ("metadata.WORKLOAD_NAME", &long)], ""),
        (&[("cluster", &"c".repeat(257))], ""),
    ];
    for (node, want) in cases {
        let mut vm = Vm::load()?;
        for (key, value) in node {
            vm.around().request.text(&format!("xds.node.{key}"), value);
        }
        vm.configure(1, &plugin("access_log"))?;
        second(&mut vm)?;
        let told = vm.around().sent.first().and_then(|(_, message)| message.reporter.clone());
        assert_eq!(told.context("no reporter")?.workload, want, "{node:?}");
    }
    Ok(())
}

/// What was not acknowledged comes again as it was, on a stream that is opened by a tick and not in the callback.
#[test]
fn when_the_stream_is_closed() -> Result<()> {
    let mut vm = start("access_log")?;
    vm.log(1, &request())?;
    second(&mut vm)?;
    let (token, calls) = (vm.around().open.clone(), vm.around().calls.clone());
    vm.close(*token.first().context("no stream")?)?;
    assert_eq!(vm.around().calls, calls, "something was called in the callback");
    vm.log(1, &request())?;
    (0..3).try_for_each(|_| second(&mut vm))?;
    let sent = sent(&mut vm);
    assert_eq!(sent.first(), sent.get(1), "the first report, and the same again");
    let second = sent.get(2).context("the second report was not sent")?;
    assert_eq!((second.sequence, second.requests_before), (2, 1));
    assert_eq!(second.new_series, [], "it was defined on this stream");
    Ok(())
}

/// A host that opens no streams is asked less and less often, and loses nothing.
#[test]
fn when_no_stream_can_be_opened() -> Result<()> {
    let mut vm = start("access_log")?;
    vm.around().refuses_streams = true;
    for _ in 0..60 {
        vm.log(1, &request())?;
        second(&mut vm)?;
    }
    // After 1, 2, 4 s, and then every 8 s, each with up to half as much again and a tick.
    let attempts = vm.around().calls.get("proxy_grpc_stream").copied().unwrap_or_default();
    assert!((6..=11).contains(&attempts), "{attempts} attempts in a minute");
    assert_eq!(sent(&mut vm), []);
    vm.around().refuses_streams = false;
    for _ in 0..15 {
        second(&mut vm)?;
        let last = vm.around().sent.last().map(|(token, message)| (*token, message.sequence));
        if let Some((token, sequence)) = last {
            vm.acknowledge(token, sequence)?;
        }
    }
    let last = sent(&mut vm).last().map(|message| (message.sequence, message.requests_before));
    assert_eq!(last, Some((0, 60)), "all 60 were delivered, and now there are heartbeats");
    Ok(())
}
