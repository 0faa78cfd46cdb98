//! Lines on the terminal. A terminal that is gone is no reason to stop.

use std::{
    env,
    io::{IsTerminal, Write, stdout},
    time::Duration,
};

use serin_proto::v1::{CompareResponse, ReleaseSummary};
use serin_sketch::{Micros, thousands};

const BOLD: &str = "1";
const GREEN: &str = "1;32";
const RED: &str = "1;31";
const DIM: &str = "2";

/// A plain line.
pub(crate) fn line(text: &str) {
    let _ = writeln!(stdout(), "{text}");
}

/// A line that stands out: something happened.
pub(crate) fn moment(text: &str) {
    line(&paint(BOLD, &format!("  >> {text}")));
}

/// How it ended, with the reason.
pub(crate) fn ending(passed: bool, reason: &str) {
    let (colour, word) = if passed { (GREEN, "PASS") } else { (RED, "FAIL") };
    line(&format!("\n{} {reason}", paint(colour, word)));
}

/// Why it could not go on.
pub(crate) fn failure(error: &anyhow::Error) {
    line(&format!("\n{} {error:#}", paint(RED, "FAIL")));
}

/// What the columns of [`comparison`] are.
pub(crate) fn heading() {
    line(&paint(DIM, "   time    requests |    v1 p50     p99 |    v2 p50     p99  share |  evidence | serin says"));
}

/// Both releases, `requests` in all so far, and what `serin` says of them.
pub(crate) fn comparison(time: Duration, requests: u64, compared: &CompareResponse) {
    let (v1, v2) = (compared.baseline.as_ref(), compared.candidate.as_ref());
    let seen = |release: Option<&ReleaseSummary>| release.map_or(0, |release| release.requests);
    let share = 100.0 * seen(v2) as f64 / (seen(v1) + seen(v2)).max(1) as f64;
    line(&format!(
        "  {:>2}:{:02} {:>11} | {:>9} {:>7} | {:>9} {:>7} {share:>5.1}% | {:>9} | {}",
        time.as_secs() / 60,
        time.as_secs() % 60,
        thousands(requests),
        quantile(v1, 0.5),
        quantile(v1, 0.99),
        quantile(v2, 0.5),
        quantile(v2, 0.99),
        evidence(compared),
        says(compared),
    ));
}

/// The strongest evidence against the candidate, in percent of what a rollback takes (both as logarithms).
fn evidence(compared: &CompareResponse) -> String {
    let findings = compared.verdict.iter().flat_map(|verdict| &verdict.findings);
    let percent = findings.map(|f| (100.0 * f.log_evidence / f.log_threshold, f.metric.as_str()));
    let strongest = percent.filter(|(percent, _)| percent.is_finite()).max_by(|a, b| a.0.total_cmp(&b.0));
    strongest.map_or("-".to_owned(), |(percent, metric)| format!("{metric} {:.0}%", percent.max(0.0)))
}

fn says(compared: &CompareResponse) -> &str {
    match &compared.verdict {
        None => "nothing yet",
        Some(verdict) if verdict.condemned => "v2 is condemned",
        Some(verdict) => &verdict.sentence,
    }
}

fn quantile(release: Option<&ReleaseSummary>, q: f64) -> String {
    let found = release.and_then(|release| release.quantiles.iter().find(|quantile| quantile.quantile == q));
    found.map_or("-".to_owned(), |quantile| Micros(quantile.latency_us).to_string())
}

fn paint(colour: &str, text: &str) -> String {
    if stdout().is_terminal() && env::var_os("NO_COLOR").is_none() {
        format!("\x1b[{colour}m{text}\x1b[0m")
    } else {
        text.to_owned()
    }
}
