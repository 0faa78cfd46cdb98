//! What the demo and the tests against a real Envoy share: upstream services whose latency can be changed
//! while they run, an open-loop load generator, and the processes around them. Everything listens on loopback,
//! on ports the kernel chose, and ends with the value that started it.

pub mod access_log;
pub mod api_server;
pub mod artifacts;
pub mod bootstrap;
pub mod cluster;
pub mod collector;
pub mod envoy;
pub mod feed;
pub mod filter;
pub mod gateway;
pub mod latency;
mod leases;
pub mod load;
pub mod mesh;
pub mod nats;
pub mod poll;
pub mod process;
pub mod prometheus;
pub mod proxy;
pub mod reporter;
pub mod rig;
pub mod serin;
mod served;
pub mod service;
pub mod vm;
