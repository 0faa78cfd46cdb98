use super::*;
use crate::safety::Pause;

const SHOP: &str = "shop";

fn limited(rollbacks_per_hour: u32) -> Config {
    Config { safety: Safety { rollbacks_per_hour, dry_run: false }, ..config(false) }
}

fn events(world: &World) -> Vec<(DecisionStage, String)> {
    let decision = world.engine.decisions(SHOP, 1).pop().unwrap_or_default();
    decision.events.iter().map(|event| (event.stage(), event.sentence.clone())).collect()
}

fn stages(world: &World) -> Vec<DecisionStage> {
    events(world).into_iter().map(|(stage, _)| stage).collect()
}

fn pause(world: &mut World) {
    let since = world.now();
    world.engine.pause(Some(Pause { since, until: None, reason: "a drill".into() }));
}

/// Another service was rolled back 3,560 s before the start, and one rollback is allowed in an hour.
#[test]
fn what_the_limit_holds_back_is_written_when_the_hour_allows_it() {
    let written = v1::DecisionEvent {
        unix_us: UnixMicros::from_second(START - 3_560).0,
        stage: DecisionStage::Written.into(),
        sentence: String::new(),
    };
    let other = v1::Decision { id: 1, service: "cart".into(), events: vec![written], ..v1::Decision::default() };
    let (mut world, _) = World::new(&limited(1), vec![other]);
    assert_eq!(world.until(30, &failing(), roll_back), None);
    assert_eq!(stages(&world), [DecisionStage::Decided, DecisionStage::NotWritten], "and said once");
    let said = &events(&world)[1].1;
    assert!(said.starts_with("held back: 1 rollbacks in the last hour (safety.rollbacks_per_hour)"), "{said}");
    assert_eq!(world.until(15, &failing(), roll_back), Some(2));
    assert_eq!(world.now().second(), START + 40);
}

#[test]
fn while_it_is_paused_it_decides_and_writes_nothing() {
    let (mut world, _) = World::new(&config(false), vec![]);
    pause(&mut world);
    let told = |effect: &Effect| matches!(effect, Effect::Persist(_)).then_some(());
    let mut kept = 0;
    for _ in 0..60 {
        let effects = world.second(failing());
        kept += effects.iter().filter_map(told).count();
        assert_eq!(effects.iter().find_map(roll_back), None);
    }
    assert_eq!((kept, stages(&world)), (1, vec![DecisionStage::Decided, DecisionStage::NotWritten]));
    let said = &events(&world)[1].1;
    assert!(said.contains("(a drill); run `serin resume`"), "{said}");
    world.engine.pause(None);
    let id = world.until(1, &failing(), roll_back).expect("it is still served");
    world.step(written(id));
    assert!(world.until(10, &rolled_back(), stage(DecisionStage::Confirmed)).is_some());
}

#[test]
fn what_was_cleared_during_a_pause_is_not_written_after_it() {
    let (mut world, _) = World::new(&config(false), vec![]);
    pause(&mut world);
    world.until(60, &failing(), stage(DecisionStage::NotWritten)).unwrap();
    let now = world.now();
    world.engine.clear(SHOP, "v2", now).expect("its rollback is not on its way");
    world.engine.pause(None);
    let first = |effect: &Effect| roll_back(effect).filter(|decision| *decision == 1);
    assert_eq!(world.until(60, &healthy(), first), None);
}

/// The seconds were counted, and then the machine was suspended for a minute.
#[test]
fn what_was_counted_before_a_suspension_is_not_acted_on_until_there_is_more() {
    let (mut world, _) = World::new(&config(false), vec![]);
    for second in START + 1..START + 60 {
        world.sequence += 1;
        let end = UnixMicros::from_second(second + 1);
        let report = Report {
            sequence: world.sequence,
            interval_end: end,
            interval: Duration::from_secs(1),
            deltas: shared(failing()),
            requests_before: world.sent,
            overflow_requests: 0,
            own: v1::ReporterState::default(),
            waiting: None,
        };
        world.sent += report.requests();
        world.engine.step(Event::Reported { stream: STREAM, report }, end);
    }
    world.second = START + 120;
    let effects = world.step(Event::Tick);
    assert_eq!(effects.iter().find_map(roll_back), None);
    let verdict = world.engine.verdicts().next().unwrap();
    assert_eq!((verdict.state(), verdict.condemned), (VerdictState::Regressed, false));
    assert!(verdict.sentence.ends_with("not acted on, because it comes of reports that are old: more requests decide"));
    let effects = world.second(failing());
    assert!(effects.iter().find_map(roll_back).is_some(), "it still fails");
    assert!(!events(&world)[0].1.contains("not acted on"), "{:?}", events(&world));
}

#[test]
fn a_rollback_taken_up_again_waits_until_its_release_is_served() {
    let (mut world, _) = World::new(&config(false), vec![]);
    let id = world.until(60, &failing(), roll_back).unwrap();
    let (mut after, _) = World::new(&config(false), world.engine.decisions("", 9));
    assert_eq!(after.until(60, &rolled_back(), roll_back), None, "somebody else took it out of traffic");
    assert_eq!(stages(&after), [DecisionStage::Decided, DecisionStage::NotWritten]);
    assert_eq!(after.until(2, &healthy(), roll_back), Some(id), "it is condemned");
}

#[test]
fn one_rollback_at_a_time() {
    let (mut world, _) = World::new(&config(false), vec![]);
    let first = world.until(60, &failing(), roll_back).unwrap();
    assert_eq!(world.until(120, &failing(), roll_back), None, "it is being written");
    let mut next = config(false).services.remove(0);
    next.candidate = "v3".into();
    world.step(Event::Guard(Arc::new(next)));
    let failing = [delta("v1", Outcome::Success, 50), delta("v3", Outcome::ServerError, 50)];
    assert_eq!(world.until(60, &failing, roll_back), None, "still, though of another release");
    let said = &events(&world)[1].1;
    assert!(said.starts_with(&format!("held back: the rollback of decision {first}, of the same service")), "{said}");
    world.step(written(first));
    assert_eq!(world.until(2, &failing, roll_back), Some(first + 1));
}

#[test]
fn a_service_that_only_tells_is_not_written() {
    let mut config = config(false);
    config.services[0].rollback.only_tells = true;
    let (mut world, _) = World::new(&config, vec![]);
    assert_eq!(world.until(120, &failing(), roll_back), None);
    let said = "told, not rolled back: rollback.action is notify; v2 keeps its weight until somebody changes it";
    assert_eq!(events(&world)[1..], [(DecisionStage::NotWritten, said.to_owned())]);
}

#[test]
fn a_dry_run_of_everything_is_one_of_each_service_and_is_never_held_back() {
    let safety = Safety { rollbacks_per_hour: 1, dry_run: true };
    let (mut world, _) = World::new(&Config { safety, ..config(false) }, vec![]);
    pause(&mut world);
    let orders = |effect: &Effect| match effect {
        Effect::RollBack { service, .. } => Some(service.rollback.dry_run),
        _ => None,
    };
    assert_eq!(world.until(60, &failing(), orders), Some(true));
    world.step(Event::Guard(Arc::new(config(false).services.remove(0))));
    assert!(world.engine.services().iter().all(|service| service.rollback.dry_run));
}

/// As of a ReleaseGuard that is not ready: on call reads why, not that nothing is configured.
#[test]
fn what_has_no_targets_for_now_says_why() {
    let told = |why: Option<&str>| {
        let mut config = config(false);
        config.services[0].rollback.targets.clear();
        config.services[0].rollback.held = why.map(str::to_owned);
        let (mut world, _) = World::new(&config, vec![]);
        let decision = world.until(60, &failing(), roll_back).expect("it is decided all the same");
        world.step(Event::Written { decision, results: vec![] });
        events(&world).pop().unwrap_or_default()
    };
    let said = |sentence: &str| (DecisionStage::NotWritten, sentence.to_owned());
    assert_eq!(told(Some("v1 has no ready pods")), said("nothing was written: v1 has no ready pods"));
    assert_eq!(told(None), said("nothing was written: no rollback target is configured"));
}

/// A person lifts the condemnation of a candidate that is served all the time: what it did before is no evidence against it.
#[test]
fn what_was_cleared_is_judged_by_what_it_does_from_then_on() {
    let (mut world, _) = condemned(&config(true));
    (0..30).for_each(|_| drop(world.second(failing())));
    world.engine.clear(SHOP, "v2", world.now()).unwrap();
    let well = vec![delta("v1", Outcome::Success, 50), delta("v2", Outcome::Success, 50)];
    assert_eq!(world.until(120, &well, roll_back), None, "it is well since");
    assert!(world.until(60, &failing(), roll_back).is_some(), "it fails again");
}
