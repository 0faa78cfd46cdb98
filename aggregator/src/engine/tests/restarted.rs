//! A trial of a service that came at run time, and a restart in its middle.

use super::*;

const FIRST: u64 = START + 1;

/// v1 alone for 40 s, and then v2 with it, a little slower: nothing that is decided soon.
fn counted(second: u64) -> Vec<Counted> {
    let slower = Counted { total: spread("v2", 1).total, ..lasting(60_000, "v2", Outcome::Success, 0) };
    let v1 = (0..2).map(|_| spread("v1", 1));
    if second < FIRST + 40 { v1.collect() } else { v1.chain([slower, delta("v2", Outcome::ServerError, 1)]).collect() }
}

fn shop(change: impl FnOnce(&mut Service)) -> Event {
    let mut service = config(false).services.remove(0);
    change(&mut service);
    Event::Guard(Arc::new(service))
}

/// As where ReleaseGuards are watched.
fn watching() -> Config {
    Config { services: Vec::new(), kubernetes: Some(Kubernetes { namespaces: Vec::new() }), ..config(false) }
}

/// Seconds go by, the last of which is before `until`.
fn go(world: &mut World, until: u64, counted: impl Fn(u64) -> Vec<Counted>) {
    while world.second < until {
        let effects = world.second(counted(world.second));
        assert!(!effects.iter().any(|effect| roll_back(effect).is_some()), "nothing is wrong enough");
    }
}

/// Killed, and started again `away` seconds later: what it had taken in is on disk.
fn restarted(world: &World, away: u64, counted: impl Fn(u64) -> Vec<Counted>) -> World {
    let at = world.second + away;
    let from = at.saturating_sub(900).max(FIRST);
    let mut remembered = Remembered { applied: vec![(reporter().id, world.sequence)], ..Remembered::default() };
    remembered.seconds = (from..world.second).map(|second| (second, vec![shared(counted(second))])).collect();
    let now = UnixMicros::from_second(at);
    let (mut engine, _) = Engine::new(&watching(), world.engine.decisions("", 9), now);
    engine.restore(remembered, now);
    let mut world = World { engine, second: at, sequence: world.sequence, sent: 0 };
    world.step(Event::Connected { stream: STREAM, reporter: reporter() });
    world
}

fn goes_on(trial: Result<u64, String>) -> Event {
    Event::Restarted { service: "shop".to_owned(), trial }
}

fn verdict(world: &World) -> v1::Verdict {
    world.engine.verdicts().next().unwrap().clone()
}

/// Whenever it is killed, and however long the ReleaseGuard takes to come back: the evidence is that of a run without a break.
#[test]
fn a_trial_goes_on_with_the_same_evidence() {
    for (killed, comes_after) in [(45, 3), (100, 0), (180, 20), (250, 100), (600, 7)] {
        let until = FIRST + killed + 150;
        let (mut undisturbed, _) = World::new(&watching(), vec![]);
        undisturbed.step(shop(|_| ()));
        go(&mut undisturbed, until, counted);
        let (mut first, _) = World::new(&watching(), vec![]);
        first.step(shop(|_| ()));
        go(&mut first, FIRST + killed, counted);
        let began = first.engine.trial_began("shop");
        assert_eq!(began, Some(FIRST + 40));
        let mut second = restarted(&first, 0, counted);
        go(&mut second, FIRST + killed + comes_after, counted);
        second.step(shop(|_| ()));
        second.step(goes_on(Ok(FIRST + 40)));
        assert_eq!(second.engine.trial_began("shop"), began);
        go(&mut second, until, counted);
        assert_eq!(verdict(&second), verdict(&undisturbed), "killed after {killed} s, told {comes_after} s later");
        assert!(verdict(&second).candidate_requests > 101 * killed.saturating_sub(60));
    }
}

/// A second that was judged before the event came is not evidence twice.
#[test]
fn what_was_judged_meanwhile_counts_once() {
    let (mut first, _) = World::new(&watching(), vec![]);
    first.step(shop(|_| ()));
    go(&mut first, FIRST + 100, counted);
    let mut second = restarted(&first, 0, counted);
    second.step(shop(|_| ()));
    go(&mut second, FIRST + 104, counted);
    second.step(goes_on(Ok(FIRST + 40)));
    second.step(goes_on(Ok(FIRST + 40)));
    go(&mut first, FIRST + 130, counted);
    go(&mut second, FIRST + 130, counted);
    assert_eq!(verdict(&second), verdict(&first));
}

/// Not before the trial began: what was judged before by other rules is no evidence.
#[test]
fn a_trial_that_began_anew_goes_on_from_there() {
    let (mut first, _) = World::new(&watching(), vec![]);
    first.step(shop(|service| service.throughput = true));
    go(&mut first, FIRST + 120, counted);
    first.step(shop(|_| ()));
    go(&mut first, FIRST + 200, counted);
    let began = first.engine.trial_began("shop").unwrap();
    assert!(began >= FIRST + 118, "{began}");
    let mut second = restarted(&first, 0, counted);
    second.step(shop(|_| ()));
    second.step(goes_on(Ok(began)));
    go(&mut first, FIRST + 230, counted);
    go(&mut second, FIRST + 230, counted);
    assert_eq!(verdict(&second), verdict(&first));
}

/// Other releases or other rules: nothing of before counts, and it is said.
#[test]
fn another_trial_begins_anew_and_says_so() {
    let (mut first, _) = World::new(&watching(), vec![]);
    first.step(shop(|_| ()));
    go(&mut first, FIRST + 100, counted);
    let mut second = restarted(&first, 0, counted);
    second.step(shop(|service| service.throughput = true));
    second.step(goes_on(Err("the rules changed meanwhile, judged anew".to_owned())));
    assert_eq!(verdict(&second).sentence, "v2: the rules changed meanwhile, judged anew");
    assert_eq!(second.engine.trial_began("shop"), None);
    go(&mut second, FIRST + 105, counted);
    assert!(second.engine.trial_began("shop").is_some_and(|began| began >= FIRST + 98));
}

/// What was condemned by the past is written: the restart came between the evidence and the decision.
#[test]
fn evidence_that_is_enough_decides_at_once() {
    let bad = |second: u64| if second < FIRST + 40 { counted(second) } else { failing() };
    let (mut first, _) = World::new(&watching(), vec![]);
    first.step(shop(|_| ()));
    go(&mut first, FIRST + 40, bad);
    first.second += 30;
    let mut second = restarted(&first, 0, bad);
    second.step(shop(|_| ()));
    let effects = second.step(goes_on(Ok(FIRST + 40)));
    assert!(effects.iter().any(|effect| roll_back(effect).is_some()), "{:?}", verdict(&second));
    assert_eq!(second.engine.decisions("shop", 9).len(), 1);
}

/// Memory: seconds are not kept as they came for longer than ReleaseGuards take to come.
#[test]
fn a_release_guard_that_comes_late_finds_the_last_seconds() {
    let (mut first, _) = World::new(&watching(), vec![]);
    go(&mut first, FIRST + 300, counted);
    let mut second = restarted(&first, 0, counted);
    go(&mut second, FIRST + 300 + 200, counted);
    second.step(shop(|_| ()));
    second.step(goes_on(Ok(FIRST + 40)));
    let began = second.engine.trial_began("shop").unwrap();
    assert!((FIRST + 390..FIRST + 420).contains(&began), "{}", began - FIRST);
}

/// A person lifted it: what it was condemned for does not condemn it again at a restart. Services of the configuration are judged again
/// from the same seconds.
#[test]
fn what_was_cleared_is_not_condemned_by_its_past() {
    let bad = |_| failing();
    let (mut first, decision) = condemned(&config(false));
    let until = first.second + 5;
    go(&mut first, until, |_| rolled_back());
    let cleared = first.engine.clear("shop", "v2", first.now()).unwrap();
    assert!(cleared.iter().any(|effect| stage(DecisionStage::Cleared)(effect).is_some()));
    let now = first.now();
    let seconds = (FIRST..first.second).map(|second| (second, vec![shared(bad(second))])).collect();
    let (mut engine, _) = Engine::new(&config(false), first.engine.decisions("", 9), now);
    let effects = engine.restore(Remembered { seconds, ..Remembered::default() }, now);
    assert!(effects.iter().all(|effect| roll_back(effect).is_none()), "decision {} is over", decision.id);
}

/// A clock that is set back by an hour: what is to come is not waited for.
#[test]
fn a_clock_that_is_set_back_does_not_stop_the_judging_of_what_came() {
    let (mut world, _) = World::new(&watching(), vec![]);
    world.step(shop(|_| ()));
    go(&mut world, FIRST + 100, counted);
    world.second -= 3_600;
    assert!(world.until(60, &failing(), roll_back).is_some());
    // Nor is the clock of another machine, which wrote when the trial began.
    let (mut second, _) = World::new(&watching(), vec![]);
    second.step(shop(|service| service.candidate = "v3".into()));
    second.step(goes_on(Ok(second.second + 3_600)));
    let failing = [delta("v1", Outcome::Success, 50), delta("v3", Outcome::ServerError, 50)];
    assert!(second.until(60, &failing, roll_back).is_some());
}
