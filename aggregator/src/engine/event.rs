//! What can happen.

use std::{collections::BTreeMap, sync::Arc};

use serin_judge::PodSpread;
use serin_sketch::Counts;

use super::{Shared, Starts, Written};
use crate::{
    config::Service,
    ingest::validate::Heartbeat,
    report::{Deltas, Report, Reporter, ReporterId},
    store::Push,
};

/// Names one open stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId(pub u64);

/// What can happen.
#[derive(Debug)]
pub enum Event {
    /// A stream began, and said whose it is.
    Connected {
        /// Which stream.
        stream: StreamId,
        /// Whose.
        reporter: Reporter,
    },
    /// A reporter is alive.
    Heartbeat {
        /// On which stream.
        stream: StreamId,
        /// What it says.
        heartbeat: Heartbeat,
    },
    /// A report came that keeps the rules.
    Reported {
        /// On which stream.
        stream: StreamId,
        /// What it says.
        report: Report,
    },
    /// A message broke a rule, so its stream is being closed.
    Refused,
    /// A stream ended.
    Disconnected {
        /// Which one.
        stream: StreamId,
    },
    /// The weights were read by which a service's requests are sent.
    Weighed {
        /// Its name.
        service: String,
        /// The candidate's share of them, 0 to 1. `None` where it is not known, or not the same everywhere.
        share: Option<f64>,
    },
    /// It is known when a service's pods were started.
    PodsStarted {
        /// Its name.
        service: String,
        /// Those that are there.
        starts: Starts,
    },
    /// A proxy pushed its own counters.
    ProxyPushed {
        /// Its node id.
        node: Arc<str>,
        /// What it says.
        push: Push,
    },
    /// Reports are on disk, or will never be: they may be acknowledged.
    Durable {
        /// Each on its stream, by whom, and its number.
        acks: Vec<(StreamId, ReporterId, u64)>,
    },
    /// What earlier days tell of a service.
    Learned {
        /// Its name.
        service: String,
        /// What they tell.
        learned: Learned,
    },
    /// Something happened among several aggregators.
    Shared(Shared),
    /// This replica leads from now on: it acts on what is still condemned.
    Leads,
    /// Another replica does: who reports here is to report there.
    Yields,
    /// Time went by.
    Tick,
    /// A service is to be guarded, from now on or otherwise than before.
    Guard(Arc<Service>),
    /// A service that was to be guarded just now is one that an earlier run guarded.
    Restarted {
        /// Its name.
        service: String,
        /// The second in which its running trial began; or why that trial is over, in words that follow on the candidate's name.
        trial: Result<u64, String>,
    },
    /// It is known what the candidate's label is deployed as.
    Deployed {
        /// Of which service.
        service: String,
        /// As what.
        deployed: Deployed,
    },
    /// A service is not to be guarded any more. Its decisions are kept.
    Unguard {
        /// Its name.
        service: String,
    },
    /// The order to write a rollback was not carried out, because its decision is not kept as ours.
    Dropped {
        /// Which decision.
        decision: u64,
    },
    /// The targets of a rollback were written, or not.
    Written {
        /// For which decision.
        decision: u64,
        /// One for each target.
        results: Vec<Written>,
    },
}

/// What the candidate's label is deployed as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deployed {
    /// The name of the ReplicaSet.
    pub set: String,
    /// The second in which that was created, by the clock of the API server.
    pub created: u64,
    /// Whether it was another one before.
    pub is_other: bool,
}

/// A report that was applied and is to be kept.
#[derive(Clone, Debug, PartialEq)]
pub struct Stored {
    /// On which stream it came.
    pub stream: StreamId,
    /// Whose it is.
    pub reporter: ReporterId,
    /// The workload that its proxy is of. Kept in the log of several aggregators only.
    pub workload: Arc<str>,
    /// Its number.
    pub sequence: u64,
    /// Below this number all of its reports are acknowledged.
    pub floor: u64,
    /// The second that it belongs to.
    pub second: u64,
    /// What was counted.
    pub deltas: Arc<Deltas>,
}

/// What an earlier run left.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Remembered {
    /// The highest sequence of each reporter that was kept.
    pub applied: Vec<(ReporterId, u64)>,
    /// The seconds of the live window.
    pub seconds: BTreeMap<u64, Vec<Arc<Deltas>>>,
}

/// What earlier days tell of a service.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Learned {
    /// How much pods of the baseline differed.
    pub pods: PodSpread,
    /// Of each route, what the service was like at this time of earlier days.
    pub windows: BTreeMap<String, Vec<Counts>>,
}
