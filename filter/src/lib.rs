//! The proxy-wasm filter: counts every request of one Envoy worker and reports the counts.
//!
//! ```text
//! callbacks ─► measure ─► recorder ─► outbox ─► report ─► gRPC stream
//! (root, http:  outcome,   (pure)     (pure)    (pure)    (host: IO)
//!  IO)          labels (pure)            ▲
//!                                        └── acks
//! ```
//!
//! [`reporter`] drives the pure part: events and a clock reading in, actions out. `host` is the only file that
//! makes hostcalls; it, `root`, `http` and `worker` exist on wasm32 only. Nothing here may panic: a trap ends the VM
//! and with it every count that was not delivered yet.

#![deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

pub mod config;
pub mod labels;
pub mod measure;
pub mod outbox;
pub mod outcome;
pub mod recorder;
pub mod report;
pub mod reporter;
pub mod sealed;

#[cfg(target_arch = "wasm32")]
mod host;
#[cfg(target_arch = "wasm32")]
mod http;
#[cfg(target_arch = "wasm32")]
mod root;
#[cfg(target_arch = "wasm32")]
mod worker;
