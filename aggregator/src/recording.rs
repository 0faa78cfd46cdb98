//! Recordings (pure): what a trial was fed, so that it can be judged again.
//!
//! [`Setup`] and [`Observed`] are what `recording.proto` says, as types that cannot be wrong. [`Kept`] holds them for a running trial;
//! [`mod@file`] and [`csv`] read them from elsewhere.

pub mod csv;
pub mod file;
mod kept;
mod policy;
mod wire;

use serin_judge::{History, Policy, Slice};

pub use kept::{Kept, TooLong};
pub use wire::RecordingError;

/// A trial before its first second.
#[derive(Clone, Debug, PartialEq)]
pub struct Setup {
    /// The version of serin that judged it.
    pub version: String,
    /// Which service.
    pub service: String,
    /// The stable release.
    pub baseline: String,
    /// The release on trial.
    pub candidate: String,
    /// The routes to compare, each with its like; one empty name for all routes together.
    pub routes: Vec<String>,
    /// The policy of the service; its routes share the false-rollback probability.
    pub policy: Policy,
    /// What is known beforehand of each route.
    pub histories: Vec<History>,
    /// Seconds before this one do not count.
    pub first_second: u64,
}

impl Setup {
    /// All routes together, under the default policy and knowing nothing beforehand.
    pub fn plain(service: &str, baseline: &str, candidate: &str) -> Self {
        Setup {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            service: service.to_owned(),
            baseline: baseline.to_owned(),
            candidate: candidate.to_owned(),
            routes: vec![String::new()],
            policy: Policy::default(),
            histories: vec![History::default()],
            first_second: 0,
        }
    }
}

/// One second as the judge is given it.
#[derive(Clone, Debug, PartialEq)]
pub struct Observed {
    /// Unix time.
    pub second: u64,
    /// Pods that were not there before, by name: numbered on from those that were.
    pub new_pods: Vec<String>,
    /// One for each route of the setup.
    pub slices: Vec<Slice>,
}

/// A whole recording.
#[derive(Clone, Debug, PartialEq)]
pub struct Recording {
    /// How it began.
    pub setup: Setup,
    /// Its seconds, ascending.
    pub seconds: Vec<Observed>,
    /// Whether it was cut off in the middle of a second.
    pub is_cut: bool,
}
