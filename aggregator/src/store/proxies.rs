use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use serin_proto::v1::Vantage;

use crate::time::UnixMicros;

/// Proxies whose counters are kept: twice 10,000 sidecars, at some 2 kB each 40 MB.
const PROXIES_MAX: usize = 20_000;
/// Connection managers of one proxy: Istio has one for each port.
const MANAGERS_MAX: usize = 256;
/// When there is no room, a proxy that said nothing for so long is forgotten.
const FORGET_AFTER: Duration = Duration::from_hours(1);
/// Pushes kept, of which the newest that is old enough is looked at: at a push a second, more than the longest time that any
/// may need.
const PUSHES_MAX: usize = 64;
/// How long a filter waits before it connects anew, at most; Envoy's own push may be back before.
const BACK_OFF: Duration = Duration::from_secs(12);
/// A request that ended is reported at the next tick, and takes a round trip.
const INTERVALS: u32 = 3;

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

/// What a proxy says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Push {
    /// `server.uptime`, where it is among the statistics.
    pub uptime_s: Option<u64>,
    /// By stat prefix.
    pub managers: BTreeMap<String, ManagerCounts>,
}

#[derive(Debug)]
struct Proxy {
    vantages: BTreeSet<i32>,
    /// How often its filters report.
    interval: Duration,
    /// Requests that its filters delivered to this aggregator.
    delivered: u64,
    last: Push,
    /// What processes that are gone had when they last pushed.
    before: u64,
    /// When, and what had ended, earlier processes included.
    pushes: VecDeque<(UnixMicros, u64)>,
    /// Both counts when they were first held against each other.
    base: Option<(u64, u64)>,
    missing: u64,
    last_seen: UnixMicros,
}

/// What each proxy says of its own requests, held against what its filters delivered.
#[derive(Debug)]
pub struct Proxies {
    began: UnixMicros,
    proxies: BTreeMap<Arc<str>, Proxy>,
}

impl Proxies {
    /// None yet.
    pub fn new(now: UnixMicros) -> Self {
        Proxies { began: now, proxies: BTreeMap::new() }
    }

    /// A filter of this proxy reports. Where it is the first one at its vantage, both counts begin anew.
    pub fn reports(&mut self, node: &Arc<str>, vantage: Vantage, now: UnixMicros) {
        if let Some(proxy) = self.proxy(node, now)
            && proxy.vantages.insert(vantage as i32)
        {
            proxy.base = None;
            proxy.pushes.clear();
        }
    }

    /// A filter of this proxy delivered requests, and reports this often.
    pub fn delivered(&mut self, node: &Arc<str>, requests: u64, interval: Duration, now: UnixMicros) {
        if let Some(proxy) = self.proxy(node, now) {
            proxy.interval = interval;
            proxy.delivered = proxy.delivered.saturating_add(requests);
        }
    }

    /// A proxy pushed its counters.
    pub fn pushed(&mut self, node: &Arc<str>, push: Push, now: UnixMicros) {
        let age_s = now.since(self.began).as_secs();
        let Some(proxy) = self.proxy(node, now) else { return };
        let went_back = |(prefix, counts): (&String, &ManagerCounts)| {
            proxy.last.managers.get(prefix).is_some_and(|known| counts.total < known.total)
        };
        // Either may be left out of what Envoy pushes.
        let is_younger = push.uptime_s.zip(proxy.last.uptime_s).is_some_and(|(now, before)| now < before);
        if is_younger || push.managers.iter().any(went_back) {
            proxy.before = proxy.before.saturating_add(ended(&proxy.last.managers, &proxy.vantages));
            proxy.last = Push::default();
        }
        proxy.last.uptime_s = push.uptime_s.or(proxy.last.uptime_s);
        for (prefix, counts) in push.managers {
            if proxy.last.managers.len() < MANAGERS_MAX || proxy.last.managers.contains_key(&prefix) {
                proxy.last.managers.insert(prefix, counts);
            }
        }
        let all = proxy.before.saturating_add(ended(&proxy.last.managers, &proxy.vantages));
        // A process that is younger than this aggregator delivered nothing anywhere else. Envoy counts the turns of the wall
        // clock's second, so it may say a second more than has passed.
        let is_ours = push.uptime_s.is_some_and(|uptime_s| uptime_s <= age_s + 1) && proxy.before == 0;
        proxy.base.get_or_insert(if is_ours { (0, 0) } else { (all, proxy.delivered) });
        proxy.missing = proxy.missing(now);
        proxy.pushes.push_back((now, all));
        while proxy.pushes.len() > PUSHES_MAX {
            proxy.pushes.pop_front();
        }
    }

    /// The nodes of all proxies, each with when it was last heard of.
    pub fn nodes(&self) -> impl Iterator<Item = (&Arc<str>, UnixMicros)> {
        self.proxies.iter().map(|(node, proxy)| (node, proxy.last_seen))
    }

    /// Requests that had ended at the last push that is old enough for all of them to have been reported, and how many are
    /// proven to have ended since both counts are compared and never to have been delivered. `None` without such a push.
    pub fn ended(&self, node: &str, now: UnixMicros) -> Option<(u64, u64)> {
        let proxy = self.proxies.get(node)?;
        proxy.settled(now).map(|ended| (ended, proxy.missing(now)))
    }

    fn proxy(&mut self, node: &Arc<str>, now: UnixMicros) -> Option<&mut Proxy> {
        if !self.proxies.contains_key(node) {
            if self.proxies.len() >= PROXIES_MAX {
                self.proxies.retain(|_, proxy| now.since(proxy.last_seen) < FORGET_AFTER);
            }
            if self.proxies.len() >= PROXIES_MAX {
                return None;
            }
        }
        let proxy = self.proxies.entry(Arc::clone(node)).or_insert_with(|| Proxy {
            vantages: BTreeSet::new(),
            interval: Duration::from_secs(1),
            delivered: 0,
            last: Push::default(),
            before: 0,
            pushes: VecDeque::new(),
            base: None,
            missing: 0,
            last_seen: now,
        });
        proxy.last_seen = now;
        Some(proxy)
    }
}

impl Proxy {
    fn settled(&self, now: UnixMicros) -> Option<u64> {
        let settled = BACK_OFF + self.interval * INTERVALS;
        self.pushes.iter().rev().find(|(at, _)| now.since(*at) >= settled).map(|(_, ended)| *ended)
    }

    /// What was delivered since that push hides as much, so a loss may be proven later than it came about; but once proven it
    /// stays.
    fn missing(&self, now: UnixMicros) -> u64 {
        let since_base = self.settled(now).zip(self.base).map(|(ended, (ended_then, delivered_then))| {
            ended.saturating_sub(ended_then).saturating_sub(self.delivered.saturating_sub(delivered_then))
        });
        since_base.unwrap_or_default().max(self.missing)
    }
}

/// What ended in the connection managers that filters at these vantages see: Istio's names begin with `inbound` or `outbound`,
/// and where none does, all count.
fn ended(managers: &BTreeMap<String, ManagerCounts>, vantages: &BTreeSet<i32>) -> u64 {
    let has = |word: &str| managers.keys().any(|prefix| prefix.starts_with(word));
    let sees = |vantage: Vantage, word: &str| vantages.contains(&(vantage as i32)) && has(word);
    let (inbound, outbound) = (sees(Vantage::Inbound, "inbound"), sees(Vantage::Outbound, "outbound"));
    let counts = |prefix: &str| {
        !(inbound || outbound)
            || vantages.contains(&(Vantage::Gateway as i32))
            || (inbound && prefix.starts_with("inbound"))
            || (outbound && prefix.starts_with("outbound"))
    };
    let counted = managers.iter().filter(|(prefix, _)| counts(prefix));
    counted.fold(0, |sum, (_, counts)| sum.saturating_add(counts.ended()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// After how many seconds a push is looked at.
    const S: u64 = 15;

    fn at(second: u64) -> UnixMicros {
        UnixMicros(1_000_000_000).plus(Duration::from_secs(second))
    }

    /// One proxy with a filter at this vantage.
    struct One(Proxies, Arc<str>);

    impl One {
        fn new(vantage: Vantage) -> Self {
            let (mut proxies, node) = (Proxies::new(at(0)), "n".into());
            proxies.reports(&node, vantage, at(0));
            One(proxies, node)
        }

        fn push(&mut self, second: u64, uptime_s: u64, counts: &[(&str, u64, u64)]) {
            let managers = counts.iter().map(|(prefix, total, active)| {
                ((*prefix).to_owned(), ManagerCounts { total: *total, active: *active })
            });
            let push = Push { uptime_s: Some(uptime_s), managers: managers.collect() };
            self.0.pushed(&self.1, push, at(second));
        }

        fn deliver(&mut self, second: u64, requests: u64) {
            self.0.delivered(&self.1, requests, Duration::from_secs(1), at(second));
        }

        fn ended(&self, second: u64) -> Option<(u64, u64)> {
            self.0.ended(&self.1, at(second))
        }
    }

    #[test]
    fn only_what_had_time_to_be_reported_counts() {
        let mut one = One::new(Vantage::Gateway);
        one.push(0, 0, &[("gateway", 0, 0)]);
        one.push(1, 1, &[("gateway", 100, 10)]);
        one.push(2, 2, &[("gateway", 200, 5)]);
        one.deliver(2, 80);
        assert_eq!(one.ended(S - 1), None);
        assert_eq!(one.ended(S + 1), Some((90, 10)));
        one.deliver(S + 1, 115);
        assert_eq!(one.ended(S + 2), Some((195, 0)));
        assert_eq!(one.0.ended("other", at(99)), None);
    }

    #[test]
    fn a_loss_that_was_proven_stays() {
        let mut one = One::new(Vantage::Gateway);
        one.push(0, 0, &[("gateway", 0, 0)]);
        one.push(1, 1, &[("gateway", 100, 0)]);
        one.deliver(2, 70);
        one.push(S + 1, S + 1, &[("gateway", 100, 0)]);
        // Ten times as many since, all of them delivered.
        one.deliver(S + 2, 1_000);
        one.push(S + 2, S + 2, &[("gateway", 1_100, 0)]);
        assert_eq!(one.ended(S + 3).map(|(_, missing)| missing), Some(30));
    }

    #[test]
    fn a_new_process_goes_on_where_the_old_one_was_last_seen() {
        for uptime in [Some(0), Some(9)] {
            let mut one = One::new(Vantage::Gateway);
            one.push(0, 7, &[("gateway", 100, 10)]);
            // The one that had served more already is told by its uptime, the other by its count.
            let total = if uptime == Some(0) { 150 } else { 7 };
            one.push(1, uptime.unwrap(), &[("gateway", total, 0)]);
            assert_eq!(one.ended(S + 10).map(|(ended, _)| ended), Some(90 + total));
        }
    }

    #[test]
    fn what_was_before_this_aggregator_is_not_missing() {
        let mut one = One::new(Vantage::Gateway);
        one.push(0, 900, &[("gateway", 5_000, 0)]);
        one.deliver(1, 100);
        one.push(2, 902, &[("gateway", 5_100, 0)]);
        assert_eq!(one.ended(S + 9), Some((5_100, 0)));
        // A second filter, elsewhere in the proxy: both begin anew.
        one.0.reports(&one.1.clone(), Vantage::Inbound, at(S + 10));
        one.push(S + 11, 911, &[("gateway", 5_100, 0), ("inbound_80", 700, 0)]);
        assert_eq!(one.ended(2 * S + 20).map(|(_, missing)| missing), Some(0));
    }

    #[test]
    fn a_process_younger_than_this_aggregator_is_known_from_its_beginning() {
        let mut one = One::new(Vantage::Gateway);
        one.push(20, 3, &[("gateway", 60, 0)]);
        one.deliver(21, 50);
        assert_eq!(one.ended(20 + S), Some((60, 10)));
        // Begun at the end of a second, and pushed at the beginning of the next but one.
        let mut one = One::new(Vantage::Gateway);
        one.push(1, 2, &[("gateway", 60, 0)]);
        one.deliver(2, 50);
        assert_eq!(one.ended(1 + S), Some((60, 10)));
    }

    #[test]
    fn a_vantage_sees_its_own_side() {
        let sides = [("inbound_0.0.0.0_80", 5, 0), ("outbound_0.0.0.0_80", 70, 0), ("x", 900, 0)];
        for (vantage, want) in [(Vantage::Inbound, 5), (Vantage::Outbound, 70), (Vantage::Gateway, 975)] {
            let mut one = One::new(vantage);
            one.push(0, 0, &sides);
            assert_eq!(one.ended(S).map(|(ended, _)| ended), Some(want), "{vantage:?}");
        }
        let mut plain = One::new(Vantage::Inbound);
        plain.push(0, 0, &[("sidecar", 5, 0)]);
        assert_eq!(plain.ended(S).map(|(ended, _)| ended), Some(5));
    }
}
