use std::{
    collections::HashMap,
    hash::{Hash, Hasher},
    sync::Arc,
};

use serin_proto::v1::{Outcome, Vantage};
use serin_sketch::Counts;

use crate::report::{Delta, Deltas, SeriesKey};

/// What was counted, as one of each series: all of its pods together.
pub(super) fn sum<'a>(all: impl Iterator<Item = Delta<'a>>) -> Deltas {
    let mut places: HashMap<AnyPod<'a>, usize> = HashMap::new();
    let mut groups: Vec<Vec<Delta<'a>>> = Vec::new();
    for delta in all {
        let place = *places.entry(AnyPod(delta.series)).or_insert(groups.len());
        match groups.get_mut(place) {
            Some(group) => group.push(delta),
            None => groups.push(vec![delta]),
        }
    }
    let mut sums = Deltas::with_capacity(groups.len(), 0);
    for group in groups {
        let (mut upstream, mut total, mut retries) = (Counts::new(), Counts::new(), 0_u64);
        for delta in &group {
            let timings = delta.timings();
            upstream.add_all(timings.0);
            total.add_all(timings.1);
            retries = retries.saturating_add(delta.retries());
        }
        if let Some(Delta { series, .. }) = group.first() {
            sums.add(&any_pod(series), &upstream, &total, retries);
        }
    }
    sums.shrunk()
}

fn any_pod(series: &Arc<SeriesKey>) -> Arc<SeriesKey> {
    if series.pod.is_empty() {
        return Arc::clone(series);
    }
    Arc::new(SeriesKey { pod: String::new(), ..(**series).clone() })
}

/// A series whose pod does not matter.
struct AnyPod<'a>(&'a SeriesKey);

impl AnyPod<'_> {
    fn rest(&self) -> (&str, &str, &str, Outcome, Vantage) {
        let SeriesKey { service, route, release, outcome, vantage, .. } = self.0;
        (service, route, release, *outcome, *vantage)
    }
}

impl PartialEq for AnyPod<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.rest() == other.rest()
    }
}

impl Eq for AnyPod<'_> {}

impl Hash for AnyPod<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.rest().hash(state);
    }
}
