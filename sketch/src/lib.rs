//! Latency histograms shared by the filter (wasm32) and the aggregator (native).
//!
//! A duration in [`Micros`] falls into a [`Bucket`] (log-linear, HdrHistogram's layout with two
//! significant digits, so at most 1% wide), and [`Counts`] says how many durations fell into each.
//! Everything here is pure: no IO, no clock, no allocation that the caller does not ask for.

mod bucket;
mod counts;
mod units;

pub use bucket::{BUCKETS, Bucket};
pub use counts::Counts;
pub use units::{Micros, thousands};
