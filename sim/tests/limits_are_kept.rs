//! Absolute limits: a candidate that breaks one alone is found, whatever the ratio; what both releases break is no reason.

use serin_judge::{By, Metric, Policy, State, Trial, Verdict};
use serin_sketch::Micros;
use sim::{
    generator::{EPOCH, Generator},
    world::{Change, Noise, World},
};

/// A policy that minds no ratio below eleven, only that p99 is below `limit_ms`.
fn verdict(limit_ms: u64, world: World, seed: u64, seconds: u64) -> Verdict {
    let policy = Policy::new(10.0, 1e-3, 0.05, 1_800).and_then(|p| p.with_limit(Metric::P99, Micros(limit_ms * 1_000)));
    let mut trial = Trial::new(policy.unwrap_or_default(), EPOCH);
    let mut generator = Generator::new(world, seed);
    for second in 0..seconds {
        trial.observe(&generator.second(second, second as i64 - 60));
    }
    trial.verdict()
}

/// p99 is 156 ms, and 234 ms with a tail half as long again: 1.6% then take 200 ms, where 1% may, and 0.5% of the baseline's do.
#[test]
fn what_the_candidate_breaks_alone_is_found() {
    let world = World::new(0.5, Noise::Iid, Change::Tail(1.5));
    for seed in 0..5 {
        let verdict = verdict(200, world.clone(), seed, 600);
        assert_eq!(verdict.state, State::Regressed, "{verdict}");
        assert!(verdict.cause.is_some_and(|cause| cause.by == By::Limit(Micros(200_000))));
        assert!(verdict.trial_s < 300, "{verdict}");
        assert!(verdict.to_string().starts_with("p99 over its limit of 200ms: 1."), "{verdict}");
    }
}

#[test]
fn what_both_break_is_a_common_cause() {
    for change in [Change::Nothing, Change::Common(1.5, 600)] {
        for noise in [Noise::Iid, Noise::BURSTY] {
            for seed in 0..4 {
                let verdict = verdict(100, World::new(0.5, noise, change), seed, 600);
                assert_ne!(verdict.state, State::Regressed, "{verdict}");
                assert!(verdict.to_string().contains("p99 is over its limit of 100ms in both releases"), "{verdict}");
            }
        }
    }
}

/// Just within the limit, and worse than the baseline: 0.95% take 239 ms or longer.
#[test]
fn what_is_kept_is_no_reason() {
    for noise in [Noise::Iid, Noise::BURSTY] {
        for seed in 0..8 {
            let limit_ms = if noise == Noise::Iid { 239 } else { 300 };
            let verdict = verdict(limit_ms, World::new(0.5, noise, Change::Tail(1.5)), seed, 1_200);
            assert_ne!(verdict.state, State::Regressed, "{verdict}");
        }
    }
}

#[test]
fn limits_are_latencies_within_reason() {
    let with = |metric, us| Policy::default().with_limit(metric, Micros(us));
    assert!(with(Metric::P95, 200_000).is_ok());
    for (metric, us) in [(Metric::P95, 999), (Metric::P95, 700_000_000), (Metric::Errors, 200_000)] {
        assert!(with(metric, us).is_err(), "{metric} {us}");
    }
}
