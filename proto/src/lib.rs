//! `serin.v1`: the messages between filter and aggregator and of the query API.
//!
//! [`v1`] is generated from `proto/serin/v1/*.proto` and committed (`make proto` renews it, a test proves that
//! it is current). [`convert`] is the only code that turns wire messages into sketches and back; [`raw`] has the ones that are received by the thousand.

pub mod convert;
/// Generated from `proto/envoy/metrics_service.proto`: Envoy's metrics service.
#[cfg(feature = "grpc")]
#[allow(missing_docs, clippy::all)]
pub mod envoy_metrics {
    include!("generated/envoy.service.metrics.v3.rs");
}
pub mod raw;
mod words;

/// Generated from `proto/serin/v1/*.proto`.
#[allow(missing_docs, clippy::all)]
pub mod v1 {
    include!("generated/serin.v1.rs");

    /// The serialized `FileDescriptorSet`, for gRPC reflection.
    #[cfg(feature = "grpc")]
    pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!("generated/serin.v1.bin");
}
