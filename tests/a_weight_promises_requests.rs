//! Is a candidate found that completes far fewer requests than its weight promises, where the weights are in a cluster: those of a
//! ReleaseGuard's target, and those of `rollback.kubernetes`?

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use serde_json::{Value, json};
use serin_proto::v1::{Distribution, Outcome, ReportRequest, Series, SeriesDelta};
use support::{cluster::Cluster, feed, poll, reporter, serin::Serin};

const NAMESPACE: &str = "shop-ns";
/// A weight settles in 30 s, and missing requests are proven in about ten.
const SOON: Duration = Duration::from_secs(120);
/// Of each service: the requests of v1 and of v2 in a second. Half of them are v2's, by the weights.
const SERVED: [(&str, u64); 2] = [("v1", 200), ("v2", 10)];

fn routes(name: &str) -> Value {
    let to = |subset: &str| json!({ "destination": { "host": name, "subset": subset }, "weight": 50 });
    json!({
        "apiVersion": "networking.istio.io/v1", "kind": "VirtualService",
        "metadata": { "name": name, "namespace": NAMESPACE, "uid": name },
        "spec": { "hosts": [name], "http": [{ "route": [to("v1"), to("v2")] }] },
    })
}

fn guard() -> Value {
    json!({
        "apiVersion": "serin.dev/v1alpha1", "kind": "ReleaseGuard",
        "metadata": { "name": "shop", "namespace": NAMESPACE, "uid": "u-2", "generation": 1, "creationTimestamp": "2026-01-03T00:00:00Z" },
        "spec": {
            "service": "shop", "vantage": "gateway", "baseline": "v1", "candidate": "v2",
            "targets": [{ "kind": "VirtualService", "name": "shop", "host": "shop" }],
            "rules": { "throughput": "judged" },
        },
    })
}

fn pod() -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": { "name": "shop-v1-1", "namespace": NAMESPACE, "uid": "p-1", "creationTimestamp": "2026-01-01T00:00:00Z", "labels": { "app": "shop", "version": "v1" } },
        "spec": { "nodeName": "n1", "containers": [{ "name": "shop" }] },
        "status": { "conditions": [{ "type": "Ready", "status": "True" }] },
    })
}

#[tokio::test]
async fn a_candidate_that_completes_too_little_is_taken_out() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let cluster = Cluster::start().await?;
    let path = |kind: &str, name: &str| format!("/apis/networking.istio.io/v1/namespaces/{NAMESPACE}/{kind}/{name}");
    cluster.put(&path("virtualservices", "shop"), routes("shop"));
    cluster.put(&path("virtualservices", "till"), routes("till"));
    cluster.put(&format!("/apis/serin.dev/v1alpha1/namespaces/{NAMESPACE}/releaseguards/shop"), guard());
    cluster.put(&format!("/api/v1/namespaces/{NAMESPACE}/pods/shop-v1-1"), pod());
    let text = json!({
        "listen": { "grpc": "127.0.0.1:0", "metrics": "127.0.0.1:0" },
        "data_dir": dir.path().join("serin-data"),
        "kubernetes": { "namespaces": [NAMESPACE] },
        "services": [{
            "name": "till", "vantage": "gateway", "baseline": "v1", "candidate": "v2", "judge": { "throughput": "judged" },
            "rollback": { "kubernetes": { "kind": "VirtualService", "namespace": NAMESPACE, "name": "till", "host": "till" } },
        }],
    });
    let config = dir.path().join("serin.yaml");
    std::fs::write(&config, text.to_string())?;
    let kubeconfig = cluster.kubeconfig(dir.path())?;
    let log = dir.path().join("serin.log");
    let serin = Serin::start_in(&config, &log, &[], &[("KUBECONFIG", &kubeconfig)]).await?;
    let feed = tokio::spawn(feed::each_second(serin.grpc, reporter::gateway("gateway", 1), 1.., report));
    for service in ["shop", "till"] {
        let what = format!("the weights of {service} to be written");
        poll::until(&what, SOON, async || {
            let object = cluster.object(&path("virtualservices", service)).context("the routes are gone")?;
            Ok((object.pointer("/spec/http/0/route/1/weight") == Some(&json!(0))).then_some(()))
        })
        .await?;
        let decided = serin.decisions_of(service).await?.into_iter().next().context("no decision")?;
        let sentence = decided.verdict.unwrap_or_default().sentence;
        assert!(sentence.starts_with("throughput: "), "{service}: {sentence}");
    }
    feed.abort();
    Ok(())
}

/// What either release of both services completed in a second.
fn report(sequence: u64) -> ReportRequest {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let (mut new_series, mut deltas, mut requests) = (Vec::new(), Vec::new(), 0);
    for service in ["shop", "till"] {
        for (release, count) in SERVED {
            let series = deltas.len() as u32;
            let [service, route, pod] = [service, "all", release].map(str::to_owned);
            let outcome = Outcome::Success.into();
            new_series.push(Series { id: series, service, route, release: pod.clone(), pod, outcome });
            let counts = || Some(Distribution { bucket_gaps: vec![500], counts: vec![count] });
            deltas.push(SeriesDelta { series, upstream: counts(), total: counts(), retries: 0 });
            requests += count;
        }
    }
    let is_first = sequence == 1;
    ReportRequest {
        sequence,
        interval_start_unix_us: u64::try_from(now.as_micros()).unwrap_or(u64::MAX).saturating_sub(1_000_000),
        interval_ms: 1_000,
        new_series: if is_first { new_series } else { Vec::new() },
        deltas,
        requests_before: (sequence - 1) * requests,
        ..ReportRequest::default()
    }
}
