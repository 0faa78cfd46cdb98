//! Does the whole loop run on a real mesh, from a request to the share that Envoy no longer gives? An istiod and its API server configure the
//! Envoy, the shipped EnvoyFilter attaches the filter, and what is rolled back is the user's VirtualService. With
//! `make test-mesh` on those that ISTIOD and KUBECONFIG name; nothing else of a cluster is needed: releases, Envoy and
//! load run here, on loopback.

use std::{
    net::{Ipv4Addr, SocketAddr, TcpListener},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use kube::{
    Api, Client, Config,
    api::{ApiResource, DynamicObject, GroupVersionKind, PostParams},
};
use serde_json::{Value, json};
use serin_kubernetes::connect;
use serin_proto::v1::{Decision, DecisionStage};
use support::{
    artifacts,
    envoy::Envoy,
    load::{Load, Plan, Protocol},
    mesh, poll,
    serin::Serin,
    service::{Behaviour, Release},
};

use crate::on_a_cluster::namespace;

const SOON: Duration = Duration::from_secs(60);
/// A tail that is twice as slow is found within this.
const DECIDED_WITHIN: Duration = Duration::from_secs(240);

struct Mesh {
    client: Client,
    istiod: SocketAddr,
    namespace: String,
    port: u16,
    v1: Release,
    v2: Release,
}

impl Mesh {
    async fn new() -> Result<Self> {
        let istiod = std::env::var("ISTIOD")
            .context("set ISTIOD to where an istiod answers in plain text, as 127.0.0.1:15010")?;
        let client = connect::client(Config::infer().await?)?;
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let (v1, v2) = (Release::start(2, 0.1).await?, Release::start(2, 0.1).await?);
        let namespace = format!("serin-mesh-{}", std::process::id());
        Ok(Mesh { client, istiod: istiod.parse()?, namespace, port: free.local_addr()?.port(), v1, v2 })
    }

    fn host(&self, name: &str) -> String {
        format!("{name}.{}.svc.cluster.local", self.namespace)
    }

    /// What the user has: two releases behind a gateway, half of the requests each.
    fn users_objects(&self) -> Vec<Value> {
        let host = self.host("shop");
        let endpoint = |at: &SocketAddr, labels: &Value| json!({ "address": at.ip(), "ports": { "http": at.port() }, "labels": labels });
        let of = |release: &Release, version: &str| {
            let labels = json!({ "version": version });
            release.addresses.iter().map(|at| endpoint(at, &labels)).collect::<Vec<_>>()
        };
        let route = |subset: &str| json!({ "destination": { "host": host, "subset": subset }, "weight": 50 });
        let subset = |version: &str| json!({ "name": version, "labels": { "version": version } });
        vec![
            self.object("Gateway", "shop", json!({
                "selector": self.labels(),
                "servers": [{ "bind": "127.0.0.1", "port": { "number": self.port, "name": "http", "protocol": "HTTP" }, "hosts": ["*"] }],
            })),
            self.service("shop", "HTTP", [of(&self.v1, "v1"), of(&self.v2, "v2")].concat()),
            self.object("DestinationRule", "shop", json!({ "host": host, "subsets": [subset("v1"), subset("v2")] })),
            self.object("VirtualService", "shop", json!({
                "hosts": ["*"], "gateways": ["shop"],
                "http": [{ "name": "all", "timeout": "3s", "route": [route("v1"), route("v2")] }],
            })),
        ]
    }

    fn service(&self, name: &str, protocol: &str, endpoints: Vec<Value>) -> Value {
        self.object(
            "ServiceEntry",
            name,
            json!({
                "hosts": [self.host(name)], "location": "MESH_INTERNAL", "resolution": "STATIC",
                "ports": [{ "number": 9400, "name": "http", "protocol": protocol }],
                "endpoints": endpoints,
            }),
        )
    }

    fn object(&self, kind: &str, name: &str, spec: Value) -> Value {
        let metadata = json!({ "name": name, "namespace": self.namespace });
        json!({ "apiVersion": "networking.istio.io/v1", "kind": kind, "metadata": metadata, "spec": spec })
    }

    fn labels(&self) -> Value {
        json!({ "serin-gateway": "access-logger", "serin-test": self.namespace })
    }

    /// As its head says that it is to be changed.
    fn shipped_filter(&self) -> Result<Value> {
        let file = artifacts::root().join("envoy-configs/istio/access-logger-gateway.yaml");
        let text = std::fs::read_to_string(file)?;
        let module = artifacts::filter()?.display().to_string();
        let changes = [
            ("namespace: istio-ingress", format!("namespace: {}", self.namespace)),
            ("/var/lib/serin/serin_filter.wasm", module),
            ("serin.serin-system.svc.cluster.local", self.host("serin")),
        ];
        for (from, _) in &changes {
            ensure!(text.contains(from), "the shipped EnvoyFilter has no {from}");
        }
        Ok(serde_saphyr::from_str(&changes.iter().fold(text, |text, (from, to)| text.replace(from, to)))?)
    }

    /// Without the HTTP filters that only Istio's own build of Envoy has.
    fn plain_envoy(&self) -> Value {
        let patch = |name: &str| {
            json!({
                "applyTo": "HTTP_FILTER",
                "match": { "listener": { "filterChain": { "filter": {
                    "name": "envoy.filters.network.http_connection_manager", "subFilter": { "name": name } } } } },
                "patch": { "operation": "REMOVE" },
            })
        };
        let patches =
            ["istio.alpn", "istio.stats", "istio.metadata_exchange", "envoy.filters.http.peer_metadata"].map(patch);
        let spec = json!({
            "workloadSelector": { "labels": self.labels() },
            "configPatches": patches,
        });
        let mut object = self.object("EnvoyFilter", "plain-envoy", spec);
        object["apiVersion"] = json!("networking.istio.io/v1alpha3");
        object
    }

    fn api(&self, object: &Value) -> Result<Api<DynamicObject>> {
        let named = |key: &str| object.get(key).and_then(Value::as_str).context("an object has apiVersion and kind");
        let (group, version) = named("apiVersion")?.split_once('/').context("a group")?;
        let kind = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, named("kind")?));
        Ok(Api::namespaced_with(self.client.clone(), &self.namespace, &kind))
    }

    async fn create(&self, object: Value) -> Result<()> {
        let api = self.api(&object)?;
        api.create(&PostParams::default(), &serde_json::from_value(object)?)
            .await
            .context("are Istio's CRDs installed?")?;
        Ok(())
    }

    async fn serin(&self, dir: &std::path::Path) -> Result<Serin> {
        let text = format!(
            "listen: {{ grpc: \"127.0.0.1:0\", metrics: \"127.0.0.1:0\" }}\n\
             data_dir: {}\n\
             services:\n\
             - {{ name: {host}, vantage: gateway, baseline: v1, candidate: v2, rollback: {{ confirm_within: 15s, kubernetes: {{ \
             kind: VirtualService, namespace: {}, name: shop, host: {host} }} }} }}\n",
            json!(dir.join("data")),
            self.namespace,
            host = self.host("shop"),
        );
        let config = dir.join("serin.yaml");
        std::fs::write(&config, text)?;
        Serin::start(&config, &dir.join("serin.log")).await
    }

    async fn run(&self) -> Result<()> {
        let dir = tempfile::Builder::new().prefix("serin-mesh-").tempdir()?;
        let (serin, shop) = (self.serin(dir.path()).await?, self.host("shop"));
        for object in self.users_objects() {
            self.create(object).await?;
        }
        let aggregator = json!({ "address": serin.grpc.ip(), "ports": { "http": serin.grpc.port() } });
        self.create(self.service("serin", "GRPC", vec![aggregator])).await?;
        self.create(self.shipped_filter()?).await?;
        self.create(self.plain_envoy()).await?;

        let bootstrap = mesh::gateway(self.istiod, &self.namespace, &self.labels(), self.port);
        let envoy = Envoy::start(&bootstrap, 2, dir.path()).await?;
        let load = Load::start(Plan { requests: 500 * 600, ..Plan::new(envoy.address, Protocol::Http1) })?;
        let known = async || {
            Ok(serin.compare_of(&shop, 0).await?.candidate.filter(|candidate| candidate.requests > 2_000).map(|_| ()))
        };
        poll::until("the candidate's requests to be counted", SOON, known)
            .await
            .with_context(|| envoy.process.last_words())?;
        ensure!(serin.decisions_of(&shop).await?.is_empty(), "decided while both were alike");

        self.v2.behave(Behaviour::TailSlow(2.0));
        let onset = Instant::now();
        reached(&serin, &shop, DecisionStage::Decided, DECIDED_WITHIN).await?;
        let decided = onset.elapsed();
        let confirmed = reached(&serin, &shop, DecisionStage::Confirmed, SOON).await?;
        println!("decided {:.1} s after the onset", decided.as_secs_f64());
        for event in &confirmed.events {
            println!("{}: {} {}", event.unix_us, event.stage().as_str_name(), event.sentence);
        }
        let (v1, v2) = (self.v1.served(), self.v2.served());
        poll::until("v1 to serve 500 more", SOON, async || Ok((self.v1.served() > v1 + 500).then_some(()))).await?;
        ensure!(self.v2.served() == v2, "v2 still serves");

        let tally = load.stop(SOON).await;
        let ended = envoy.idle(SOON).await?;
        ensure!(ended == tally.sent, "Envoy ended {ended} requests, and {} were sent", tally.sent);
        serin.counts(ended, SOON).await?;
        println!("{ended} requests, each counted once");
        Ok(())
    }
}

async fn reached(serin: &Serin, service: &str, stage: DecisionStage, within: Duration) -> Result<Decision> {
    let reached = async || {
        let newest = serin.decisions_of(service).await?.into_iter().next();
        Ok(newest.filter(|decision| decision.events.iter().any(|event| event.stage() == stage)))
    };
    poll::until(stage.as_str_name(), within, reached).await
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "it needs an istiod: make test-mesh"]
async fn a_slow_release_is_taken_out_of_a_real_mesh() -> Result<()> {
    let mesh = Mesh::new().await?;
    namespace::with(&mesh.client, &mesh.namespace, mesh.run()).await
}
