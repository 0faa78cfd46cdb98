//! Does Serin work on a real mesh? An istiod and its API server configure the Envoys, and the shipped EnvoyFilters attach the filter.
//! With `make test-mesh` on those that ISTIOD and KUBECONFIG name; nothing else of a cluster is needed: releases, Envoys
//! and load run here, on loopback.

mod gateway;
mod orders;
mod sidecars;

use std::{
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::Path,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use kube::{
    Api, Client, Config,
    api::{ApiResource, DynamicObject, GroupVersionKind, PostParams},
};
use serde_json::{Value, json};
use serin_kubernetes::connect;
use support::{artifacts, serin::Serin};
use tempfile::TempDir;

pub(crate) const SOON: Duration = Duration::from_secs(60);

/// Where the gateway listens: what comes to be on a port of 127.0.0.1 meanwhile does not take its port.
const GATEWAY: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 10);

/// The mesh, and a namespace in it.
struct Mesh {
    client: Client,
    istiod: SocketAddr,
    namespace: String,
    /// The port of the service `shop` and of what is in front of it.
    port: u16,
    dir: TempDir,
}

impl Mesh {
    async fn new(name: &str) -> Result<Self> {
        let istiod = std::env::var("ISTIOD");
        let istiod =
            istiod.context("set ISTIOD to where an istiod answers in plain text, as 127.0.0.1:15010")?.parse()?;
        let client = connect::client(Config::infer().await?)?;
        let namespace = format!("serin-mesh-{name}-{}", std::process::id());
        let port = TcpListener::bind((GATEWAY, 0))?.local_addr()?.port();
        let dir = tempfile::Builder::new().prefix("serin-mesh-").tempdir()?;
        Ok(Mesh { client, istiod, namespace, port, dir })
    }

    fn host(&self, name: &str) -> String {
        format!("{name}.{}.svc.cluster.local", self.namespace)
    }

    fn object(&self, kind: &str, name: &str, spec: &Value) -> Value {
        let api = match kind {
            "EnvoyFilter" => "networking.istio.io/v1alpha3",
            "PeerAuthentication" => "security.istio.io/v1",
            _ => "networking.istio.io/v1",
        };
        let metadata = json!({ "name": name, "namespace": self.namespace });
        json!({ "apiVersion": api, "kind": kind, "metadata": metadata, "spec": spec })
    }

    /// A service without pods, at these addresses, each with the label `version`.
    fn service(&self, name: &str, port: u16, protocol: &str, endpoints: &[(SocketAddr, &str)]) -> Value {
        let endpoint = |(at, version): &(SocketAddr, &str)| json!({ "address": at.ip(), "ports": { "port": at.port() }, "labels": { "version": version } });
        let endpoints: Vec<Value> = endpoints.iter().map(endpoint).collect();
        let ports = json!([{ "number": port, "name": "port", "protocol": protocol }]);
        let spec = json!({
            "hosts": [self.host(name)], "location": "MESH_INTERNAL", "resolution": "STATIC", "ports": ports, "endpoints": endpoints,
        });
        self.object("ServiceEntry", name, &spec)
    }

    /// The service `shop` with two releases, and the aggregator; nothing is encrypted, as no agent brings certificates.
    fn services(&self, shop: &[(SocketAddr, &str)], serin: &Serin) -> Vec<Value> {
        let subset = |version: &str| json!({ "name": version, "labels": { "version": version } });
        let subsets = json!({ "host": self.host("shop"), "subsets": [subset("v1"), subset("v2")] });
        vec![
            self.service("shop", self.port, "HTTP", shop),
            self.object("DestinationRule", "shop", &subsets),
            self.object("PeerAuthentication", "plain", &json!({ "mtls": { "mode": "DISABLE" } })),
            self.service("serin", 9400, "GRPC", &[(serin.grpc, "0.1.0")]),
        ]
    }

    /// Half of the requests to each release.
    fn routes(&self, more: &Value) -> Value {
        let route =
            |subset: &str| json!({ "destination": { "host": self.host("shop"), "subset": subset }, "weight": 50 });
        let mut spec = json!({ "http": [{ "name": "all", "timeout": "3s", "route": [route("v1"), route("v2")] }] });
        for (key, value) in more.as_object().into_iter().flatten() {
            spec[key] = value.clone();
        }
        self.object("VirtualService", "shop", &spec)
    }

    /// A shipped EnvoyFilter, changed as its head says.
    fn attachment(&self, file: &str, namespace: &str) -> Result<Value> {
        let text = std::fs::read_to_string(artifacts::root().join("envoy-configs/istio").join(file))?;
        let module = artifacts::filter()?.display().to_string();
        let changes = [
            (format!("namespace: {namespace}"), format!("namespace: {}", self.namespace)),
            ("/var/lib/serin/serin_filter.wasm".to_owned(), module),
            ("serin.serin-system.svc.cluster.local".to_owned(), self.host("serin")),
        ];
        for (from, _) in &changes {
            ensure!(text.contains(from), "{file} has no {from}");
        }
        Ok(serde_saphyr::from_str(&changes.iter().fold(text, |text, (from, to)| text.replace(from, to)))?)
    }

    /// Without the HTTP filters that only Istio's own build of Envoy has.
    fn plain_envoys(&self) -> Value {
        let patch = |name: &str| {
            let filter =
                json!({ "name": "envoy.filters.network.http_connection_manager", "subFilter": { "name": name } });
            json!({
                "applyTo": "HTTP_FILTER",
                "match": { "listener": { "filterChain": { "filter": filter } } },
                "patch": { "operation": "REMOVE" },
            })
        };
        let names =
            ["istio.alpn", "istio_authn", "istio.stats", "istio.metadata_exchange", "envoy.filters.http.peer_metadata"];
        self.object("EnvoyFilter", "plain-envoys", &json!({ "configPatches": names.map(patch) }))
    }

    async fn create(&self, objects: impl IntoIterator<Item = Value>) -> Result<()> {
        for object in objects {
            let of = |key: &str| object.get(key).and_then(Value::as_str).context("an object has apiVersion and kind");
            let (group, version) = of("apiVersion")?.split_once('/').context("a group")?;
            let kind = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, of("kind")?));
            let api: Api<DynamicObject> = Api::namespaced_with(self.client.clone(), &self.namespace, &kind);
            let object = serde_json::from_value(object)?;
            api.create(&PostParams::default(), &object).await.context("are Istio's CRDs installed?")?;
        }
        Ok(())
    }

    async fn serin(&self, vantage: &str) -> Result<Serin> {
        let host = self.host("shop");
        let text = format!(
            "listen: {{ grpc: \"127.0.0.1:0\", metrics: \"127.0.0.1:0\" }}\n\
             data_dir: {}\n\
             services:\n\
             - {{ name: {host}, vantage: {vantage}, baseline: v1, candidate: v2, rollback: {{ confirm_within: 15s, \
             kubernetes: {{ kind: VirtualService, namespace: {}, name: shop, host: {host} }} }} }}\n",
            json!(self.path("data")),
            self.namespace,
        );
        let config = self.path("serin.yaml");
        std::fs::write(&config, text)?;
        Serin::start(&config, &self.path("serin.log")).await
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        Path::new(self.dir.path()).join(name)
    }
}
