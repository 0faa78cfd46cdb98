//! A request between two pods passes two sidecars: is it counted once by each?

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use support::{
    envoy::Envoy,
    load::{self, Plan, Protocol},
    mesh::Node,
    serin::Serin,
    service::Release,
};

use super::{Mesh, SOON};
use crate::on_a_cluster::namespace;

const REQUESTS: u64 = 600;
/// Loopback has an address for each pod.
const CALLER: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 11));
const V1: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 21));
const V2: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 22));

/// What a pod's sidecar listens at: no iptables lead anything to it. `hosts` are those that it calls.
fn sidecar(mesh: &Mesh, name: &str, labels: &Value, ingress: Option<Value>, egress: &[(&str, u16, IpAddr)]) -> Value {
    let listener = |(host, port, ip): &(&str, u16, IpAddr)| {
        let port =
            json!({ "number": port, "name": "port", "protocol": if *host == "serin" { "GRPC" } else { "HTTP" } });
        json!({ "port": port, "bind": ip, "captureMode": "NONE", "hosts": [format!("./{}", mesh.host(host))] })
    };
    let egress: Vec<Value> = egress.iter().map(listener).collect();
    let mut spec = json!({ "workloadSelector": { "labels": labels }, "egress": egress });
    if let Some(ingress) = ingress {
        spec["ingress"] = json!([ingress]);
    }
    mesh.object("Sidecar", name, &spec)
}

struct Pod<'a> {
    name: &'a str,
    ip: IpAddr,
    labels: Value,
}

impl Pod<'_> {
    async fn envoy(&self, mesh: &Mesh, stat_prefix: &str) -> Result<Envoy> {
        let dir = mesh.path(self.name);
        std::fs::create_dir_all(&dir)?;
        let node = Node {
            kind: "sidecar",
            name: self.name,
            namespace: &mesh.namespace,
            ip: self.ip,
            labels: self.labels.clone(),
        };
        let prefix = format!("{stat_prefix}_{}_{}", self.ip, mesh.port);
        Envoy::start_at(&node.bootstrap(mesh.istiod, prefix), 2, &dir, SocketAddr::new(self.ip, mesh.port)).await
    }
}

async fn of_a_release<'a>(mesh: &Mesh, attachment: &str, name: &'a str, ip: IpAddr, app: &Release) -> Result<Pod<'a>> {
    let labels = json!({ "app": mesh.host("shop"), "version": name, "serin-inbound": attachment });
    let port = json!({ "number": mesh.port, "name": "http", "protocol": "HTTP" });
    let to = app.addresses.first().context("an instance")?;
    let ingress = json!({ "port": port, "bind": ip, "captureMode": "NONE", "defaultEndpoint": to.to_string() });
    mesh.create([sidecar(mesh, name, &json!({ "version": name }), Some(ingress), &[("serin", 9400, ip)])]).await?;
    Ok(Pod { name, ip, labels })
}

async fn counted(serin: &Serin, release: &str, vantage: &str) -> Result<u64> {
    serin.requests(&[("release", release), ("vantage", vantage)]).await
}

async fn run(mesh: &Mesh, attachment: &str) -> Result<()> {
    let (app1, app2) = (Release::start(1, 0.1).await?, Release::start(1, 0.1).await?);
    let serin = mesh.serin("outbound").await?;
    let at = |ip| SocketAddr::new(ip, mesh.port);
    mesh.create(mesh.services(&[(at(V1), "v1"), (at(V2), "v2")], &serin)).await?;
    let labels = json!({ "app": "caller", "serin-outbound": attachment });
    let calls = [("shop", mesh.port, CALLER), ("serin", 9400, CALLER)];
    mesh.create([
        mesh.routes(&json!({ "hosts": [mesh.host("shop")] })),
        sidecar(mesh, "caller", &json!({ "app": "caller" }), None, &calls),
        mesh.attachment(&format!("{attachment}-inbound.yaml"), "shop")?,
        mesh.attachment(&format!("{attachment}-outbound.yaml"), "shop")?,
        mesh.plain_envoys(),
    ])
    .await?;
    let v1 = of_a_release(mesh, attachment, "v1", V1, &app1).await?.envoy(mesh, "inbound").await?;
    let v2 = of_a_release(mesh, attachment, "v2", V2, &app2).await?.envoy(mesh, "inbound").await?;
    let caller = Pod { name: "caller", ip: CALLER, labels }.envoy(mesh, "outbound").await?;

    let host = Some(("host", "shop"));
    let tally =
        load::run(Plan { requests: REQUESTS, header: host, ..Plan::new(caller.address, Protocol::Http1) }).await?;
    ensure!(tally.ok == REQUESTS, "{tally:?}");
    serin.counts(2 * REQUESTS, SOON).await.with_context(|| caller.process.last_words())?;
    for (release, sidecar) in [("v1", &v1), ("v2", &v2)] {
        let served = sidecar.idle(SOON).await?;
        ensure!(served > REQUESTS / 4, "{release} served {served}");
        for vantage in ["inbound", "outbound"] {
            let counted = counted(&serin, release, vantage).await?;
            ensure!(counted == served, "{release} {vantage}: {counted} of {served}");
        }
    }
    Ok(())
}

async fn once_by_each(attachment: &str) -> Result<()> {
    let mesh = Mesh::new(attachment).await?;
    namespace::with(&mesh.client, &mesh.namespace, run(&mesh, attachment)).await
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "it needs an istiod: make test-mesh"]
async fn a_request_is_counted_once_by_each_access_logger() -> Result<()> {
    once_by_each("access-logger").await
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "it needs an istiod: make test-mesh"]
async fn a_request_is_counted_once_by_each_http_filter() -> Result<()> {
    once_by_each("http-filter").await
}
