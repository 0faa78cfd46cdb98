use std::time::Duration;

use tonic::{
    Request, Status,
    metadata::MetadataMap,
    transport::{Channel, Endpoint},
};

use super::work::Held;
use crate::partition;

/// Marks a question that comes from another aggregator: it is not passed on again.
const FORWARDED: &str = "serin-forwarded";
const CONNECT_WITHIN: Duration = Duration::from_secs(2);

/// The way to the aggregator that judges a service.
#[derive(Clone)]
pub struct Forward(Held);

impl Forward {
    /// To those that hold partitions.
    pub fn new(held: Held) -> Self {
        Forward(held)
    }

    /// A connection to it.
    ///
    /// # Errors
    /// When nobody judges the service just now, or it does not answer.
    pub(crate) async fn to(&self, service: &str, metadata: &MetadataMap) -> Result<Channel, Status> {
        let nobody = || {
            Status::unavailable(format!(
                "service `{service}` is being taken over by another aggregator: ask again in a few seconds"
            ))
        };
        if metadata.contains_key(FORWARDED) {
            return Err(nobody());
        }
        let address = self.0.address(partition::of(service)).ok_or_else(nobody)?;
        let endpoint =
            Endpoint::from_shared(format!("http://{address}")).map_err(|error| Status::internal(error.to_string()))?;
        let connected = endpoint.connect_timeout(CONNECT_WITHIN).connect().await;
        connected.map_err(|error| {
            Status::unavailable(format!("service `{service}` is judged at {address}, which does not answer: {error}"))
        })
    }
}

/// A question to pass on.
pub(crate) fn forwarded<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert(FORWARDED, tonic::metadata::MetadataValue::from_static("true"));
    request
}
