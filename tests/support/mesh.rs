//! Envoys whose configuration comes from a real istiod, as a gateway's and a sidecar's does.

use std::net::{IpAddr, SocketAddr};

use serde_json::{Value, json};

use crate::bootstrap::Bootstrap;

/// A proxy of the mesh, as istiod knows it.
#[derive(Clone, Debug)]
pub struct Node<'a> {
    /// `router` for a gateway, or `sidecar`.
    pub kind: &'a str,
    /// The pod's.
    pub name: &'a str,
    /// The pod's.
    pub namespace: &'a str,
    /// The pod's: an address of loopback.
    pub ip: IpAddr,
    /// The pod's.
    pub labels: Value,
}

impl Node<'_> {
    /// The bootstrap of this proxy, which asks the istiod that answers in plain text (port 15010 of an istiod) for everything
    /// else. The statistics of its requests begin with `stat_prefix`, as istiod chose it.
    pub fn bootstrap(&self, istiod: SocketAddr, stat_prefix: String) -> Bootstrap {
        let Node { kind, name, namespace, ip, labels } = self;
        let address = |at: SocketAddr| json!({ "socket_address": { "address": at.ip(), "port_value": at.port() } });
        let http2 = json!({
            "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
            "explicit_http_config": { "http2_protocol_options": {} },
        });
        let endpoints = json!([{ "lb_endpoints": [{ "endpoint": { "address": address(istiod) } }] }]);
        let xds = json!({
            "name": "xds",
            "type": "STATIC",
            "typed_extension_protocol_options": { "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": http2 },
            "load_assignment": { "cluster_name": "xds", "endpoints": endpoints },
        });
        let ads = json!({ "ads": {}, "resource_api_version": "V3" });
        let services = json!([{ "envoy_grpc": { "cluster_name": "xds" } }]);
        let value = json!({
            "node": {
                "id": format!("{kind}~{ip}~{name}.{namespace}~{namespace}.svc.cluster.local"),
                "cluster": format!("{name}.{namespace}"),
                // No iptables lead anything to it: it listens where it is told to.
                "metadata": { "NAMESPACE": namespace, "CLUSTER_ID": "Kubernetes", "INTERCEPTION_MODE": "NONE", "LABELS": labels },
            },
            "admin": { "address": address(SocketAddr::from(([127, 0, 0, 1], 0))) },
            "dynamic_resources": {
                "ads_config": { "api_type": "GRPC", "transport_api_version": "V3", "grpc_services": services },
                "cds_config": ads,
                "lds_config": ads,
            },
            "static_resources": { "clusters": [xds] },
        });
        Bootstrap::new(value, stat_prefix)
    }
}
