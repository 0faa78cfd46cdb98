//! What is to be done about what happened.

use std::sync::Arc;

use serin_proto::v1;

use super::{Overload, Stored, StreamId};
use crate::{
    config::Service,
    recording::Kept,
    report::{ReporterId, Waiting},
    store::ReportersFull,
};

/// What is to be done about it.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Tell the reporter that it may forget.
    Ack {
        /// On which stream.
        stream: StreamId,
        /// Everything up to here.
        sequence: u64,
    },
    /// Keep a report on disk, and send [`Event::Durable`].
    Store(Box<Stored>),
    /// Pass on to those who judge what waits at a reporter's worker.
    Wait(ReporterId, Waiting),
    /// Show the verdict of another aggregator to those who watch.
    Show(v1::Verdict),
    /// Close a stream.
    Close {
        /// Which one.
        stream: StreamId,
        /// Why.
        reason: CloseReason,
    },
    /// Show a verdict to those who watch.
    Publish(v1::Verdict),
    /// Keep a decision, in place of what was kept under its id.
    Persist(v1::Decision),
    /// Keep the recording that a decision was made on.
    Record {
        /// The decision.
        decision: u64,
        /// Its recording.
        recording: Arc<Kept>,
    },
    /// Write the rollback of this decision's service, and send [`Event::Written`].
    RollBack {
        /// The decision.
        decision: u64,
        /// Its service, as it was when this was decided.
        service: Arc<Service>,
    },
}

/// Why the engine closes a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CloseReason {
    /// A number was skipped.
    #[error("expected sequence {expected}, got {got}: send every unacknowledged report again, in order")]
    Gap {
        /// What should have come.
        expected: u64,
        /// What came.
        got: u64,
    },
    /// No room.
    #[error(transparent)]
    Full(#[from] ReportersFull),
    /// More comes in than can be handled, and its services arrived last.
    #[error(
        "serin is overloaded: reports wait {} ms, so {} of {} services, the last to arrive, are shed for now; keep what was \
         counted and send it again later (serin needs more CPU or a faster disk, or fewer series)",
        .0.lag.as_millis(), .0.shed, .0.services
    )]
    Overloaded(Overload),
    /// Another replica acts.
    #[error("another replica of serin leads from now on: report to the one that is ready")]
    Yields,
}

/// Why nothing was cleared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotCleared {
    /// There is no such condemnation.
    #[error("it is not condemned: `serin decisions` lists what is")]
    NotCondemned,
    /// It would be written after it was cleared.
    #[error("its rollback is being written: try again in a moment")]
    Writing,
}

/// There is no such service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it is not in the configuration of this serin")]
pub struct UnknownService;
