//! Many rollouts of one scenario.

use std::{
    ops::Range,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

use serin_judge::{History, PodSpread, Policy};
use serin_sketch::Counts;

use crate::{
    generator::Generator,
    rule::{Name, Rule, arms},
    scenarios::{Reach, Scenario},
    world::{Change, World},
};

/// Seconds of baseline alone before the candidate's first request.
pub(crate) const LEAD_S: u64 = 60;
/// Seconds of each window that a history is told in, and of each pod's day.
const WINDOW_S: u64 = 60;
const DAY_S: u64 = 300;
/// Seconds between two looks at whether health is proven.
pub(crate) const HEALTH_EVERY_S: u64 = 5;

/// One rollout under one rule, in seconds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// From the onset until the rollback.
    pub rolled_back: Option<u64>,
    /// From the candidate's first request until health was proven.
    pub healthy: Option<u64>,
    /// What was said with the rollback.
    pub sentence: String,
}

/// One rollout of so many seconds under all of these rules.
fn rollout(world: &World, seed: u64, seconds: u64, rules: &[Name], policy: Policy, reach: Reach) -> Vec<Outcome> {
    let watch_health = matches!(reach, Reach::HealthyWithinS(_));
    let mut generator = Generator::new(world.clone(), seed);
    let history = history(world, seed, &mut generator);
    let begin = |name: &Name| (name.begin(policy, &history), Outcome::default());
    let mut running: Vec<(Rule, Outcome)> = rules.iter().map(begin).collect();
    let before_s = world.past.minutes * WINDOW_S;
    for second in 0..LEAD_S + seconds {
        let slice = generator.second(before_s + second, second as i64 - LEAD_S as i64);
        let arms = if rules == [Name::Serin] { Default::default() } else { arms(&slice) };
        let age = second.checked_sub(LEAD_S);
        for (rule, outcome) in running.iter_mut().filter(|(_, outcome)| outcome.rolled_back.is_none()) {
            if rule.observe(&slice, &arms) {
                outcome.rolled_back = Some((second + 1).saturating_sub(LEAD_S + world.onset));
                outcome.sentence = rule.sentence();
            } else if let Some(age) = age.filter(|age| watch_health && (age + 1) % HEALTH_EVERY_S == 0)
                && outcome.healthy.is_none()
                && rule.is_healthy()
            {
                outcome.healthy = Some(age + 1);
            }
        }
        if running.iter().all(|(_, outcome)| outcome.rolled_back.or(outcome.healthy).is_some()) {
            break;
        }
    }
    running.into_iter().map(|(_, outcome)| outcome).collect()
}

/// What the judge is told of the time before: the generator goes on from there.
fn history(world: &World, seed: u64, generator: &mut Generator) -> History {
    let mut windows = vec![Counts::new(); world.past.minutes as usize];
    for (window, from) in windows.iter_mut().zip((0..).step_by(WINDOW_S as usize)) {
        for second in from..from + WINDOW_S {
            generator.second(second, -1).pods.iter().for_each(|pod| window.merge(&pod.latency));
        }
    }
    let nothing = World { change: Change::Nothing, ..world.clone() };
    let days: Vec<Vec<Counts>> =
        (0..world.past.days).map(|day| day_of_pods(&nothing, seed ^ (day + 1) << 32)).collect();
    History { pods: PodSpread::measured(&days), windows }
}

/// What each pod of the baseline serves on another day.
fn day_of_pods(world: &World, seed: u64) -> Vec<Counts> {
    let mut generator = Generator::new(world.clone(), seed);
    let mut pods = vec![Counts::new(); world.baseline_pods as usize];
    for second in 0..DAY_S {
        let slice = generator.second(second, -1);
        pods.iter_mut().zip(&slice.pods).for_each(|(all, pod)| all.merge(&pod.latency));
    }
    pods
}

/// A scenario's rollouts with the seeds of a range, on all cores and in the order of their seeds. `progress` hears how many are done.
pub fn rollouts(
    scenario: &Scenario,
    seeds: Range<u64>,
    rules: &[Name],
    progress: &(dyn Fn(u64) + Sync),
) -> Vec<Vec<Outcome>> {
    let Scenario { world, seconds, policy, reach, .. } = scenario;
    let one = |seed| rollout(world, seed, *seconds, rules, *policy, *reach);
    on_all_cores(seeds, &one, progress)
}

/// The same of the judge alone, under a policy of its own.
pub fn rollouts_of(world: &World, seeds: Range<u64>, seconds: u64, policy: Policy, reach: Reach) -> Vec<Outcome> {
    let one = |seed| rollout(world, seed, seconds, &[Name::Serin], policy, reach);
    on_all_cores(seeds, &one, &|_| {}).into_iter().flatten().collect()
}

pub(crate) fn on_all_cores(
    seeds: Range<u64>,
    one: &(dyn Fn(u64) -> Vec<Outcome> + Sync),
    progress: &(dyn Fn(u64) + Sync),
) -> Vec<Vec<Outcome>> {
    let next = AtomicU64::new(seeds.start);
    let done = AtomicU64::new(0);
    let all = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds.end {
                        return;
                    }
                    let outcomes = one(seed);
                    all.lock().unwrap_or_else(PoisonError::into_inner).push((seed, outcomes));
                    progress(done.fetch_add(1, Ordering::Relaxed) + 1);
                }
            });
        }
    });
    let mut all = all.into_inner().unwrap_or_else(PoisonError::into_inner);
    all.sort_by_key(|(seed, _)| *seed);
    all.into_iter().map(|(_, outcomes)| outcomes).collect()
}
