//! What the filters of each proxy delivered, held against what the proxy says itself.

use std::{collections::BTreeMap, sync::Arc};

use serin_proto::v1;

use super::Engine;
use crate::{store::ReporterView, time::UnixMicros};

impl Engine {
    /// Every proxy that was heard of, those with missing requests first.
    pub fn proxies(&self, now: UnixMicros) -> Vec<v1::Proxy> {
        let mut by_node: BTreeMap<&Arc<str>, (UnixMicros, Vec<ReporterView>)> = BTreeMap::new();
        for (node, last_seen) in self.proxies.nodes() {
            by_node.insert(node, (last_seen, Vec::new()));
        }
        for (node, view) in self.reporters.views(now) {
            by_node.entry(node).or_insert((view.last_seen, Vec::new())).1.push(view);
        }
        let all =
            by_node.into_iter().map(|(node, (last_seen, reporters))| self.proxy(node, last_seen, &reporters, now));
        let mut proxies: Vec<v1::Proxy> = all.collect();
        proxies.sort_by(|a, b| b.missing.cmp(&a.missing).then_with(|| a.node_id.cmp(&b.node_id)));
        proxies
    }

    fn proxy(&self, node_id: &str, last_seen: UnixMicros, reporters: &[ReporterView], now: UnixMicros) -> v1::Proxy {
        let said = self.proxies.ended(node_id, now);
        v1::Proxy {
            node_id: node_id.to_owned(),
            reporters_alive: reporters.iter().filter(|reporter| reporter.is_alive).count() as u32,
            counted: reporters.iter().fold(0, |sum, reporter| sum.saturating_add(reporter.requests)),
            ended: said.map(|(ended, _)| ended),
            missing: said.map_or(0, |(_, missing)| missing),
            last_seen_unix_us: last_seen.0,
            state: Some(sum(reporters)),
        }
    }
}

/// The slowest interval, the longest tick and the oldest request; the sum of the rest.
fn sum(reporters: &[ReporterView]) -> v1::ReporterState {
    let alive = reporters.iter().filter(|reporter| reporter.is_alive).map(|reporter| reporter.state);
    alive.fold(v1::ReporterState::default(), |sum, one| v1::ReporterState {
        interval_ms: sum.interval_ms.max(one.interval_ms),
        tick_us: sum.tick_us.max(one.tick_us),
        sent_bytes: sum.sent_bytes.saturating_add(one.sent_bytes),
        backlog_reports: sum.backlog_reports.saturating_add(one.backlog_reports),
        backlog_bytes: sum.backlog_bytes.saturating_add(one.backlog_bytes),
        memory_bytes: sum.memory_bytes.saturating_add(one.memory_bytes),
        active_requests: sum.active_requests.saturating_add(one.active_requests),
        oldest_active_ms: sum.oldest_active_ms.max(one.oldest_active_ms),
    })
}
