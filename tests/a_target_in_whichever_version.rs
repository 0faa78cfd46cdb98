//! Is a target found in the version that the API server serves: an older one, one that comes with an upgrade, or once its CRDs are installed?

use anyhow::{Context, Result};
use serde_json::{Value, json};
use support::{cluster::Cluster, poll, serin::Serin};

use crate::{
    a_release_guard_in_the_cluster::{GUARD, SOON, World, keeps_to_its_role, weights},
    a_rollback_in_the_cluster::{PATH, gateway},
};

const V1: &str = "/apis/networking.istio.io/v1/";
const V1BETA1: &str = "/apis/networking.istio.io/v1beta1/";

/// Which of the two were asked for.
fn asked(world: &World) -> [bool; 2] {
    [V1, V1BETA1].map(|version| ["GET", "PATCH"].iter().any(|verb| world.asked(&format!("{verb} {version}")) > 0))
}

#[tokio::test]
async fn where_only_the_older_version_is_served_a_rollback_is_written_in_it() -> Result<()> {
    let cluster = Cluster::start().await?;
    cluster.serve(&[("v1beta1", "virtualservices")]);
    let world = World::with(cluster).await?;
    world.judges("v2").await?;
    let feed = tokio::spawn(gateway(world.serin.grpc));
    world.says("RolledBack=True Written").await?;
    feed.abort();
    let object = world.cluster.object(PATH).context("the routes are gone")?;
    assert_eq!(weights(&object), [Some(100), Some(0)], "{object}");
    assert_eq!(asked(&world), [false, true]);
    keeps_to_its_role(&world.cluster, true)
}

#[tokio::test]
async fn a_kind_that_is_installed_later_and_upgraded_is_followed() -> Result<()> {
    let cluster = Cluster::start().await?;
    cluster.serve(&[]);
    let world = World::with(cluster).await?;
    world.says("Ready=False NotServed").await?;
    let guard = world.cluster.object(GUARD).unwrap_or_default();
    let said = |condition: &&Value| condition["reason"] == "NotServed";
    let said =
        guard["status"]["conditions"].as_array().and_then(|all| all.iter().find(said)).cloned().unwrap_or_default();
    let remedy = "VirtualService shop-ns/shop: the API server serves no VirtualService in a version that serin knows (v1, v1beta1, v1alpha3): install the CRDs of Istio";
    assert_eq!(said["message"], json!(remedy));
    world.cluster.serve(&[("v1beta1", "virtualservices")]);
    world.says("Ready=True Guarding").await?;
    assert_eq!(asked(&world), [false, true]);
    // An upgrade that takes the old version away.
    world.cluster.serve(&[("v1", "virtualservices")]);
    let rename = |candidate: &str| {
        world.cluster.change(GUARD, |guard| guard["spec"]["candidate"] = candidate.into())?;
        let subset = "/spec/http/0/route/1/destination/subset";
        world
            .cluster
            .change(PATH, |routes| routes.pointer_mut(subset).into_iter().for_each(|at| *at = candidate.into()))
    };
    world.cluster.change(GUARD, |guard| guard["spec"]["baseline"] = "v1".into())?;
    rename("v3")?;
    world.judges("v3").await?;
    world.says("Ready=True Guarding").await?;
    assert_eq!(asked(&world), [true, true]);
    keeps_to_its_role(&world.cluster, false)
}

/// Long before it is needed.
#[tokio::test]
async fn a_kind_that_is_configured_and_not_installed_is_said_at_the_start() -> Result<()> {
    let (cluster, dir) = (Cluster::start().await?, tempfile::tempdir()?);
    cluster.serve(&[("v1", "httproutes")]);
    let text = format!(
        "listen: {{ grpc: \"127.0.0.1:0\", metrics: \"127.0.0.1:0\" }}\ndata_dir: {}\nservices:\n\
         - {{ name: shop, vantage: gateway, baseline: v1, candidate: v2, rollback: {{ kubernetes: {{ kind: GRPCRoute, namespace: shop-ns, \
         name: shop, host: \"shop-{{release}}\" }} }} }}\n",
        json!(dir.path().join("serin-data"))
    );
    let (config, log) = (dir.path().join("serin.yaml"), dir.path().join("serin.log"));
    std::fs::write(&config, text)?;
    let serin = Serin::start_in(&config, &log, &[], &[("KUBECONFIG", &cluster.kubeconfig(dir.path())?)]).await?;
    let said = "rollback.kubernetes: the API server serves no GRPCRoute in a version that serin knows (v1, v1alpha2): install the CRDs of the Gateway API";
    poll::until(said, SOON, async || Ok(serin.process.log().contains(said).then_some(()))).await
}
