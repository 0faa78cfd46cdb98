//! `/metrics`: what the engine knows, as text, or in Prometheus's protobuf, which has native histograms. Cardinality is bounded by the
//! configuration (`docs/prometheus.md`).

mod accept;
pub(crate) mod latency;
pub(crate) mod native;

use std::sync::{Arc, atomic::AtomicU64};

use prometheus_client::{
    encoding::{prometheus_protobuf, prometheus_text, text},
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::{Registry, Unit},
};
use serin_proto::v1::{DecisionStage, Proxy, ReporterState, VerdictState};

use crate::{
    engine::{Engine, Overload},
    export::Exported,
    time::UnixMicros,
};

pub(crate) type Labels = Vec<(&'static str, String)>;
type Counters = Family<Labels, Counter>;
type Gauges = Family<Labels, Gauge>;
type Ratios = Family<Labels, Gauge<f64, AtomicU64>>;

/// How a scrape is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Prometheus's text format 0.0.4, which everything understands.
    Text,
    /// OpenMetrics 1.0.
    OpenMetrics,
    /// `io.prometheus.client.MetricFamily`, each behind its length.
    Protobuf,
}

impl Format {
    /// For the header `content-type`.
    pub fn content_type(self) -> &'static str {
        match self {
            Format::Text => "text/plain; version=0.0.4; charset=utf-8",
            Format::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Format::Protobuf => {
                "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited"
            }
        }
    }
}

/// What the engine knows, and whether what was counted is kept.
pub fn gather(engine: &Engine, proxies: &[Proxy], is_kept: bool, now: UnixMicros) -> Registry {
    let mut registry = Registry::default();
    let kept = "1 while what was counted is kept, on disk or in NATS; 0 while that fails: see the log";
    gauge(&mut registry, "serin_history_kept", kept, is_kept.into());
    let judged = "Services that are judged here, and not by another aggregator";
    let services = engine.verdicts().filter(|verdict| engine.judges(&verdict.service)).count();
    gauge(&mut registry, "serin_services_judged", judged, u64::try_from(services).unwrap_or(u64::MAX));
    let paused = "1 while a person has paused rollbacks with `serin pause`";
    gauge(&mut registry, "serin_paused", paused, engine.safety().paused(now).is_some().into());
    requests(&mut registry, engine);
    reports(&mut registry, engine, now);
    self::proxies(&mut registry, proxies);
    overload(&mut registry, engine);
    verdicts(&mut registry, engine);
    registry.register_collector(Box::new(latency::Latencies::of(engine)));
    registry
}

/// Adds what the filters of all proxies did not deliver.
pub fn missing(registry: &mut Registry, missing: u64) {
    let help = "Requests that proxies say have ended and that their filters did not deliver: see `serin proxies`";
    gauge(registry, "serin_proxy_requests_missing", help, missing);
}

/// Adds whether this replica acts.
pub fn leads(registry: &mut Registry, leads: bool) {
    gauge(
        registry,
        "serin_leader",
        "1 while this replica acts; 0 while another one does: high_availability",
        leads.into(),
    );
}

/// Adds how the export of histograms does.
pub fn exports(registry: &mut Registry, exported: &[Arc<Exported>]) {
    let (taken, refused) = (Counters::default(), Counters::default());
    for one in exported {
        let ([sent, failed], labels) = (one.read(), vec![("to", one.to.to_owned())]);
        taken.get_or_create(&labels).inc_by(sent);
        refused.get_or_create(&labels).inc_by(failed);
    }
    registry.register("serin_exports", "Times that a receiver took the histograms", taken);
    registry.register("serin_export_failures", "Times that it did not", refused);
}

/// It as it is sent.
///
/// # Errors
/// Never in practice: writing to memory does not fail.
pub fn encode(registry: &Registry, format: Format) -> Result<Vec<u8>, String> {
    match format {
        Format::Protobuf => prometheus_protobuf::encode_to_vec(registry).map_err(|error| error.to_string()),
        Format::Text | Format::OpenMetrics => {
            let mut text = String::new();
            let encode = if format == Format::Text { prometheus_text::encode } else { text::encode };
            encode(&mut text, registry).map_err(|error| error.to_string())?;
            Ok(text.into_bytes())
        }
    }
}

fn requests(registry: &mut Registry, engine: &Engine) {
    let (requests, retries) = (Counters::default(), Counters::default());
    for (key, total) in engine.totals.iter() {
        let labels = vec![
            ("service", key.service.clone()),
            ("release", key.release.clone()),
            ("vantage", key.vantage.word()),
            ("outcome", key.outcome.word()),
        ];
        requests.get_or_create(&labels).inc_by(total.requests);
        retries.get_or_create(&labels).inc_by(total.retries);
    }
    registry.register("serin_requests", "Requests counted, each once", requests);
    let help = "Attempts beyond the first of these requests, where the filter's configuration has them counted";
    registry.register("serin_retries", help, retries);
    let counters = engine.counters;
    let late = "Requests that came after their second was judged: counted, not judged";
    counter(registry, "serin_late_requests", late, counters.late_requests);
    let elsewhere = "Requests that the known reporters had delivered to an earlier run of serin";
    gauge(registry, "serin_requests_delivered_before", elsewhere, engine.reporters.delivered_elsewhere());
    let overflow = "Requests that filters counted without labels, for want of room for more series";
    gauge(registry, "serin_overflow_requests", overflow, engine.reporters.overflow_requests());
}

fn reports(registry: &mut Registry, engine: &Engine, now: UnixMicros) {
    let reports = Counters::default();
    let counters = engine.counters;
    let results = [("applied", counters.applied), ("duplicate", counters.duplicates), ("refused", counters.refused)];
    for (result, count) in results {
        reports.get_or_create(&vec![("result", result.to_owned())]).inc_by(count);
    }
    registry.register("serin_reports", "Reports by what became of them", reports);
    let alive = u64::try_from(engine.reporters.alive(now)).unwrap_or(u64::MAX);
    gauge(registry, "serin_reporters_alive", "Reporters (Envoy workers) heard of within 30 s", alive);
}

fn overload(registry: &mut Registry, engine: &Engine) {
    let Overload { lag, services, shed } = engine.overload();
    let whole = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
    let help = "How long the oldest message waited to be handled, or the oldest report waits for the disk";
    seconds(registry, "serin_ingest_lag", help, u64::try_from(lag.as_micros()).unwrap_or(u64::MAX));
    let waits = "Memory of reports that are counted and wait for the disk";
    gauge(registry, "serin_ingest_backlog_bytes", waits, whole(engine.backlog.bytes()));
    gauge(registry, "serin_services", "Services that were seen, or are configured", whole(services));
    let help = "Services, the last to arrive, whose reports are not taken now because of overload: filters keep them";
    gauge(registry, "serin_services_shed", help, whole(shed));
    let help = "Streams that were closed or refused because of overload";
    counter(registry, "serin_streams_shed", help, engine.counters.shed);
}

fn proxies(registry: &mut Registry, proxies: &[Proxy]) {
    let sum = |of: fn(&Proxy) -> u64| proxies.iter().map(of).fold(0, u64::saturating_add);
    let most = |of: fn(&Proxy) -> u64| proxies.iter().map(of).max().unwrap_or_default();
    gauge(registry, "serin_proxies", "Proxies that report or did", u64::try_from(proxies.len()).unwrap_or(u64::MAX));
    let backlog = "Memory that reports take which proxies have not got acknowledged";
    gauge(registry, "serin_filter_backlog_bytes", backlog, sum(|proxy| state_of(proxy).backlog_bytes));
    let slowest = "The longest that a filter now waits between two reports";
    seconds(
        registry,
        "serin_filter_interval_max",
        slowest,
        most(|proxy| 1_000 * u64::from(state_of(proxy).interval_ms)),
    );
    let tick = "The longest that a filter's last tick took of its worker's time";
    seconds(registry, "serin_filter_tick_max", tick, most(|proxy| state_of(proxy).tick_us.into()));
    let active = "Requests under way in proxies with the HTTP filter";
    gauge(registry, "serin_filter_active_requests", active, sum(|proxy| state_of(proxy).active_requests.into()));
    let oldest = "The age of the oldest of them";
    let age = most(|proxy| state_of(proxy).oldest_active_ms.saturating_mul(1_000));
    seconds(registry, "serin_filter_oldest_active", oldest, age);
}

fn state_of(proxy: &Proxy) -> ReporterState {
    proxy.state.unwrap_or_default()
}

fn verdicts(registry: &mut Registry, engine: &Engine) {
    let states = Gauges::default();
    let condemned = Gauges::default();
    for verdict in engine.verdicts() {
        let labels = vec![("service", verdict.service.clone()), ("candidate", verdict.candidate.clone())];
        condemned.get_or_create(&labels).set(verdict.condemned.into());
        let all = [VerdictState::Gathering, VerdictState::Healthy, VerdictState::Marginal, VerdictState::Regressed];
        for state in all {
            let labels = labels.iter().cloned().chain([("state", state.word())]).collect::<Vec<_>>();
            states.get_or_create(&labels).set((verdict.state() == state).into());
        }
    }
    evidence(registry, engine);
    registry.register("serin_verdict", "1 for the current verdict of each service, 0 for the others", states);
    registry.register("serin_condemned", "1 while the candidate is condemned", condemned);
    let unconfirmed = Gauges::default();
    for (service, is_unconfirmed) in engine.unconfirmed() {
        let labels = vec![("service", service.name.clone()), ("candidate", service.candidate.clone())];
        unconfirmed.get_or_create(&labels).set(is_unconfirmed.into());
    }
    let help =
        "1 while the candidate is condemned and its rollback was not written, or is not seen in the data plane in time";
    registry.register("serin_rollback_unconfirmed", help, unconfirmed);
    let decisions = Gauges::default();
    for decision in engine.decisions("", usize::MAX) {
        let last = decision.events.last().map_or(DecisionStage::Unspecified, |event| event.stage());
        decisions.get_or_create(&vec![("service", decision.service), ("stage", last.word())]).inc();
    }
    registry.register("serin_decisions", "Decisions by how far they came", decisions);
}

/// What the evidence says of each metric that is compared.
fn evidence(registry: &mut Registry, engine: &Engine) {
    let [ratios, lows, highs, evidences, needed] = std::array::from_fn(|_| Ratios::default());
    for verdict in engine.verdicts() {
        for finding in &verdict.findings {
            let labels = vec![
                ("service", verdict.service.clone()),
                ("candidate", verdict.candidate.clone()),
                ("route", finding.route.clone()),
                ("metric", finding.metric.clone()),
            ];
            let known = finding.ratio > 0.0;
            for (family, value) in [(&ratios, finding.ratio), (&lows, finding.ratio_low), (&highs, finding.ratio_high)]
            {
                if known && value > 0.0 {
                    family.get_or_create(&labels).set(value);
                }
            }
            evidences.get_or_create(&labels).set(finding.log_evidence);
            needed.get_or_create(&labels).set(finding.log_threshold);
        }
    }
    registry.register("serin_ratio", "Candidate over baseline, of each metric that is compared", ratios);
    registry.register("serin_ratio_low", "Lower end of the ratio's 95% interval, valid at any time", lows);
    registry.register("serin_ratio_high", "Upper end of the ratio's 95% interval, valid at any time", highs);
    registry.register("serin_evidence_log", "Natural logarithm of the evidence (e-value) for a regression", evidences);
    registry.register(
        "serin_evidence_log_needed",
        "The serin_evidence_log at which the candidate is condemned",
        needed,
    );
}

fn counter(registry: &mut Registry, name: &str, help: &str, value: u64) {
    let counter: Counter = Counter::default();
    counter.inc_by(value);
    registry.register(name, help, counter);
}

fn gauge(registry: &mut Registry, name: &str, help: &str, value: u64) {
    let gauge: Gauge = Gauge::default();
    gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
    registry.register(name, help, gauge);
}

/// Of microseconds.
fn seconds(registry: &mut Registry, name: &str, help: &str, us: u64) {
    let gauge: Gauge<f64, AtomicU64> = Gauge::default();
    gauge.set(us as f64 / 1e6);
    registry.register_with_unit(name, help, Unit::Seconds, gauge);
}
