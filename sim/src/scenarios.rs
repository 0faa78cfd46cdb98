//! The table: JUDGE.md's rows, what each is to reach, and how often it is run.

use serin_judge::{Metric, Policy};
use serin_sketch::Micros;

use crate::world::{Change, Noise, Past, World};

/// What a row is to reach.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Reach {
    /// Nothing is wrong: at most so many rollbacks in all runs.
    FalseAtMost(u64),
    /// Something is: rolled back after at most so many seconds, in the median of all runs.
    WithinS(u64),
    /// In at least this share of the runs.
    Found(f64),
    /// Both.
    FoundWithinS(f64, u64),
    /// Nothing is wrong, which is proven after at most so many seconds, in the median.
    HealthyWithinS(u64),
}

/// A row.
#[derive(Clone, Debug, PartialEq)]
pub struct Scenario {
    /// What it is called, uniquely.
    pub name: String,
    /// What happens.
    pub world: World,
    /// How many rollouts the full run has.
    pub runs: u64,
    /// How long each lasts at most, from the candidate's first request.
    pub seconds: u64,
    /// What it is to reach.
    pub reach: Reach,
    /// The judge's policy.
    pub policy: Policy,
}

const IID: Noise = Noise::Iid;
const BURSTY: Noise = Noise::BURSTY;
/// A rollout's usual length: a trial's default limit.
const TRIAL_S: u64 = 1_800;
/// How long something that is to be found within minutes is looked for.
const SOON_S: u64 = 900;

fn row(name: impl Into<String>, world: World, runs: u64, seconds: u64, reach: Reach) -> Scenario {
    Scenario { name: name.into(), world, runs, seconds, reach, policy: Policy::default() }
}

/// All rows, in the table's order.
pub fn all() -> Vec<Scenario> {
    [
        nulls(),
        warm_ups(),
        fast_nulls(),
        regressions(),
        rates_and_ramps(),
        fast(),
        health(),
        more_than_latency(),
        with_history(),
    ]
    .concat()
}

/// Nothing is wrong with the candidate alone.
fn nulls() -> Vec<Scenario> {
    let a_a = |share, noise| World::new(share, noise, Change::Nothing);
    let mut rows = vec![
        row("A/A bursty 5%", a_a(0.05, BURSTY), 2_000, TRIAL_S, Reach::FalseAtMost(2)),
        row("A/A iid 5%", a_a(0.05, IID), 200, TRIAL_S, Reach::FalseAtMost(1)),
    ];
    for (percent, share) in [(1, 0.01), (10, 0.1), (50, 0.5)] {
        rows.push(row(format!("A/A bursty {percent}%"), a_a(share, BURSTY), 200, TRIAL_S, Reach::FalseAtMost(1)));
    }
    for pods in [3, 5] {
        let world = a_a(0.5, BURSTY).pods(pods, pods);
        rows.push(row(format!("A/A bursty 50%, {pods} + {pods} pods"), world, 200, TRIAL_S, Reach::FalseAtMost(1)));
        let world = a_a(1.0 / f64::from(pods), BURSTY).pods(pods - 1, 1);
        rows.push(row(format!("A/A bursty, {} + 1 pods", pods - 1), world, 200, TRIAL_S, Reach::FalseAtMost(1)));
    }
    let spread = Noise::Bursty { spread: 0.06, episode: 1.5 };
    let episodes = Noise::Bursty { spread: 0.03, episode: 2.0 };
    rows.push(row("A/A pod sd 6% 5%", a_a(0.05, spread), 200, TRIAL_S, Reach::FalseAtMost(1)));
    rows.push(row("A/A episodes x2 5%", a_a(0.05, episodes), 200, TRIAL_S, Reach::FalseAtMost(1)));
    let common = |noise| World::new(0.05, noise, Change::Common(1.5, 300)).onset(600);
    rows.push(row("common x1.5 iid 5%", common(IID), 200, TRIAL_S, Reach::FalseAtMost(1)));
    rows.push(row("common x1.5 bursty 5%", common(BURSTY), 200, TRIAL_S, Reach::FalseAtMost(1)));
    let ramp = World { shares: RAMP.to_vec(), ..World::new(0.5, BURSTY, Change::Nothing) };
    rows.push(row("ramp A/A bursty", ramp, 400, 600, Reach::FalseAtMost(1)));
    rows
}

/// 5, 10, 25, 50% every two minutes.
const RAMP: [(u64, f64); 4] = [(0, 0.05), (120, 0.1), (240, 0.25), (360, 0.5)];

/// A candidate that is slow only at first.
fn warm_ups() -> Vec<Scenario> {
    let mut rows = Vec::new();
    for (name, noise) in [("iid", IID), ("bursty", BURSTY)] {
        for (percent, share) in [(5, 0.05), (50, 0.5)] {
            let world = World::new(share, noise, Change::WarmUp(20.0));
            rows.push(row(format!("warm-up x2 tau 20 {name} {percent}%"), world, 250, 600, Reach::FalseAtMost(1)));
        }
    }
    for (percent, share) in [(5, 0.05), (50, 0.5)] {
        let world = World::new(share, IID, Change::WarmUp(40.0));
        rows.push(row(format!("warm-up x2 tau 40 iid {percent}%"), world, 150, 600, Reach::FalseAtMost(1)));
    }
    rows
}

/// What looks bad for seconds and is not the candidate's fault, or over at once.
fn fast_nulls() -> Vec<Scenario> {
    // One of 8 s or longer of the only candidate pod cannot be told from a hang, and the first row has some.
    let freezes = |longest| World::new(0.05, BURSTY, Change::Freezes(longest));
    let few = |change| World { base_errors: 0.002, ..World::new(0.05, BURSTY, change) };
    let mut rows = vec![
        row("shared error bursts 30% 5%", few(Change::ErrorBursts(0.3, 4)), 200, 600, Reach::FalseAtMost(1)),
        row("a bad baseline pod 5%", few(Change::BadBaselinePod(0.5)), 200, 600, Reach::FalseAtMost(1)),
        row("pods freeze for 2 s 5%", freezes(f64::INFINITY), 400, 600, Reach::FalseAtMost(1)),
        row("pods freeze for 2 s, 7 at most, 5%", freezes(7.0), 400, 600, Reach::FalseAtMost(1)),
    ];
    for seconds in [2, 3, 5] {
        let name = format!("readiness gap of {seconds} s 5%");
        rows.push(row(name, few(Change::ReadinessGap(seconds)), 200, 120, Reach::FalseAtMost(1)));
    }
    rows
}

/// What must be found.
fn regressions() -> Vec<Scenario> {
    let soon = |name: &str, world, within_s| row(name, world, 100, SOON_S, Reach::WithinS(within_s));
    let at = |share, noise, change| World::new(share, noise, change);
    let mut rows = vec![
        soon("tail +20% iid 5%", at(0.05, IID, Change::Tail(1.2)), 250),
        soon("tail +50% iid 5%", at(0.05, IID, Change::Tail(1.5)), 100),
        soon("tail +50% bursty 5%", at(0.05, BURSTY, Change::Tail(1.5)), 180),
        soon("tail +100% bursty 5%", at(0.05, BURSTY, Change::Tail(2.0)), 120),
        soon("tail +20% iid 50%", at(0.5, IID, Change::Tail(1.2)), 90),
        soon("tail +50% iid 50%", at(0.5, IID, Change::Tail(1.5)), 55),
        soon("tail +20% bursty 50%", at(0.5, BURSTY, Change::Tail(1.2)), 200),
        soon("tail +20% iid 10%", at(0.1, IID, Change::Tail(1.2)), 160),
    ];
    let ten = at(0.1, IID, Change::Tail(1.1));
    rows.push(row("tail +10% iid 10%", ten, 100, TRIAL_S, Reach::FoundWithinS(0.95, 650)));
    rows.push(row("tail +20% bursty 5%", at(0.05, BURSTY, Change::Tail(1.2)), 200, TRIAL_S, Reach::Found(0.5)));
    rows.extend([
        soon("whole +20% iid 5%", at(0.05, IID, Change::Whole(1.2)), 95),
        soon("whole +20% bursty 50%", at(0.5, BURSTY, Change::Whole(1.2)), 75),
        soon("GC sawtooth bursty 5%", at(0.05, BURSTY, Change::Gc), 300),
        soon("1% of requests +300 ms iid 5%", at(0.05, IID, Change::Added(0.01, 300.0)), 130),
    ]);
    let leak = at(0.05, IID, Change::Leak { by: 0.3, over_s: 300.0 }).onset(600);
    rows.push(row("leak whole 0 to +30% iid 5%", leak, 100, TRIAL_S, Reach::WithinS(170)));
    rows.push(soon("tail +50% bursty 50%, 3 + 3 pods", at(0.5, BURSTY, Change::Tail(1.5)).pods(3, 3), 142));
    rows
}

fn rates_and_ramps() -> Vec<Scenario> {
    let fast = |change| World::new(0.05, IID, change).rps(10_000.0);
    let ramp = World { shares: RAMP.to_vec(), ..World::new(0.5, IID, Change::Tail(1.5)) };
    vec![
        row("tail +20% iid 5%, 10,000 rps", fast(Change::Tail(1.2)), 40, 300, Reach::WithinS(105)),
        row("tail +50% iid 5%, 10,000 rps", fast(Change::Tail(1.5)), 40, 300, Reach::WithinS(95)),
        row("ramp tail +50% iid", ramp, 100, SOON_S, Reach::WithinS(120)),
    ]
}

/// What must be found within seconds.
fn fast() -> Vec<Scenario> {
    let mut rows = Vec::new();
    let mut add = |name: String, world: World, within_s| {
        rows.push(row(name, World { base_errors: 0.002, ..world }, 100, 120, Reach::WithinS(within_s)));
    };
    for (percent, share) in [(5, 0.05), (50, 0.5)] {
        for errors in [0.2, 0.5, 1.0] {
            let name = format!("errors {}% iid {percent}%", errors * 100.0);
            add(name, World::new(share, IID, Change::Errors(errors)), 10);
        }
        for hang in [0.1, 1.0] {
            add(format!("hang {}% iid {percent}%", hang * 100.0), World::new(share, IID, Change::Hang(hang)), 10);
        }
    }
    add("x5 iid 5%".to_owned(), World::new(0.05, IID, Change::Whole(5.0)), 10);
    add("x3 iid 5%".to_owned(), World::new(0.05, IID, Change::Whole(3.0)), 14);
    add("x3 iid 50%".to_owned(), World::new(0.5, IID, Change::Whole(3.0)), 11);
    add("tail x4 iid 50%".to_owned(), World::new(0.5, IID, Change::Tail(4.0)), 12);
    let slow = |change| World::new(0.1, IID, change).rps(100.0);
    add("errors 20% iid 10%, 100 rps".to_owned(), slow(Change::Errors(0.2)), 20);
    add("errors 50% iid 10%, 100 rps".to_owned(), slow(Change::Errors(0.5)), 10);
    add("x5 iid 10%, 100 rps".to_owned(), slow(Change::Whole(5.0)), 12);
    add("hang 100% iid 10%, 100 rps".to_owned(), slow(Change::Hang(1.0)), 12);
    rows
}

fn health() -> Vec<Scenario> {
    [(5, 0.05, 450), (50, 0.5, 130)]
        .map(|(percent, share, within_s)| {
            let world = World::new(share, IID, Change::Nothing);
            row(format!("healthy iid {percent}%"), world, 100, SOON_S, Reach::HealthyWithinS(within_s))
        })
        .to_vec()
}

/// Another mix of requests, limits, throughput, and too few answers to compare.
fn more_than_latency() -> Vec<Scenario> {
    let mix = |noise, tail| World::new(0.5, noise, Change::Mix { baseline: 0.1, candidate: 0.3, factor: 4.0, tail });
    let weighted = |change| World { weight_known: true, ..World::new(0.05, BURSTY, change) };
    let limited = |scenario| Scenario { policy: p99_below(Micros(200_000)), ..scenario };
    vec![
        row("another mix iid 50%", mix(IID, 1.0), 200, 600, Reach::FalseAtMost(1)),
        row("another mix bursty 50%", mix(BURSTY, 1.0), 200, 600, Reach::FalseAtMost(1)),
        row("another mix, tail +50% iid 50%", mix(IID, 1.5), 100, SOON_S, Reach::WithinS(100)),
        row("A/A, weight known, bursty 5%", weighted(Change::Nothing), 200, 600, Reach::FalseAtMost(1)),
        row("half of the requests lost, bursty 5%", weighted(Change::Lost(0.5)), 100, 120, Reach::WithinS(12)),
        row(
            "hang 100% iid 10%, 30 rps",
            World::new(0.1, IID, Change::Hang(1.0)).rps(30.0),
            100,
            120,
            Reach::WithinS(12),
        ),
        limited(row(
            "p99 < 200 ms kept, bursty 50%",
            World::new(0.5, BURSTY, Change::Nothing),
            200,
            600,
            Reach::FalseAtMost(1),
        )),
        limited(row(
            "p99 < 200 ms broken by both, bursty 50%",
            World::new(0.5, BURSTY, Change::Common(1.5, 600)),
            200,
            600,
            Reach::FalseAtMost(1),
        )),
        limited(row(
            "p99 < 200 ms broken, iid 50%",
            World::new(0.5, IID, Change::Tail(1.5)),
            100,
            SOON_S,
            Reach::WithinS(55),
        )),
    ]
}

fn p99_below(limit: Micros) -> Policy {
    // It is within its range: the tests run it.
    Policy::default().with_limit(Metric::P99, limit).unwrap_or_default()
}

/// What the judge knows beforehand: how pods differ, and what the service was like before it was switched over.
fn with_history() -> Vec<Scenario> {
    let pods = |change| World { past: Past { minutes: 0, days: 7 }, ..World::new(0.5, BURSTY, change).pods(3, 3) };
    let alone = |change| World {
        shares: vec![(0, 0.5), (120, 1.0)],
        past: Past { minutes: 14, days: 2 },
        drift: 0.05,
        onset: 300,
        ..World::new(0.5, BURSTY, change)
    };
    vec![
        row("3 + 3 pods with history A/A bursty", pods(Change::Nothing), 500, SOON_S, Reach::FalseAtMost(1)),
        row("3 + 3 pods with history, tail +50%", pods(Change::Tail(1.5)), 40, SOON_S, Reach::FoundWithinS(0.95, 142)),
        row("alone, A/A bursty", alone(Change::Nothing), 200, TRIAL_S, Reach::FalseAtMost(1)),
        row("alone, whole x2 bursty", alone(Change::Whole(2.0)), 100, SOON_S, Reach::WithinS(120)),
        row("alone, whole x3 bursty", alone(Change::Whole(3.0)), 100, SOON_S, Reach::WithinS(90)),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_has_a_name_of_its_own_and_time_for_what_it_is_to_reach() {
        let rows = all();
        for (at, row) in rows.iter().enumerate() {
            assert!(rows.iter().skip(at + 1).all(|other| other.name != row.name), "{}", row.name);
            let within_s = match row.reach {
                Reach::WithinS(s) | Reach::FoundWithinS(_, s) | Reach::HealthyWithinS(s) => s,
                Reach::FalseAtMost(_) | Reach::Found(_) => 0,
            };
            assert!(row.world.onset + within_s < row.seconds, "{}", row.name);
        }
    }
}
