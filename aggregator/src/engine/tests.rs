use std::sync::Arc;

use proptest::prelude::*;
use serin_judge::{PodSpread, Policy};
use serin_proto::v1::{DecisionStage, Outcome, Vantage, VerdictState};
use serin_sketch::{Counts, Micros};

use super::{seconds::SETTLE, *};
use crate::{
    config::{Kubernetes, Rollback, Safety, Service, Target, Template, Timing},
    ingest::validate::Heartbeat,
    recording::Kept,
    report::{self, Counted, Deltas, Report, Reporter, SeriesKey},
};

mod by_proxy;
mod deployed;
mod dynamic;
mod hangs;
mod in_the_cluster;
mod restarted;
mod safety;
mod storms;

const STREAM: StreamId = StreamId(1);
const START: u64 = 1_000_000;

fn config(dry_run: bool) -> Config {
    let target = Target::EnvoyRds { file: "rds.yaml".into(), cluster: Template::parse("{release}").unwrap() };
    let service = Service {
        name: "shop".into(),
        vantage: Vantage::Gateway,
        baseline: "v1".into(),
        candidate: "v2".into(),
        routes: vec![],
        timing: Timing::Total,
        policy: Policy::default(),
        throughput: false,
        rollback: Rollback {
            dry_run,
            only_tells: false,
            without_baseline: false,
            confirm_within: Duration::from_secs(10),
            hold: Duration::from_secs(3_600),
            targets: vec![target],
            objects: Vec::new(),
            rollout: None,
            held: None,
        },
    };
    Config {
        grpc: ([127, 0, 0, 1], 0).into(),
        metrics: ([127, 0, 0, 1], 0).into(),
        data_dir: "unused".into(),
        filter: None,
        live_window: Duration::from_secs(900),
        nats: None,
        lease: None,
        notify: Vec::new(),
        safety: Safety { rollbacks_per_hour: 10, dry_run: false },
        exporters: Vec::new(),
        retention: serin_history::Retention::default(),
        kubernetes: None,
        services: vec![service],
    }
}

fn shared(deltas: Vec<Counted>) -> Arc<Deltas> {
    Arc::new(deltas.into_iter().collect())
}

fn delta(release: &str, outcome: Outcome, requests: u64) -> Counted {
    lasting(40_000, release, outcome, requests)
}

fn lasting(us: u64, release: &str, outcome: Outcome, requests: u64) -> Counted {
    let series = SeriesKey {
        service: "shop".into(),
        route: "all".into(),
        release: release.into(),
        pod: format!("{release}-pod"),
        outcome,
        vantage: Vantage::Gateway,
    };
    let mut total = Counts::new();
    total.add(serin_sketch::Bucket::of(Micros(us)), requests);
    Counted { series: Arc::new(series), upstream: Counts::new(), total, retries: 0 }
}

/// 100 requests from 10 ms to 1 s, so many times as slow.
fn spread(release: &str, times: u64) -> Counted {
    let delta = delta(release, Outcome::Success, 0);
    let total = (1..=100).map(|i| (serin_sketch::Bucket::of(Micros(times * 1_000_000 / i)), 1)).collect();
    Counted { total, ..delta }
}

impl Engine {
    /// The second in which the running trial of a service began.
    pub(in crate::engine) fn trial_began(&self, service: &str) -> Option<u64> {
        self.guards.iter().find(|guard| guard.service().name == service)?.trial_began()
    }
}

/// An engine with one reporter, in virtual time.
struct World {
    engine: Engine,
    second: u64,
    sequence: u64,
    sent: u64,
}

impl World {
    fn new(config: &Config, kept: Vec<v1::Decision>) -> (World, Vec<Effect>) {
        let (engine, effects) = Engine::new(config, kept, UnixMicros::from_second(START));
        let mut world = World { engine, second: START + 1, sequence: 0, sent: 0 };
        world.step(Event::Connected { stream: STREAM, reporter: reporter() });
        (world, effects)
    }

    fn now(&self) -> UnixMicros {
        UnixMicros::from_second(self.second)
    }

    fn step(&mut self, event: Event) -> Vec<Effect> {
        self.engine.step(event, self.now())
    }

    /// A report comes, and is kept at once where it is new.
    fn report(&mut self, report: Report) -> Vec<Effect> {
        let now = self.now();
        let mut effects = self.engine.step(Event::Reported { stream: STREAM, report }, now);
        if let Some(at) = effects.iter().position(|effect| matches!(effect, Effect::Store(_))) {
            let Effect::Store(stored) = effects.remove(at) else { return effects };
            let acks = vec![(stored.stream, stored.reporter, stored.sequence)];
            effects.extend(self.engine.step(Event::Durable { acks }, now));
        }
        effects
    }

    /// One second goes by in which this was counted; then it is judged.
    fn second(&mut self, deltas: Vec<Counted>) -> Vec<Effect> {
        self.sequence += 1;
        let end = UnixMicros::from_second(self.second + 1);
        let report = Report {
            sequence: self.sequence,
            interval_end: end,
            interval: Duration::from_secs(1),
            deltas: shared(deltas),
            requests_before: self.sent,
            overflow_requests: 0,
            own: serin_proto::v1::ReporterState::default(),
            waiting: None,
        };
        self.sent += report.requests();
        let mut effects =
            self.engine.step(Event::Reported { stream: STREAM, report }, end.plus(Duration::from_millis(5)));
        self.second += 1;
        let settled = end.plus(SETTLE);
        effects.extend(self.engine.step(Event::Tick, settled));
        effects
    }

    fn until<T>(&mut self, seconds: u64, deltas: &[Counted], found: impl Fn(&Effect) -> Option<T>) -> Option<T> {
        (0..seconds).find_map(|_| self.second(deltas.to_vec()).iter().find_map(&found))
    }
}

fn reporter() -> Reporter {
    let id = ReporterId { node_id: "gateway".into(), boot_nonce: 1, context_id: 1 };
    Reporter { id, vantage: Vantage::Gateway, version: "test".into(), first_sequence: 1, workload: "".into() }
}

fn healthy() -> Vec<Counted> {
    vec![delta("v1", Outcome::Success, 50), delta("v2", Outcome::Success, 50)]
}

fn failing() -> Vec<Counted> {
    vec![delta("v1", Outcome::Success, 50), delta("v2", Outcome::ServerError, 50)]
}

fn rolled_back() -> Vec<Counted> {
    vec![delta("v1", Outcome::Success, 100)]
}

fn roll_back(effect: &Effect) -> Option<u64> {
    match effect {
        Effect::RollBack { decision, .. } => Some(*decision),
        _ => None,
    }
}

fn stage(wanted: DecisionStage) -> impl Fn(&Effect) -> Option<String> {
    move |effect| match effect {
        Effect::Persist(decision) => {
            decision.events.last().filter(|event| event.stage() == wanted).map(|event| event.sentence.clone())
        }
        _ => None,
    }
}

fn written(decision: u64) -> Event {
    Event::Written { decision, results: vec![Written::Done("wrote rds.yaml".into())] }
}

/// Up to the moment the rollback is written.
fn condemned(config: &Config) -> (World, v1::Decision) {
    let (mut world, _) = World::new(config, vec![]);
    let id = world.until(60, &failing(), roll_back).expect("a candidate that only fails is condemned");
    world.step(written(id));
    let decision = world.engine.decisions("shop", 1).remove(0);
    (world, decision)
}

/// Whether its service is guarded now, or its ReleaseGuard is still to be read.
#[test]
fn what_is_condemned_is_known_without_its_guard() {
    let (_, decision) = condemned(&config(false));
    let nothing = Config { services: vec![], ..config(false) };
    let (mut world, _) = World::new(&nothing, vec![decision.clone()]);
    let of =
        |world: &World, service, candidate| world.engine.condemned(service, candidate).map(|known| known.candidate);
    let v2 = Some("v2".to_owned());
    assert_eq!(of(&world, "shop", None), v2);
    assert_eq!(of(&world, "shop", v2.as_deref()), v2);
    assert_eq!(of(&world, "shop", Some("v3")), None);
    assert_eq!(of(&world, "cart", None), None);
    let now = world.now();
    let event = v1::DecisionEvent { stage: DecisionStage::Cleared.into(), unix_us: now.0, sentence: String::new() };
    let events = decision.events.iter().cloned().chain([event]).collect();
    (world, _) = World::new(&nothing, vec![v1::Decision { events, ..decision }]);
    assert_eq!(of(&world, "shop", None), None);
}

#[test]
fn a_failing_candidate_is_condemned_and_the_rollback_confirmed() {
    let (mut world, decision) = condemned(&config(false));
    let verdict = decision.verdict.unwrap();
    assert_eq!((verdict.state(), verdict.condemned), (VerdictState::Regressed, true));
    world.second(failing());
    let sentence = world.until(5, &rolled_back(), stage(DecisionStage::Confirmed)).unwrap();
    assert!(sentence.starts_with("candidate share 0.0% after "), "{sentence}");
    let stages: Vec<_> = world.engine.decisions("", 9)[0].events.iter().map(v1::DecisionEvent::stage).collect();
    assert_eq!(stages, [DecisionStage::Decided, DecisionStage::Written, DecisionStage::Confirmed]);
}

#[test]
fn a_decision_is_kept_before_it_is_written() {
    let (mut world, _) = World::new(&config(false), vec![]);
    let effects =
        (0..60).map(|_| world.second(failing())).find(|effects| effects.iter().any(|e| roll_back(e).is_some()));
    let effects = effects.expect("a candidate that only fails is condemned");
    let kept = effects.iter().position(|effect| stage(DecisionStage::Decided)(effect).is_some());
    assert!(kept.is_some() && kept < effects.iter().position(|effect| roll_back(effect).is_some()), "{effects:?}");
}

#[test]
fn a_rollback_without_effect_is_said_and_written_again() {
    let (mut world, _) = condemned(&config(false));
    let sentence = world.until(15, &failing(), stage(DecisionStage::NotInEffect)).unwrap();
    assert!(sentence.contains("v2 still gets 50.0% of the requests"), "{sentence}");
    assert!(world.until(40, &failing(), roll_back).is_some(), "tried again");
}

#[test]
fn stragglers_that_time_out_do_not_spoil_the_confirmation() {
    let (mut world, _) = condemned(&config(false));
    let stragglers = [rolled_back(), vec![lasting(30_000_000, "v2", Outcome::Timeout, 5)]].concat();
    assert!(world.until(5, &stragglers, stage(DecisionStage::Confirmed)).is_some());
}

#[test]
fn a_candidate_that_refuses_connections_is_seen_to_be_sent_requests() {
    let refusing = vec![delta("v1", Outcome::Success, 50), delta("v2", Outcome::Reset, 50)];
    let (mut world, _) = World::new(&config(false), vec![]);
    let id = world.until(60, &refusing, roll_back).unwrap();
    world.step(written(id));
    let sentence = world.until(15, &refusing, stage(DecisionStage::NotInEffect)).unwrap();
    assert!(sentence.contains("v2 still gets 50.0% of the requests"), "{sentence}");
    assert!(world.until(5, &rolled_back(), stage(DecisionStage::Confirmed)).is_some());
}

#[test]
fn a_rollback_that_could_not_be_written_is_tried_again() {
    let (mut world, _) = World::new(&config(false), vec![]);
    let decision = world.until(60, &failing(), roll_back).unwrap();
    let failed = vec![Written::Failed("cannot write rds.yaml".into())];
    world.step(Event::Written { decision, results: failed });
    assert_eq!(world.until(25, &failing(), roll_back), None, "not at once");
    assert_eq!(world.until(10, &failing(), roll_back), Some(decision));
    let said: Vec<_> = world.engine.decisions("", 1)[0].events.iter().map(|event| event.sentence.clone()).collect();
    assert_eq!(
        said[1..],
        ["cannot write rds.yaml", "v2 is condemned and gets 50.0% of the requests: writing the rollback again"]
    );
}

#[test]
fn a_candidate_that_comes_back_with_little_is_rolled_back_again() {
    let (mut world, _) = condemned(&config(false));
    world.until(5, &rolled_back(), stage(DecisionStage::Confirmed)).unwrap();
    (0..30).for_each(|_| drop(world.second(rolled_back())));
    let trickle = [rolled_back(), vec![delta("v2", Outcome::Success, 1)]].concat();
    let again = (0..40).find_map(|n| {
        let deltas = if n % 10 == 0 { trickle.clone() } else { rolled_back() };
        world.second(deltas).iter().find_map(roll_back)
    });
    assert!(again.is_some(), "one request in 10 s is enough");
}

#[test]
fn a_clock_that_is_set_back_does_not_stop_the_judging() {
    let (mut world, _) = World::new(&config(false), vec![]);
    world.second += 3_600;
    world.second(healthy());
    world.second -= 3_600;
    assert!(world.until(60, &failing(), roll_back).is_some());
}

#[test]
fn a_condemned_release_stays_condemned_across_a_restart() {
    let (mut before, _) = condemned(&config(false));
    before.until(5, &rolled_back(), stage(DecisionStage::Confirmed)).unwrap();
    let (mut after, first) = World::new(&config(false), before.engine.decisions("", 9));
    assert_eq!(first, [], "it is in effect already");
    assert!(after.engine.verdicts().all(|verdict| verdict.condemned));
    assert_eq!(after.until(60, &rolled_back(), roll_back), None, "and stays so");
    assert!(after.until(5, &healthy(), roll_back).is_some(), "a condemned release that comes back is rolled back");
}

#[test]
fn a_decision_that_was_never_written_is_taken_up_again() {
    let (mut world, _) = World::new(&config(false), vec![]);
    let id = world.until(60, &failing(), roll_back).unwrap();
    let (mut after, first) = World::new(&config(false), world.engine.decisions("", 9));
    assert_eq!(first.iter().find_map(roll_back), None, "who knows what became of it meanwhile?");
    assert_eq!(after.until(2, &failing(), roll_back), Some(id), "it is served");
}

#[test]
fn a_person_clears_a_condemnation() {
    let (mut world, _) = condemned(&config(false));
    let now = world.now();
    assert!(world.engine.clear("shop", "v9", now).is_err());
    let effects = world.engine.clear("shop", "v2", now).unwrap();
    assert!(effects.iter().any(|effect| stage(DecisionStage::Cleared)(effect).is_some()));
    assert!(world.engine.clear("shop", "v2", now).is_err(), "once");
    let (after, first) = World::new(&config(false), world.engine.decisions("", 9));
    assert_eq!((first, after.engine.verdicts().next().unwrap().condemned), (vec![], false));
    assert!(world.until(60, &failing(), roll_back).is_some(), "judged anew");
    assert_eq!(world.engine.decisions("", 9).len(), 2);
}

#[test]
fn a_condemnation_outlives_the_configuration_and_can_be_cleared() {
    let (world, _) = condemned(&config(false));
    let mut moved_on = config(false);
    moved_on.services[0].candidate = "v3".into();
    let (mut world, _) = World::new(&moved_on, world.engine.decisions("", 9));
    let now = world.now();
    assert!(world.engine.clear("shop", "v2", now).is_ok());
    assert_eq!(world.engine.clear("shop", "v2", now), Err(NotCleared::NotCondemned));
}

#[test]
fn a_dry_run_writes_once_and_enforces_nothing() {
    let (mut world, _) = World::new(&config(true), vec![]);
    let id = world.until(60, &failing(), roll_back).unwrap();
    world.step(Event::Written { decision: id, results: vec![Written::DryRun("dry run: v2 50 -> 0".into())] });
    assert_eq!(world.until(60, &failing(), roll_back), None);
    let kept = world.engine.decisions("", 9);
    let (_, first) = World::new(&config(true), kept.clone());
    assert_eq!(first, [], "nor after a restart");
    let (mut world, _) = World::new(&config(false), kept);
    assert_eq!(world.until(2, &failing(), roll_back), Some(id), "until it is meant");
}

#[test]
fn a_healthy_candidate_is_left_alone() {
    let (mut world, _) = World::new(&config(false), vec![]);
    assert_eq!(world.until(300, &healthy(), roll_back), None);
    let compared = world.engine.compare("shop", 60, world.now()).unwrap();
    let (baseline, candidate) = (compared.baseline.unwrap(), compared.candidate.unwrap());
    assert_eq!((baseline.requests, candidate.requests), (60 * 50, 60 * 50));
    assert_eq!((candidate.pods, candidate.errors), (1, 0));
    // 40,000 us lie in [39,936, 40,192) us: 2^15 < 40,000 and buckets there are 256 us wide.
    assert_eq!(candidate.quantiles[0].latency_us, 40_063);
}

#[test]
fn what_is_measured_elsewhere_is_kept_and_not_judged() {
    let elsewhere: Vec<Counted> = failing()
        .into_iter()
        .map(|d| Counted { series: Arc::new(SeriesKey { vantage: Vantage::Inbound, ..(*d.series).clone() }), ..d })
        .collect();
    let (mut world, _) = World::new(&config(false), vec![]);
    assert_eq!(world.until(60, &elsewhere, roll_back), None);
    assert_eq!(world.engine.totals.iter().map(|(_, n)| n.requests).sum::<u64>(), 60 * 100);
}

#[test]
fn a_late_report_is_counted_and_not_judged() {
    let (mut world, _) = World::new(&config(false), vec![]);
    world.second(healthy());
    world.second(healthy());
    let report = Report {
        sequence: 3,
        interval_end: UnixMicros::from_second(START + 2),
        interval: Duration::from_secs(1),
        deltas: shared(failing()),
        requests_before: 200,
        overflow_requests: 0,
        own: serin_proto::v1::ReporterState::default(),
        waiting: None,
    };
    assert_eq!(world.report(report), [Effect::Ack { stream: STREAM, sequence: 3 }]);
    assert_eq!(world.engine.counters.late_requests, 100);
    assert_eq!(world.engine.compare("shop", 0, world.now()).unwrap().candidate.unwrap().errors, 50);
}

#[test]
fn a_gap_closes_the_stream() {
    let (mut world, _) = World::new(&config(false), vec![]);
    world.sequence = 5;
    let effects = world.second(healthy());
    let reason = CloseReason::Gap { expected: 1, got: 6 };
    assert!(effects.contains(&Effect::Close { stream: STREAM, reason }), "{effects:?}");
    assert_eq!(world.engine.totals.iter().count(), 0);
}

proptest! {
    /// Whatever is sent again, each report's requests are in the totals once.
    #[test]
    fn resends_change_no_count(sends in prop::collection::vec(1u64..6, 1..60)) {
        let (mut world, _) = World::new(&config(false), vec![]);
        let mut highest = 0u64;
        for back in sends {
            let sequence = (highest + 2).saturating_sub(back).max(1);
            let report = Report {
                sequence,
                interval_end: world.now(),
                interval: Duration::from_secs(1),
                deltas: shared(vec![delta("v1", Outcome::Success, sequence)]),
                requests_before: sequence * (sequence - 1) / 2,
                overflow_requests: 0,
                own: serin_proto::v1::ReporterState::default(),
            waiting: None,
            };
            highest = highest.max(sequence);
            let ack = Effect::Ack { stream: STREAM, sequence: highest };
            prop_assert_eq!(world.report(report), [ack]);
        }
        let counted: u64 = world.engine.totals.iter().map(|(_, n)| n.requests).sum();
        prop_assert_eq!(counted, highest * (highest + 1) / 2);
    }
}

fn recorded(effect: &Effect) -> Option<Kept> {
    match effect {
        Effect::Record { recording, .. } => Some((**recording).clone()),
        _ => None,
    }
}

/// What was recorded, judged again, gives the verdict that was acted on.
#[test]
fn a_decision_can_be_judged_again_from_its_recording() {
    let (mut world, _) = World::new(&config(false), vec![]);
    (0..70).for_each(|_| drop(world.second(vec![spread("v1", 1)])));
    let slower = vec![spread("v1", 1), spread("v2", 4)];
    let kept = world.until(60, &slower, recorded).expect("a candidate that is four times as slow is condemned");
    let mut reader = crate::recording::file::Reader::default();
    for part in kept.from(0).unwrap() {
        reader.take(prost::Message::decode(part.as_slice()).unwrap()).unwrap();
    }
    let recording = reader.end().unwrap();
    let mut trial = on_trial::OnTrial::new(recording.setup);
    recording.seconds.iter().for_each(|second| trial.observe(second));
    let decided = world.engine.decisions("shop", 1)[0].verdict.clone().unwrap();
    let again = v1::Verdict { unix_us: decided.unix_us, condemned: true, ..trial.verdict(0) };
    assert_eq!(again, decided);
    assert_eq!(world.engine.recording("shop"), Ok(Some(Recorded::Ended(&kept))));
    assert!(world.engine.recording("cart").is_err());
}

/// The baseline's requests are gone, and so are perhaps its pods.
#[test]
fn without_a_baseline_nothing_is_written_unless_it_is_wanted() {
    let ended = |without_baseline| {
        let mut config = config(false);
        config.services[0].rollback.without_baseline = without_baseline;
        let (mut world, _) = World::new(&config, vec![]);
        (0..600).for_each(|_| drop(world.second(vec![delta("v1", Outcome::Success, 500)])));
        (0..60).for_each(|_| {
            drop(world.second(vec![delta("v1", Outcome::Success, 250), delta("v2", Outcome::Success, 250)]))
        });
        let slow = [lasting(400_000, "v2", Outcome::Success, 500)];
        let kept = world.until(600, &slow, recorded);
        assert!(kept.is_some(), "ten times as slow as the baseline was");
        let decision = world.engine.decisions("shop", 1).remove(0);
        let (mut after, first) = World::new(&config, vec![decision.clone()]);
        let again = after.until(90, &slow, roll_back);
        (decision, first.len(), again)
    };
    let (decision, first, again) = ended(false);
    assert!(decision.verdict.is_some_and(|verdict| verdict.without_baseline && !verdict.past.is_empty()));
    let last = decision.events.last().unwrap();
    assert_eq!((last.stage(), first, again), (DecisionStage::NotWritten, 0, None), "{last:?}");
    assert!(last.sentence.contains("rollback.without_baseline: true"), "{}", last.sentence);
    let (decision, first, _) = ended(true);
    assert_eq!(
        (decision.events.last().unwrap().stage(), first),
        (DecisionStage::Decided, 1),
        "taken up again after a restart"
    );
}

/// A weight of half of the requests, of which the candidate completes a quarter.
#[test]
fn weights_are_held_against_once_they_have_settled() {
    let (mut world, _) = World::new(&config(false), vec![]);
    world.step(Event::Weighed { service: "shop".to_owned(), share: Some(0.5) });
    let few = [delta("v1", Outcome::Success, 150), delta("v2", Outcome::Success, 50)];
    let decided = (1..=90).find(|_| world.second(few.to_vec()).iter().find_map(roll_back).is_some());
    assert!(decided.is_some_and(|s| (30..=45).contains(&s)), "{decided:?}");
    let sentence = world.engine.decisions("shop", 1)[0].verdict.clone().unwrap().sentence;
    assert!(sentence.starts_with("throughput: "), "{sentence}");
}

/// The candidate gets more of the slow kind of requests, and is as fast at each.
#[test]
fn another_mix_of_requests_is_no_regression() {
    let of = |route: &str, us, release: &str, n| {
        let delta = lasting(us, release, Outcome::Success, n);
        let series = Arc::new(SeriesKey { route: route.into(), ..(*delta.series).clone() });
        Counted { series, ..delta }
    };
    let mix = |a, b| {
        vec![
            of("GET /cart", 20_000, "v1", 500 - a),
            of("POST /order", 200_000, "v1", a),
            of("GET /cart", 20_000, "v2", 500 - b),
            of("POST /order", 200_000, "v2", b),
        ]
    };
    let (mut world, _) = World::new(&config(false), vec![]);
    assert_eq!(world.until(300, &mix(20, 200), roll_back), None);
    let verdict = world.engine.verdicts().next().unwrap().clone();
    assert!(verdict.findings.iter().all(|finding| finding.log_evidence < 1.0), "{verdict:?}");
}

/// A report that is applied and not kept yet is not acknowledged, whatever comes again.
#[test]
fn what_is_not_durable_is_not_acknowledged() {
    let (mut world, _) = World::new(&config(false), vec![]);
    let report = |sequence| Report {
        sequence,
        interval_end: UnixMicros::from_second(START + 2),
        interval: Duration::from_secs(1),
        deltas: shared(healthy()),
        requests_before: 100 * (sequence - 1),
        overflow_requests: 0,
        own: serin_proto::v1::ReporterState::default(),
        waiting: None,
    };
    let effects = world.step(Event::Reported { stream: STREAM, report: report(1) });
    let [Effect::Store(stored)] = &effects[..] else { panic!("{effects:?}") };
    assert_eq!((stored.sequence, stored.second, stored.deltas.iter().len()), (1, START, 2));
    let again = world.step(Event::Reported { stream: STREAM, report: report(1) });
    assert_eq!(again, [Effect::Ack { stream: STREAM, sequence: 0 }], "it was applied, and may still be lost");
    world.step(Event::Reported { stream: STREAM, report: report(2) });
    let acks = [1, 2].map(|sequence| (STREAM, stored.reporter.clone(), sequence)).to_vec();
    assert_eq!(world.step(Event::Durable { acks: acks.clone() }), [Effect::Ack { stream: STREAM, sequence: 2 }]);
    world.step(Event::Disconnected { stream: STREAM });
    assert_eq!(world.step(Event::Durable { acks }), [], "nobody is there to be told");
}

/// An aggregator that is started again goes on with the trial where it was, and knows what was reported.
#[test]
fn a_restart_goes_on_with_the_trial() {
    let slower = [spread("v1", 1), spread("v2", 4)];
    let mut remembered = Remembered { applied: vec![(reporter().id, 77)], ..Remembered::default() };
    for second in START..START + 60 {
        remembered.seconds.insert(second, vec![shared(vec![spread("v1", 1)])]);
    }
    for second in START + 60..START + 66 {
        remembered.seconds.insert(second, vec![shared(slower.to_vec())]);
    }
    let now = UnixMicros::from_second(START + 67);
    let (mut engine, _) = Engine::new(&config(false), vec![], now);
    let effects = engine.restore(remembered.clone(), now);
    assert!(effects.iter().all(|effect| roll_back(effect).is_none()), "six seconds are not enough");
    assert_eq!(engine.verdicts().next().map(|verdict| verdict.trial_s), Some(6), "{:?}", engine.verdicts().next());
    let mut world = World { engine, second: START + 67, sequence: 77, sent: 0 };
    world.step(Event::Connected { stream: STREAM, reporter: reporter() });
    let decided = (1..=10).find(|_| world.second(slower.to_vec()).iter().any(|effect| roll_back(effect).is_some()));
    assert!(decided.is_some_and(|s| s <= 4), "{decided:?}: eight seconds in all");
    // A condemned candidate's past seconds condemn nobody again.
    let (mut engine, _) = Engine::new(&config(false), world.engine.decisions("", 9), now);
    assert!(engine.restore(remembered, now).iter().all(|effect| roll_back(effect).is_none()));
}

/// What earlier days tell is what a trial begins with, where they are enough.
#[test]
fn a_trial_begins_with_what_earlier_days_tell() {
    let (mut world, _) = World::new(&config(false), vec![]);
    let pods = PodSpread::known([Some(0.01), Some(0.02), Some(0.03), None]);
    let days = vec![spread("v1", 1).total; 5];
    let learned = Learned { pods, windows: BTreeMap::from([(String::new(), days.clone())]) };
    world.step(Event::Learned { service: "shop".to_owned(), learned });
    world.second(healthy());
    world.second(healthy());
    let Ok(Some(Recorded::Running(kept))) = world.engine.recording("shop") else { panic!("no trial") };
    let mut reader = crate::recording::file::Reader::default();
    reader.take(prost::Message::decode(kept.from(0).unwrap()[0].as_slice()).unwrap()).unwrap();
    let history = reader.end().unwrap().setup.histories.remove(0);
    assert_eq!((history.pods, history.windows), (pods, days));
}
