use std::{fmt::Write, fs, path::PathBuf, process::ExitCode};

use anyhow::{Context, bail};
use serin_proto::v1::{Verdict, VerdictState};

use crate::{
    config::Config,
    engine::on_trial::OnTrial,
    recording::{Recording, Setup, csv, file},
};

/// Seconds between two lines of a verdict whose state does not change.
const EVERY_S: u64 = 60;

#[derive(Debug, clap::Args)]
pub(super) struct Options {
    /// Recordings (`serin record`), or CSV with the header second,release,pod,bucket_low_us,count
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// Judge with the policy of the service of the same name in this configuration, or of its only service; the recording's own unless
    /// given
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The baseline's release; needed for CSV
    #[arg(long, value_name = "RELEASE")]
    baseline: Option<String>,
    /// The candidate's release; needed for CSV
    #[arg(long, value_name = "RELEASE")]
    candidate: Option<String>,
    /// All of these are known to be good: exit code 1 when one would have been rolled back
    #[arg(long)]
    good: bool,
    /// The summary only
    #[arg(long)]
    quiet: bool,
}

/// What became of one recording.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Outcome {
    /// Seconds from the candidate's first request to the rollback.
    rolled_back: Option<u32>,
    last: Verdict,
}

#[allow(clippy::print_stdout, reason = "the answer of a command line tool")]
pub(super) fn run(options: &Options) -> anyhow::Result<ExitCode> {
    let config = match options.config.as_deref().map(super::serve::load).transpose()? {
        Some(Err(code)) => return Ok(code),
        Some(Ok(config)) => Some(config),
        None => None,
    };
    let mut outcomes = Vec::new();
    for path in &options.files {
        let recording = read(path, options).with_context(|| format!("cannot replay {}", path.display()))?;
        let recording = with_policy(recording, config.as_ref())?;
        let mut shown = String::new();
        let outcome = replay(&recording, &mut |second, verdict| show(&mut shown, &recording.setup, second, verdict));
        if !options.quiet {
            println!("{}", path.display());
            print!("{shown}");
            if recording.is_cut {
                println!("  the file ends in the middle of a second: what is before it counted");
            }
        }
        outcomes.push(outcome);
    }
    print!("{}", summary(&outcomes, options.good));
    let is_wrong = options.good && outcomes.iter().any(|outcome| outcome.rolled_back.is_some());
    Ok(if is_wrong { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn read(path: &PathBuf, options: &Options) -> anyhow::Result<Recording> {
    let bytes = fs::read(path)?;
    if bytes.starts_with(file::HEAD) || path.extension().is_none_or(|extension| extension != "csv") {
        return Ok(file::read(&bytes)?);
    }
    let (Some(baseline), Some(candidate)) = (options.baseline.clone(), options.candidate.clone()) else {
        bail!("CSV does not say which release is which: give --baseline and --candidate");
    };
    let service = path.file_stem().map_or_else(String::new, |stem| stem.to_string_lossy().into_owned());
    let setup = Setup::plain(&service, &baseline, &candidate);
    Ok(csv::read(&bytes, setup)?)
}

fn with_policy(recording: Recording, config: Option<&Config>) -> anyhow::Result<Recording> {
    let Some(config) = config else { return Ok(recording) };
    let named = config.services.iter().find(|service| service.name == recording.setup.service);
    let only = config.services.first().filter(|_| config.services.len() == 1);
    let Some(service) = named.or(only) else {
        bail!("the configuration has no service `{}` and several others: which policy?", recording.setup.service);
    };
    Ok(Recording { setup: Setup { policy: service.policy, ..recording.setup }, ..recording })
}

/// Judges a recording; `tell` hears each verdict that is news. The same recording always gives the same verdicts.
pub(super) fn replay(recording: &Recording, tell: &mut dyn FnMut(u64, &Verdict)) -> Outcome {
    let mut trial = OnTrial::new(recording.setup.clone());
    let mut told: Option<(i32, u64)> = None;
    let mut last = trial.verdict(0);
    for observed in &recording.seconds {
        trial.observe(observed);
        last = trial.verdict((observed.second + 1).saturating_mul(1_000_000));
        let is_news = told.is_none_or(|(state, at)| state != last.state || observed.second - at >= EVERY_S);
        if is_news {
            told = Some((last.state, observed.second));
            tell(observed.second, &last);
        }
        if last.state() == VerdictState::Regressed {
            break;
        }
    }
    let rolled_back = (last.state() == VerdictState::Regressed).then_some(last.trial_s);
    Outcome { rolled_back, last }
}

impl Outcome {
    pub(super) fn verdict(&self) -> &Verdict {
        &self.last
    }
}

fn show(shown: &mut String, setup: &Setup, second: u64, verdict: &Verdict) {
    let at = second.saturating_sub(setup.first_second) + 1;
    let state = verdict.state().word();
    let sentence = verdict.sentence.strip_prefix(&format!("{state}: ")).unwrap_or(&verdict.sentence);
    // Writing to a string does not fail.
    let _ = writeln!(shown, "  {at:>6} s  {state:<9}  {sentence}");
}

fn summary(outcomes: &[Outcome], good: bool) -> String {
    let mut after: Vec<u32> = outcomes.iter().filter_map(|outcome| outcome.rolled_back).collect();
    after.sort_unstable();
    let what = if good { "false alarms: " } else { "rolled back: " };
    let mut text = format!("{what}{} of {}", after.len(), outcomes.len());
    if let (Some(first), Some(median), Some(last)) =
        (after.first(), after.get((after.len().max(1) - 1) / 2), after.last())
    {
        let _ = write!(text, ", {median} s after the candidate's first request in the median ({first} to {last} s)");
    }
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use serin_judge::{Arm, PodId, PodSlice, Slice, Stratum};
    use serin_sketch::{Bucket, Counts, Micros};

    use super::*;
    use crate::recording::Observed;

    /// Two pods in each release at 100 requests/s each; the candidate's take so many times as long from a second on.
    fn recording(factor: f64, from: u64) -> Recording {
        let latency = |scale: f64| -> Counts {
            let us = |i: u32| scale * 40_000.0 * ((f64::from(i) + 0.5) / 100.0).powf(-1.0 / 3.0);
            (0..100).map(|i| (Bucket::of(Micros(us(i) as u64)), 1)).collect()
        };
        let second = |second: u64| {
            let pod = |id: u32| {
                let is_slow = id >= 2 && second >= from;
                let latency = latency(if is_slow { factor } else { 1.0 });
                let arm = if id < 2 { Arm::Baseline } else { Arm::Candidate };
                PodSlice { latency, requests: 100, ..PodSlice::new(arm, PodId(id), Stratum(0)) }
            };
            let pods = (0..if second < 1_060 { 2 } else { 4 }).map(pod).collect();
            let new_pods = match second {
                1_000 => vec!["a".to_owned(), "b".to_owned()],
                1_060 => vec!["c".to_owned(), "d".to_owned()],
                _ => Vec::new(),
            };
            Observed { second, new_pods, slices: vec![Slice { pods, ..Slice::new(second) }] }
        };
        let setup = Setup { first_second: 1_000, ..Setup::plain("shop", "v1", "v2") };
        Recording { setup, seconds: (1_000..1_400).map(second).collect(), is_cut: false }
    }

    #[test]
    fn the_same_recording_gives_the_same_verdicts() {
        let told = |recording: &Recording| {
            let mut shown = String::new();
            let outcome = replay(recording, &mut |second, verdict| show(&mut shown, &recording.setup, second, verdict));
            (shown, outcome)
        };
        let slow = recording(3.0, 1_100);
        let (shown, outcome) = told(&slow);
        assert_eq!(told(&slow), (shown.clone(), outcome.clone()));
        // The candidate is 40 s old when it gets slow.
        assert!(outcome.rolled_back.is_some_and(|s| (45..60).contains(&s)), "{outcome:?}");
        assert!(
            shown.contains("1 s  gathering  the candidate has no requests yet") && shown.contains("s  regressed  "),
            "{shown}"
        );
        assert_eq!(told(&recording(1.0, 0)).1.rolled_back, None);
    }

    #[test]
    fn another_policy_is_tried() {
        let strict =
            "services: [{name: shop, vantage: inbound, baseline: v1, candidate: v2, judge: {limits: {p50: 45ms}}}]";
        let strict = with_policy(recording(1.0, 0), Some(&Config::parse(strict).unwrap())).unwrap();
        assert_eq!(strict.setup.policy.limits().count(), 1);
        let others = strict_of("cart") + &strict_of("till").replace("services:", "");
        assert!(with_policy(recording(1.0, 0), Some(&Config::parse(&others).unwrap())).is_err());
    }

    fn strict_of(name: &str) -> String {
        format!("services:\n- {{name: {name}, vantage: inbound, baseline: v1, candidate: v2}}\n")
    }

    #[test]
    fn a_summary_counts_rollbacks() {
        let outcome = |rolled_back| Outcome { rolled_back, last: Verdict::default() };
        let all = [Some(30), None, Some(12), Some(90)].map(outcome);
        assert_eq!(
            summary(&all, false),
            "rolled back: 3 of 4, 30 s after the candidate's first request in the median (12 to 90 s)\n"
        );
        assert_eq!(summary(&all[1..2], true), "false alarms: 0 of 1\n");
    }
}
