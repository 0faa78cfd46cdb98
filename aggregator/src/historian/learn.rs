//! What earlier days tell of a service (pure, but for what it is given to read with).

use std::collections::BTreeMap;

use serin_history::{Entry, Histograms, Query, Selector};
use serin_judge::PodSpread;
use serin_sketch::Counts;

use super::store::key;
use crate::{
    config::{Service, Timing},
    engine::Learned,
    report,
};

const DAY_S: u64 = 86_400;
/// Days that pods are looked at on, and how long on each: an hour around this time of day.
const POD_DAYS: u64 = 7;
const AROUND_S: u64 = 1_800;
/// Days whose same time is a window, and how much of it: what a rollout of half an hour that begins now would see.
const DAYS: u64 = 14;
const WINDOW_S: u64 = 1_800;

/// Reads what is known of a service at this time of day.
///
/// # Errors
/// Those of `read`, which hands out the entries of a query.
pub fn learn<E>(
    service: &Service,
    now_s: u64,
    read: impl Fn(&Query, &mut dyn FnMut(Entry)) -> Result<(), E>,
) -> Result<Learned, E> {
    let pods = pods(service, now_s, &read)?;
    let names = if service.routes.is_empty() { vec![String::new()] } else { service.routes.clone() };
    let mut windows = BTreeMap::new();
    for route in names {
        let mut days = Vec::new();
        for ago in 1..=DAYS {
            let from_s = now_s.saturating_sub(ago * DAY_S);
            let selector = selector(service, &route);
            let query = Query { selector, from_s, to_s: from_s + WINDOW_S, resolution_s: WINDOW_S };
            let mut day = Counts::new();
            read(&query, &mut |entry| {
                if report::counts_for_latency(key(&entry.series).outcome) {
                    day.merge(of(service, &entry.histograms));
                }
            })?;
            days.push(day);
        }
        windows.insert(route, days.into_iter().filter(|day| !day.is_empty()).collect());
    }
    Ok(Learned { pods, windows })
}

fn selector(service: &Service, route: &str) -> Selector {
    Selector {
        service: Some(service.name.clone()),
        route: (!route.is_empty()).then(|| route.to_owned()),
        vantage: Some(service.vantage as u8),
        ..Selector::default()
    }
}

fn of<'a>(service: &Service, histograms: &'a Histograms) -> &'a Counts {
    match service.timing {
        Timing::Upstream => &histograms.upstream,
        Timing::Total => &histograms.total,
    }
}

/// How much pods of the baseline differed.
fn pods<E>(
    service: &Service,
    now_s: u64,
    read: impl Fn(&Query, &mut dyn FnMut(Entry)) -> Result<(), E>,
) -> Result<PodSpread, E> {
    let selector = Selector { release: Some(service.baseline.clone()), ..selector(service, "") };
    let mut days = Vec::new();
    for ago in 1..=POD_DAYS {
        let at = now_s.saturating_sub(ago * DAY_S);
        let (from_s, to_s) = (at.saturating_sub(AROUND_S), at + AROUND_S);
        let mut by_pod: BTreeMap<String, Counts> = BTreeMap::new();
        let query = Query { selector: selector.clone(), from_s, to_s, resolution_s: 60 };
        read(&query, &mut |entry: Entry| {
            let series = key(&entry.series);
            if report::counts_for_latency(series.outcome) && !series.pod.is_empty() {
                by_pod.entry(series.pod).or_default().merge(of(service, &entry.histograms));
            }
        })?;
        days.push(by_pod.into_values().collect());
    }
    Ok(PodSpread::measured(&days))
}

#[cfg(test)]
mod tests {
    use serin_history::{Delta, Histograms, History, Report, Retention, SeriesRef};
    use serin_sketch::{Bucket, Micros};

    use super::*;
    use crate::config::Config;

    const NOW_S: u64 = 30 * DAY_S;

    /// Six days of four pods at this time of day, each pod with 10,000 requests and a tail of x^-3.
    #[test]
    fn earlier_days_tell_how_pods_differ_and_what_is_usual() {
        let dir = tempfile::tempdir().unwrap();
        let history = History::open(dir.path(), Retention::default()).unwrap();
        let yaml = "services: [{name: shop, vantage: inbound, baseline: v1, candidate: v2, timing: total}]";
        let service = Config::parse(yaml).unwrap().services.remove(0);
        let latency = |scale: f64| -> Counts {
            let us = |i: u32| scale * 40_000.0 * ((f64::from(i) + 0.5) / 10_000.0).powf(-1.0 / 3.0);
            (0..10_000).map(|i| (Bucket::of(Micros(us(i) as u64)), 1)).collect()
        };
        let of = |total| Histograms { total, ..Histograms::default() };
        let (even, odd) = (of(latency(1.04)), of(latency(1.0 / 1.04)));
        for day in 1..=6u64 {
            let deltas = ["a", "b", "c", "d"].into_iter().enumerate().map(|(at, pod)| Delta {
                series: SeriesRef { service: "shop", route: "r", release: "v1", pod, outcome: 1, vantage: 1 },
                histograms: if at % 2 == 0 { (&even).into() } else { (&odd).into() },
            });
            let (reporter, second) = (day.to_le_bytes(), NOW_S - day * DAY_S + 600);
            history.append(&[Report { reporter: &reporter, sequence: 1, second, deltas: deltas.collect() }]).unwrap();
        }
        let learned = learn(&service, NOW_S, |query, each| history.for_each(query, each)).unwrap();
        let totals: Vec<u64> = learned.windows[""].iter().map(Counts::total).collect();
        assert_eq!(totals, [40_000; 6]);
        // Half of them 4% slower and half 4% faster: log rates 0.12 up and down at p95.
        let p95 = learned.pods.measured_at()[1].unwrap();
        assert!((p95 - 0.12).abs() < 0.03, "{p95}");
    }
}
