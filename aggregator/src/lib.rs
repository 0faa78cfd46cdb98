//! The aggregator: takes in what the filters counted, judges releases, rolls bad ones back.

pub mod actuate;
pub mod config;
