use std::{fmt::Write, time::Duration};

use serin_proto::v1::{CompareRequest, CompareResponse, Finding, ReleaseSummary, Verdict, query_client::QueryClient};
use serin_sketch::{Micros, thousands};

use super::{client, text};

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
    let state = if verdict.sentence.starts_with(&state) { String::new() } else { format!("{state}: ") };
    let condemned = if verdict.condemned { "condemned: " } else { "" };
    let _ = writeln!(shown, "{condemned}{state}{}", verdict.sentence);
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
    let mut told = if finding.route.is_empty() { String::new() } else { format!("{}: ", finding.route) };
    if finding.ratio > 0.0 {
        let _ = write!(told, "{:.2}x", finding.ratio);
    }
    if finding.ratio_high > 0.0 {
        let _ = write!(told, " ({:.2} to {:.2})", finding.ratio_low, finding.ratio_high);
    }
    let _ = write!(told, " evidence {} of {}", text::odds(finding.log_evidence), text::odds(finding.log_threshold));
    told.trim().to_owned()
}

#[cfg(test)]
mod tests {
    use serin_proto::v1::{Quantile, VerdictState};

    use super::*;

    #[test]
    fn both_releases_stand_side_by_side() {
        let release = |name: &str, errors, p50| ReleaseSummary {
            release: name.into(),
            requests: 12_000,
            errors,
            pods: 3,
            quantiles: vec![Quantile { quantile: 0.5, latency_us: p50 }],
            ..Default::default()
        };
        let finding = |metric: &str, ratio, log_evidence| Finding {
            metric: metric.into(),
            ratio,
            ratio_low: ratio * 0.9,
            ratio_high: ratio * 1.1,
            log_evidence,
            log_threshold: 4_400f64.ln(),
            ..Default::default()
        };
        let compared = CompareResponse {
            service: "shop".into(),
            window_s: 60,
            baseline: Some(release("v1", 12, 41_200)),
            candidate: Some(release("v2", 120, 82_400)),
            verdict: Some(Verdict {
                state: VerdictState::Regressed.into(),
                sentence: "p50 slower: 2.00x".into(),
                condemned: true,
                findings: vec![finding("p50", 2.0, 100f64.ln()), finding("errors", 0.0, -1.0)],
                ..Default::default()
            }),
            ..Default::default()
        };
        let want = "\
shop                    v1              v2
role              baseline       candidate  last 60 s
requests            12,000          12,000
errors               0.10%           1.00%  evidence below 1 of 4,400
pods                     3               3
p50                 41.2ms          82.4ms  2.00x (1.80 to 2.20) evidence 100 of 4,400
p95                      -               -
p99                      -               -
p99.9                    -               -
condemned: regressed: p50 slower: 2.00x
";
        assert_eq!(show(&compared), want);
    }
}
