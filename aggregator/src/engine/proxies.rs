//! What the filters of each proxy delivered, held against what the proxy says itself.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use serin_proto::v1;

use super::Engine;
use crate::{store::ReporterView, time::UnixMicros};

/// A request that ended is reported at the next tick and takes a round trip: three intervals are ample.
const INTERVALS: u32 = 3;
const INTERVAL_MS_LEAST: u32 = 1_000;

impl Engine {
    /// Every proxy, those with missing requests first.
    pub fn proxies(&self, now: UnixMicros) -> Vec<v1::Proxy> {
        let mut by_node: BTreeMap<Arc<str>, Vec<ReporterView>> = BTreeMap::new();
        for view in self.reporters.views(now) {
            by_node.entry(view.node_id.clone()).or_default().push(view);
        }
        let mut proxies: Vec<v1::Proxy> =
            by_node.iter().map(|(node_id, reporters)| self.proxy(node_id, reporters, now)).collect();
        proxies.sort_by(|a, b| b.missing.cmp(&a.missing).then_with(|| a.node_id.cmp(&b.node_id)));
        proxies
    }

    fn proxy(&self, node_id: &str, reporters: &[ReporterView], now: UnixMicros) -> v1::Proxy {
        let state = sum(reporters);
        let mut vantages: Vec<v1::Vantage> = reporters.iter().map(|reporter| reporter.vantage).collect();
        vantages.sort_unstable_by_key(|vantage| *vantage as i32);
        vantages.dedup();
        let interval = Duration::from_millis(state.interval_ms.max(INTERVAL_MS_LEAST).into());
        let ended = self.proxies.ended(node_id, &vantages, interval * INTERVALS, now);
        let counted = reporters.iter().fold(0u64, |sum, reporter| sum.saturating_add(reporter.requests));
        v1::Proxy {
            node_id: node_id.to_owned(),
            reporters_alive: reporters.iter().filter(|reporter| reporter.is_alive).count() as u32,
            counted,
            ended,
            missing: ended.unwrap_or(0).saturating_sub(counted),
            last_seen_unix_us: reporters.iter().map(|reporter| reporter.last_seen.0).max().unwrap_or_default(),
            state: Some(state),
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
