//! The live store (pure): what every reporter counted, by second, for the live window.
//!
//! Applying is idempotent per (reporter, sequence), so each request is in here exactly once however often its
//! report is sent.

mod latencies;
mod logged;
mod proxies;
mod reporters;
mod slices;
mod totals;

pub use latencies::{Latencies, Latency, LatencyKey};
pub use logged::Logged;
pub use proxies::{ManagerCounts, Proxies, Push};
pub use reporters::{Applied, ReporterView, Reporters, ReportersFull};
pub use slices::{Second, Slices};
pub use totals::{Total, TotalKey, Totals};
