//! What things are called in NATS (pure).

use crate::partition::Partition;

/// The log: what every aggregator takes in.
pub(super) const REPORTS: &str = "SERIN_REPORTS";
/// The log, by minute.
pub(super) const MINUTES: &str = "SERIN_MINUTES";
/// Who is there, and who has which partition.
pub(super) const WORK: &str = "serin-work";
/// Decisions, by number.
pub(super) const DECISIONS: &str = "serin-decisions";
/// Recordings, by the number of their decision.
pub(super) const RECORDINGS: &str = "serin-recordings";
/// Verdicts as they are shown; not kept.
pub(super) const VERDICTS: &str = "serin.verdicts";

/// What was counted in a partition.
pub(super) fn reports(partition: Partition) -> String {
    format!("serin.reports.{partition}")
}

/// The same, by minute.
pub(super) fn minutes(partition: Partition) -> String {
    format!("serin.minutes.{partition}")
}

/// What waits for a response; not kept.
pub(super) fn waiting(partition: Partition) -> String {
    format!("serin.waiting.{partition}")
}
