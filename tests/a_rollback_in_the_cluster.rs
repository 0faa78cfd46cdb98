//! Is a regression taken out of traffic through the API server? `serin serve` is told of a slow candidate by an imitated
//! gateway, and patches the weights of a VirtualService.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Result;
use serde_json::{Value, json};
use serin_proto::{
    convert,
    v1::{Decision, DecisionStage, Outcome, ReportRequest, Reporter, Series, SeriesDelta},
};
use serin_sketch::{Bucket, Counts, Micros};
use support::{api_server::ApiServer, feed, poll, reporter, serin::Serin};
use tempfile::TempDir;
use tokio::task::JoinHandle;

pub(crate) const PATH: &str = "/apis/networking.istio.io/v1/namespaces/shop-ns/virtualservices/shop";
/// A regression this large is found in about ten seconds.
const SOON: Duration = Duration::from_secs(60);

/// Both releases have subsets.
pub(crate) fn virtual_service() -> Value {
    let route =
        |subset: &str, weight: u32| json!({ "destination": { "host": "shop", "subset": subset }, "weight": weight });
    json!({
        "apiVersion": "networking.istio.io/v1",
        "kind": "VirtualService",
        "metadata": { "name": "shop", "namespace": "shop-ns", "uid": "u-1", "resourceVersion": "7" },
        "spec": { "hosts": ["shop"], "http": [{ "timeout": "3s", "route": [route("v1", 90), route("v2", 10)] }] },
    })
}

struct Cluster {
    api: ApiServer,
    serin: Serin,
    gateway: JoinHandle<Result<()>>,
    _dir: TempDir,
}

impl Cluster {
    async fn start(forbids: bool, rollback: &str) -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let api = ApiServer::start(PATH, virtual_service(), forbids).await?;
        let text = format!(
            "listen: {{ grpc: \"127.0.0.1:0\", metrics: \"127.0.0.1:0\" }}\n\
             data_dir: {}\n\
             services:\n\
             - {{ name: shop, vantage: gateway, baseline: v1, candidate: v2, rollback: {{ {rollback} kubernetes: {{ kind: \
             VirtualService, namespace: shop-ns, name: shop, host: shop }} }} }}\n",
            json!(dir.path().join("serin-data"))
        );
        let config = dir.path().join("serin.yaml");
        std::fs::write(&config, text)?;
        let kubeconfig = api.kubeconfig(dir.path())?;
        let log = dir.path().join("serin.log");
        let serin = Serin::start_in(&config, &log, &[], &[("KUBECONFIG", &kubeconfig)]).await?;
        let gateway = tokio::spawn(gateway(serin.grpc));
        Ok(Cluster { api, serin, gateway, _dir: dir })
    }

    /// The decision, once something of this stage happened to it.
    async fn decided(&self, stage: DecisionStage) -> Result<(Decision, String)> {
        poll::until("a decision of this stage", SOON, async || {
            let newest = self.serin.decisions().await?.into_iter().next();
            Ok(newest.and_then(|decision| {
                let event = decision.events.iter().find(|event| event.stage() == stage)?;
                let sentence = event.sentence.clone();
                Some((decision, sentence))
            }))
        })
        .await
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.gateway.abort();
    }
}

/// Reports each second 50 requests of either release, those of v2 four times as slow.
pub(crate) async fn gateway(grpc: std::net::SocketAddr) -> Result<()> {
    gateway_of(grpc, 1, 4).await
}

/// The same with those of v2 so many times as slow. `boot`: another one each time.
pub(crate) async fn gateway_of(grpc: std::net::SocketAddr, boot: u64, times: u64) -> Result<()> {
    let reporter = Reporter { boot_nonce: boot, ..reporter::gateway("gateway", 1) };
    feed::each_second(grpc, reporter, 1.., |sequence| report(sequence, times)).await
}

fn report(sequence: u64, slower: u64) -> ReportRequest {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let latencies = |times: u64| -> Counts { (1..=50).map(|at| (Bucket::of(Micros(times * 400 * at)), 1)).collect() };
    let delta = |(series, times)| {
        let counts = convert::to_wire(&latencies(times));
        SeriesDelta { series, upstream: Some(counts.clone()), total: Some(counts), retries: 0 }
    };
    let series = |(id, release): (u32, &str)| Series {
        id,
        service: "shop".to_owned(),
        route: "all".to_owned(),
        release: release.to_owned(),
        pod: format!("{release}-pod"),
        outcome: Outcome::Success.into(),
    };
    let first = sequence == 1;
    ReportRequest {
        sequence,
        interval_start_unix_us: (now.as_micros() as u64).saturating_sub(1_000_000),
        interval_ms: 1_000,
        new_series: if first { [(0, "v1"), (1, "v2")].into_iter().map(series).collect() } else { Vec::new() },
        deltas: [(0, 1), (1, slower)].into_iter().map(delta).collect(),
        requests_before: (sequence - 1) * 100,
        ..ReportRequest::default()
    }
}

#[tokio::test]
async fn a_slow_candidate_is_taken_out_of_a_virtual_service() -> Result<()> {
    let cluster = Cluster::start(false, "").await?;
    let (_, sentence) = cluster.decided(DecisionStage::Written).await?;
    assert!(sentence.starts_with("VirtualService shop-ns/shop: "), "{sentence}");
    let object = cluster.api.object();
    let weights: Vec<_> = (0..2).map(|at| object.pointer(&format!("/spec/http/0/route/{at}/weight"))).collect();
    assert_eq!(weights, [Some(&json!(100)), Some(&json!(0))], "{object}");
    assert_eq!(object.pointer("/spec/http/0/timeout"), Some(&json!("3s")), "nothing else is touched");
    assert_eq!(cluster.api.patches().len(), 1);
    Ok(())
}

#[tokio::test]
async fn a_dry_run_has_the_server_check_the_patch_and_keep_nothing() -> Result<()> {
    let cluster = Cluster::start(false, "dry_run: true,").await?;
    let (decision, sentence) = cluster.decided(DecisionStage::NotWritten).await?;
    assert!(sentence.contains("VirtualService shop-ns/shop"), "{sentence}");
    assert!(cluster.api.patches().iter().all(|patch| patch.contains("dryRun=All")), "{decision:?}");
    assert_eq!(cluster.api.object(), virtual_service());
    Ok(())
}

#[tokio::test]
async fn what_is_forbidden_is_said_with_what_to_do() -> Result<()> {
    let cluster = Cluster::start(true, "").await?;
    let (_, sentence) = cluster.decided(DecisionStage::Failed).await?;
    assert!(sentence.contains("serin may not patch VirtualService shop-ns/shop"), "{sentence}");
    assert_eq!(cluster.api.object(), virtual_service());
    Ok(())
}
