//! Which condemnations stand, for who tells of them ([`notify`](crate::notify)), and which rollbacks are held in a cluster, for who looks
//! after them ([`kubernetes::hold`](crate::kubernetes::hold)). And what a replica does that does not act any more.

use std::sync::Arc;

use serin_proto::v1;

use super::{CloseReason, Effect, Engine};
use crate::{config::Service, time::UnixMicros};

/// A rollback that is to stay as it was written.
#[derive(Clone, Debug, PartialEq)]
pub struct Held {
    /// For this decision.
    pub decision: u64,
    /// What it is about, as it is now.
    pub service: Arc<Service>,
    /// When it was written first.
    pub since: UnixMicros,
}

impl Engine {
    /// Those of candidates that are condemned and not cleared.
    pub fn held(&self) -> Vec<Held> {
        self.guards.iter().filter_map(super::Guard::held).collect()
    }

    /// The decisions by which candidates are condemned now that are judged here.
    pub fn standing(&self) -> Vec<v1::Decision> {
        let judged = self.guards.iter().filter(|guard| self.judges(&guard.service().name));
        judged.filter_map(|guard| guard.condemnation().cloned()).collect()
    }

    /// Ends all streams: who reported here and connects again comes to the replica that is ready. Those that come here all the same are
    /// taken in.
    pub(super) fn turn_all_away(&mut self) -> Vec<Effect> {
        let streams = std::mem::take(&mut self.streams).into_keys();
        streams.map(|stream| Effect::Close { stream, reason: CloseReason::Yields }).collect()
    }

    /// A decision's objects are to be written again: so that nobody else does meanwhile, nor clears it. `false`: not, or not now. After
    /// `true` an [`Event::Written`](super::Event::Written) must follow.
    pub fn again(&mut self, decision: u64, now: UnixMicros) -> bool {
        self.safety.paused(now).is_none() && self.guards.iter_mut().any(|guard| guard.again(decision))
    }
}
