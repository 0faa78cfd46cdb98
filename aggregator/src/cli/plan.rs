use std::fmt::Write;

use serin_judge::{Metric, Policy};
use serin_sketch::thousands;
use sim::{
    plan::{Plan, Question},
    world::Noise,
};

/// What is asked of `serin plan`.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(super) struct Options {
    /// Requests a second, both releases together
    #[arg(long)]
    rps: f64,
    /// The candidate's share of them, such as 5%
    #[arg(long, value_parser = percent)]
    share: f64,
    /// Pods of both releases
    #[arg(long, default_value_t = 20)]
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
    let known = [Metric::P50, Metric::P95, Metric::P99, Metric::P999];
    known.into_iter().find(|metric| metric.to_string() == text).ok_or_else(|| "write p50, p95, p99 or p99.9".to_owned())
}

#[allow(clippy::print_stdout, clippy::print_stderr, reason = "the answer of a command line tool")]
pub(super) fn run(options: &Options) -> anyhow::Result<()> {
    let Options { rps, share, pods, quantile: metric, increase, runs } = *options;
    let policy = Policy::default();
    eprintln!("simulating {} rollouts ...", 4 * runs);
    let answer = |noise| Question { rps, share, pods, metric, increase, policy, noise }.answer(runs);
    let plans = [answer(Noise::Iid)?, answer(Noise::BURSTY)?];
    print!("{}", show(options, &policy, &plans));
    Ok(())
}

fn show(options: &Options, policy: &Policy, [steady, bursty]: &[Plan; 2]) -> String {
    let Options { rps, share, pods, quantile, increase, runs } = *options;
    let mut shown = String::new();
    let mut line = |text: String| {
        // Writing to a string does not fail.
        let _ = writeln!(shown, "{}", text.trim_end());
    };
    let percent = |share: f64| format!("{}%", (share * 1_000.0).round() / 10.0);
    let (more, of) = (percent(increase), percent(share));
    line(format!(
        "{quantile} +{more} at {rps} requests/s, {of} of them to the candidate, {pods} pods; {runs} rollouts each"
    ));
    line(String::new());
    let mut row = |name: &str, of: &dyn Fn(&Plan) -> String| {
        line(format!("{name:<44}{:>16}{:>22}", of(steady), of(bursty)));
    };
    let (seconds, trial) =
        (|s: Option<u64>| s.map_or("-".to_owned(), |s| format!("{} s", thousands(s))), policy.trial_s());
    row("", &|plan| if plan == steady { "steady pods".to_owned() } else { "pods with bad seconds".to_owned() });
    row(&format!("found within {} s", thousands(trial.into())), &|plan| percent(plan.found));
    row("time to find it, mean of those", &|plan| seconds(plan.mean_s.map(|s| s.round() as u64)));
    row("found in 90% of rollouts after", &|plan| seconds(plan.p90_s));
    row("requests a bad candidate serves, mean", &|plan| thousands(plan.requests.round() as u64));
    row("health proven in 50% of rollouts after", &|plan| seconds(plan.healthy_s));
    row("health proven in 90% of rollouts after", &|plan| seconds(plan.healthy_p90_s));
    let (requests, bound_s) = (steady.bound.ceil() as u64, (steady.bound / (rps * share)).ceil() as u64);
    line(String::new());
    line(format!(
        "No rule can find it with fewer than {} candidate requests on average ({} s), were the baseline known exactly.",
        thousands(requests),
        thousands(bound_s)
    ));
    if let Some(remedy) = remedy(options, steady, bursty) {
        line(remedy);
    }
    shown
}

/// What would help most where it is not found.
fn remedy(options: &Options, steady: &Plan, bursty: &Plan) -> Option<String> {
    if steady.found < 0.9 {
        let share = options.share * 100.0;
        return Some(format!(
            "Too little traffic: more than {share}% of it to the candidate, or a longer trial, would help most."
        ));
    }
    (bursty.found < 0.9)
        .then(|| "More candidate pods would help most: with few, one slow pod looks like a slow release.".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_is_a_table() {
        let options = Options { rps: 1_000.0, share: 0.05, pods: 20, quantile: Metric::P99, increase: 0.1, runs: 40 };
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
        insta::assert_snapshot!(show(&options, &Policy::default(), &[steady, bursty]), @"
        p99 +10% at 1000 requests/s, 5% of them to the candidate, 20 pods; 40 rollouts each

                                                         steady pods pods with bad seconds
        found within 1,800 s                                    100%                   35%
        time to find it, mean of those                         599 s               1,200 s
        found in 90% of rollouts after                       1,100 s                     -
        requests a bad candidate serves, mean                 29,970                29,970
        health proven in 50% of rollouts after                 380 s                     -
        health proven in 90% of rollouts after                 520 s                     -

        No rule can find it with fewer than 13,780 candidate requests on average (276 s), were the baseline known exactly.
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
