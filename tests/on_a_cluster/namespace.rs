//! A namespace of a test's own on a cluster, with nothing left behind.

use std::time::Duration;

use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::Namespace;
use kube::{
    Api, Client, Discovery,
    api::{DeleteParams, DynamicObject, ListParams, PostParams},
    discovery::{Scope, verbs},
};
use serde_json::{Value, json};

use support::poll;

/// A cluster's namespace controller needs a few seconds; a bare API server has none.
const A_CONTROLLER: Duration = Duration::from_secs(20);

fn namespace(more: Value) -> Result<Namespace> {
    let mut object = json!({ "apiVersion": "v1", "kind": "Namespace" });
    if let (Some(object), Value::Object(more)) = (object.as_object_mut(), more) {
        object.extend(more);
    }
    Ok(serde_json::from_value(object)?)
}

/// Makes the namespace, does `all`, and deletes the namespace, whatever came of it.
///
/// # Errors
/// Those of `all`, and when the namespace cannot be made or deleted.
pub(crate) async fn with(client: &Client, name: &str, all: impl Future<Output = Result<()>>) -> Result<()> {
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let fresh = namespace(json!({ "metadata": { "name": name } }))?;
    namespaces.create(&PostParams::default(), &fresh).await.context("cannot make a namespace")?;
    let result = all.await;
    namespaces.delete(name, &DeleteParams::default()).await.context("cannot delete the namespace")?;
    let gone = async || Ok(namespaces.get_opt(name).await?.is_none().then_some(()));
    if poll::until("the namespace to go", A_CONTROLLER, gone).await.is_err() {
        empty(client, name).await.context("cannot empty the namespace")?;
        let done = namespace(json!({ "metadata": { "name": name }, "spec": { "finalizers": [] } }))?;
        namespaces.replace_subresource("finalize", name, &PostParams::default(), &done).await?;
    }
    result
}

/// What a controller does when a namespace is deleted, for an API server that has none.
async fn empty(client: &Client, name: &str) -> Result<()> {
    let discovery = Discovery::new(client.clone()).run().await?;
    for (kind, can) in discovery.groups().flat_map(|group| group.resources_by_stability()) {
        if can.scope != Scope::Namespaced || !can.supports_operation(verbs::DELETE_COLLECTION) {
            continue;
        }
        let objects: Api<DynamicObject> = Api::namespaced_with(client.clone(), name, &kind);
        objects.delete_collection(&DeleteParams::default(), &ListParams::default()).await?;
    }
    Ok(())
}
