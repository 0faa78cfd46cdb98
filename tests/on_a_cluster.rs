//! Do a rollback, another writer, a deleted object, a takeover and a pause go as they should on a cluster? On an imitated one in `make test`, and with
//! `make test-cluster` on the one that KUBECONFIG names: a bare API server with Istio's CRDs is enough. It makes a namespace of its own there,
//! feeds reports itself, and deletes the namespace in the end, with what is in it.

mod kinds;
pub(crate) mod namespace;
mod release_guard;

use std::{path::PathBuf, time::Duration};

use anyhow::{Context, Result};
use k8s_openapi::api::coordination::v1::Lease;
use kube::{
    Api, Config,
    api::{DeleteParams, DynamicObject, Patch, PatchParams},
    config::{KubeConfigOptions, Kubeconfig},
};
use serde_json::{Value, json};
use serin_kubernetes::{connect, lease::PAUSED_BECAUSE, release_guard::TargetKind};
use serin_proto::v1::DecisionStage;
use support::{cluster::Cluster, poll, serin::Serin};
use tempfile::TempDir;

use crate::{
    a_pause_holds_until_a_person_resumes::reaches,
    a_rollback_in_the_cluster::{gateway, virtual_service},
    two_replicas_one_acts::leads,
};

/// A regression is found in about ten seconds, and a takeover takes less than 15.
const SOON: Duration = Duration::from_secs(60);

/// What is needed on a cluster, whichever.
struct Flows {
    cluster: serin_kubernetes::cluster::Cluster,
    kubeconfig: PathBuf,
    namespace: String,
    dir: TempDir,
}

impl Flows {
    fn new(config: Config, kubeconfig: PathBuf) -> Result<Self> {
        let dir = tempfile::Builder::new().prefix("serin-cluster-").tempdir()?;
        let namespace = format!("serin-test-{}", std::process::id());
        let cluster = serin_kubernetes::cluster::Cluster::new(connect::client(config)?);
        Ok(Flows { cluster, kubeconfig, namespace, dir })
    }

    /// All of them, in a namespace that is deleted afterwards, whatever happened.
    async fn run(&self) -> Result<()> {
        namespace::with(self.cluster.client(), &self.namespace, self.all()).await
    }

    async fn all(&self) -> Result<()> {
        let with_one_object = async {
            self.a_rollback_is_written_and_held().await.context("a rollback is written and held")?;
            self.what_was_deleted_is_not_made_again().await.context("what was deleted is not made again")?;
            self.another_replica_takes_over().await.context("another replica takes over")?;
            self.a_release_guard_is_a_trial().await.context("a ReleaseGuard is a trial")
        };
        let with_others = async { self.every_kind_is_written().await.context("every kind is written") };
        tokio::try_join!(with_one_object, with_others).map(|_| ())
    }

    async fn a_rollback_is_written_and_held(&self) -> Result<()> {
        self.make_routes().await?;
        let serin = self.serin("held", "").await?;
        let feed = tokio::spawn(gateway(serin.grpc));
        self.has_weights(100, 0).await?;
        let object = self.routes().await?.get("shop").await?;
        anyhow::ensure!(object.data.pointer("/spec/http/0/timeout") == Some(&json!("3s")), "nothing else is touched");
        // As Argo CD would.
        let back = json!([
            { "op": "replace", "path": "/spec/http/0/route/0/weight", "value": 90 },
            { "op": "replace", "path": "/spec/http/0/route/1/weight", "value": 10 },
        ]);
        let patch = Patch::<()>::Json(serde_json::from_value(back)?);
        self.routes().await?.patch("shop", &PatchParams::apply("another-writer"), &patch).await?;
        self.has_weights(90, 10).await?;
        self.has_weights(100, 0).await?;
        feed.abort();
        Ok(())
    }

    async fn what_was_deleted_is_not_made_again(&self) -> Result<()> {
        self.routes().await?.delete("shop", &DeleteParams::default()).await?;
        let serin = self.serin("deleted", "").await?;
        let feed = tokio::spawn(gateway(serin.grpc));
        let said = poll::until("a rollback that fails", SOON, async || {
            let newest = serin.decisions().await?.into_iter().next();
            let failed = |decision: &serin_proto::v1::Decision| {
                let event = decision.events.iter().find(|event| event.stage() == DecisionStage::Failed)?;
                Some(event.sentence.clone())
            };
            Ok(newest.as_ref().and_then(failed))
        });
        let said = said.await?;
        feed.abort();
        anyhow::ensure!(said.contains("VirtualService"), "{said}");
        anyhow::ensure!(self.routes().await?.get_opt("shop").await?.is_none(), "it was made again");
        Ok(())
    }

    async fn another_replica_takes_over(&self) -> Result<()> {
        self.make_routes().await?;
        let lease = format!("high_availability: {{ lease: {}/serin }}\n", self.namespace);
        let mut first = self.serin("first", &lease).await?;
        leads(&first).await?;
        let second = self.serin("second", &lease).await?;
        anyhow::ensure!(poll::get(second.metrics, "/readyz").await.is_none(), "two of them lead");
        self.annotate(json!("a drill")).await?;
        first.process.kill();
        leads(&second).await?;
        let feed = tokio::spawn(gateway(second.grpc));
        let said = reaches(&second, DecisionStage::NotWritten).await?;
        anyhow::ensure!(said.starts_with("held back: serin is paused") && said.contains("(a drill)"), "{said}");
        self.annotate(Value::Null).await?;
        self.has_weights(100, 0).await?;
        feed.abort();
        Ok(())
    }

    /// As `kubectl annotate lease serin serin.dev/paused-because=...`.
    async fn annotate(&self, because: Value) -> Result<()> {
        let leases: Api<Lease> = Api::namespaced(self.cluster.client().clone(), &self.namespace);
        let patch = Patch::Merge(json!({ "metadata": { "annotations": { PAUSED_BECAUSE: because } } }));
        leases.patch("serin", &PatchParams::default(), &patch).await.map(drop).context("cannot annotate the Lease")
    }

    async fn routes(&self) -> Result<Api<DynamicObject>> {
        let version = self.cluster.version(TargetKind::VirtualService).await?;
        Ok(self.objects(TargetKind::VirtualService, version))
    }

    async fn make_routes(&self) -> Result<()> {
        let version = self.cluster.version(TargetKind::VirtualService).await?;
        self.make(TargetKind::VirtualService, version, "shop", virtual_service()["spec"].take()).await
    }

    async fn has_weights(&self, baseline: u64, candidate: u64) -> Result<()> {
        let weight = |object: &Value, at| object.pointer(&format!("/spec/http/0/route/{at}/weight"))?.as_u64();
        let what = format!("weights of {baseline} and {candidate}");
        poll::until(&what, SOON, async || {
            let object = self.routes().await?.get("shop").await?.data;
            Ok(((weight(&object, 0), weight(&object, 1)) == (Some(baseline), Some(candidate))).then_some(()))
        })
        .await
    }

    async fn serin(&self, name: &str, more: &str) -> Result<Serin> {
        let object = format!("kind: VirtualService, namespace: {}, name: shop, host: shop", self.namespace);
        self.serin_of(name, more, &object).await
    }

    async fn serin_of(&self, name: &str, more: &str, object: &str) -> Result<Serin> {
        let data = self.dir.path().join(name);
        let text = format!(
            "listen: {{ grpc: \"127.0.0.1:0\", metrics: \"127.0.0.1:0\" }}\n\
             data_dir: {}\n{more}\
             services:\n\
             - {{ name: shop, vantage: gateway, baseline: v1, candidate: v2, rollback: {{ kubernetes: {{ \
             {object} }} }} }}\n",
            json!(data)
        );
        let config = self.dir.path().join(format!("{name}.yaml"));
        std::fs::write(&config, text)?;
        let log = self.dir.path().join(format!("{name}.log"));
        Serin::start_in(&config, &log, &[], &[("KUBECONFIG", &self.kubeconfig)]).await
    }
}

#[tokio::test]
async fn the_flows_go_as_they_should_on_an_imitated_cluster() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let cluster = Cluster::start().await?;
    let kubeconfig = cluster.kubeconfig(dir.path())?;
    let read = Kubeconfig::read_from(&kubeconfig)?;
    let config = Config::from_custom_kubeconfig(read, &KubeConfigOptions::default()).await?;
    let flows = Flows::new(config, kubeconfig)?;
    flows.run().await?;
    assert!(cluster.list("/api/v1/namespaces").is_empty(), "nothing is left behind");
    Ok(())
}

#[tokio::test]
#[ignore = "it needs a cluster: make test-cluster"]
async fn the_flows_go_as_they_should_on_the_cluster_of_kubeconfig() -> Result<()> {
    let named = std::env::var_os("KUBECONFIG").context("set KUBECONFIG to the cluster to test on")?;
    Flows::new(Config::infer().await?, named.into())?.run().await
}
