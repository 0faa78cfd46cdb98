//! Both releases of a service side by side, from the live window.

use std::collections::BTreeSet;

use serin_proto::v1::{self, Outcome};
use serin_sketch::Counts;

use super::{Engine, evidence};
use crate::{
    config::Service,
    report::{self, Delta},
    time::UnixMicros,
};

const QUANTILES: [f64; 4] = [0.5, 0.95, 0.99, 0.999];

impl Engine {
    /// Compares over the last `window_s` seconds (0: the whole live window). `None` for a service that is not
    /// configured.
    pub fn compare(&self, service: &str, window_s: u32, now: UnixMicros) -> Option<v1::CompareResponse> {
        let guard = self.guards.iter().find(|guard| guard.service().name == service)?;
        let service = guard.service();
        let longest = u32::try_from(self.live_window.as_secs()).unwrap_or(u32::MAX);
        let window_s = if window_s == 0 { longest } else { window_s.min(longest) };
        let from = now.second().saturating_sub(u64::from(window_s));
        let deltas: Vec<Delta<'_>> = self.slices.since(from).filter(|delta| evidence::is_of(service, delta)).collect();
        Some(v1::CompareResponse {
            service: service.name.clone(),
            window_s,
            vantage: service.vantage.into(),
            baseline: Some(summary(service, &service.baseline, &deltas)),
            candidate: Some(summary(service, &service.candidate, &deltas)),
            verdict: Some(guard.verdict().clone()),
        })
    }
}

fn summary(service: &Service, release: &str, deltas: &[Delta<'_>]) -> v1::ReleaseSummary {
    let mut summary = v1::ReleaseSummary { release: release.to_owned(), ..Default::default() };
    let mut latency = Counts::new();
    let mut pods = BTreeSet::new();
    for delta in deltas.iter().filter(|delta| delta.series.release == release) {
        let n = delta.requests();
        let add = |sum: &mut u64, counts: bool| *sum = sum.saturating_add(if counts { n } else { 0 });
        add(&mut summary.requests, delta.series.outcome != Outcome::Redirected);
        add(&mut summary.errors, report::is_error(delta.series.outcome));
        add(&mut summary.aborted, delta.series.outcome == Outcome::Aborted);
        if report::counts_for_latency(delta.series.outcome) {
            latency.add_all(delta.timing(service.timing));
        }
        if !delta.series.pod.is_empty() {
            pods.insert(delta.series.pod.as_str());
        }
    }
    summary.pods = u32::try_from(pods.len()).unwrap_or(u32::MAX);
    let quantile = |q| latency.quantile(q).map(|bucket| v1::Quantile { quantile: q, latency_us: bucket.mid().0 });
    summary.quantiles = QUANTILES.into_iter().filter_map(quantile).collect();
    summary
}
