use std::collections::{BTreeMap, BTreeSet};

use serin_proto::v1::{Outcome, Vantage};

use crate::{config, report::Delta};

/// What requests are counted by for good: bounded, because a label that the configuration does not know is
/// `other`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TotalKey {
    /// A configured service, or `other`.
    pub service: String,
    /// Its baseline or candidate, `unknown`, `overflow`, or `other`.
    pub release: String,
    /// Where they were measured.
    pub vantage: Vantage,
    /// How they ended.
    pub outcome: Outcome,
}

/// What was counted by one key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Total {
    /// Requests, each once.
    pub requests: u64,
    /// Attempts beyond the first, where filters count them.
    pub retries: u64,
}

/// By release, and by where and how they ended.
type Releases = BTreeMap<String, BTreeMap<(Vantage, Outcome), Total>>;

/// Requests counted since the start: never forgotten, whatever the live window.
#[derive(Debug)]
pub struct Totals {
    known: BTreeMap<String, BTreeSet<String>>,
    /// By service.
    counted: BTreeMap<String, Releases>,
}

impl Totals {
    /// Tells the labels of these services apart.
    pub fn new(services: &[config::Service]) -> Self {
        let mut totals = Totals { known: BTreeMap::new(), counted: BTreeMap::new() };
        services.iter().for_each(|service| totals.tell_apart(service));
        totals
    }

    /// Tells the labels of this service apart from now on. What was counted for earlier releases of it stays.
    pub fn tell_apart(&mut self, service: &config::Service) {
        let releases = [service.baseline.as_str(), &service.candidate, "unknown", "overflow"];
        self.known.insert(service.name.clone(), releases.map(str::to_owned).into());
    }

    /// Counts a delta's requests and retries.
    pub fn add(&mut self, delta: &Delta<'_>) {
        let series = delta.series;
        let (service, release) = match self.known.get(&series.service) {
            Some(releases) if releases.contains(&series.release) => (series.service.as_str(), series.release.as_str()),
            Some(_) => (series.service.as_str(), "other"),
            None => ("other", "other"),
        };
        // Names are only copied for those that were never seen: there are some hundred thousand deltas a second.
        let releases = match self.counted.get_mut(service) {
            Some(releases) => releases,
            None => self.counted.entry(service.to_owned()).or_default(),
        };
        let rest = match releases.get_mut(release) {
            Some(rest) => rest,
            None => releases.entry(release.to_owned()).or_default(),
        };
        let total = rest.entry((series.vantage, series.outcome)).or_default();
        total.requests = total.requests.saturating_add(delta.requests());
        total.retries = total.retries.saturating_add(delta.retries());
    }

    /// All that was counted.
    pub fn iter(&self) -> impl Iterator<Item = (TotalKey, Total)> {
        let releases = self.counted.iter().flat_map(|(service, releases)| releases.iter().map(move |of| (service, of)));
        releases.flat_map(|(service, (release, rest))| {
            rest.iter().map(move |((vantage, outcome), total)| {
                let (service, release) = (service.clone(), release.clone());
                (TotalKey { service, release, vantage: *vantage, outcome: *outcome }, *total)
            })
        })
    }
}
