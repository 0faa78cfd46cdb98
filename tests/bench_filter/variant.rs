//! What is compared: the same Envoy with one thing in the way of its requests.

use std::{fs, net::SocketAddr, path::Path};

use anyhow::{Context, Result};
use serde_json::{Value, json};
use support::{
    bootstrap::Bootstrap,
    envoy::Envoy,
    gateway::{ACCESS_LOG, HTTP_FILTER},
};

use crate::cpu;

/// One of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Variant {
    Bare,
    AccessLogger,
    HttpFilter,
    GrpcAccessLog,
    Lua,
}

pub(crate) const VARIANTS: [Variant; 5] =
    [Variant::Bare, Variant::AccessLogger, Variant::HttpFilter, Variant::GrpcAccessLog, Variant::Lua];

const LUA: &str = r#"
function envoy_on_request(handle)
  handle:streamInfo():dynamicMetadata():set("stamps", "request", handle:timestamp())
end
function envoy_on_response(handle)
  handle:streamInfo():dynamicMetadata():set("stamps", "response", handle:timestamp())
end
"#;

/// Where a variant leads to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Around<'a> {
    /// The service behind it, for both releases.
    pub(crate) upstream: SocketAddr,
    /// Where the filter reports.
    pub(crate) aggregator: SocketAddr,
    /// Where Envoy's gRPC access log goes.
    pub(crate) sink: SocketAddr,
    pub(crate) routes: usize,
    pub(crate) dir: &'a Path,
}

impl Variant {
    /// As in the results.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Variant::Bare => "bare",
            Variant::AccessLogger => "access_logger",
            Variant::HttpFilter => "http_filter",
            Variant::GrpcAccessLog => "grpc_access_log",
            Variant::Lua => "lua",
        }
    }

    /// Starts it with one worker, on the first core. Weighted routes to two releases, of which the filter records route,
    /// release and outcome with both timings, as in the shipped configuration but for the pod.
    pub(crate) async fn start(self, around: Around<'_>) -> Result<Envoy> {
        let dir = around.dir.join(self.name());
        fs::create_dir_all(&dir)?;
        let routes = dir.join("rds.yaml");
        fs::write(&routes, serde_json::to_vec(&rds(around.routes))?)?;
        let shipped = if self == Variant::HttpFilter { HTTP_FILTER } else { ACCESS_LOG };
        let upstream = [around.upstream];
        let bootstrap = Bootstrap::shipped(shipped)?.routes(&routes)?.cluster("serin", &[around.aggregator])?;
        let bootstrap = bootstrap.cluster("shop-v1", &upstream)?.cluster("shop-v2", &upstream)?;
        let bootstrap = bootstrap.another_cluster("serin", "sink", &[around.sink])?;
        let bootstrap = bootstrap.connection_manager(|manager| self.change(manager))?;
        // What all of them would pay, in a thread that serves no requests.
        let bootstrap = bootstrap.change(|bootstrap| {
            bootstrap.as_object_mut().and_then(|bootstrap| bootstrap.remove("stats_sinks"));
        });
        let envoy = Envoy::start(&bootstrap, 1, &dir).await.with_context(|| format!("variant {}", self.name()))?;
        cpu::pin(envoy.process.id(), true);
        Ok(envoy)
    }

    fn change(self, manager: &mut Value) {
        let typed = |name: &str| json!(format!("type.googleapis.com/envoy.extensions.{name}"));
        match self {
            Variant::AccessLogger | Variant::HttpFilter => without_pod(manager),
            Variant::Bare => manager["access_log"] = json!([]),
            Variant::GrpcAccessLog => {
                let service = json!({ "envoy_grpc": { "cluster_name": "sink" } });
                let common = json!({ "log_name": "bench", "transport_api_version": "V3", "grpc_service": service });
                let kind = typed("access_loggers.grpc.v3.HttpGrpcAccessLogConfig");
                let config = json!({ "@type": kind, "common_config": common });
                manager["access_log"] = json!([{ "name": "envoy.access_loggers.http_grpc", "typed_config": config }]);
            }
            Variant::Lua => {
                manager["access_log"] = json!([]);
                let config = json!({ "@type": typed("filters.http.lua.v3.Lua"),
                    "default_source_code": { "inline_string": LUA } });
                let filter = json!({ "name": "envoy.filters.http.lua", "typed_config": config });
                let filters = manager["http_filters"].as_array_mut();
                filters.into_iter().for_each(|filters| filters.insert(0, filter.clone()));
            }
        }
    }
}

/// The filter's configuration without the pod's label.
fn without_pod(value: &mut Value) {
    match value {
        Value::Object(map) => map.values_mut().for_each(without_pod),
        Value::Array(items) => items.iter_mut().for_each(without_pod),
        Value::String(text) if text.contains("\"upstream_address\"") => {
            *text = text.replace("\"upstream_address\"", "\"none\"");
        }
        _ => {}
    }
}

/// Routes `/0/`, `/1/`, ... each with half of its requests to each release.
fn rds(routes: usize) -> Value {
    let route = |number: usize| {
        let release = |release: &str| json!({ "name": format!("shop-{release}"), "weight": 50 });
        json!({ "name": format!("checkout-{number}"), "match": { "prefix": format!("/{number}/") },
            "route": { "weighted_clusters": { "clusters": [release("v1"), release("v2")] } } })
    };
    let host = json!({ "name": "shop", "domains": ["*"], "routes": (0..routes).map(route).collect::<Vec<_>>() });
    json!({ "resources": [{ "@type": "type.googleapis.com/envoy.config.route.v3.RouteConfiguration",
        "name": "shop", "virtual_hosts": [host] }] })
}
