//! What the filters of each proxy delivered, held against what the proxy says itself.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use serin_proto::v1::{self, ProxyReporter};

use super::Engine;
use crate::{report::ReporterId, store::ReporterView, time::UnixMicros};

/// What is known of the reporters of one proxy.
type Views<'a> = Vec<(&'a ReporterId, ReporterView)>;

impl Engine {
    /// Every proxy that was heard of with its reporters, those with missing requests first.
    pub fn proxies(&self, now: UnixMicros) -> Vec<v1::Proxy> {
        let mut by_node: BTreeMap<&Arc<str>, (UnixMicros, Views<'_>)> = BTreeMap::new();
        for (node, last_seen) in self.proxies.nodes() {
            by_node.insert(node, (last_seen, Vec::new()));
        }
        for (id, view) in self.reporters.views(now) {
            by_node.entry(&id.node_id).or_insert((view.last_seen, Vec::new())).1.push((id, view));
        }
        let all = by_node.into_iter().map(|(node, (last_seen, views))| self.proxy(node, last_seen, views, now));
        let mut proxies: Vec<v1::Proxy> = all.collect();
        sort(&mut proxies);
        proxies
    }

    fn proxy(&self, node_id: &str, last_seen: UnixMicros, views: Views<'_>, now: UnixMicros) -> v1::Proxy {
        let said = self.proxies.ended(node_id, now);
        // A filter of an earlier version does not say it.
        let known = views.iter().map(|(_, view)| view).filter(|view| !view.workload.is_empty());
        let workload = known.max_by_key(|view| view.last_seen).map(|view| view.workload.to_string());
        v1::Proxy {
            node_id: node_id.to_owned(),
            ended: said.map(|(ended, _)| ended),
            missing: said.map_or(0, |(_, missing)| missing),
            last_seen_unix_us: last_seen.0,
            workload: workload.unwrap_or_default(),
            ..sum(views.into_iter().map(|(id, view)| told(id, view)).collect())
        }
    }
}

fn told(id: &ReporterId, view: ReporterView) -> ProxyReporter {
    ProxyReporter {
        boot_nonce: id.boot_nonce,
        context_id: id.context_id,
        counted: view.requests,
        last_seen_unix_us: view.last_seen.0,
        alive: view.is_alive,
        state: Some(view.state),
    }
}

/// Those with missing requests first, then by name.
fn sort(proxies: &mut [v1::Proxy]) {
    proxies.sort_by(|a, b| b.missing.cmp(&a.missing).then_with(|| a.node_id.cmp(&b.node_id)));
}

/// What the reporters of one proxy are together: the slowest interval, the longest tick and the oldest request; the sum of the rest.
fn sum(reporters: Vec<ProxyReporter>) -> v1::Proxy {
    let alive = || reporters.iter().filter(|reporter| reporter.alive);
    let states = alive().map(|reporter| reporter.state.unwrap_or_default());
    let state = states.fold(v1::ReporterState::default(), |sum, one| v1::ReporterState {
        interval_ms: sum.interval_ms.max(one.interval_ms),
        tick_us: sum.tick_us.max(one.tick_us),
        sent_bytes: sum.sent_bytes.saturating_add(one.sent_bytes),
        backlog_reports: sum.backlog_reports.saturating_add(one.backlog_reports),
        backlog_bytes: sum.backlog_bytes.saturating_add(one.backlog_bytes),
        memory_bytes: sum.memory_bytes.saturating_add(one.memory_bytes),
        active_requests: sum.active_requests.saturating_add(one.active_requests),
        oldest_active_ms: sum.oldest_active_ms.max(one.oldest_active_ms),
    });
    v1::Proxy {
        reporters_alive: alive().count() as u32,
        counted: counted(&reporters),
        state: Some(state),
        reporters,
        ..v1::Proxy::default()
    }
}

fn counted(reporters: &[ProxyReporter]) -> u64 {
    reporters.iter().fold(0, |sum, reporter| sum.saturating_add(reporter.counted))
}

/// What several aggregators know of the same proxies, each one of what was said to it.
///
/// A reporter that went from one to another is known to both: the one that heard of it last is right. What is missing was proven by one that
/// does not know what went to the others, so that is taken off: all of it may have ended since it began to compare.
pub(crate) fn merge(all: impl IntoIterator<Item = v1::Proxy>) -> Vec<v1::Proxy> {
    let mut by_node: BTreeMap<String, Vec<v1::Proxy>> = BTreeMap::new();
    for proxy in all {
        by_node.entry(proxy.node_id.clone()).or_default().push(proxy);
    }
    let mut merged: Vec<v1::Proxy> = by_node.into_iter().map(|(node_id, known)| one(node_id, &known)).collect();
    sort(&mut merged);
    merged
}

/// The requests that these proxies lack, given what other aggregators know of them.
pub(crate) fn missing(lacking: Vec<v1::Proxy>, theirs: Vec<v1::Proxy>) -> u64 {
    let nodes: BTreeSet<String> = lacking.iter().map(|proxy| proxy.node_id.clone()).collect();
    let theirs = theirs.into_iter().filter(|proxy| nodes.contains(&proxy.node_id));
    merge(lacking.into_iter().chain(theirs)).iter().fold(0, |sum, proxy| sum.saturating_add(proxy.missing))
}

fn one(node_id: String, known: &[v1::Proxy]) -> v1::Proxy {
    let mut reporters: BTreeMap<(u64, u32), ProxyReporter> = BTreeMap::new();
    for reporter in known.iter().flat_map(|proxy| &proxy.reporters) {
        let id = (reporter.boot_nonce, reporter.context_id);
        let newest = reporters.entry(id).or_insert(*reporter);
        if (reporter.last_seen_unix_us, reporter.counted) > (newest.last_seen_unix_us, newest.counted) {
            *newest = *reporter;
        }
    }
    let merged = sum(reporters.into_values().collect());
    let missing = |proxy: &v1::Proxy| {
        let elsewhere = merged.counted.saturating_sub(counted(&proxy.reporters));
        proxy.missing.saturating_sub(elsewhere)
    };
    let named = known.iter().filter(|proxy| !proxy.workload.is_empty());
    let workload = named.max_by_key(|proxy| proxy.last_seen_unix_us);
    v1::Proxy {
        node_id,
        ended: known.iter().filter_map(|proxy| proxy.ended).max(),
        missing: known.iter().map(missing).max().unwrap_or_default(),
        last_seen_unix_us: known.iter().map(|proxy| proxy.last_seen_unix_us).max().unwrap_or_default(),
        workload: workload.map(|proxy| proxy.workload.clone()).unwrap_or_default(),
        reporters: Vec::new(),
        ..merged
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reporter(context_id: u32, counted: u64, second: u64) -> ProxyReporter {
        let last_seen_unix_us = second * 1_000_000;
        ProxyReporter { context_id, counted, last_seen_unix_us, alive: true, ..ProxyReporter::default() }
    }

    fn proxy(node_id: &str, ended: Option<u64>, missing: u64, reporters: Vec<ProxyReporter>) -> v1::Proxy {
        v1::Proxy { node_id: node_id.to_owned(), ended, missing, ..sum(reporters) }
    }

    fn shown(proxies: &[v1::Proxy]) -> Vec<(&str, u32, u64, Option<u64>, u64)> {
        proxies.iter().map(|p| (p.node_id.as_str(), p.reporters_alive, p.counted, p.ended, p.missing)).collect()
    }

    #[test]
    fn what_several_know_of_a_proxy_is_one() {
        // (what each of two aggregators knows, and what it is together)
        let a_and_b = [proxy("a", None, 0, vec![reporter(1, 5, 1)]), proxy("b", None, 0, vec![reporter(1, 7, 1)])];
        assert_eq!(shown(&merge(a_and_b)), [("a", 1, 5, None, 0), ("b", 1, 7, None, 0)]);
        let two_workers = [proxy("a", None, 0, vec![reporter(1, 5, 1)]), proxy("a", None, 0, vec![reporter(2, 7, 1)])];
        assert_eq!(shown(&merge(two_workers)), [("a", 2, 12, None, 0)]);
        let one_moved = [proxy("a", None, 0, vec![reporter(1, 5, 1)]), proxy("a", None, 0, vec![reporter(1, 9, 2)])];
        assert_eq!(shown(&merge(one_moved)), [("a", 1, 9, None, 0)]);
    }

    #[test]
    fn what_went_to_another_aggregator_is_not_missing() {
        let told = |missing| proxy("a", Some(1_234), missing, vec![reporter(1, 100, 1)]);
        let other = proxy("a", None, 0, vec![reporter(2, 1_100, 1)]);
        assert_eq!(shown(&merge([told(1_134), other.clone()])), [("a", 2, 1_200, Some(1_234), 34)]);
        assert_eq!(shown(&merge([other, told(1_000)])), [("a", 2, 1_200, Some(1_234), 0)]);
        assert_eq!(shown(&merge([told(7)])), [("a", 1, 100, Some(1_234), 7)], "alone it stays as it is");
    }

    #[test]
    fn what_is_missing_at_all_is_of_the_proxies_that_lack_something_here() {
        let here = |node, missing| proxy(node, Some(1_234), missing, vec![reporter(1, 100, 1)]);
        let theirs = || vec![proxy("a", None, 0, vec![reporter(2, 1_100, 1)]), here("c", 50)];
        assert_eq!(missing(Vec::new(), theirs()), 0);
        assert_eq!(missing(vec![here("a", 1_134), here("b", 7)], theirs()), 34 + 7);
        assert_eq!(missing(vec![here("a", 1_134), here("b", 7)], Vec::new()), 1_134 + 7);
    }

    #[test]
    fn a_workload_is_what_was_said_last() {
        let said = |workload: &str, second| v1::Proxy {
            workload: workload.to_owned(),
            last_seen_unix_us: second,
            ..proxy("a", None, 0, vec![reporter(1, 5, second)])
        };
        let merged =
            |all: [(&str, u64); 2]| merge(all.map(|(workload, second)| said(workload, second))).remove(0).workload;
        assert_eq!(merged([("shop/old", 1), ("shop/new", 2)]), "shop/new");
        assert_eq!(merged([("shop/old", 1), ("", 2)]), "shop/old", "an older filter does not say it");
    }

    #[test]
    fn reporters_are_told_to_aggregators_only() {
        let merged = merge([proxy("a", None, 0, vec![reporter(1, 5, 1)])]);
        assert!(merged[0].reporters.is_empty());
    }
}
