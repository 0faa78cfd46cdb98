//! The proxy-wasm filter: counts every request of one Envoy worker and reports the counts.
//!
//! ```text
//! Envoy ─► abi ─► vm ─► counter ─► recorder ─► outbox ─► report ─► link ─► gRPC stream
//!          (IO)   (IO)  outcome,   (pure)     (pure)    (pure)    (IO)
//!                       labels,                  ▲
//!                       measure (pure)           └── acks
//! ```
//!
//! [`reporter`] drives the pure part: events and a clock reading in, actions out. `abi` is the only file that makes
//! host calls and has `unsafe`; it, `host`, `link`, `counter` and `vm` exist on wasm32 only. Nothing here may panic: a trap
//! ends the VM and with it every count that was not delivered yet.

#![deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

pub mod active;
pub mod budget;
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
mod abi;
#[cfg(target_arch = "wasm32")]
mod counter;
#[cfg(target_arch = "wasm32")]
mod host;
#[cfg(target_arch = "wasm32")]
mod link;
#[cfg(all(target_arch = "wasm32", feature = "trap"))]
mod trap;
#[cfg(target_arch = "wasm32")]
mod vm;
