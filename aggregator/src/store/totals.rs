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

/// Requests counted since the start: never forgotten, whatever the live window.
#[derive(Debug)]
pub struct Totals {
    known: BTreeMap<String, BTreeSet<String>>,
    counted: BTreeMap<TotalKey, Total>,
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
    pub fn add(&mut self, delta: &Delta) {
        let series = &delta.series;
        let (service, release) = match self.known.get(&series.service) {
            Some(releases) if releases.contains(&series.release) => (series.service.as_str(), series.release.as_str()),
            Some(_) => (series.service.as_str(), "other"),
            None => ("other", "other"),
        };
        let key = TotalKey {
            service: service.to_owned(),
            release: release.to_owned(),
            vantage: series.vantage,
            outcome: series.outcome,
        };
        let total = self.counted.entry(key).or_default();
        total.requests = total.requests.saturating_add(delta.requests());
        total.retries = total.retries.saturating_add(delta.retries);
    }

    /// All that was counted.
    pub fn iter(&self) -> impl Iterator<Item = (&TotalKey, Total)> {
        self.counted.iter().map(|(key, total)| (key, *total))
    }
}
