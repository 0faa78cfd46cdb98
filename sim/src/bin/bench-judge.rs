//! `make bench-judge`: what judging one service takes of a core each second, with 50 routes, 2 releases and 40 pods.

#![expect(clippy::print_stdout, reason = "a program that prints a figure")]

use std::{fs, hint::black_box, time::Instant};

use anyhow::Result;
use serde_json::json;
use serin_judge::{Policy, Slice, Trial};
use sim::{
    generator::{EPOCH, Generator},
    world::{Change, Noise, World},
};

const ROUTES: u64 = 50;
const PODS: u32 = 20;
/// Of each route, both releases together.
const RPS: f64 = 100.0;
/// Seconds that are generated beforehand, and of them those that are measured: the time grows with a trial's age until then.
const SECONDS: u64 = 660;
const MEASURED_S: usize = 60;
const ROUNDS: usize = 5;
/// How often a verdict is estimated where there is no evidence: `aggregator/src/engine/on_trial.rs`.
const ESTIMATE_EVERY_S: usize = 5;

fn main() -> Result<()> {
    let world = World::new(0.5, Noise::BURSTY, Change::Nothing).rps(RPS).pods(PODS, PODS);
    let routes: Vec<Vec<Slice>> = (0..ROUTES)
        .map(|seed| {
            let mut generator = Generator::new(world.clone(), seed);
            (0..SECONDS).map(|second| generator.second(second, second as i64 - 60)).collect()
        })
        .collect();
    let mut took_ms = Vec::new();
    for _ in 0..ROUNDS {
        let policy = Policy::default().one_of(ROUTES as usize);
        let mut trials: Vec<Trial> = routes.iter().map(|_| Trial::new(policy, EPOCH)).collect();
        let mut by_second = Vec::new();
        for second in 0..SECONDS as usize {
            let begun = Instant::now();
            for (trial, slices) in trials.iter_mut().zip(&routes) {
                if let Some(slice) = slices.get(second) {
                    trial.observe(slice);
                    // As the engine does.
                    if second % ESTIMATE_EVERY_S == 0 || trial.is_suspicious() {
                        black_box(trial.verdict());
                    }
                }
            }
            by_second.push(begun.elapsed().as_secs_f64() * 1_000.0);
        }
        let measured = by_second.split_off(SECONDS as usize - MEASURED_S);
        took_ms.push(measured.iter().sum::<f64>() / MEASURED_S as f64);
    }
    took_ms.sort_by(f64::total_cmp);
    let median = took_ms.get(ROUNDS / 2).copied().unwrap_or_default();
    println!("{ROUTES} routes, 2 releases, {} pods, {RPS} requests/s a route, after 10 min:", 2 * PODS);
    println!("{median:.2} ms of a core each second (median of {ROUNDS} rounds; {took_ms:.2?}); reach 2 ms");
    let result =
        json!({ "routes": ROUTES, "releases": 2, "pods": 2 * PODS, "rps_per_route": RPS, "ms_per_second": median });
    fs::create_dir_all("target/bench")?;
    fs::write("target/bench/judge.json", serde_json::to_string_pretty(&result)?)?;
    Ok(())
}
