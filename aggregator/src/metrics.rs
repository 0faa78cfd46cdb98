//! `/metrics`: what the engine knows, in Prometheus's text form. Cardinality is bounded by the configuration.

use prometheus_client::{
    encoding::text::encode,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};
use serin_proto::v1::{DecisionStage, Proxy, ReporterState, VerdictState};

use crate::{engine::Engine, notify::Notifier, time::UnixMicros};

type Labels = Vec<(&'static str, String)>;
type Counters = Family<Labels, Counter>;
type Gauges = Family<Labels, Gauge>;

/// All metrics.
///
/// # Errors
/// Never in practice: writing to a string does not fail.
pub fn render(engine: &Engine, now: UnixMicros, notifier: &Notifier) -> Result<String, std::fmt::Error> {
    let mut registry = Registry::default();
    requests(&mut registry, engine);
    reports(&mut registry, engine, now);
    verdicts(&mut registry, engine);
    notifier.register(&mut registry);
    let mut text = String::new();
    encode(&mut text, &registry)?;
    Ok(text)
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
    proxies(registry, &engine.proxies(now));
}

fn proxies(registry: &mut Registry, proxies: &[Proxy]) {
    let sum = |of: fn(&Proxy) -> u64| proxies.iter().map(of).fold(0, u64::saturating_add);
    let most = |of: fn(&Proxy) -> u64| proxies.iter().map(of).max().unwrap_or_default();
    let missing = "Requests that proxies say have ended and that their filters did not deliver: see `serin proxies`";
    gauge(registry, "serin_proxy_requests_missing", missing, sum(|proxy| proxy.missing));
    gauge(registry, "serin_proxies", "Proxies that report or did", u64::try_from(proxies.len()).unwrap_or(u64::MAX));
    let backlog = "Memory that reports take which proxies have not got acknowledged";
    gauge(registry, "serin_filter_backlog_bytes", backlog, sum(|proxy| state_of(proxy).backlog_bytes));
    let slowest = "The longest that a filter now waits between two reports";
    gauge(registry, "serin_filter_interval_ms_max", slowest, most(|proxy| state_of(proxy).interval_ms.into()));
    let tick = "The longest that a filter's last tick took of its worker's time";
    gauge(registry, "serin_filter_tick_us_max", tick, most(|proxy| state_of(proxy).tick_us.into()));
    let active = "Requests under way in proxies with the HTTP filter";
    gauge(registry, "serin_filter_active_requests", active, sum(|proxy| state_of(proxy).active_requests.into()));
    let oldest = "The age of the oldest of them";
    gauge(registry, "serin_filter_oldest_active_ms", oldest, most(|proxy| state_of(proxy).oldest_active_ms));
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
    registry.register("serin_verdict", "1 for the current verdict of each service, 0 for the others", states);
    registry.register("serin_condemned", "1 while the candidate is condemned", condemned);
    let decisions = Gauges::default();
    for decision in engine.decisions("", usize::MAX) {
        let last = decision.events.last().map_or(DecisionStage::Unspecified, |event| event.stage());
        decisions.get_or_create(&vec![("service", decision.service), ("stage", last.word())]).inc();
    }
    registry.register("serin_decisions", "Decisions by how far they came", decisions);
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
