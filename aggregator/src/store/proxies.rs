use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use serin_proto::v1::Vantage;

use crate::time::UnixMicros;

/// Proxies whose counters are kept: twice 10,000 sidecars, at some 2 kB each 40 MB.
const PROXIES_MAX: usize = 20_000;
/// Connection managers of one proxy: Istio has one for each port.
const MANAGERS_MAX: usize = 256;
/// When there is no room, a proxy that pushed nothing for so long is forgotten.
const FORGET_AFTER: Duration = Duration::from_hours(1);
/// Pushes kept: the newest that is old enough is looked at, and reports come every 10 s at the slowest. At a push a second, three
/// times that.
const PUSHES_MAX: usize = 32;

/// `downstream_rq_total` and `downstream_rq_active` of one HTTP connection manager.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ManagerCounts {
    /// Requests that began.
    pub total: u64,
    /// Those of them that have not ended.
    pub active: u64,
}

impl ManagerCounts {
    fn ended(self) -> u64 {
        self.total.saturating_sub(self.active)
    }
}

#[derive(Debug, Default)]
struct Proxy {
    /// By stat prefix.
    managers: BTreeMap<String, ManagerCounts>,
    /// What processes that are gone had when they last pushed, by stat prefix.
    before: BTreeMap<String, u64>,
    /// When, and what had ended by stat prefix, earlier processes included.
    pushes: VecDeque<(UnixMicros, BTreeMap<String, u64>)>,
}

/// What each proxy says of its own requests, to be held against what its filters counted.
#[derive(Debug, Default)]
pub struct Proxies(BTreeMap<Arc<str>, Proxy>);

impl Proxies {
    /// A proxy pushed its counters. One that is lower than before belongs to a new process.
    pub fn pushed(&mut self, node: &Arc<str>, managers: BTreeMap<String, ManagerCounts>, now: UnixMicros) {
        if !self.0.contains_key(node) && self.0.len() >= PROXIES_MAX {
            let is_recent = |proxy: &Proxy| proxy.pushes.back().is_some_and(|(at, _)| now.since(*at) < FORGET_AFTER);
            self.0.retain(|_, proxy| is_recent(proxy));
            if self.0.len() >= PROXIES_MAX {
                return;
            }
        }
        let proxy = self.0.entry(Arc::clone(node)).or_default();
        for (prefix, counts) in managers {
            let known = proxy.managers.get(&prefix).copied();
            if known.is_none() && proxy.managers.len() >= MANAGERS_MAX {
                continue;
            }
            if let Some(known) = known.filter(|known| counts.total < known.total) {
                let before = proxy.before.entry(prefix.clone()).or_default();
                *before = before.saturating_add(known.ended());
            }
            proxy.managers.insert(prefix, counts);
        }
        let before = |prefix: &String| proxy.before.get(prefix).copied().unwrap_or_default();
        let ended = proxy.managers.iter().map(|(prefix, counts)| (prefix.clone(), counts.ended() + before(prefix)));
        let ended = ended.collect();
        proxy.pushes.push_back((now, ended));
        while proxy.pushes.len() > PUSHES_MAX {
            proxy.pushes.pop_front();
        }
    }

    /// Requests that had ended at the last push that is at least `settled` ago, in the connection managers that filters at
    /// these vantages see: Istio's names begin with `inbound` or `outbound`, and where none does, all count.
    pub fn ended(&self, node: &str, vantages: &[Vantage], settled: Duration, now: UnixMicros) -> Option<u64> {
        let pushes = &self.0.get(node)?.pushes;
        let (_, ended) = pushes.iter().rev().find(|(at, _)| now.since(*at) >= settled)?;
        let sum_of = |word: &str| {
            let named = ended.iter().filter(|(prefix, _)| prefix.starts_with(word));
            named.map(|(_, ended)| *ended).reduce(u64::saturating_add)
        };
        let all = || sum_of("");
        let mut sums = Vec::new();
        for vantage in vantages {
            sums.push(match vantage {
                Vantage::Inbound => sum_of("inbound").or_else(all)?,
                Vantage::Outbound => sum_of("outbound").or_else(all)?,
                Vantage::Gateway | Vantage::Unspecified => all()?,
            });
        }
        sums.into_iter().reduce(u64::saturating_add)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixMicros = UnixMicros(1_000_000_000);
    const SETTLED: Duration = Duration::from_secs(3);

    fn push(proxies: &mut Proxies, counts: &[(&str, u64, u64)], second: u64) {
        let managers = counts
            .iter()
            .map(|(prefix, total, active)| ((*prefix).to_owned(), ManagerCounts { total: *total, active: *active }));
        proxies.pushed(&"n".into(), managers.collect(), NOW.plus(Duration::from_secs(second)));
    }

    fn ended(proxies: &Proxies, vantages: &[Vantage], second: u64) -> Option<u64> {
        proxies.ended("n", vantages, SETTLED, NOW.plus(Duration::from_secs(second)))
    }

    #[test]
    fn only_what_had_time_to_be_reported_counts() {
        let mut proxies = Proxies::default();
        push(&mut proxies, &[("gateway", 100, 10)], 0);
        push(&mut proxies, &[("gateway", 200, 5)], 1);
        assert_eq!(ended(&proxies, &[Vantage::Gateway], 2), None);
        assert_eq!(ended(&proxies, &[Vantage::Gateway], 3), Some(90));
        assert_eq!(ended(&proxies, &[Vantage::Gateway], 4), Some(195));
        assert_eq!(proxies.ended("other", &[Vantage::Gateway], SETTLED, NOW), None);
    }

    #[test]
    fn a_new_process_goes_on_where_the_old_one_was_last_seen() {
        let mut proxies = Proxies::default();
        push(&mut proxies, &[("gateway", 100, 10)], 0);
        push(&mut proxies, &[("gateway", 7, 1)], 1);
        push(&mut proxies, &[("gateway", 9, 0)], 2);
        assert_eq!(ended(&proxies, &[Vantage::Gateway], 10), Some(90 + 9));
    }

    #[test]
    fn a_vantage_sees_its_own_side() {
        let mut proxies = Proxies::default();
        push(&mut proxies, &[("inbound_0.0.0.0_80", 5, 0), ("outbound_0.0.0.0_80", 70, 0), ("x", 900, 0)], 0);
        assert_eq!(ended(&proxies, &[Vantage::Inbound], 5), Some(5));
        assert_eq!(ended(&proxies, &[Vantage::Inbound, Vantage::Outbound], 5), Some(75));
        let mut plain = Proxies::default();
        push(&mut plain, &[("sidecar", 5, 0)], 0);
        assert_eq!(ended(&plain, &[Vantage::Inbound], 5), Some(5));
    }
}
