//! `make sim`: the whole table, with a line as soon as its runs are done, and `target/sim/result.json` for programs.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a program that prints a table")]

use std::{
    fs,
    io::{IsTerminal, stderr},
    path::PathBuf,
    time::Instant,
};

use anyhow::{Context, Result, ensure};
use clap::Parser;
use sim::{
    report::{self, Row},
    rule::{ALL, Name},
    run::{Outcome, rollouts},
    scenarios::{self, Scenario},
};

/// Simulated rollouts: what the judge finds, how soon, and how often it is wrong.
#[derive(Debug, Parser)]
struct Options {
    /// Only scenarios whose names contain this
    #[arg(long, env = "ONLY", default_value = "")]
    only: String,
    /// So many runs of each scenario in place of its own number
    #[arg(long, env = "RUNS")]
    runs: Option<u64>,
    /// The first run's seed
    #[arg(long, env = "SEED", default_value_t = 1)]
    seed: u64,
    /// Without the rules of others
    #[arg(long, env = "ALONE")]
    alone: bool,
    /// One sentence of each scenario with a rollback
    #[arg(long)]
    say: bool,
    /// Where the results go
    #[arg(long, default_value = "target/sim/result.json")]
    output: PathBuf,
}

fn main() -> Result<()> {
    let options = Options::parse();
    let all = scenarios::all();
    let chosen: Vec<Scenario> = all.into_iter().filter(|scenario| scenario.name.contains(&options.only)).collect();
    ensure!(!chosen.is_empty(), "no scenario has {:?} in its name", options.only);
    let rules = if options.alone { &[Name::Serin][..] } else { &ALL[..] };
    let begun = Instant::now();
    println!("{}", report::head());
    let mut results = Vec::new();
    let mut missed = 0;
    for scenario in &chosen {
        let outcomes = runs(scenario, &options, rules);
        let of_rule = |at: usize| outcomes.iter().filter_map(|run| run.get(at).cloned()).collect::<Vec<Outcome>>();
        let rows: Vec<Row> =
            rules.iter().enumerate().map(|(at, rule)| Row::new(scenario, *rule, &of_rule(at))).collect();
        println!("{}", report::line(scenario, &rows));
        if let (true, Some(said)) = (options.say, of_rule(0).into_iter().find(|run| run.rolled_back.is_some())) {
            println!("    {}", said.sentence);
        }
        missed += usize::from(rows.first().is_some_and(|serin| !serin.reaches(scenario.reach)));
        results.extend(rows);
    }
    if let Some(directory) = options.output.parent() {
        fs::create_dir_all(directory).with_context(|| format!("cannot make {}", directory.display()))?;
    }
    let text = serde_json::to_string_pretty(&results)?;
    fs::write(&options.output, text).with_context(|| format!("cannot write {}", options.output.display()))?;
    let took_s = begun.elapsed().as_secs();
    println!("\n{missed} of {} rows are not reached (!); {took_s} s; {}", chosen.len(), options.output.display());
    Ok(())
}

fn runs(scenario: &Scenario, options: &Options, rules: &[Name]) -> Vec<Vec<Outcome>> {
    let runs = options.runs.unwrap_or(scenario.runs);
    let is_shown = stderr().is_terminal();
    let progress = |done: u64| {
        if is_shown {
            eprint!("\r{}: {done} of {runs} runs\x1b[K{}", scenario.name, if done == runs { "\r\x1b[K" } else { "" });
        }
    };
    let seeds = options.seed..options.seed + runs;
    rollouts(scenario, seeds, rules, &progress)
}
