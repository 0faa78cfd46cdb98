//! An Envoy whose configuration comes from a real istiod, as an ingress gateway's does.

use std::net::SocketAddr;

use serde_json::{Value, json};

use crate::bootstrap::Bootstrap;

/// The bootstrap of a gateway with these labels in `namespace`, which asks the istiod that answers in plain text (port 15010 of
/// an istiod) for everything else. `port` is the one of the Gateway's server.
pub fn gateway(istiod: SocketAddr, namespace: &str, labels: &Value, port: u16) -> Bootstrap {
    let address = |at: SocketAddr| json!({ "socket_address": { "address": at.ip(), "port_value": at.port() } });
    let xds = json!({
        "name": "xds",
        "type": "STATIC",
        "typed_extension_protocol_options": { "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
            "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
            "explicit_http_config": { "http2_protocol_options": {} },
        } },
        "load_assignment": { "cluster_name": "xds", "endpoints": [{ "lb_endpoints": [{ "endpoint": { "address": address(istiod) } }] }] },
    });
    let value = json!({
        "node": {
            "id": format!("router~127.0.0.1~gateway.{namespace}~{namespace}.svc.cluster.local"),
            "cluster": format!("gateway.{namespace}"),
            "metadata": { "NAMESPACE": namespace, "CLUSTER_ID": "Kubernetes", "LABELS": labels },
        },
        "admin": { "address": address(SocketAddr::from(([127, 0, 0, 1], 0))) },
        "dynamic_resources": {
            "ads_config": { "api_type": "GRPC", "transport_api_version": "V3", "grpc_services": [{ "envoy_grpc": { "cluster_name": "xds" } }] },
            "cds_config": { "ads": {}, "resource_api_version": "V3" },
            "lds_config": { "ads": {}, "resource_api_version": "V3" },
        },
        "static_resources": { "clusters": [xds] },
    });
    // As istiod names it.
    Bootstrap::new(value, format!("outbound_127.0.0.1_{port}"))
}
