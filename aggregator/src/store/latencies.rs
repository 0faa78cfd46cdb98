use std::collections::{BTreeMap, BTreeSet};

use serin_proto::v1::Vantage;
use serin_sketch::{BUCKETS, Bucket, Counts};

use crate::{
    config::{self, Timing},
    report::{self, Delta},
    time::UnixMicros,
};

/// Histograms kept for good, at 34 kB each (2,960 buckets of 8 B, and two of at most a few hundred buckets) 140 MB. What is beyond it goes to the
/// route `other`.
const LATENCIES_MAX: usize = 4_096;
/// Quantiles of what just happened are of the last one to two of these.
const RECENT_S: u64 = 60;
const OTHER: &str = "other";

/// What latencies are counted by: bounded, because labels that the configuration does not know are `other`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LatencyKey {
    /// A configured service.
    pub service: String,
    /// A configured route, or `other`; empty where all routes are judged together.
    pub route: String,
    /// Its baseline or candidate, or `other`.
    pub release: String,
}

/// Latencies of one key since the start.
#[derive(Debug)]
pub struct Latency {
    counts: Box<[u64]>,
    /// As they were when this minute began, and the one before.
    before: [Counts; 2],
}

impl Latency {
    fn new() -> Self {
        Latency { counts: vec![0; BUCKETS].into(), before: [Counts::new(), Counts::new()] }
    }

    /// All of them.
    pub fn counts(&self) -> Counts {
        let all = self.counts.iter().enumerate().filter(|(_, count)| **count > 0);
        all.filter_map(|(at, count)| Some((Bucket::from_index(u32::try_from(at).ok()?)?, *count))).collect()
    }

    /// Those of the last one to two minutes.
    pub fn recent(&self) -> Counts {
        let [_, before] = &self.before;
        let mut fresh = self.counts.clone();
        before.iter().for_each(|(bucket, count)| fresh[bucket.index()] -= count);
        Latency { counts: fresh, before: [Counts::new(), Counts::new()] }.counts()
    }
}

#[derive(Debug)]
struct Known {
    vantage: Vantage,
    timing: Timing,
    releases: [String; 2],
    routes: BTreeSet<String>,
    /// By route and release.
    latencies: BTreeMap<String, BTreeMap<String, Latency>>,
}

/// Latencies of the configured services since the start, as they are judged: where, by which timing, and of which outcomes.
#[derive(Debug)]
pub struct Latencies {
    known: BTreeMap<String, Known>,
    /// How many there are of all services.
    kept: usize,
    minute: u64,
}

impl Latencies {
    /// Those of these services.
    pub fn new(services: &[config::Service]) -> Self {
        let known = services.iter().map(|service| {
            let config::Service { vantage, timing, baseline, candidate, routes, .. } = service;
            let releases = [baseline.clone(), candidate.clone()];
            let routes = routes.iter().cloned().collect();
            let latencies = BTreeMap::new();
            (service.name.clone(), Known { vantage: *vantage, timing: *timing, releases, routes, latencies })
        });
        Latencies { known: known.collect(), kept: 0, minute: 0 }
    }

    /// Counts a delta.
    pub fn add(&mut self, delta: &Delta<'_>) {
        let series = delta.series;
        let Some(known) = self.known.get_mut(&series.service) else { return };
        if known.vantage != series.vantage || !report::counts_for_latency(series.outcome) {
            return;
        }
        let route = match () {
            () if known.routes.is_empty() => "",
            () => {
                let names = [Some(series.route.as_str()), report::without_method(&series.route)];
                names.into_iter().flatten().find(|name| known.routes.contains(*name)).unwrap_or(OTHER)
            }
        };
        let release = if known.releases.contains(&series.release) { &series.release } else { OTHER };
        let is_known = known.latencies.get(route).is_some_and(|releases| releases.contains_key(release));
        let route = if self.kept >= LATENCIES_MAX && !is_known { OTHER } else { route };
        // Names are only copied for those that were never seen.
        let releases = match known.latencies.get_mut(route) {
            Some(releases) => releases,
            None => known.latencies.entry(route.to_owned()).or_default(),
        };
        let latency = match releases.get_mut(release) {
            Some(latency) => latency,
            None => {
                self.kept += 1;
                releases.entry(release.to_owned()).or_insert_with(Latency::new)
            }
        };
        for (bucket, count) in delta.timing(known.timing) {
            let sum = &mut latency.counts[bucket.index()];
            *sum = sum.saturating_add(count);
        }
    }

    /// Time goes by: what is recent begins anew each minute.
    pub fn tick(&mut self, now: UnixMicros) {
        let minute = now.second() / RECENT_S;
        if minute != self.minute {
            self.minute = minute;
            let all = self.known.values_mut().flat_map(|known| known.latencies.values_mut());
            for latency in all.flat_map(|releases| releases.values_mut()) {
                let counts = latency.counts();
                let [newer, older] = &mut latency.before;
                *older = std::mem::replace(newer, counts);
            }
        }
    }

    /// All of them, with the timing that they are of.
    pub fn iter(&self) -> impl Iterator<Item = (LatencyKey, Timing, &Latency)> {
        self.known.iter().flat_map(|(service, known)| {
            let all = known.latencies.iter().flat_map(|(route, of)| of.iter().map(move |of| (route, of)));
            all.map(|(route, (release, latency))| {
                let key = LatencyKey { service: service.clone(), route: route.clone(), release: release.clone() };
                (key, known.timing, latency)
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serin_proto::v1::Outcome;
    use serin_sketch::Micros;

    use super::*;
    use crate::{
        config::Config,
        report::{Counted, Deltas, SeriesKey},
    };

    fn add(latencies: &mut Latencies, deltas: &Deltas) {
        deltas.iter().for_each(|delta| latencies.add(&delta));
    }

    fn latencies(routes: &str) -> Latencies {
        let yaml = format!(
            "services: [{{name: shop, vantage: gateway, baseline: v1, candidate: v2, timing: total, routes: [{routes}]}}]"
        );
        Latencies::new(&Config::parse(&yaml).unwrap().services)
    }

    fn delta(route: &str, release: &str, outcome: Outcome, us: u64) -> Deltas {
        let series = SeriesKey {
            service: "shop".into(),
            route: route.into(),
            release: release.into(),
            pod: "p".into(),
            outcome,
            vantage: Vantage::Gateway,
        };
        let total = Counts::from_iter([(Bucket::of(Micros(us)), 3)]);
        [Counted { series: Arc::new(series), upstream: Counts::new(), total, retries: 0 }].into_iter().collect()
    }

    fn known(latencies: &Latencies) -> Vec<(String, String, u64)> {
        latencies.iter().map(|(key, _, of)| (key.route.clone(), key.release.clone(), of.counts().total())).collect()
    }

    #[test]
    fn what_is_not_configured_is_other_and_what_is_not_judged_is_left_out() {
        let mut latencies = latencies("cart");
        for (route, release, outcome) in [
            ("POST cart", "v1", Outcome::Success),
            ("cart", "v9", Outcome::Timeout),
            ("random-1", "v1", Outcome::Success),
            ("random-2", "v1", Outcome::Success),
            ("cart", "v1", Outcome::ServerError),
        ] {
            add(&mut latencies, &delta(route, release, outcome, 40_000));
        }
        let of = |route: &str, release: &str, count| (route.to_owned(), release.to_owned(), count);
        assert_eq!(known(&latencies), [of("cart", "other", 3), of("cart", "v1", 3), of("other", "v1", 6)]);
        let mut elsewhere = delta("cart", "v1", Outcome::Success, 1);
        elsewhere.intern(|series| Arc::new(SeriesKey { vantage: Vantage::Inbound, ..(**series).clone() }));
        add(&mut latencies, &elsewhere);
        assert_eq!(known(&latencies)[1].2, 3, "measured elsewhere");
    }

    #[test]
    fn what_is_recent_is_of_one_to_two_minutes() {
        let mut latencies = latencies("");
        let at = UnixMicros::from_second;
        let mut recent = |second, us| {
            latencies.tick(at(second));
            add(&mut latencies, &delta("r", "v1", Outcome::Success, us));
            let (_, _, latency) = latencies.iter().next().unwrap();
            (latency.counts().total(), latency.recent().total())
        };
        assert_eq!(recent(60, 10), (3, 3));
        assert_eq!(recent(119, 20), (6, 6));
        assert_eq!(recent(120, 30), (9, 9));
        assert_eq!(recent(180, 40), (12, 6), "without the first minute");
        assert_eq!(recent(600, 50), (15, 6));
        assert_eq!(recent(660, 50), (18, 6));
    }
}
