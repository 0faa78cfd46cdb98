//! [`Node`] -> [`Config`]: what the file must and may say, with the defaults. Pure.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use serin_history::{Retention, Tier};
use serin_judge::{Metric, Policy, PolicyError};
use serin_sketch::Micros;

use super::{
    Config, Exporter, Git, Receives, Rollback, Service, Target, Template, Timing, high_availability, kubernetes,
    notify, object,
    problem::{Fault, Problem},
    safety,
    scalar::{self, FRACTION, LABEL, METRIC, PATH, VANTAGE},
    section::Section,
    yaml::{Node, Value},
};

/// More services than this in one process are a mistake in the file.
const MAX_SERVICES: usize = 1_000;
const SERVICES: &str = "a list of at least one service: `- name: ...` lines";
const METRICS: &str = "a list of metrics, such as `- {name: p99, thresholds: {pass: 0.05, marginal: 0.1}}`";
const ROUTES: &str = "a list of route names, such as [checkout, search]";

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(86_400);

/// The whole file. What is wrong with it is added to `problems`; only when nothing is, the result counts.
pub(super) fn config(root: Node, problems: &mut Vec<Problem>) -> Option<Config> {
    // An empty file is a mapping without keys: then what is missing from it gets said.
    let value = if matches!(root.value, Value::Nothing) { Value::Map(Vec::new()) } else { root.value };
    Section::read(&Node { value, ..root }, String::new(), problems, |file| {
        let (grpc, metrics) = file.section("listen", listen).unwrap_or((loopback(9400), loopback(9090)));
        let data_dir = file.optional("data_dir", scalar::path);
        let filter = file.optional("filter", scalar::path);
        let live_window = scalar::duration_within(MINUTE..=HOUR, "a duration from 1m to 1h");
        let live_window = file.optional("live_window", live_window);
        let (retention, nats) = history(file, live_window.unwrap_or(15 * MINUTE));
        let lease = high_availability::read(file, nats.is_some());
        let kubernetes = kubernetes::read(file);
        Some(Config {
            grpc,
            metrics,
            data_dir: data_dir.unwrap_or_else(|| PathBuf::from("./serin-data")),
            filter,
            live_window: live_window.unwrap_or(15 * MINUTE),
            nats,
            exporters: file.section("export", exporters).unwrap_or_default(),
            retention,
            services: services(file, kubernetes.is_some()),
            kubernetes,
            lease,
            notify: notify::receivers(file),
            safety: file.section("safety", safety::read).unwrap_or_else(safety::usual),
        })
    })
}

/// One-second slices as long as the live window; ten seconds, then minutes; and where.
fn history(file: &mut Section<'_>, live_window: Duration) -> (Retention, Option<String>) {
    let range = || scalar::duration_within(HOUR..=400 * DAY, "a duration from 1h to 9600h (400 days)");
    let kept = file.section("history", |history| {
        let ten_seconds = history.optional("ten_seconds", range()).unwrap_or(DAY);
        let minutes = history.optional("minutes", range()).unwrap_or(15 * DAY);
        Some((ten_seconds, minutes, history.optional("nats", scalar::nats)))
    });
    let (ten_seconds, minutes, nats) = kept.unwrap_or((DAY, 15 * DAY, None));
    let tier = |resolution_s, keep: Duration| Tier { resolution_s, keep_s: keep.as_secs() };
    let live_s = live_window.max(2 * MINUTE).as_secs();
    let retention = Retention::new(live_s, tier(10, ten_seconds), tier(60, minutes)).unwrap_or_else(|error| {
        file.note("history", Fault::Retention(error));
        Retention::default()
    });
    (retention, nats)
}

fn exporters(export: &mut Section<'_>) -> Option<Vec<Exporter>> {
    let every = |section: &mut Section<'_>| {
        let range = scalar::duration_within(SECOND..=HOUR, "a duration from 1s to 1h");
        section.optional("every", range).unwrap_or(10 * SECOND)
    };
    let otlp = export.section("otlp", |otlp| {
        let address = otlp.required("endpoint", scalar::ENDPOINT, scalar::endpoint);
        let every = every(otlp);
        Some(Exporter { receives: Receives::Otlp, address: address?, every })
    });
    let remote_write = export.section("remote_write", |write| {
        let address = write.required("url", scalar::URL, scalar::url);
        let every = every(write);
        Some(Exporter { receives: Receives::RemoteWrite, address: address?, every })
    });
    Some(otlp.into_iter().chain(remote_write).collect())
}

fn loopback(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

fn listen(listen: &mut Section<'_>) -> Option<(SocketAddr, SocketAddr)> {
    let grpc = listen.optional("grpc", scalar::address).unwrap_or(loopback(9400));
    let metrics = listen.optional("metrics", scalar::address).unwrap_or(loopback(9090));
    // Port 0 asks the system for a free one, so twice 0 is not twice the same.
    if grpc == metrics && grpc.port() != 0 {
        listen.note("metrics", taken(metrics.to_string(), "listen.grpc", "use another port"));
    }
    Some((grpc, metrics))
}

/// `others`: whether there may be services that the file does not name.
fn services(file: &mut Section<'_>, others: bool) -> Vec<Service> {
    let count = |node: &Node| match &node.value {
        Value::List(items) if items.len() > MAX_SERVICES => {
            Err(Fault::TooMany { count: items.len(), most: MAX_SERVICES })
        }
        Value::List(items) if others || !items.is_empty() => Ok(items.len()),
        Value::List(_) => Err(Fault::Missing { expected: SERVICES }),
        other => Err(Fault::not(other, SERVICES)),
    };
    let count = if others { file.optional("services", count) } else { file.required("services", SERVICES, count) };
    if count.is_none() {
        return Vec::new();
    }
    let mut names = BTreeMap::new();
    file.sections("services", SERVICES, |section| service(section, &mut names))
}

/// `names`: those of the services before this one, with their paths.
fn service(section: &mut Section<'_>, names: &mut BTreeMap<String, String>) -> Option<Service> {
    let path = section.path().to_owned();
    let name = section.required("name", LABEL, |node| {
        let name = scalar::label(node)?;
        if let Some(by) = names.get(&name) {
            return Err(taken(name, by, "every service has one entry"));
        }
        names.insert(name.clone(), path);
        Ok(name)
    });
    let vantage = section.required("vantage", VANTAGE, scalar::vantage);
    let baseline = section.required("baseline", LABEL, scalar::label);
    let candidate = section.required("candidate", LABEL, |node| {
        let candidate = scalar::label(node)?;
        if baseline.as_ref() == Some(&candidate) {
            return Err(taken(candidate, "the baseline", "name the release on trial"));
        }
        Ok(candidate)
    });
    let mut seen = BTreeSet::new();
    let routes = section.values("routes", ROUTES, |node| {
        let route = scalar::label(node)?;
        if !seen.insert(route.clone()) {
            return Err(taken(route, "an earlier route", "name every route once"));
        }
        Ok(route)
    });
    let timing = section.optional("timing", scalar::timing).unwrap_or(Timing::Upstream);
    let (policy, throughput) = section.section("judge", judge).unwrap_or_default();
    let rollback = section.section("rollback", rollback).unwrap_or_else(Rollback::none);
    Some(Service {
        name: name?,
        vantage: vantage?,
        baseline: baseline?,
        candidate: candidate?,
        routes,
        timing,
        policy,
        throughput,
        rollback,
    })
}

fn judge(judge: &mut Section<'_>) -> Option<(Policy, bool)> {
    let throughput = judge.optional("throughput", scalar::throughput).unwrap_or(false);
    let guard = judge.optional("guard", |node| {
        let value = scalar::whole_seconds(node)?;
        in_range(node, value, Policy::default().with_guard(value))
    });
    let of_metrics = judge.sections("metrics", METRICS, metric);
    let policy = policy(judge)?;
    let policy = guard.map_or(Some(policy), |guard| policy.with_guard(guard).ok())?;
    let own = |policy: Policy, (metric, (regression, pass))| policy.with_thresholds(metric, pass, regression).ok();
    Some((of_metrics.into_iter().try_fold(policy, own)?, throughput))
}

/// A metric of a Kayenta canary configuration: its name and thresholds.
fn metric(section: &mut Section<'_>) -> Option<(Metric, (f64, f64))> {
    let name = section.required("name", METRIC, scalar::metric);
    let thresholds = section.section("thresholds", thresholds);
    if thresholds.is_none() {
        section.required("thresholds", "{pass: 0.05, marginal: 0.1}", |_| Ok(()));
    }
    Some((name?, thresholds?))
}

/// Kayenta's thresholds are fractions: the regression, and the pass below it.
fn thresholds(section: &mut Section<'_>) -> Option<(f64, f64)> {
    let d = Policy::default();
    let marginal = section.required("marginal", FRACTION, |node| {
        let value = scalar::fraction(node)?;
        in_range(node, value, Policy::new(value, d.false_rollback(), d.false_pass(), d.trial_s()))
    })?;
    let base = Policy::new(marginal, d.false_rollback(), d.false_pass(), d.trial_s()).ok()?;
    let pass = section.required("pass", FRACTION, |node| {
        let value = scalar::fraction(node)?;
        in_range(node, value, base.with_pass(value))
    })?;
    Some((marginal, pass))
}

fn policy(judge: &mut Section<'_>) -> Option<Policy> {
    let d = Policy::default();
    // Each key is tried in a policy that is otherwise the default one, so that every one that is out of range gets
    // its own message.
    let regression = judge.optional("regression", |node| {
        let value = scalar::percent(node)?;
        in_range(node, value, Policy::new(value, d.false_rollback(), d.false_pass(), d.trial_s()))
    });
    let false_rollback = judge.optional("false_rollback", |node| {
        let value = scalar::percent(node)?;
        in_range(node, value, Policy::new(d.regression(), value, d.false_pass(), d.trial_s()))
    });
    let false_pass = judge.optional("false_pass", |node| {
        let value = scalar::percent(node)?;
        in_range(node, value, Policy::new(d.regression(), d.false_rollback(), value, d.trial_s()))
    });
    let trial_s = judge.optional("trial", |node| {
        let value = scalar::whole_seconds(node)?;
        in_range(node, value, Policy::new(d.regression(), d.false_rollback(), d.false_pass(), value))
    });
    let thresholds = judge.section("thresholds", thresholds);
    let regression = match (thresholds, regression) {
        (Some(_), Some(_)) => {
            judge.note("thresholds", taken("thresholds".to_owned(), "`regression`", "give one of the two"));
            return None;
        }
        (Some((marginal, _)), None) => Some(marginal),
        (None, regression) => regression,
    };
    let limits = judge.section("limits", |limits| Some(limits_of(limits))).unwrap_or_default();
    let policy = Policy::new(
        regression.unwrap_or(d.regression()),
        false_rollback.unwrap_or(d.false_rollback()),
        false_pass.unwrap_or(d.false_pass()),
        trial_s.unwrap_or(d.trial_s()),
    )
    .ok()?;
    let policy = thresholds.map_or(Some(policy), |(_, pass)| policy.with_pass(pass).ok())?;
    limits.into_iter().try_fold(policy, |policy, (metric, limit)| policy.with_limit(metric, limit).ok())
}

/// Absolute limits of latency quantiles.
fn limits_of(limits: &mut Section<'_>) -> Vec<(Metric, Micros)> {
    let keys = [("p50", Metric::P50), ("p95", Metric::P95), ("p99", Metric::P99), ("p99.9", Metric::P999)];
    let limit = |(key, metric)| {
        let limit = limits.optional(key, |node| {
            let limit = Micros(u64::try_from(scalar::duration(node)?.as_micros()).unwrap_or(u64::MAX));
            in_range(node, limit, Policy::default().with_limit(metric, limit))
        });
        limit.map(|limit| (metric, limit))
    };
    keys.into_iter().filter_map(limit).collect()
}

fn in_range<T>(node: &Node, value: T, tried: Result<Policy, PolicyError>) -> Result<T, Fault> {
    tried.map(|_| value).map_err(|source| Fault::Policy { shown: node.value.to_string(), source })
}

fn rollback(rollback: &mut Section<'_>) -> Option<Rollback> {
    let Rollback { dry_run, without_baseline, confirm_within, hold, .. } = Rollback::none();
    let dry_run = rollback.optional("dry_run", scalar::switch).unwrap_or(dry_run);
    let only_tells = rollback.optional("action", safety::action).unwrap_or(false);
    let without_baseline = rollback.optional("without_baseline", scalar::switch).unwrap_or(without_baseline);
    let range = scalar::duration_within(SECOND..=HOUR, "a duration from 1s to 1h");
    let confirm_within = rollback.optional("confirm_within", range).unwrap_or(confirm_within);
    let range = scalar::duration_within(MINUTE..=30 * DAY, "a duration from 1m to 720h");
    let hold = rollback.optional("hold", range).unwrap_or(hold);
    let virtual_services = rollback.section("virtual_services", |target| {
        let directory = target.required("directory", PATH, scalar::path);
        let host = target.required("host", LABEL, scalar::label);
        let subset = target.optional("subset", scalar::template).unwrap_or_else(Template::release);
        let git = target.section("git", git);
        Some(Target::VirtualServices { directory: directory?, host: host?, subset, git })
    });
    let envoy_rds = rollback.section("envoy_rds", |target| {
        let file = target.required("file", PATH, scalar::path);
        let cluster = target.optional("cluster", scalar::template).unwrap_or_else(Template::release);
        Some(Target::EnvoyRds { file: file?, cluster })
    });
    let objects = rollback.section("kubernetes", object::read).into_iter().collect();
    let rollout = rollback.section("argo_rollout", object::rollout);
    let targets = virtual_services.into_iter().chain(envoy_rds).collect();
    Some(Rollback {
        dry_run,
        only_tells,
        without_baseline,
        confirm_within,
        hold,
        targets,
        objects,
        rollout,
        held: None,
    })
}

fn git(git: &mut Section<'_>) -> Option<Git> {
    let name = git.optional("name", scalar::label).unwrap_or_else(|| "Serin".to_owned());
    let email = git.optional("email", scalar::label).unwrap_or_else(|| "serin@localhost".to_owned());
    let push = git.optional("push", scalar::switch).unwrap_or(false);
    let range = scalar::duration_within(SECOND..=5 * MINUTE, "a duration from 1s to 5m");
    let timeout = git.optional("timeout", range).unwrap_or(Duration::from_secs(30));
    Some(Git { name, email, push, timeout })
}

fn taken(shown: String, by: &str, remedy: &'static str) -> Fault {
    Fault::Taken { shown, by: by.to_owned(), remedy }
}
