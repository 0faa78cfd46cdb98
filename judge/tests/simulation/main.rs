//! Does the judge find what is wrong, in time, and leave alone what is not? Seeded, so the same on every machine.
//!
//! The rows and what to reach are JUDGE.md's; the runs are fewer. `ROWS=10 cargo test -p serin-judge --test simulation
//! -- --nocapture` does ten times as many and prints the measured figures.

#![expect(clippy::print_stdout, reason = "measured figures, when asked for")]

mod generator;
mod rows;

use generator::{Change, EPOCH, Generator, Noise, World};
use serin_judge::{Metric, Policy, State, Trial, Verdict};

/// Seconds of baseline alone before the candidate's first request.
const LEAD_S: u64 = 60;

/// One run's outcome.
struct Run {
    /// Seconds from the onset until a regression was found, and its verdict.
    regressed: Option<(u64, Verdict)>,
    /// Seconds from the candidate's first request until health was proven.
    healthy: Option<u64>,
}

fn run(world: World, seed: u64, seconds: u64, watch_health: bool) -> Run {
    let mut generator = Generator::new(world, seed);
    let mut trial = Trial::new(Policy::default(), EPOCH);
    let mut healthy = None;
    for s in 0..LEAD_S + seconds {
        let age = s as i64 - LEAD_S as i64;
        trial.observe(&generator.second(s, age));
        if let Some(verdict) = trial.regressed() {
            let after = (s + 1).saturating_sub(LEAD_S + world.onset);
            return Run { regressed: Some((after, verdict.clone())), healthy };
        }
        if watch_health && healthy.is_none() && age % 5 == 0 && trial.verdict().state == State::Healthy {
            healthy = Some(age as u64 + 1);
            break;
        }
    }
    Run { regressed: None, healthy }
}

/// How many times the runs of a row are done, when its figures are to be printed.
fn printed() -> Option<u64> {
    std::env::var("ROWS").ok()?.parse().ok()
}

/// How many of `runs` were found, and the median seconds of those (counting misses as never).
#[derive(Debug)]
struct Row {
    found: usize,
    median_s: Option<u64>,
    metrics: Vec<Metric>,
}

fn row(name: &str, world: World, runs: u64, seconds: u64) -> Row {
    let runs: Vec<Run> =
        (0..runs * printed().unwrap_or(1)).map(|seed| run(world, 1_000 + seed, seconds, false)).collect();
    let mut times: Vec<u64> = runs.iter().filter_map(|r| r.regressed.as_ref().map(|(s, _)| *s)).collect();
    times.sort_unstable();
    let metrics = runs.iter().filter_map(|r| Some(r.regressed.as_ref()?.1.cause?.metric)).collect();
    let row = Row { found: times.len(), median_s: times.get(runs.len() / 2).copied(), metrics };
    if printed().is_some() {
        let last = times.last().copied().unwrap_or(0);
        println!("{name}: {} of {}, median {:?} s, last {last} s", row.found, runs.len(), row.median_s);
        for (s, verdict) in runs.iter().filter_map(|r| r.regressed.as_ref()).take(1) {
            println!("    {s} s: {verdict}");
        }
    }
    row
}

/// A row of JUDGE.md's table where something is wrong.
#[track_caller]
fn finds(name: &str, world: World, runs: u64, within_s: u64) {
    let row = row(name, world, runs, world.onset + within_s * 2);
    assert!(row.median_s.is_some_and(|s| s <= within_s), "{name}: median {:?} s, wanted {within_s}", row.median_s);
}

/// A row of JUDGE.md's table where nothing is.
#[track_caller]
fn leaves_alone(name: &str, world: World, runs: u64, seconds: u64) {
    let row = row(name, world, runs, seconds);
    assert_eq!(row.found, 0, "{name}: {:?}", row.metrics);
}

const IID: Noise = Noise::Iid;
const BURSTY: Noise = Noise::Bursty(0.03);

/// Three pods in each arm, as in the demo; the candidate is healthy for 50 s.
fn demo(rps: f64, noise: Noise, change: Change) -> World {
    World { rps, onset: 50, ..World::new(0.5, noise, change).pods(3, 3) }
}
