use std::time::Duration;

use serin_proto::v1::{Outcome, Vantage};
use serin_sketch::{Bucket, Counts, Micros};

use super::super::{Deployed, Stored, StreamId};
use super::*;
use crate::{
    config::{Config, Kubernetes},
    ingest::validate::Heartbeat,
    report::{Counted, Report, Reporter, SeriesKey},
};

const START: u64 = 1_000_000;
const STREAM: StreamId = StreamId(1);

fn config() -> Config {
    Config::parse(
        "services: [{name: shop, vantage: gateway, baseline: v1, candidate: v2, timing: total, \
         rollback: {envoy_rds: {file: rds.yaml, cluster: '{release}'}}}]",
    )
    .unwrap()
}

fn ours() -> Partition {
    partition::of("shop")
}

fn delta(release: &str, outcome: Outcome, requests: u64) -> Counted {
    let series = SeriesKey {
        service: "shop".into(),
        route: "all".into(),
        release: release.into(),
        pod: format!("{release}-pod"),
        outcome,
        vantage: Vantage::Gateway,
    };
    let total = Counts::from_iter([(Bucket::of(Micros(40_000)), requests)]);
    Counted { series: Arc::new(series), upstream: Counts::new(), total, retries: 0 }
}

fn counted(second: u64, outcome: Outcome) -> Logged {
    let deltas: Deltas = [delta("v1", Outcome::Success, 50), delta("v2", outcome, 50)].into_iter().collect();
    Logged { second, origin: Origin { node: "gateway".into(), workload: "".into() }, deltas: Arc::new(deltas) }
}

fn settled(second: u64) -> UnixMicros {
    UnixMicros::from_second(second + 1).plus(Duration::from_millis(500))
}

fn engine() -> Engine {
    Engine::new(&config(), Vec::new(), UnixMicros::from_second(START)).0.shared()
}

fn event(engine: &mut Engine, event: Shared, now: UnixMicros) -> Vec<Effect> {
    engine.step(event.into(), now)
}

/// Seconds from the log, each judged when it has settled.
fn judge(engine: &mut Engine, seconds: std::ops::Range<u64>, outcome: Outcome) -> Vec<Effect> {
    let mut effects = Vec::new();
    for second in seconds {
        effects.extend(event(engine, Shared::Logged(ours(), vec![counted(second, outcome)]), settled(second)));
        effects.extend(engine.step(Event::Tick, settled(second)));
    }
    effects
}

fn decision(effects: &[Effect]) -> Option<&v1::Decision> {
    effects.iter().find_map(|effect| if let Effect::Persist(decision) = effect { Some(decision) } else { None })
}

#[test]
fn what_comes_by_a_stream_is_passed_on_and_not_judged() {
    let mut engine = engine();
    let now = settled(START + 1);
    let id = ReporterId { node_id: "gateway".into(), boot_nonce: 1, context_id: 1 };
    let reporter = Reporter {
        id: id.clone(),
        vantage: Vantage::Gateway,
        version: "test".into(),
        first_sequence: 4,
        workload: "w".into(),
    };
    engine.step(Event::Connected { stream: STREAM, reporter }, now);
    let deltas = counted(START + 1, Outcome::ServerError).deltas;
    let report = Report {
        sequence: 4,
        interval_end: UnixMicros::from_second(START + 2),
        interval: Duration::from_secs(1),
        deltas: deltas.clone(),
        requests_before: 0,
        overflow_requests: 0,
        own: v1::ReporterState::default(),
        waiting: None,
    };
    let stored = Stored {
        stream: STREAM,
        reporter: id.clone(),
        workload: "w".into(),
        sequence: 4,
        floor: 4,
        second: START + 1,
        deltas,
    };
    assert_eq!(engine.step(Event::Reported { stream: STREAM, report }, now), [Effect::Store(Box::new(stored))]);
    let waiting = Waiting { at: now, interval: Duration::from_secs(1), workload: "w".into(), ages: vec![] };
    let heartbeat = Heartbeat { waiting: Some(waiting.clone()), ..Heartbeat::default() };
    assert_eq!(engine.step(Event::Heartbeat { stream: STREAM, heartbeat }, now), [Effect::Wait(id, waiting)]);
    assert_eq!(engine.slices.since(0).count(), 0);
}

#[test]
fn only_what_is_taken_is_judged() {
    let mut engine = engine();
    let seconds = START + 1..START + 60;
    assert_eq!(judge(&mut engine, seconds.clone(), Outcome::ServerError), [], "nobody gave it the partition");
    event(&mut engine, Shared::Took(ours(), Taken::default()), settled(START + 60));
    assert!(decision(&judge(&mut engine, START + 61..START + 120, Outcome::ServerError)).is_some());
}

/// One that takes over in the middle comes to the same decision, under the same number, in the same second as one that had it all the time.
#[test]
fn the_trial_goes_on_where_another_one_left_it() {
    let (mut first, mut second) = (engine(), engine());
    event(&mut first, Shared::Took(ours(), Taken::default()), settled(START));
    assert_eq!(decision(&judge(&mut first, START + 1..START + 300, Outcome::Success)), None);
    let reports = (START + 1..START + 300).map(|second| counted(second, Outcome::Success)).collect();
    // Its clock went on while it had nothing.
    second.step(Event::Tick, settled(START + 299));
    event(&mut second, Shared::Took(ours(), Taken { reports, decisions: vec![] }), settled(START + 300));
    let [verdict, taken] = [&first, &second].map(|engine| engine.verdicts().next().unwrap().clone());
    assert_eq!(v1::Verdict { unix_us: 0, ..taken }, v1::Verdict { unix_us: 0, ..verdict });
    let worse = START + 300..START + 360;
    let [a, b] = [&mut first, &mut second].map(|engine| judge(engine, worse.clone(), Outcome::ServerError));
    assert_eq!(decision(&a).unwrap(), decision(&b).unwrap());
    assert_eq!(decision(&a).unwrap().id % u64::from(partition::PARTITIONS), u64::from(ours()));
}

#[test]
fn what_is_lost_is_not_acted_for() {
    let mut engine = engine();
    event(&mut engine, Shared::Took(ours(), Taken::default()), settled(START));
    judge(&mut engine, START + 1..START + 10, Outcome::Success);
    event(&mut engine, Shared::Lost(ours()), settled(START + 10));
    assert_eq!(judge(&mut engine, START + 11..START + 100, Outcome::ServerError), []);
    assert_eq!(engine.slices.since(0).count(), 0, "it would be there twice when it is taken again");
    assert!(!engine.judges("shop"));
}

#[test]
fn a_rollback_that_another_one_did_not_come_to_write_is_taken_up() {
    let (mut first, mut second) = (engine(), engine());
    event(&mut first, Shared::Took(ours(), Taken::default()), settled(START));
    let decided = judge(&mut first, START + 1..START + 60, Outcome::ServerError);
    let decision = decision(&decided).unwrap().clone();
    event(&mut second, Shared::Decided(Box::new(decision.clone())), settled(START + 60));
    assert_eq!(second.decisions("shop", 10), std::slice::from_ref(&decision));
    let reports = (START + 1..START + 60).map(|second| counted(second, Outcome::ServerError)).collect();
    let taken = Taken { reports, decisions: vec![decision.clone()] };
    let effects = event(&mut second, Shared::Took(ours(), taken), settled(START + 61));
    let [Effect::Persist(kept), Effect::RollBack { decision: id, service }] = &effects[..] else {
        panic!("{effects:?}: it is decided already, and what cannot be kept is not acted on")
    };
    assert_eq!((kept, *id, service.name.as_str()), (&decision, decision.id, "shop"));
}

/// The decision is another one's, or we may not act for its partition just now.
#[test]
fn an_order_that_was_dropped_does_not_hold_up_the_service() {
    let mut engine = engine();
    event(&mut engine, Shared::Took(ours(), Taken::default()), settled(START));
    let roll_back = |effects: &[Effect]| {
        effects
            .iter()
            .find_map(|effect| if let Effect::RollBack { decision, .. } = effect { Some(*decision) } else { None })
    };
    let id = roll_back(&judge(&mut engine, START + 1..START + 30, Outcome::ServerError)).unwrap();
    let next = judge(&mut engine, START + 30..START + 40, Outcome::ServerError);
    assert_eq!(roll_back(&next), None, "it is being written");
    assert_eq!(engine.step(Event::Dropped { decision: id }, settled(START + 40)), []);
    assert_eq!(
        roll_back(&judge(&mut engine, START + 41..START + 43, Outcome::ServerError)),
        Some(id),
        "asked for again"
    );
    engine.step(Event::Dropped { decision: id }, settled(START + 43));
    assert!(engine.clear("shop", "v2", settled(START + 43)).is_ok());
    let next = roll_back(&judge(&mut engine, START + 44..START + 100, Outcome::ServerError));
    assert_eq!(next, Some(id + u64::from(partition::PARTITIONS)), "the next one is not held back");
}

/// Word of a decision may come before word of who judges it now.
#[test]
fn what_another_one_did_to_a_decision_is_not_missed() {
    let mut engine = engine();
    event(&mut engine, Shared::Took(ours(), Taken::default()), settled(START));
    let decided = judge(&mut engine, START + 1..START + 60, Outcome::ServerError);
    let ours_now = decision(&decided).unwrap().clone();
    let mut theirs = ours_now.clone();
    super::super::decision::clear(&mut theirs, settled(START + 70));
    event(&mut engine, Shared::Decided(Box::new(theirs.clone())), settled(START + 71));
    event(&mut engine, Shared::Decided(Box::new(ours_now)), settled(START + 71));
    assert_eq!(engine.decisions("shop", 10), [theirs], "and an echo of what we wrote is none");
}

#[test]
fn the_verdict_of_another_one_is_shown() {
    let mut engine = engine();
    let verdict = v1::Verdict { service: "shop".into(), sentence: "theirs".into(), ..v1::Verdict::default() };
    let shown = Shared::Shown(Box::new(verdict.clone()));
    assert_eq!(event(&mut engine, shown, settled(START)), [Effect::Show(verdict.clone())]);
    assert_eq!(engine.verdicts().next(), Some(&verdict));
    event(&mut engine, Shared::Took(ours(), Taken::default()), settled(START));
    let late = Shared::Shown(Box::new(verdict));
    assert_eq!(event(&mut engine, late, settled(START)), [], "it is ours now");
}

/// ReleaseGuards and partitions come in any order, and the trial goes on from where it began.
#[test]
fn the_trial_of_a_service_that_comes_goes_on_where_another_one_left_it() {
    let service = config().services.remove(0);
    let watching = Config { services: Vec::new(), kubernetes: Some(Kubernetes { namespaces: Vec::new() }), ..config() };
    let reports = (START + 1..START + 60).map(|second| counted(second, Outcome::Success)).collect();
    let taken = Taken { reports, decisions: Vec::new() };
    let now = settled(START + 60);
    let comes = || {
        let trial = Ok(START + 20);
        [Event::Guard(Arc::new(service.clone())), Event::Restarted { service: "shop".to_owned(), trial }]
    };
    let took = || [Event::Shared(Shared::Took(ours(), taken.clone()))];
    let began = |events: Vec<Event>| {
        let mut engine = Engine::new(&watching, Vec::new(), now).0.shared();
        for event in events {
            assert_eq!(engine.trial_began("shop"), None);
            engine.step(event, now);
        }
        engine.trial_began("shop")
    };
    assert_eq!(began(took().into_iter().chain(comes()).collect()), Some(START + 20));
    assert_eq!(began(comes().into_iter().chain(took()).collect()), Some(START + 20));
}

/// The candidate is deployed anew: the aggregator that judges it lifts the condemnation, once. Another one does when it takes the service over
/// before that came about.
#[test]
fn what_is_deployed_anew_is_cleared_where_it_is_judged() {
    let (mut first, mut second) = (engine(), engine());
    event(&mut first, Shared::Took(ours(), Taken::default()), settled(START));
    let decided = judge(&mut first, START + 1..START + 60, Outcome::ServerError);
    let condemned = decision(&decided).unwrap().clone();
    event(&mut second, Shared::Decided(Box::new(condemned.clone())), settled(START + 60));
    first.step(Event::Dropped { decision: condemned.id }, settled(START + 60));
    let anew = || {
        let deployed = Deployed { set: "shop-5d4f".to_owned(), created: START + 90, is_other: true };
        Event::Deployed { service: "shop".to_owned(), deployed }
    };
    assert_eq!(second.step(anew(), settled(START + 100)), [], "it is not judged here");
    assert_eq!(judge(&mut second, START + 101..START + 102, Outcome::Success), []);
    let cleared = |effects: &[Effect]| {
        effects.iter().find_map(|effect| match effect {
            Effect::Persist(kept) if super::super::decision::has(kept, v1::DecisionStage::Cleared) => {
                Some(kept.clone())
            }
            _ => None,
        })
    };
    let taken = |decision: &v1::Decision| Taken { reports: Vec::new(), decisions: vec![decision.clone()] };
    let lifted = cleared(&first.step(anew(), settled(START + 100))).expect("it is judged here");
    // The first one dies before it came about, or after.
    for (known, is_lifted_now) in [(&condemned, true), (&lifted, false)] {
        let mut third = engine();
        third.step(anew(), settled(START + 100));
        event(&mut third, Shared::Took(ours(), taken(known)), settled(START + 110));
        third.step(Event::Dropped { decision: known.id }, settled(START + 110));
        let effects = judge(&mut third, START + 111..START + 113, Outcome::Success);
        assert_eq!(cleared(&effects).is_some(), is_lifted_now, "{effects:?}");
        assert!(third.verdicts().all(|verdict| !verdict.condemned));
    }
}
