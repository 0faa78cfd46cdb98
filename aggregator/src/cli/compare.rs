use std::{fmt::Write, time::Duration};

use serin_proto::v1::{CompareRequest, CompareResponse, Finding, ReleaseSummary, Verdict, query_client::QueryClient};
use serin_sketch::{Micros, thousands};

use super::client;

#[allow(clippy::print_stdout, reason = "the answer of a command line tool")]
pub(super) async fn run(service: String, window: Option<Duration>, server: String) -> anyhow::Result<()> {
    let mut query = QueryClient::new(client::connect(&server).await?);
    let window_s = window.map_or(0, |window| u32::try_from(window.as_secs().max(1)).unwrap_or(u32::MAX));
    let request = CompareRequest { service, window_s };
    let compared = query.compare(request).await.map_err(client::told)?.into_inner();
    print!("{}", show(&compared));
    Ok(())
}

fn show(compared: &CompareResponse) -> String {
    let none = ReleaseSummary::default();
    let (baseline, candidate) =
        (compared.baseline.as_ref().unwrap_or(&none), compared.candidate.as_ref().unwrap_or(&none));
    let verdict = compared.verdict.clone().unwrap_or_default();
    let mut shown = String::new();
    let mut line = |name: &str, left: String, right: String, more: String| {
        // Writing to a string does not fail.
        let _ = writeln!(shown, "{}", format!("{name:<10}{left:>16}{right:>16}  {more}").trim_end());
    };
    let pods = |n: u32| if n == 0 { "not told apart".to_owned() } else { n.to_string() };
    line(&compared.service, baseline.release.clone(), candidate.release.clone(), String::new());
    line("role", "baseline".into(), "candidate".into(), format!("last {} s", compared.window_s));
    line("requests", thousands(baseline.requests), thousands(candidate.requests), String::new());
    line("errors", share(baseline), share(candidate), evidence(&verdict, "errors"));
    line("pods", pods(baseline.pods), pods(candidate.pods), String::new());
    for (at, name) in ["p50", "p95", "p99", "p99.9"].into_iter().enumerate() {
        line(name, latency(baseline, at), latency(candidate, at), evidence(&verdict, name));
    }
    let state = verdict.state().word();
    let condemned = if verdict.condemned { " (condemned)" } else { "" };
    let _ = writeln!(shown, "{state}{condemned}: {}", verdict.sentence);
    shown
}

fn share(release: &ReleaseSummary) -> String {
    if release.requests == 0 {
        return "-".to_owned();
    }
    format!("{:.2}%", release.errors as f64 / release.requests as f64 * 100.0)
}

fn latency(release: &ReleaseSummary, at: usize) -> String {
    release.quantiles.get(at).map_or_else(|| "-".to_owned(), |q| Micros(q.latency_us).to_string())
}

/// Of every route that was judged for this metric: ratio, interval, evidence.
fn evidence(verdict: &Verdict, metric: &str) -> String {
    let of_metric = verdict.findings.iter().filter(|finding| finding.metric == metric);
    of_metric.map(one).collect::<Vec<_>>().join("; ")
}

fn one(finding: &Finding) -> String {
    let mut text = if finding.route.is_empty() { String::new() } else { format!("{}: ", finding.route) };
    if finding.ratio > 0.0 {
        let _ = write!(text, "{:.2}x", finding.ratio);
    }
    if finding.ratio_high > 0.0 {
        let _ = write!(text, " ({:.2} to {:.2})", finding.ratio_low, finding.ratio_high);
    }
    let _ = write!(text, " evidence e^{:.1} of e^{:.1}", finding.log_evidence, finding.log_threshold);
    text
}
