//! Does the filter, as it is shipped, stay within its bounds and lose no count? In a small host, where a million requests and
//! an hour take seconds.

use std::collections::BTreeMap;

use anyhow::Result;
use serin_proto::{convert::from_wire, v1::Outcome};
use support::vm::{Request, Vm};

const LOGGER: &str = r#"{"cluster": "serin", "vantage": "gateway", "service": {"fixed": "shop"},
    "release": {"cluster_after": "shop-"}, "route": "route_name"}"#;
const SECOND: u64 = 1_000_000_000;
const MEMORY_MAX: usize = 8 << 20;

/// Requests in all reports that were sent, each report once; and how many of them without labels of their own.
fn delivered(vm: &mut Vm) -> (u64, u64) {
    let mut requests = BTreeMap::new();
    let mut overflow = 0;
    for (_, report) in vm.around().sent.iter().filter(|(_, report)| report.sequence > 0) {
        let totals = report.deltas.iter().map(|d| from_wire(&d.total.clone().unwrap()).unwrap().total());
        requests.insert(report.sequence, totals.sum::<u64>());
        overflow = report.overflow_requests;
    }
    (requests.values().sum(), overflow)
}

/// One second later: a tick, and where somebody answers, acknowledgements of all that was sent.
fn second(vm: &mut Vm, answers: bool) -> Result<()> {
    vm.around().now_ns += SECOND;
    vm.tick(1)?;
    // An acknowledgement makes room for the next reports.
    for _ in 0..20 {
        let last = vm.around().sent.iter().rev().find(|(_, report)| report.sequence > 0);
        let last = last.map(|(token, report)| (*token, report.sequence));
        if let (true, Some((token, sequence))) = (answers, last) {
            vm.acknowledge(token, sequence)?;
        }
    }
    Ok(())
}

fn flood(answers: bool) -> Result<()> {
    let mut vm = Vm::load()?;
    vm.configure(1, LOGGER)?;
    let mut requests = 0;
    let mut peak = 0;
    for round in 0..20 {
        for number in 0..5_000 {
            // 10 kB, and the part that differs is at the front, so that they differ when they are cut.
            let name = format!("{:08}{}", round * 5_000 + number, "x".repeat(10_000));
            vm.log(1, &Request::success(&name, &format!("shop-{name}"), 5_000 + number, 4_000))?;
            requests += 1;
        }
        second(&mut vm, answers)?;
        peak = peak.max(vm.memory_bytes());
    }
    assert!(peak < MEMORY_MAX, "{peak} bytes");
    // Somebody is there, at last.
    for _ in 0..30 {
        second(&mut vm, true)?;
    }
    let (sent, overflow) = delivered(&mut vm);
    assert_eq!(sent, requests);
    // 512 series a second have labels of their own, at most.
    assert!((requests - 20 * 512..requests).contains(&overflow), "{overflow} of {requests}");
    assert!(vm.memory_bytes() < MEMORY_MAX, "{} bytes", vm.memory_bytes());
    assert_eq!(vm.around().logs, [""; 0]);
    Ok(())
}

#[test]
fn with_100_000_routes_and_labels_of_10_kb() -> Result<()> {
    flood(true)
}

#[test]
fn with_100_000_routes_and_nobody_who_takes_them() -> Result<()> {
    flood(false)
}

/// 100 series, each of them every 5 s, for an hour in which the streams are opened and nothing is acknowledged.
#[test]
fn when_the_aggregator_is_away_for_an_hour() -> Result<()> {
    let mut vm = Vm::load()?;
    vm.configure(1, LOGGER)?;
    let requests: Vec<Request> = (0..100)
        .map(|n| {
            Request::success(&format!("route-{}", n / 2), ["shop-v1", "shop-v2"][n % 2], 5_000 + n as u64 * 90, 4_000)
        })
        .collect();
    let (mut sent, mut after_minutes) = (0, 0);
    for tick in 0..3_600u64 {
        for request in requests.iter().cycle().skip(tick as usize * 20 % 100).take(20) {
            vm.log(1, request)?;
            sent += 1;
        }
        second(&mut vm, false)?;
        if tick == 300 {
            after_minutes = vm.memory_bytes();
        }
    }
    assert!(after_minutes > 0);
    assert_eq!(vm.memory_bytes(), after_minutes, "memory grew after five minutes");
    vm.around().sent.clear();
    // The wait between attempts is 8 s and half as much again, at most.
    for _ in 0..30 {
        second(&mut vm, true)?;
    }
    let (arrived, overflow) = delivered(&mut vm);
    assert_eq!((arrived, overflow), (sent, 0));
    let most = vm.around().sent.iter().map(|(_, report)| report.deltas.len()).max();
    assert_eq!(most, Some(100), "the merged report has all series");
    let longest = vm.around().sent.iter().map(|(_, report)| report.interval_ms).max();
    assert!(longest > Some(3_000_000), "{longest:?}: the oldest ones are one");
    Ok(())
}

/// What a plain success costs with each attachment, in calls that hand bytes back.
#[test]
fn in_what_it_asks_about_a_request() -> Result<()> {
    let sorted = LOGGER.replacen('{', r#"{"outcomes": "sorted", "#, 1);
    let filter = sorted.replacen('{', r#"{"attachment": "http_filter", "#, 1);
    let request = Request::success("checkout", "shop-v1", 5_000, 4_000);
    let asked = |vm: &mut Vm| {
        let calls = &vm.around().calls;
        ["proxy_get_property", "proxy_get_header_map_value"].map(|call| calls.get(call).copied().unwrap_or_default())
    };
    for (logger, attributes) in [(Some(sorted.as_str()), 4), (None, 2)] {
        let mut vm = Vm::load()?;
        vm.configure(1, r#"{"attachment": "exceptions"}"#)?;
        vm.configure(2, logger.unwrap_or(&filter))?;
        let one = |vm: &mut Vm| match logger {
            Some(_) => vm.log(2, &request),
            None => {
                vm.headers(10, "request", &request)?;
                vm.headers(10, "response", &request)?;
                vm.log(10, &request)
            }
        };
        // The first one is looked at, to see whether Envoy sorts rightly.
        one(&mut vm)?;
        let before = asked(&mut vm);
        one(&mut vm)?;
        let after = asked(&mut vm);
        assert_eq!([after[0] - before[0], after[1] - before[1]], [attributes, 0], "{logger:?}");
    }
    Ok(())
}

/// Where the exceptions logger is not called for what it should be, it is said, and outcomes are read from then on.
#[test]
fn in_what_it_believes() -> Result<()> {
    let mut vm = Vm::load()?;
    vm.configure(1, &LOGGER.replacen('{', r#"{"outcomes": "sorted", "#, 1))?;
    vm.configure(2, r#"{"attachment": "exceptions"}"#)?;
    let mut failed = Request::success("checkout", "shop-v1", 5_000, 4_000);
    failed.number("response.code", 500);
    vm.log(1, &failed)?;
    assert!(vm.around().logs.iter().any(|line| line.contains("was not called for a request with code Some(500)")));
    vm.log(1, &failed)?;
    vm.log(1, &Request::success("checkout", "shop-v1", 5_000, 4_000))?;
    second(&mut vm, true)?;
    let sent = &vm.around().sent;
    let report = sent.iter().map(|(_, report)| report).find(|report| report.sequence == 1).unwrap();
    let count = |outcome: Outcome| {
        let id = report.new_series.iter().find(|s| s.outcome() == outcome).unwrap().id;
        let delta = report.deltas.iter().find(|delta| delta.series == id).unwrap();
        from_wire(&delta.total.clone().unwrap()).unwrap().total()
    };
    assert_eq!((count(Outcome::ServerError), count(Outcome::Success)), (2, 1));
    Ok(())
}
