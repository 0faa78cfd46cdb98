//! The port of reports takes orders as well: may a pod of the mesh give them?

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use serin_proto::v1::{
    ListDecisionsRequest, PauseRequest, ResumeRequest, control_client::ControlClient, query_client::QueryClient,
};
use support::{artifacts, envoy::Envoy, mesh::Node, poll};
use tonic::{Code, Status};

use super::{Mesh, SOON};
use crate::on_a_cluster::namespace;

/// The aggregator's pod, on the port that the shipped policy names.
const POD: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 31));
const PORT: u16 = 9400;

/// Pauses and resumes at once.
async fn order(at: SocketAddr) -> Result<Result<(), Status>> {
    let mut control = ControlClient::connect(format!("http://{at}")).await?;
    Ok(match control.pause(PauseRequest::default()).await {
        Ok(_) => control.resume(ResumeRequest {}).await.map(drop),
        Err(status) => Err(status),
    })
}

fn policy(mesh: &Mesh) -> Result<Value> {
    let file = artifacts::root().join("envoy-configs/istio/install/base/authorization-policy.yaml");
    let text =
        std::fs::read_to_string(file)?.replace("namespace: serin-system", &format!("namespace: {}", mesh.namespace));
    Ok(serde_saphyr::from_str(&text)?)
}

async fn run(mesh: &Mesh) -> Result<()> {
    let serin = mesh.serin("outbound").await?;
    let (sidecar, labels) = (SocketAddr::new(POD, PORT), json!({ "app": "serin" }));
    let port = json!({ "number": PORT, "name": "grpc", "protocol": "GRPC" });
    let ingress =
        json!({ "port": port, "bind": POD, "captureMode": "NONE", "defaultEndpoint": serin.grpc.to_string() });
    let spec = json!({ "workloadSelector": { "labels": labels }, "ingress": [ingress] });
    mesh.create([
        mesh.service("serin", PORT, "GRPC", &[(sidecar, "0.1.0")]),
        mesh.object("PeerAuthentication", "plain", &json!({ "mtls": { "mode": "DISABLE" } })),
        mesh.object("Sidecar", "serin", &spec),
        mesh.plain_envoys(),
    ])
    .await?;
    let node = Node { kind: "sidecar", name: "serin", namespace: &mesh.namespace, ip: POD, labels };
    let bootstrap = node.bootstrap(mesh.istiod, format!("inbound_{POD}_{PORT}"));
    let envoy = Envoy::start_at(&bootstrap, 1, mesh.dir.path(), sidecar).await?;

    order(sidecar).await?.context("without the policy anybody may")?;
    mesh.create([policy(mesh)?]).await?;
    let denied =
        async || Ok(order(sidecar).await?.is_err_and(|status| status.code() == Code::PermissionDenied).then_some(()));
    poll::until("orders to be denied", SOON, denied).await.with_context(|| envoy.process.last_words())?;
    let mut query = QueryClient::connect(format!("http://{sidecar}")).await?;
    query.list_decisions(ListDecisionsRequest::default()).await.context("questions are still answered")?;
    ensure!(order(serin.grpc).await?.is_ok(), "one who comes in on loopback may");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "it needs an istiod: make test-mesh"]
async fn nobody_gives_orders_through_the_mesh() -> Result<()> {
    let mesh = Mesh::new("orders").await?;
    namespace::with(&mesh.client, &mesh.namespace, run(&mesh)).await
}
