//! The whole loop behind an ingress gateway, from the first slow request to the share that Envoy no longer gives.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::json;
use serin_proto::v1::{Decision, DecisionStage};
use support::{
    envoy::Envoy,
    load::{Load, Plan, Protocol},
    mesh::Node,
    poll,
    serin::Serin,
    service::{Behaviour, Release},
};

use super::{GATEWAY, Mesh, SOON};
use crate::on_a_cluster::namespace;

/// A pod warms up for a minute; then twice as slow is found within seconds, but on a busy machine.
const DECIDED_WITHIN: Duration = Duration::from_secs(180);

async fn reached(serin: &Serin, service: &str, stage: DecisionStage, within: Duration) -> Result<Decision> {
    let reached = async || {
        let newest = serin.decisions_of(service).await?.into_iter().next();
        Ok(newest.filter(|decision| decision.events.iter().any(|event| event.stage() == stage)))
    };
    poll::until(stage.as_str_name(), within, reached).await
}

#[expect(clippy::print_stderr, reason = "what was measured")]
async fn run(mesh: &Mesh, attachment: &str) -> Result<()> {
    let (v1, v2) = (Release::start(2, 1.0).await?, Release::start(2, 1.0).await?);
    let (serin, shop) = (mesh.serin("gateway").await?, mesh.host("shop"));
    let labels = json!({ "serin-gateway": attachment, "serin-test": mesh.namespace });
    let port = json!({ "number": mesh.port, "name": "http", "protocol": "HTTP" });
    let server = json!({ "bind": GATEWAY, "port": port, "hosts": ["*"] });
    let of = |release: &Release, version| release.addresses.iter().map(move |at| (*at, version)).collect::<Vec<_>>();
    mesh.create(mesh.services(&[of(&v1, "v1"), of(&v2, "v2")].concat(), &serin)).await?;
    mesh.create([
        mesh.object("Gateway", "shop", &json!({ "selector": labels, "servers": [server] })),
        mesh.routes(&json!({ "hosts": ["*"], "gateways": ["shop"] })),
        mesh.attachment(&format!("{attachment}-gateway.yaml"), "istio-ingress")?,
        mesh.plain_envoys(),
    ])
    .await?;
    let ip = GATEWAY.into();
    let node = Node { kind: "router", name: "gateway", namespace: &mesh.namespace, ip, labels };
    let bootstrap = node.bootstrap(mesh.istiod, format!("outbound_{GATEWAY}_{}", mesh.port));
    let envoy = Envoy::start(&bootstrap, 2, mesh.dir.path()).await?;

    let load = Load::start(Plan { requests: 500 * 600, ..Plan::new(envoy.address, Protocol::Http1) })?;
    let known = async || {
        let candidate = serin.compare_of(&shop, 0).await?.candidate;
        Ok(candidate.filter(|candidate| candidate.requests > 2_000).map(|_| ()))
    };
    let known = poll::until("the candidate's requests to be counted", SOON, known).await;
    known.with_context(|| envoy.process.last_words())?;
    ensure!(serin.decisions_of(&shop).await?.is_empty(), "decided while both were alike");

    v2.behave(Behaviour::AllSlow(2.0));
    let onset = Instant::now();
    reached(&serin, &shop, DecisionStage::Decided, DECIDED_WITHIN).await?;
    let decided = onset.elapsed();
    let confirmed = reached(&serin, &shop, DecisionStage::Confirmed, SOON).await?;
    let (served, gone) = (v1.served(), v2.served());
    poll::until("v1 to serve 500 more", SOON, async || Ok((v1.served() > served + 500).then_some(()))).await?;
    ensure!(v2.served() == gone, "v2 still serves");

    let tally = load.stop(SOON).await;
    let ended = envoy.idle(SOON).await?;
    ensure!(ended == tally.sent, "Envoy ended {ended} requests, and {} were sent", tally.sent);
    serin.counts(ended, SOON).await?;
    eprintln!("decided {:.1} s after the onset; {ended} requests, each counted once", decided.as_secs_f64());
    confirmed.events.iter().for_each(|event| eprintln!("{} {}", event.unix_us, event.sentence));
    Ok(())
}

async fn taken_out(attachment: &str) -> Result<()> {
    let mesh = Mesh::new(attachment).await?;
    namespace::with(&mesh.client, &mesh.namespace, run(&mesh, attachment)).await
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "it needs an istiod: make test-mesh"]
async fn a_slow_release_is_taken_out_by_an_access_logger() -> Result<()> {
    taken_out("access-logger").await
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "it needs an istiod: make test-mesh"]
async fn a_slow_release_is_taken_out_by_an_http_filter() -> Result<()> {
    taken_out("http-filter").await
}
