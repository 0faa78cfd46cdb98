//! Every proxy that was seen to send requests, also of those that are silent together: its workload, and since when it sends the candidate none.
//! What is proven does not depend on it: it is told.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use super::super::shares::{Sent, Shares};
use crate::time::UnixMicros;

/// Proxies that are remembered: twice as many as are told apart in one second, at 100 B each 200 kB for a rollback.
const KNOWN_MAX: usize = 2_000;

#[derive(Clone, Debug)]
pub(super) struct Proxy {
    /// Empty where it is not known.
    pub(super) workload: Arc<str>,
    /// Whether it sent the candidate requests, before the write or since.
    pub(super) has_sent: bool,
    /// Since its last request to the candidate; `None`: that was in the last second.
    from: Option<UnixMicros>,
}

impl Proxy {
    /// How long after the write it was silent. Who sent nothing had nothing to stop.
    pub(super) fn stopped(&self, written: UnixMicros) -> Duration {
        self.from.filter(|_| self.has_sent).map_or(Duration::ZERO, |from| from.since(written))
    }
}

/// By node id.
#[derive(Clone, Debug, Default)]
pub(super) struct Known(BTreeMap<Arc<str>, Proxy>);

impl Known {
    pub(super) fn before(shares: &Shares) -> Self {
        let mut known = Known::default();
        shares.by.iter().for_each(|(node, sent)| known.see(node, sent));
        known
    }

    /// Takes the second that began then, or the rest of it after the write.
    pub(super) fn observe(&mut self, begin: UnixMicros, shares: &Shares) {
        shares.by.iter().for_each(|(node, sent)| self.see(node, sent));
        for (node, proxy) in &mut self.0 {
            if shares.of(node).candidate > 0 {
                proxy.from = None;
            } else {
                proxy.from.get_or_insert(begin);
            }
        }
    }

    fn see(&mut self, node: &Arc<str>, sent: &Sent) {
        let is_full = self.0.len() >= KNOWN_MAX;
        if let Some(proxy) = self.0.get_mut(node) {
            proxy.has_sent |= sent.split.candidate > 0;
            // Until now it may have been measured by a filter of an earlier version.
            if proxy.workload.is_empty() {
                proxy.workload = Arc::clone(&sent.workload);
            }
        } else if !is_full {
            let (workload, has_sent) = (Arc::clone(&sent.workload), sent.split.candidate > 0);
            self.0.insert(Arc::clone(node), Proxy { workload, has_sent, from: None });
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&Arc<str>, &Proxy)> {
        self.0.iter()
    }
}
