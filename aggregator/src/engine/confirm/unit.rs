//! What is told as one: a workload with its proxies, or a proxy whose workload is not known.

use std::{cmp::Reverse, collections::BTreeMap, sync::Arc, time::Duration};

use serin_proto::v1::SourceState;

use super::{
    super::shares::{Shares, Split},
    Confirm,
    known::Proxy,
    silence::Silence,
};

/// One proxy, as it is a moment after the write.
#[derive(Clone, Debug)]
pub(super) struct Told<'a> {
    pub(super) node: &'a Arc<str>,
    pub(super) state: SourceState,
    /// Whether it sent the candidate requests, before the write or since.
    pub(super) has_sent: bool,
    /// From the write until the second after its last request to the candidate.
    pub(super) stopped: Duration,
    pub(super) before: Split,
    pub(super) now: Split,
}

impl Told<'_> {
    pub(super) fn is_settled(&self) -> bool {
        matches!(self.state, SourceState::Stopped | SourceState::Gone)
    }
}

/// At least one proxy.
#[derive(Clone, Debug, Default)]
pub(super) struct Unit<'a> {
    /// Empty where it is not known: then it is one proxy.
    pub(super) workload: &'a str,
    pub(super) proxies: Vec<Told<'a>>,
}

impl Unit<'_> {
    /// It is silent when its last proxy is.
    pub(super) fn state(&self) -> SourceState {
        use SourceState::{Gone, Quiet, Sends, Stopped};
        let has = |state: &SourceState| self.proxies.iter().any(|proxy| proxy.state == *state);
        [Sends, Quiet, Stopped].into_iter().find(has).unwrap_or(Gone)
    }

    pub(super) fn is_settled(&self) -> bool {
        self.proxies.iter().all(Told::is_settled)
    }

    pub(super) fn stopped(&self) -> Duration {
        self.proxies.iter().map(|proxy| proxy.stopped).max().unwrap_or_default()
    }

    pub(super) fn before(&self) -> Split {
        self.proxies.iter().fold(Split::default(), |sum, proxy| sum.plus(proxy.before))
    }

    pub(super) fn now(&self) -> Split {
        self.proxies.iter().fold(Split::default(), |sum, proxy| sum.plus(proxy.now))
    }

    pub(super) fn sends(&self) -> impl Iterator<Item = &Told<'_>> {
        self.proxies.iter().filter(|proxy| proxy.state == SourceState::Sends)
    }
}

impl Confirm {
    /// All that have anything to do with the candidate: those that still send it requests first, then those that were the last to stop.
    /// Not among them are workloads that never sent it any, and what is silent together and has no workload. `recent`: of a moment ago.
    pub(super) fn units<'a>(&'a self, recent: &Shares) -> Vec<Unit<'a>> {
        let mut workloads: BTreeMap<&str, Unit<'a>> = BTreeMap::new();
        let mut units = Vec::new();
        for (node, proxy) in self.known.iter() {
            let told = self.told(node, proxy, recent);
            if !proxy.workload.is_empty() {
                let unit = workloads.entry(&proxy.workload).or_default();
                unit.workload = &proxy.workload;
                unit.proxies.push(told);
            } else if self.alone.contains_key(node) || told.state == SourceState::Sends {
                units.push(Unit { workload: "", proxies: vec![told] });
            }
        }
        units.extend(workloads.into_values().filter(|unit| unit.proxies.iter().any(|told| told.has_sent)));
        for unit in &mut units {
            unit.proxies.sort_by_key(|told| (told.state != SourceState::Sends, Reverse(told.stopped)));
        }
        let share = |unit: &Unit<'_>| unit.now().share().unwrap_or_default();
        let order = |unit: &Unit<'_>| match unit.state() {
            SourceState::Sends => (false, Reverse(Duration::ZERO)),
            _ => (true, Reverse(unit.stopped())),
        };
        // Nodes came in their order, and workloads after them in theirs: what is alike stays so.
        units.sort_by(|a, b| order(a).cmp(&order(b)).then_with(|| share(b).total_cmp(&share(a))));
        units
    }

    fn told<'a>(&'a self, node: &'a Arc<str>, proxy: &Proxy, recent: &Shares) -> Told<'a> {
        let (before, now) = (self.before.of(node), recent.of(node));
        let state = match self.alone.get(node) {
            Some(silence) => state(silence, now),
            None if !self.asks_rest() => SourceState::Stopped,
            None => state(&self.rest, now),
        };
        Told { node, state, has_sent: proxy.has_sent, stopped: proxy.stopped(self.written), before, now }
    }
}

/// What is known of those whose silence this is, given what one of them sent a moment ago.
pub(super) fn state(silence: &Silence, recent: Split) -> SourceState {
    match () {
        () if silence.is_proven() => SourceState::Stopped,
        () if silence.is_gone() => SourceState::Gone,
        () if recent.candidate > 0 => SourceState::Sends,
        () => SourceState::Quiet,
    }
}
