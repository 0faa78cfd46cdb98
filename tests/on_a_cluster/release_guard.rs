//! A ReleaseGuard on a cluster: which release is on trial is found, the trial goes on after a kill, a slow release is rolled back, and status
//! and Events say so.

use std::{
    collections::BTreeSet,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, Result, ensure};
use k8s_openapi::{
    api::{
        apps::v1::ReplicaSet,
        core::v1::{Pod, ServiceAccount},
        events::v1::Event,
    },
    apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
};
use kube::{
    Api, CustomResourceExt as _, Resource, ResourceExt as _,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams},
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};
use serin_kubernetes::release_guard::ReleaseGuard;
use support::{poll, serin::Serin};

use super::{Flows, SOON};
use crate::a_trial_goes_on_after_a_restart::{BEFORE, each_is_evidence_once, report};

/// A ReleaseGuard's CRD that was not there before is not left behind.
struct Installed(Option<Api<CustomResourceDefinition>>);

/// Those of a status: a status with a field that the CRD does not have is not written at all.
fn fields(crd: &CustomResourceDefinition) -> Result<BTreeSet<String>> {
    let crd = serde_json::to_value(crd)?;
    let status = crd.pointer("/spec/versions/0/schema/openAPIV3Schema/properties/status/properties");
    let fields = status.and_then(Value::as_object).context("a CRD without a status")?;
    Ok(fields.keys().cloned().collect())
}

impl Flows {
    pub(super) async fn a_release_guard_is_a_trial(&self) -> Result<()> {
        let crd = self.install().await?;
        let result = self.trial().await;
        if let Some(crds) = crd.0 {
            crds.delete(ReleaseGuard::crd_name(), &DeleteParams::default()).await?;
        }
        result
    }

    /// Installs the CRD, where there is none.
    async fn install(&self) -> Result<Installed> {
        let crds: Api<CustomResourceDefinition> = Api::all(self.cluster.client().clone());
        if let Some(crd) = crds.get_opt(ReleaseGuard::crd_name()).await? {
            ensure!(
                fields(&crd)? == fields(&ReleaseGuard::crd())?,
                "another version's CRD is installed: apply this one's"
            );
            return Ok(Installed(None));
        }
        crds.create(&PostParams::default(), &ReleaseGuard::crd()).await.context("cannot install the CRD")?;
        poll::until("ReleaseGuards to be known", SOON, async || {
            Ok(self.api::<ReleaseGuard>().list(&ListParams::default()).await.ok())
        })
        .await?;
        Ok(Installed(Some(crds)))
    }

    async fn trial(&self) -> Result<()> {
        self.routes().await?.delete("shop", &DeleteParams::default()).await?;
        self.make_routes().await?;
        let mut serin = self.guarding().await?;
        let spec = json!({
            "service": "shop", "vantage": "gateway", "targets": [{ "kind": "VirtualService", "name": "shop", "host": "shop" }],
        });
        let guard = json!({ "metadata": { "name": "shop" }, "spec": spec });
        let guard: ReleaseGuard = self.create(guard).await?;
        // Nobody knows which of the two is on trial, and it is told.
        self.says("Ready=False NoPods").await?;
        self.make_pods().await?;
        self.says("Ready=True Guarding").await?;
        report(serin.grpc, 1..BEFORE + 1).await?;
        self.on_trial().await?;
        // It goes on with the trial that the status tells of.
        serin.process.kill();
        let serin = self.guarding().await?;
        let guarded = async || Ok(poll::get(serin.metrics, "/v1/verdict/shop").await);
        poll::until("the service to be guarded again", SOON, guarded).await?;
        let feed = tokio::spawn(report(serin.grpc, BEFORE + 1..1_000));
        self.has_weights(100, 0).await?;
        each_is_evidence_once(&serin.decisions().await?.pop().context("no decision")?)?;
        self.says("RolledBack=True ").await?;
        let status = self.guard().await?.status.context("no status")?;
        let releases = (status.baseline.as_deref(), status.candidate.as_deref());
        ensure!(releases == (Some("v1"), Some("v2")), "{releases:?}");
        ensure!(status.observed_generation == guard.metadata.generation, "{:?}", status.observed_generation);
        ensure!(status.sentence.as_ref().is_some_and(|sentence| sentence.contains("slower")), "{:?}", status.sentence);
        self.deploy_anew("v2").await?;
        self.says("RolledBack=False Cleared").await?;
        feed.abort();
        for told in [
            "Warning NoPods",
            "Normal Guarding",
            "Warning Regressed",
            "Normal Decided",
            "Normal Written",
            "Normal DeployedAnew",
            "Normal Cleared",
        ] {
            self.told(&guard, told).await?;
        }
        self.api::<ReleaseGuard>().delete("shop", &DeleteParams::default()).await?;
        poll::until("nothing to be guarded", SOON, async || {
            let said = poll::get(serin.metrics, "/v1/verdict/shop").await;
            Ok(said.filter(|said| said.contains("not guarded yet")).map(drop))
        })
        .await
    }

    /// Waits for a condition, as `Ready=True Guarding`.
    async fn says(&self, wanted: &str) -> Result<()> {
        poll::until(wanted, SOON, async || {
            let conditions = self.guard().await?.status.unwrap_or_default().conditions;
            let mut said = conditions.iter().map(|said| format!("{}={} {}", said.type_, said.status, said.reason));
            Ok(said.any(|said| said.starts_with(wanted)).then_some(()))
        })
        .await
    }

    /// Waits until the status says when the trial began.
    async fn on_trial(&self) -> Result<()> {
        let began = async || Ok(self.guard().await?.status.and_then(|status| status.trial_start_time));
        poll::until("the trial to begin", SOON, began).await.map(drop)
    }

    /// Waits for an Event about the guard, as `Normal Written`.
    async fn told(&self, guard: &ReleaseGuard, wanted: &str) -> Result<()> {
        poll::until(wanted, SOON, async || {
            let events = self.api::<Event>().list(&ListParams::default()).await?;
            let about = |event: &&Event| event.regarding.as_ref().is_some_and(|it| it.uid == guard.uid());
            let word = |word: &Option<String>| word.clone().unwrap_or_default();
            let mut said =
                events.iter().filter(about).map(|event| format!("{} {}", word(&event.type_), word(&event.reason)));
            Ok(said.any(|said| said == wanted).then_some(()))
        })
        .await
    }

    async fn guard(&self) -> Result<ReleaseGuard> {
        Ok(self.api::<ReleaseGuard>().get("shop").await?)
    }

    fn api<K>(&self) -> Api<K>
    where
        K: Resource<DynamicType = (), Scope = kube::core::NamespaceResourceScope>,
    {
        Api::namespaced(self.cluster.client().clone(), &self.namespace)
    }

    async fn create<K>(&self, object: Value) -> Result<K>
    where
        K: Resource<DynamicType = (), Scope = kube::core::NamespaceResourceScope>,
        K: Clone + std::fmt::Debug + DeserializeOwned + Serialize,
    {
        Ok(self.api::<K>().create(&PostParams::default(), &serde_json::from_value(object)?).await?)
    }

    /// v1, and then v2, that nothing runs: no scheduler looks at them, and their status is written here.
    async fn make_pods(&self) -> Result<()> {
        let accounts = self.api::<ServiceAccount>();
        // Pods have one, which a controller makes; a bare API server has none.
        if accounts.get_opt("default").await?.is_none() {
            let made: Result<ServiceAccount> = self.create(json!({ "metadata": { "name": "default" } })).await;
            ensure!(made.is_ok() || accounts.get_opt("default").await?.is_some(), "no ServiceAccount: {made:?}");
        }
        for release in ["v1", "v2"] {
            self.make_pod(release, &format!("shop-{release}")).await?;
        }
        Ok(())
    }

    /// The pod of a ReplicaSet, both of the same name. Where there are controllers, they find it as it should be.
    async fn make_pod(&self, release: &str, name: &str) -> Result<()> {
        let labels = json!({ "app": "shop", "version": release, "set": name });
        let spec = json!({
            "schedulerName": "nobody", "automountServiceAccountToken": false,
            "containers": [{ "name": "shop", "image": "registry.invalid/shop" }],
        });
        let template = json!({ "metadata": { "labels": labels }, "spec": spec });
        let set = json!({ "replicas": 1, "selector": { "matchLabels": labels }, "template": template });
        let set: ReplicaSet = self.create(json!({ "metadata": { "name": name }, "spec": set })).await?;
        let owner = set.controller_owner_ref(&()).context("a ReplicaSet without a uid")?;
        let pod = json!({ "metadata": { "name": name, "labels": labels, "ownerReferences": [owner] }, "spec": spec });
        let pod: Pod = self.create(pod).await?;
        let created = pod.creation_timestamp().context("a pod without an age")?.0.as_second();
        let ready = json!([{ "type": "Ready", "status": "True" }]);
        let status = json!({ "status": { "phase": "Running", "conditions": ready } });
        self.api::<Pod>().patch_status(name, &PatchParams::default(), &Patch::Merge(status)).await?;
        // Ages are told in whole seconds, by the API server's clock.
        let later = Duration::from_secs(u64::try_from(created)? + 1);
        let is_later = || SystemTime::now().duration_since(UNIX_EPOCH).is_ok_and(|now| now > later);
        poll::until("the next second", SOON, async || Ok(is_later().then_some(()))).await
    }

    /// Gives the label of a release to the pod of another ReplicaSet.
    async fn deploy_anew(&self, release: &str) -> Result<()> {
        self.make_pod(release, &format!("shop-{release}-anew")).await?;
        let (old, now) = (format!("shop-{release}"), DeleteParams::default().grace_period(0));
        self.api::<ReplicaSet>().delete(&old, &now).await?;
        let gone = self.api::<Pod>().delete(&old, &now).await;
        // A garbage collector may have been faster.
        ensure!(gone.is_ok() || self.api::<Pod>().get_opt(&old).await?.is_none(), "the pod stays: {gone:?}");
        Ok(())
    }

    /// A serin that guards what ReleaseGuards of the namespace say.
    async fn guarding(&self) -> Result<Serin> {
        let text = format!(
            "listen: {{ grpc: \"127.0.0.1:0\", metrics: \"127.0.0.1:0\" }}\ndata_dir: {}\nkubernetes: {{ namespaces: [{}] }}\n",
            json!(self.dir.path().join("guarding")),
            self.namespace
        );
        let config = self.dir.path().join("guarding.yaml");
        std::fs::write(&config, text)?;
        Serin::start_in(&config, &self.dir.path().join("guarding.log"), &[], &[("KUBECONFIG", &self.kubeconfig)]).await
    }
}
