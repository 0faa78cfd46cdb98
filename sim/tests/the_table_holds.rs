//! The table of `make sim` with its own seeds, but fewer and shorter runs: does the judge leave alone what is right, and find what is
//! wrong about as soon as it should?

use serin_judge::Policy;
use sim::{
    report::Row,
    rule::Name,
    run::{Outcome, rollouts},
    scenarios::{self, Reach, Scenario},
    world::{Change, Noise, World},
};

/// Runs of a row where nothing is wrong, and where something is.
const NULL_RUNS: u64 = 24;
const RUNS: u64 = 11;
const NULL_S: u64 = 600;
/// The median of so few runs is off by chance.
const SLACK: f64 = 1.2;

fn serin(scenario: &Scenario, runs: u64, seconds: u64) -> Vec<Outcome> {
    let scenario = Scenario { seconds, ..scenario.clone() };
    let all = rollouts(&scenario, 1..1 + runs, &[Name::Serin], &|_| {});
    all.into_iter().flatten().collect()
}

fn slack(s: u64) -> u64 {
    (s as f64 * SLACK) as u64
}

#[test]
fn where_nothing_is_wrong() {
    for scenario in scenarios::all() {
        let Reach::FalseAtMost(_) = scenario.reach else { continue };
        let outcomes = serin(&scenario, NULL_RUNS, scenario.seconds.min(NULL_S));
        let said: Vec<&str> =
            outcomes.iter().filter(|run| run.rolled_back.is_some()).map(|run| run.sentence.as_str()).collect();
        assert_eq!(said, [""; 0], "{}", scenario.name);
    }
}

#[test]
fn where_something_is() {
    for scenario in scenarios::all() {
        let reach = match scenario.reach {
            Reach::FalseAtMost(_) => continue,
            Reach::WithinS(s) => Reach::WithinS(slack(s)),
            Reach::HealthyWithinS(s) => Reach::HealthyWithinS(slack(s)),
            // Half of the runs, more or less: a matter of the full table.
            Reach::Found(_) => continue,
            Reach::FoundWithinS(share, s) => Reach::FoundWithinS(share, slack(s)),
        };
        let row = Row::new(&scenario, Name::Serin, &serin(&scenario, RUNS, scenario.seconds));
        assert!(row.reaches(reach), "{row:?}, wanted {reach:?}");
    }
}

fn alone(name: &str, world: World, seconds: u64, reach: Reach) -> Row {
    let policy = Policy::default();
    let scenario = Scenario { name: name.to_owned(), world, runs: RUNS, seconds, reach, policy };
    Row::new(&scenario, Name::Serin, &serin(&scenario, RUNS, seconds))
}

/// Three pods in each arm, as in the demo; the candidate is healthy for 50 s.
#[test]
fn at_the_demos_settings() {
    for (rps, noise) in [(300.0, Noise::Iid), (1_000.0, Noise::Iid), (1_000.0, Noise::BURSTY)] {
        for (change, within_s) in
            [(Change::Tail(1.5), 60), (Change::Whole(1.5), 60), (Change::Errors(1.0), 12), (Change::Hang(0.2), 18)]
        {
            let world = World::new(0.5, noise, change).rps(rps).pods(3, 3).onset(50);
            let row = alone("demo", world, 300, Reach::WithinS(within_s));
            assert!(row.reaches(Reach::WithinS(within_s)), "{change:?} {row:?}, wanted {within_s} s");
        }
    }
}

/// Without pods, what one bad pod could explain takes long: a doubled tail is found, +50% is not promised.
#[test]
fn where_pods_cannot_be_told_apart() {
    let world = |change| World { pods_known: false, ..World::new(0.5, Noise::Iid, change).pods(3, 3) };
    for (change, reach) in [
        (Change::Tail(2.0), Reach::WithinS(150)),
        (Change::Errors(0.5), Reach::WithinS(12)),
        (Change::Nothing, Reach::FalseAtMost(0)),
    ] {
        let row = alone("pods unknown", world(change), 400, reach);
        assert!(row.reaches(reach), "{row:?}, wanted {reach:?}");
    }
}

/// The rules of others are wrong about as often as JUDGE.md says: 38.5% and 14.6% in half an hour.
#[test]
fn what_others_do() {
    let world = World::new(0.05, Noise::BURSTY, Change::Nothing);
    let (name, policy) = ("A/A".to_owned(), Policy::default());
    let scenario = Scenario { name, world, runs: 60, seconds: 1_800, reach: Reach::FalseAtMost(0), policy };
    let all = rollouts(&scenario, 1..61, &[Name::Fixed, Name::Kayenta], &|_| {});
    let wrong = |rule: usize| all.iter().filter(|run| run.get(rule).is_some_and(|o| o.rolled_back.is_some())).count();
    assert!((10..40).contains(&wrong(0)), "fixed: {} of 60", wrong(0));
    assert!((1..30).contains(&wrong(1)), "kayenta: {} of 60", wrong(1));
}
