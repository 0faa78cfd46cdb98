use std::time::Duration;

use serin_proto::v1::{ListProxiesRequest, Proxy, query_client::QueryClient};
use tokio::task::JoinSet;
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
/// What is asked of all is answered without those that take longer.
const ANSWER_WITHIN: Duration = Duration::from_secs(1);
/// The 200,000 reporters that an aggregator remembers, at up to 110 B each, are 22 MB; its 20,000 proxies with names of 256 B are 8 MB.
const PROXIES_BYTES_MAX: usize = 32 << 20;

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
        if is_forwarded(metadata) {
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

    /// The proxies that report to the others, and where those are that did not answer in time.
    pub(crate) async fn proxies(&self) -> (Vec<Proxy>, Vec<String>) {
        let mut asked = JoinSet::new();
        for address in self.0.others() {
            asked.spawn(async move {
                let answer = tokio::time::timeout(ANSWER_WITHIN, proxies_of(&address)).await;
                answer.ok().flatten().ok_or(address)
            });
        }
        let (mut proxies, mut unanswered) = (Vec::new(), Vec::new());
        for answer in asked.join_all().await {
            match answer {
                Ok(theirs) => proxies.extend(theirs),
                Err(address) => unanswered.push(address),
            }
        }
        unanswered.sort_unstable();
        (proxies, unanswered)
    }
}

async fn proxies_of(address: &str) -> Option<Vec<Proxy>> {
    let channel = Endpoint::from_shared(format!("http://{address}")).ok()?.connect().await.ok()?;
    let mut query = QueryClient::new(channel).max_decoding_message_size(PROXIES_BYTES_MAX);
    Some(query.list_proxies(forwarded(ListProxiesRequest {})).await.ok()?.into_inner().proxies)
}

/// Whether a question comes from another aggregator.
pub(crate) fn is_forwarded(metadata: &MetadataMap) -> bool {
    metadata.contains_key(FORWARDED)
}

/// A question to pass on.
pub(crate) fn forwarded<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert(FORWARDED, tonic::metadata::MetadataValue::from_static("true"));
    request
}
