//! Each kind that has weights, in the version that the cluster serves; and a VirtualService that delegates its routes.

use anyhow::{Context, Result, ensure};
use kube::{
    Api,
    api::{ApiResource, DynamicObject, PostParams},
};
use serde_json::{Value, json};
use serin_kubernetes::{release_guard::TargetKind, version::Version};
use support::poll;

use super::{Flows, SOON};
use crate::a_rollback_in_the_cluster::gateway;

/// A route to a Service for each release. What is left out is for the API server's defaults.
fn spec_of_routes() -> Value {
    let to = |name: &str| json!({ "name": name, "port": 80 });
    let weighted = |name: &str, weight: u32| json!({ "name": name, "port": 80, "weight": weight });
    json!({ "rules": [
        { "backendRefs": [weighted("shop-v1", 90), weighted("shop-v2", 10)] },
        { "backendRefs": [to("shop-v1"), to("shop-v2")] },
    ] })
}

impl Flows {
    /// All at once: each takes as long as the judge takes to find a regression.
    pub(super) async fn every_kind_is_written(&self) -> Result<()> {
        let routes = async |kind: TargetKind, version, name: &str| {
            self.make(kind, version, "shop", spec_of_routes()).await?;
            let at = ["/spec/rules/0/backendRefs", "/spec/rules/1/backendRefs"];
            self.is_rolled_back(kind, version, name, "shop", "\"shop-{release}\"", &at).await
        };
        let cluster = &self.cluster;
        let http = async {
            // The Gateway API need not be installed.
            let Ok(version) = cluster.version(TargetKind::HttpRoute).await else { return Ok(()) };
            routes(TargetKind::HttpRoute, version, "http").await
        };
        let grpc = async {
            let Ok(version) = cluster.version(TargetKind::GrpcRoute).await else { return Ok(()) };
            routes(TargetKind::GrpcRoute, version, "grpc").await
        };
        let version = cluster.version(TargetKind::VirtualService).await?;
        tokio::try_join!(http, grpc, self.a_delegate_is_written(version)).map(|_| ())
    }

    async fn a_delegate_is_written(&self, version: Version) -> Result<()> {
        let kind = TargetKind::VirtualService;
        let to = |subset: &str, weight: u32| json!({ "destination": { "host": "shop", "subset": subset }, "weight": weight });
        let delegates = json!([{ "delegate": { "name": "others" } }, { "delegate": { "name": "routes" } }]);
        self.make(kind, version, "root", json!({ "hosts": ["shop.example.com"], "http": delegates })).await?;
        self.make(kind, version, "others", json!({ "http": [{ "route": [{ "destination": { "host": "cart" } }] }] }))
            .await?;
        self.make(
            kind,
            version,
            "routes",
            json!({ "http": [{ "timeout": "3s", "route": [to("v1", 90), to("v2", 10)] }] }),
        )
        .await?;
        let objects = self.objects(kind, version);
        let before = (objects.get("root").await?, objects.get("others").await?);
        self.is_rolled_back(kind, version, "root", "root", "shop", &[]).await?;
        let weight = |object: &Value, at| object.pointer(&format!("/spec/http/0/route/{at}/weight"))?.as_u64();
        let object = objects.get("routes").await?.data;
        ensure!((weight(&object, 0), weight(&object, 1)) == (Some(100), Some(0)), "{object}");
        ensure!((objects.get("root").await?, objects.get("others").await?) == before, "nothing else is touched");
        Ok(())
    }

    /// Waits until every one of the lists at `at` has its weights, and the decision says so.
    async fn is_rolled_back(
        &self,
        kind: TargetKind,
        version: Version,
        name: &str,
        object: &str,
        host: &str,
        at: &[&str],
    ) -> Result<()> {
        let rollback = format!("kind: {kind}, namespace: {}, name: {object}, host: {host}", self.namespace);
        let serin = self.serin_of(name, "", &rollback).await?;
        let feed = tokio::spawn(gateway(serin.grpc));
        poll::until("a rollback that is written", SOON, async || {
            let newest = serin.decisions().await?.into_iter().next();
            let stages = newest.iter().flat_map(|decision| &decision.events);
            Ok(stages
                .map(|event| event.stage())
                .any(|stage| stage == serin_proto::v1::DecisionStage::Written)
                .then_some(()))
        })
        .await?;
        feed.abort();
        let read = self.objects(kind, version).get(object).await?.data;
        for list in at {
            let weights = [0, 1].map(|item| read.pointer(&format!("{list}/{item}/weight")).and_then(Value::as_u64));
            ensure!(weights[1] == Some(0) && weights[0] > Some(0), "{list}: {weights:?}");
        }
        Ok(())
    }

    pub(super) fn objects(&self, kind: TargetKind, version: Version) -> Api<DynamicObject> {
        let resource = ApiResource {
            group: kind.group().into(),
            version: version.name().into(),
            api_version: format!("{}/{version}", kind.group()),
            kind: kind.name().into(),
            plural: kind.plural().into(),
        };
        Api::namespaced_with(self.cluster.client().clone(), &self.namespace, &resource)
    }

    pub(super) async fn make(&self, kind: TargetKind, version: Version, name: &str, spec: Value) -> Result<()> {
        let object = json!({
            "apiVersion": format!("{}/{version}", kind.group()), "kind": kind.name(),
            "metadata": { "name": name, "namespace": self.namespace }, "spec": spec,
        });
        let object = serde_json::from_value(object)?;
        self.objects(kind, version)
            .create(&PostParams::default(), &object)
            .await
            .with_context(|| format!("{kind} {name}: are its CRDs installed?"))?;
        Ok(())
    }
}
