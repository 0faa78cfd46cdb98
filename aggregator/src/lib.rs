//! The aggregator: takes in what the filters counted, judges releases, rolls bad ones back.
//!
//! ```text
//! ingest (IO) -> engine (pure): store (pure) -> judge (pure) -> decision
//!                  -> historian (IO): reports on disk, then acknowledged
//!                  -> actuator (IO): history (IO), actuate: fetch (IO) -> plan (pure) -> apply (IO)
//!                  -> confirm (pure), from what ingest brings next
//! cluster (IO): several aggregators on one NATS, in place of historian's disk and history's file
//! recording (pure): what a trial was fed, to be judged again
//! query, metrics, gates (IO): questions to the engine; module (IO): the filter for those who fetch it; install (pure): the
//! manifests of a cluster
//! ```

pub mod absence;
pub mod actuate;
pub mod actuator;
mod causes;
pub mod cli;
pub mod cluster;
pub mod config;
pub mod engine;
pub mod envoy_metrics;
pub mod export;
pub mod gates;
pub mod health;
pub mod historian;
pub mod history;
mod https;
pub mod ingest;
pub mod install;
pub mod kubernetes;
pub mod metrics;
pub mod module;
pub mod notify;
pub mod partition;
pub mod paused;
pub mod query;
pub mod recording;
pub mod report;
pub mod safety;
pub mod scrape;
pub mod server;
pub mod shell;
pub mod store;
pub mod time;
pub mod weigher;
