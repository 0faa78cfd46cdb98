//! Is the update of an Argo Rollout aborted, as `kubectl argo rollouts abort` does, and nothing else of it touched?

use std::time::Duration;

use anyhow::Result;
use serde_json::{Value, json};
use support::{cluster::Cluster, poll, serin::Serin};
use tempfile::TempDir;

use crate::a_rollback_in_the_cluster::gateway;

const ROLLOUT: &str = "/apis/argoproj.io/v1alpha1/namespaces/shop-ns/rollouts/shop";
/// A regression this large is found in about ten seconds.
const SOON: Duration = Duration::from_secs(60);

/// Brings a release.
fn rollout(release: &str) -> Value {
    json!({
        "apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout",
        "metadata": { "name": "shop", "namespace": "shop-ns", "uid": "u-1" },
        "spec": { "template": { "metadata": { "labels": { "app": "shop", "version": release } } } },
        "status": { "currentPodHash": "6cf78c66c5", "stableRS": "5b79b5f6d4", "phase": "Progressing" },
    })
}

async fn start(cluster: &Cluster, dir: &TempDir) -> Result<Serin> {
    let text = format!(
        "listen: {{ grpc: \"127.0.0.1:0\", metrics: \"127.0.0.1:0\" }}\n\
         data_dir: {}\n\
         services:\n\
         - {{ name: shop, vantage: gateway, baseline: v1, candidate: v2, rollback: {{ argo_rollout: {{ namespace: shop-ns, name: shop }} }} }}\n",
        json!(dir.path().join("serin-data"))
    );
    let (config, log) = (dir.path().join("serin.yaml"), dir.path().join("serin.log"));
    std::fs::write(&config, text)?;
    let kubeconfig = cluster.kubeconfig(dir.path())?;
    Serin::start_in(&config, &log, &[], &[("KUBECONFIG", &kubeconfig)]).await
}

/// The first of these words that a decision says.
async fn says(serin: &Serin, words: &str) -> Result<String> {
    poll::until(words, SOON, async || {
        let decisions = serin.decisions().await?;
        let mut events = decisions.iter().flat_map(|decision| &decision.events);
        Ok(events.find(|event| event.sentence.contains(words)).map(|event| event.sentence.clone()))
    })
    .await
}

#[tokio::test]
async fn when_it_brings_the_candidate() -> Result<()> {
    let (cluster, dir) = (Cluster::start().await?, tempfile::tempdir()?);
    cluster.put(ROLLOUT, rollout("v2"));
    let serin = start(&cluster, &dir).await?;
    let feed = tokio::spawn(gateway(serin.grpc));
    says(&serin, "Rollout shop-ns/shop: the update to v2 is aborted").await?;
    feed.abort();
    let mut object = cluster.object(ROLLOUT).unwrap_or_default();
    assert_eq!(object["status"]["abort"].take(), json!(true));
    object["status"].as_object_mut().unwrap().remove("abort");
    object["metadata"].as_object_mut().unwrap().remove("resourceVersion");
    assert_eq!(object, rollout("v2"), "nothing else is touched");
    let patches = cluster.asked().into_iter().filter(|asked| asked.starts_with("PATCH"));
    assert!(patches.clone().count() > 0 && patches.clone().all(|asked| asked.contains("/rollouts/shop/status?")));
    Ok(())
}

#[tokio::test]
async fn but_not_when_it_brings_another_release() -> Result<()> {
    let (cluster, dir) = (Cluster::start().await?, tempfile::tempdir()?);
    cluster.put(ROLLOUT, rollout("v3"));
    let serin = start(&cluster, &dir).await?;
    let feed = tokio::spawn(gateway(serin.grpc));
    says(&serin, "brings release v3 and v2 is to go: nothing is aborted on a guess").await?;
    feed.abort();
    assert!(cluster.asked().iter().all(|asked| !asked.starts_with("PATCH")));
    Ok(())
}
