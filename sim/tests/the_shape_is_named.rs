//! Does a verdict say what form a slowdown has, and is a period named where there is one, and only there?

use serin_judge::{Form, Policy, Shape, Trial};
use sim::{
    generator::{EPOCH, Generator},
    world::{Change, Noise, World},
};

const LEAD_S: u64 = 60;
const RUNS: u64 = 20;

/// The shapes that were named when runs with these seeds were rolled back, of those that were within `seconds`.
fn shapes(share: f64, noise: Noise, change: Change, seconds: u64) -> Vec<Shape> {
    let run = |seed| {
        let mut generator = Generator::new(World::new(share, noise, change), seed);
        let mut trial = Trial::new(Policy::default(), EPOCH);
        (0..LEAD_S + seconds).find_map(|second| {
            trial.observe(&generator.second(second, second as i64 - LEAD_S as i64));
            trial.regressed().and_then(|verdict| verdict.shape)
        })
    };
    (1..=RUNS).filter_map(run).collect()
}

fn all(share: f64, noise: Noise, change: Change, is_right: impl Fn(Form) -> bool) {
    let shapes = shapes(share, noise, change, 900);
    let right = shapes.iter().filter(|shape| is_right(shape.form)).count();
    // Decided on as early as it can be, one in four may not be clear yet.
    assert!(shapes.len() as u64 == RUNS && right as u64 * 4 >= RUNS * 3, "{right}, {change:?}: {shapes:?}");
    assert!(shapes.iter().all(|shape| shape.period_s.is_none()), "{change:?}: {shapes:?}");
}

#[test]
fn a_slower_tail() {
    all(0.5, Noise::Iid, Change::Tail(1.5), |form| form == Form::Tail);
    all(0.5, Noise::BURSTY, Change::Tail(1.5), |form| form == Form::Tail);
}

#[test]
fn all_latencies() {
    all(0.05, Noise::Iid, Change::Whole(1.2), |form| form == Form::Whole);
    all(0.5, Noise::BURSTY, Change::Whole(1.2), |form| form == Form::Whole);
}

#[test]
fn most_requests() {
    all(0.5, Noise::Iid, Change::Body(1.3), |form| form == Form::Body);
}

/// 1% of the requests take 300 ms more: about 345 ms, since their mean is about 45 ms.
#[test]
fn a_new_mode() {
    let is_right = |form| match form {
        Form::NewMode { share, latency } => (0.005..0.02).contains(&share) && (300_000..400_000).contains(&latency.0),
        _ => false,
    };
    all(0.05, Noise::Iid, Change::Added(0.01, 300.0), is_right);
}

/// The simulated garbage collection comes every 30 s; at 5% it is decided on after five to ten of them, which is not always enough to name it. (At 50% after two: too soon to tell.)
#[test]
fn a_period() {
    let shapes = shapes(0.05, Noise::BURSTY, Change::Gc, 900);
    let named = shapes.iter().filter(|shape| shape.period_s == Some(30)).count();
    assert!(named * 10 >= shapes.len() * 6, "{shapes:?}");
    assert!(shapes.iter().all(|shape| shape.period_s.is_none_or(|s| s == 30)), "{shapes:?}");
}
