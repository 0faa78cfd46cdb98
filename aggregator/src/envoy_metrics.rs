//! Envoy's metrics service (IO): takes what each proxy says of its own requests, so that what its filters did not deliver is
//! seen.

use std::sync::Arc;

use serin_proto::envoy_metrics::{MetricFamily, StreamMetricsMessage, StreamMetricsResponse, metrics_service_server};
use tonic::{Request, Response, Status, Streaming};

use crate::{engine::Event, shell::Handle, store::Push};

/// The largest push taken: a sidecar with all of its statistics has some 10,000 at 100 bytes.
pub const MESSAGE_BYTES_MAX: usize = 4 << 20;
const NODE_BYTES_MAX: usize = 256;
/// Envoy's own: not what callers ask for.
const OWN: [&str; 2] = ["admin", "async-client"];

/// The service.
pub struct EnvoyMetrics(Handle);

impl EnvoyMetrics {
    /// Feeds this engine.
    pub fn new(engine: Handle) -> Self {
        EnvoyMetrics(engine)
    }
}

#[tonic::async_trait]
impl metrics_service_server::MetricsService for EnvoyMetrics {
    async fn stream_metrics(
        &self,
        request: Request<Streaming<StreamMetricsMessage>>,
    ) -> Result<Response<StreamMetricsResponse>, Status> {
        let mut messages = request.into_inner();
        let mut node: Option<Arc<str>> = None;
        while let Some(message) = messages.message().await? {
            if let Some(id) = message.identifier.and_then(|identifier| identifier.node).map(|node| node.id) {
                if id.is_empty() || id.len() > NODE_BYTES_MAX {
                    return Err(Status::invalid_argument("node.id must be 1 to 256 bytes long: give Envoy a node id"));
                }
                node = Some(id.into());
            }
            let Some(node) = node.clone() else {
                return Err(Status::invalid_argument("the first message of a stream must have identifier.node.id"));
            };
            let event = Event::ProxyPushed { node, push: push(&message.envoy_metrics) };
            self.0.said(event).await.map_err(|stopped| Status::unavailable(stopped.to_string()))?;
        }
        Ok(Response::new(StreamMetricsResponse {}))
    }
}

/// The uptime, and the request counters of each HTTP connection manager by stat prefix (pure).
fn push(families: &[MetricFamily]) -> Push {
    let mut push = Push::default();
    for family in families {
        let value = family.metric.first().and_then(|metric| metric.counter.or(metric.gauge)).unwrap_or_default().value;
        // Casts of what is negative, no number or too large end at the nearest that there is.
        let value = value as u64;
        if family.name == "server.uptime" {
            push.uptime_s = Some(value);
        }
        let Some((prefix, name)) = family.name.strip_prefix("http.").and_then(|rest| rest.rsplit_once('.')) else {
            continue;
        };
        if OWN.contains(&prefix) {
            continue;
        }
        match name {
            "downstream_rq_total" => push.managers.entry(prefix.to_owned()).or_default().total = value,
            "downstream_rq_active" => push.managers.entry(prefix.to_owned()).or_default().active = value,
            _ => {}
        }
    }
    push
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::ManagerCounts;
    use serin_proto::envoy_metrics::{Metric, Value};

    #[test]
    fn requests_are_found_among_all_statistics() {
        let family = |name: &str, counter: bool, value: f64| {
            let value = Some(Value { value });
            let metric =
                if counter { Metric { counter: value, gauge: None } } else { Metric { gauge: value, counter: None } };
            MetricFamily { name: name.to_owned(), metric: vec![metric] }
        };
        let families = [
            family("http.gateway.downstream_rq_total", true, 120.0),
            family("http.gateway.downstream_rq_active", false, 20.0),
            family("http.gateway.downstream_rq_time", true, 7.0),
            family("server.uptime", false, 61.0),
            family("http.admin.downstream_rq_total", true, 9.0),
            family("listener.0.0.0.0_80.http.gateway.downstream_rq_2xx", true, 5.0),
            family("http.inbound_0.0.0.0_80;.downstream_rq_total", true, -1.0),
        ];
        let want = [
            ("gateway".to_owned(), ManagerCounts { total: 120, active: 20 }),
            ("inbound_0.0.0.0_80;".to_owned(), ManagerCounts::default()),
        ];
        assert_eq!(push(&families), Push { uptime_s: Some(61), managers: want.into() });
    }
}
