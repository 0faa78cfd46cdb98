use std::collections::{BTreeMap, VecDeque};

use proptest::prelude::*;
use prost::Message;
use serin_proto::{
    convert::from_wire,
    v1::{ReportRequest, ReportResponse, Series},
};
use serin_sketch::Micros;

use super::*;
use crate::labels::{Labels, Source, Sources};

const SECOND: u64 = 1_000_000;

fn reporter(interval_ms: u64) -> Reporter {
    let identity = v1::Reporter { node_id: "n".to_owned(), boot_nonce: 12, context_id: 2, ..Default::default() };
    Reporter::new(identity, interval_ms, 0)
}

fn timings(us: u64) -> Timings {
    Timings { upstream: Some(Micros(us)), total: Micros(us) }
}

/// A key that the wire can carry, told by one letter.
fn key(route: u8) -> Vec<u8> {
    let mut key = Vec::new();
    let sources = Sources { service: Source::Fixed("s".to_owned()), ..Sources::of_vantage(v1::Vantage::Gateway) };
    let labels = Labels::new(sources, "n", |_| None);
    // Route, and the cluster of the release.
    labels.write_key(v1::Outcome::Success, &[Some(&[b'a' + route]), None], &mut key);
    key
}

fn sent(actions: &[Action]) -> Vec<u64> {
    let sequence = |action: &Action| match action {
        Action::Send(bytes) => Some(ReportRequest::decode(&**bytes).unwrap().sequence),
        _ => None,
    };
    actions.iter().filter_map(sequence).collect()
}

fn ack(sequence: u64) -> Vec<u8> {
    ReportResponse { acked_sequence: sequence }.encode_to_vec()
}

#[test]
fn the_first_tick_opens_and_introduces_itself_with_a_heartbeat() {
    let mut reporter = reporter(1_000);
    let actions = reporter.tick(SECOND, Surroundings::default());
    let [Action::Open, Action::Send(hello)] = &*actions else { panic!("{actions:?}") };
    let hello = ReportRequest::decode(&**hello).unwrap();
    assert_eq!(hello.reporter.map(|r| r.first_sequence), Some(1));
    assert_eq!((hello.sequence, hello.interval_ms), (0, 1_000));
    let actions = reporter.tick(2 * SECOND, Surroundings::default());
    let [Action::Send(beat)] = &*actions else { panic!("{actions:?}") };
    assert_eq!(ReportRequest::decode(&**beat).unwrap().reporter, None);
}

#[test]
fn the_window_opens_with_acknowledgements() {
    let mut reporter = reporter(1_000);
    for second in 1..=10 {
        reporter.record(&key(0), timings(5), 0, || unreachable!());
        let want: Vec<u64> = if second <= 8 { vec![second] } else { vec![] };
        assert_eq!(sent(&reporter.tick(second * SECOND, Surroundings::default())), want);
    }
    assert_eq!(sent(&reporter.message(&ack(1))), [9]);
    assert_eq!(sent(&reporter.message(&ack(9))), [10]);
    assert!(!reporter.is_delivered());
    assert!(reporter.message(&ack(10)).is_empty());
    assert!(reporter.is_delivered());
}

#[test]
fn closed_streams_are_opened_again_on_ticks_after_a_back_off() {
    let mut reporter = reporter(1_000);
    let mut waits = Vec::new();
    let mut now = 0;
    for _ in 0..6 {
        let mut ticks = 0;
        loop {
            now += SECOND;
            ticks += 1;
            if reporter.tick(now, Surroundings::default()).contains(&Action::Open) {
                break;
            }
        }
        waits.push(ticks);
        reporter.closed();
    }
    // 1, 2, 4, 8, 8 s after a failure, up to half as much again, and a tick.
    assert_eq!(waits[0], 1);
    for (wait, least) in waits[1..].iter().zip([1, 2, 4, 8, 8]) {
        assert!((least..=least + least / 2 + 1).contains(wait), "{waits:?}");
    }
}

#[test]
fn a_stream_that_acknowledges_nothing_for_ten_seconds_is_replaced() {
    let mut reporter = reporter(1_000);
    reporter.record(&key(0), timings(5), 0, || unreachable!());
    for second in 1..=11 {
        assert!(!reporter.tick(second * SECOND, Surroundings::default()).contains(&Action::Cancel), "{second}");
    }
    assert_eq!(reporter.tick(12 * SECOND, Surroundings::default())[0], Action::Cancel);
    let again: Vec<_> = (13..=15)
        .map(|second| reporter.tick(second * SECOND, Surroundings::default()))
        .find(|a| !a.is_empty())
        .unwrap();
    assert_eq!((&again[0], sent(&again)), (&Action::Open, vec![1]));
}

#[test]
fn a_stream_with_too_many_series_is_replaced() {
    let mut reporter = reporter(1_000);
    let mut cancelled = 0;
    for second in 1u64..=12 {
        for i in 0..500 {
            reporter.record(
                &[&[1], &(second * 1_000 + i).to_be_bytes()[..]].concat(),
                timings(5),
                0,
                || unreachable!(),
            );
        }
        let actions = reporter.tick(second * SECOND, Surroundings::default());
        cancelled += actions.iter().filter(|a| **a == Action::Cancel).count();
        // 8 reports of 500 are 4,000 series: another one could exceed the 4,096 that a stream may define.
        assert_eq!(actions.contains(&Action::Cancel), second == 9);
        assert_eq!(sent(&actions), [second]);
        reporter.message(&ack(second));
    }
    assert_eq!(cancelled, 1);
}

#[test]
fn ticks_line_up_with_the_wall_clock() {
    let reporter = reporter(1_000);
    let cases =
        [(0, 1_000), (1_000_300, 1_000), (1_400_000, 600), (1_999_500, 1_001), (1_985_000, 1_015), (1_980_000, 20)];
    for (now_us, want) in cases {
        assert_eq!(reporter.next_tick_ms(now_us), want, "{now_us}");
    }
}

/// An aggregator as the wire's rules want it: applies every number once, in order, and refuses what breaks a rule.
#[derive(Default)]
struct Aggregator {
    applied: u64,
    requests: u64,
    totals: BTreeMap<String, u64>,
    series: BTreeMap<u32, Series>,
    greeted: bool,
}

impl Aggregator {
    fn open(&mut self) {
        (self.series, self.greeted) = (BTreeMap::new(), false);
    }

    fn receive(&mut self, bytes: &[u8]) -> Vec<u8> {
        let report = ReportRequest::decode(bytes).unwrap();
        assert_eq!(report.reporter.is_some(), !self.greeted, "the first message and no other has the reporter");
        if let Some(reporter) = &report.reporter {
            assert!(reporter.first_sequence <= self.applied + 1, "{} of {}", reporter.first_sequence, self.applied);
        }
        self.greeted = true;
        assert!((1..=86_400_000).contains(&report.interval_ms));
        for series in report.new_series {
            assert!(series.id < 65_536 && self.series.insert(series.id, series).is_none());
        }
        if report.sequence > self.applied {
            assert_eq!(report.sequence, self.applied + 1);
            assert_eq!(report.requests_before, self.requests);
            self.applied = report.sequence;
            for delta in &report.deltas {
                let total = from_wire(delta.total.as_ref().unwrap()).unwrap().total();
                self.requests += total;
                *self.totals.entry(self.series[&delta.series].route.clone()).or_default() += total;
            }
        }
        ack(self.applied)
    }
}

/// A stream with loss at its end: what was not delivered when it closes is gone.
#[derive(Default)]
struct Wire {
    open: bool,
    up: VecDeque<Vec<u8>>,
    down: VecDeque<Vec<u8>>,
}

impl Wire {
    fn act(&mut self, actions: Vec<Action>, aggregator: &mut Aggregator) {
        for action in actions {
            match action {
                Action::Cancel => *self = Wire::default(),
                Action::Open => {
                    assert!(!self.open);
                    *self = Wire { open: true, ..Wire::default() };
                    aggregator.open();
                }
                Action::Send(bytes) => {
                    assert!(self.open);
                    self.up.push_back(bytes);
                }
            }
        }
    }
}

#[derive(Clone, Debug)]
enum Step {
    Requests(u8, u8),
    Tick,
    Arrive(usize),
    Answer(usize),
    Close,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0u8..5, 1u8..20).prop_map(|(route, n)| Step::Requests(route, n)),
        6 => Just(Step::Tick),
        3 => (1usize..4).prop_map(Step::Arrive),
        3 => (1usize..4).prop_map(Step::Answer),
        1 => Just(Step::Close),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    /// Whatever is lost or late on the way, the aggregator ends with exactly what was recorded.
    #[test]
    fn every_request_is_counted_exactly_once(steps in prop::collection::vec(step(), 0..400)) {
        let (mut reporter, mut wire, mut aggregator) = (reporter(1_000), Wire::default(), Aggregator::default());
        let mut recorded = BTreeMap::<String, u64>::new();
        let mut now = 0;
        // At the end the network heals: 60 rounds deliver 30 waiting reports and sit out the longest back-off.
        let heal = std::iter::repeat_n([Step::Tick, Step::Arrive(99), Step::Answer(99)], 60).flatten();
        for step in steps.into_iter().chain(heal) {
            match step {
                Step::Requests(route, n) => {
                    (0..n).for_each(|i| reporter.record(&key(route), timings(u64::from(i)), 0, || unreachable!()));
                    *recorded.entry(char::from(b'a' + route).to_string()).or_default() += u64::from(n);
                }
                Step::Tick => {
                    now += SECOND;
                    let actions = reporter.tick(now, Surroundings::default());
                    wire.act(actions, &mut aggregator);
                }
                Step::Arrive(n) => {
                    for _ in 0..n {
                        let Some(bytes) = wire.up.pop_front() else { break };
                        wire.down.push_back(aggregator.receive(&bytes));
                    }
                }
                Step::Answer(n) => {
                    for _ in 0..n {
                        let Some(bytes) = wire.down.pop_front() else { break };
                        let actions = reporter.message(&bytes);
                        wire.act(actions, &mut aggregator);
                    }
                }
                Step::Close if wire.open => {
                    wire = Wire::default();
                    reporter.closed();
                }
                Step::Close => {}
            }
        }
        prop_assert!(reporter.is_delivered());
        prop_assert_eq!(aggregator.totals, recorded);
    }
}
