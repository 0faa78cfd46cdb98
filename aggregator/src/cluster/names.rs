//! What things are called in NATS (pure).

use super::roll_up::Tier;
use crate::partition::Partition;

/// The log: what every aggregator takes in.
pub(super) const REPORTS: &str = "SERIN_REPORTS";
/// The log in ten seconds, and in minutes.
pub(super) const ROLLED_UP: [&str; 2] = ["SERIN_TENS", "SERIN_MINUTES"];
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

/// The same, rolled up.
pub(super) fn rolled_up(tier: Tier, partition: Partition) -> String {
    match tier {
        Tier::Tens => format!("serin.tens.{partition}"),
        Tier::Minutes => format!("serin.minutes.{partition}"),
    }
}

/// What waits for a response; not kept.
pub(super) fn waiting(partition: Partition) -> String {
    format!("serin.waiting.{partition}")
}
