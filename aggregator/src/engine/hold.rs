//! Which rollbacks are held in a cluster, for who looks after them: [`kubernetes::hold`](crate::kubernetes::hold).

use std::sync::Arc;

use super::Engine;
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

    /// A decision's objects are to be written again: so that nobody else does meanwhile, nor clears it. `false`: not, or not now. After
    /// `true` an [`Event::Written`](super::Event::Written) must follow.
    pub fn again(&mut self, decision: u64) -> bool {
        self.guards.iter_mut().any(|guard| guard.again(decision))
    }
}
