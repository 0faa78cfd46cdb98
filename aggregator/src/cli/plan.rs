use std::{fmt::Write, fs, path::PathBuf};

use anyhow::Context;
use serin_judge::{Metric, Policy};
use serin_sketch::thousands;
use sim::{
    plan::{Plan, Question},
    recorded::Recorded,
    world::Noise,
};

use crate::recording::file;

/// What is asked of `serin plan`.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Options {
    /// Requests a second, both releases together
    #[arg(
        long,
        required_unless_present = "from",
        conflicts_with = "from",
        default_value_t = 0.0,
        hide_default_value = true
    )]
    rps: f64,
    /// The candidate's share of them, such as 5%
    #[arg(long, value_parser = percent)]
    share: f64,
    /// Pods of both releases
    #[arg(long, default_value_t = 20, conflicts_with = "from")]
    pods: u32,
    /// What would be slower: p50, p95, p99 or p99.9
    #[arg(long, default_value = "p99", value_parser = metric)]
    quantile: Metric,
    /// By how much, such as 10%
    #[arg(long, default_value = "10%", value_parser = percent)]
    increase: f64,
    /// Simulated rollouts for each answer, 10 to 10,000
    #[arg(long, default_value_t = 40, value_parser = clap::value_parser!(u64).range(10..=10_000))]
    runs: u64,
    /// Take rate, pods, latencies and noise from the baseline in this recording (`serin record`), some of whose pods play the candidate
    #[arg(long, value_name = "FILE")]
    from: Option<PathBuf>,
}

/// `10%` as 0.1.
fn percent(text: &str) -> Result<f64, String> {
    let number = text.strip_suffix('%').and_then(|digits| digits.trim_end().parse::<f64>().ok());
    number
        .filter(|number| number.is_finite())
        .map(|number| number / 100.0)
        .ok_or_else(|| "write a percentage, such as 5%".to_owned())
}

fn metric(text: &str) -> Result<Metric, String> {
    Metric::latency_named(text).ok_or_else(|| "write p50, p95, p99 or p99.9".to_owned())
}

#[allow(clippy::print_stdout, clippy::print_stderr, reason = "the answer of a command line tool")]
pub(super) fn run(options: &Options) -> anyhow::Result<()> {
    let Options { rps, share, pods, quantile: metric, increase, runs, .. } = *options;
    let policy = Policy::default();
    let question = |noise| Question { rps, share, pods, metric, increase, policy, noise };
    if let Some(path) = &options.from {
        let about = || format!("cannot plan from {}", path.display());
        let recording = file::read(&fs::read(path).with_context(about)?).with_context(about)?;
        let slices = recording.seconds.into_iter().flat_map(|second| second.slices);
        let recorded = Recorded::new(slices).with_context(about)?;
        eprintln!("judging {} rollouts made of {} ...", 2 * runs, path.display());
        let plan = question(Noise::Iid).answer_from(&recorded, runs)?;
        let (rps, pods) = (recorded.rps(), recorded.pods());
        let head = format!("{:.0} requests/s and {} of {pods} pods, as recorded", rps, recorded.candidates(share));
        print!("{}", show(options, &head, &policy, &[("recorded traffic", plan)]));
        return Ok(());
    }
    eprintln!("simulating {} rollouts ...", 4 * runs);
    let steady = question(Noise::Iid).answer(runs)?;
    let bursty = question(Noise::BURSTY).answer(runs)?;
    let (requests, bound_s) = (steady.bound.ceil() as u64, (steady.bound / (rps * share)).ceil() as u64);
    let head = format!("{rps} requests/s, {} of them to the candidate, {pods} pods", percent_of(share));
    let mut shown = show(options, &head, &policy, &[("steady pods", steady), ("pods with bad seconds", bursty)]);
    shown.push_str(&format!(
        "No rule can find it with fewer than {} candidate requests on average ({} s), were the baseline known exactly.\n",
        thousands(requests),
        thousands(bound_s)
    ));
    print!("{shown}");
    Ok(())
}

fn percent_of(share: f64) -> String {
    format!("{}%", (share * 1_000.0).round() / 10.0)
}

fn show(options: &Options, head: &str, policy: &Policy, plans: &[(&str, Plan)]) -> String {
    let Options { quantile, increase, runs, .. } = *options;
    let mut shown = String::new();
    let mut line = |text: String| {
        // Writing to a string does not fail.
        let _ = writeln!(shown, "{}", text.trim_end());
    };
    line(format!("{quantile} +{} at {head}; {runs} rollouts each", percent_of(increase)));
    line(String::new());
    let mut row = |name: &str, of: &dyn Fn(&str, &Plan) -> String| {
        let cells: String = plans.iter().map(|(column, plan)| format!("{:>22}", of(column, plan))).collect();
        line(format!("{name:<40}{cells}"));
    };
    let (seconds, trial) =
        (|s: Option<u64>| s.map_or("-".to_owned(), |s| format!("{} s", thousands(s))), policy.trial_s());
    row("", &|column, _| column.to_owned());
    row(&format!("found within {} s", thousands(trial.into())), &|_, plan| percent_of(plan.found));
    row("time to find it, mean of those", &|_, plan| seconds(plan.mean_s.map(|s| s.round() as u64)));
    row("found in 90% of rollouts after", &|_, plan| seconds(plan.p90_s));
    row("requests a bad candidate serves, mean", &|_, plan| thousands(plan.requests.round() as u64));
    row("health proven in 50% of rollouts after", &|_, plan| seconds(plan.healthy_s));
    row("health proven in 90% of rollouts after", &|_, plan| seconds(plan.healthy_p90_s));
    line(String::new());
    if let Some(remedy) = remedy(options, plans) {
        line(remedy);
    }
    shown
}

/// What would help most where it is not found: traffic where it is not found even among steady pods.
fn remedy(options: &Options, plans: &[(&str, Plan)]) -> Option<String> {
    let found: Vec<f64> = plans.iter().map(|(_, plan)| plan.found).collect();
    let share = percent_of(options.share);
    match found.as_slice() {
        [steady, ..] if *steady >= 0.9 && found.iter().all(|found| *found >= 0.9) => None,
        [steady, _] if *steady >= 0.9 => {
            Some("More candidate pods would help most: with few, one slow pod looks like a slow release.".to_owned())
        }
        _ => Some(format!(
            "Too little traffic: more than {share} of it to the candidate, or a longer trial, would help most."
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_is_a_table() {
        let options =
            Options { rps: 1_000.0, share: 0.05, pods: 20, quantile: Metric::P99, increase: 0.1, runs: 40, from: None };
        let steady = Plan {
            found: 1.0,
            mean_s: Some(599.4),
            p90_s: Some(1_100),
            requests: 29_970.0,
            healthy_s: Some(380),
            healthy_p90_s: Some(520),
            bound: 13_779.2,
        };
        let bursty =
            Plan { found: 0.35, mean_s: Some(1_200.0), p90_s: None, healthy_s: None, healthy_p90_s: None, ..steady };
        let head = "1000 requests/s, 5% of them to the candidate, 20 pods";
        let shown =
            show(&options, head, &Policy::default(), &[("steady pods", steady), ("pods with bad seconds", bursty)]);
        insta::assert_snapshot!(shown, @"
        p99 +10% at 1000 requests/s, 5% of them to the candidate, 20 pods; 40 rollouts each

                                                           steady pods pods with bad seconds
        found within 1,800 s                                      100%                   35%
        time to find it, mean of those                           599 s               1,200 s
        found in 90% of rollouts after                         1,100 s                     -
        requests a bad candidate serves, mean                   29,970                29,970
        health proven in 50% of rollouts after                   380 s                     -
        health proven in 90% of rollouts after                   520 s                     -

        More candidate pods would help most: with few, one slow pod looks like a slow release.
        ");
    }

    #[test]
    fn what_is_no_percentage_is_said() {
        assert_eq!(percent("5%"), Ok(0.05));
        for wrong in ["5", "x%", "%", "inf%"] {
            assert!(percent(wrong).is_err(), "{wrong}");
        }
        assert_eq!(metric("p99.9"), Ok(Metric::P999));
        assert!(metric("errors").is_err());
    }
}
