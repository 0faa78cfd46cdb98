use std::{
    collections::HashMap,
    hash::{Hash, Hasher},
    sync::Arc,
};

use serin_proto::v1::{Outcome, Vantage};

use crate::report::{Delta, SeriesKey};

/// Seconds that were judged, as one: all pods of a series together.
#[derive(Debug, Default)]
pub(super) struct Minute {
    sums: HashMap<AnyPod, Delta>,
    pub(super) bytes: usize,
}

impl Minute {
    /// Adds what was counted.
    pub(super) fn add(&mut self, delta: &Delta) {
        match self.sums.get_mut(&AnyPod(Arc::clone(&delta.series))) {
            Some(sum) => {
                self.bytes -= sum.bytes();
                sum.upstream.merge(&delta.upstream);
                sum.total.merge(&delta.total);
                sum.retries = sum.retries.saturating_add(delta.retries);
                self.bytes += sum.bytes();
            }
            None => {
                let series = Arc::new(SeriesKey { pod: String::new(), ..(*delta.series).clone() });
                let sum = Delta { series: Arc::clone(&series), ..delta.clone() };
                self.bytes += sum.bytes();
                self.sums.insert(AnyPod(series), sum);
            }
        }
    }

    /// Keeps only what is of certain series.
    pub(super) fn retain(&mut self, is_kept: impl Fn(&SeriesKey) -> bool) {
        self.sums.retain(|_, sum| is_kept(&sum.series));
        self.bytes = self.sums.values().map(Delta::bytes).sum();
    }

    /// All of it.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Delta> {
        self.sums.values()
    }
}

/// A series whose pod does not matter.
#[derive(Debug)]
struct AnyPod(Arc<SeriesKey>);

impl AnyPod {
    fn rest(&self) -> (&str, &str, &str, Outcome, Vantage) {
        let SeriesKey { service, route, release, outcome, vantage, .. } = &*self.0;
        (service, route, release, *outcome, *vantage)
    }
}

impl PartialEq for AnyPod {
    fn eq(&self, other: &Self) -> bool {
        self.rest() == other.rest()
    }
}

impl Eq for AnyPod {}

impl Hash for AnyPod {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.rest().hash(state);
    }
}
