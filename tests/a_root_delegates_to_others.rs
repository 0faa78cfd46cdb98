//! A ReleaseGuard names a VirtualService that delegates its routes: is the delegate that splits the service the one that is written and held,
//! and the root never?

use anyhow::{Context, Result};
use serde_json::{Value, json};
use support::{cluster::Cluster, poll};

use crate::{
    a_release_guard_in_the_cluster::{SOON, World, keeps_to_its_role, weights},
    a_rollback_in_the_cluster::{PATH, gateway, virtual_service},
};

const DELEGATE: &str = "/apis/networking.istio.io/v1/namespaces/shop-ns/virtualservices/shop-routes";
const OTHER: &str = "/apis/networking.istio.io/v1/namespaces/shop-ns/virtualservices/cart-routes";

/// What has the routes of the one that others are given.
fn delegate(name: &str, host: &str) -> Value {
    let mut object = virtual_service();
    object["metadata"]["name"] = name.into();
    object["metadata"]["uid"] = name.into();
    object["spec"].as_object_mut().into_iter().for_each(|spec| drop(spec.remove("hosts")));
    let routes = object.pointer_mut("/spec/http/0/route").and_then(Value::as_array_mut);
    routes.into_iter().flatten().for_each(|route| route["destination"]["host"] = host.into());
    object
}

fn root() -> Value {
    let mut object = virtual_service();
    object["spec"]["http"] = json!([{ "delegate": { "name": "cart-routes" } }, { "delegate": { "name": "shop-routes", "namespace": "shop-ns" } }]);
    object
}

async fn has_weights(cluster: &Cluster, want: [u64; 2]) -> Result<()> {
    let what = format!("weights of {want:?}");
    poll::until(&what, SOON, async || {
        let object = cluster.object(DELEGATE).context("the delegate is gone")?;
        Ok((weights(&object) == want.map(Some)).then_some(()))
    })
    .await
}

#[tokio::test]
async fn the_delegate_is_written_and_held_and_never_the_root() -> Result<()> {
    let cluster = Cluster::start().await?;
    cluster.put(PATH, root());
    cluster.put(OTHER, delegate("cart-routes", "cart"));
    let world = World::with(cluster).await?;
    world.says("Ready=False NoDelegateSplits").await?;
    world.cluster.put(DELEGATE, delegate("shop-routes", "shop"));
    world.judges("v2").await?;
    world.says("Ready=True Guarding").await?;
    let [root, other] = [PATH, OTHER].map(|path| world.cluster.object(path));
    let feed = tokio::spawn(gateway(world.serin.grpc));
    world.says("RolledBack=True Written").await?;
    has_weights(&world.cluster, [100, 0]).await?;
    // Another one writes the old weights back.
    world.cluster.change(DELEGATE, |object| object["spec"] = delegate("shop-routes", "shop")["spec"].take())?;
    has_weights(&world.cluster, [100, 0]).await?;
    feed.abort();
    assert_eq!([PATH, OTHER].map(|path| world.cluster.object(path)), [root, other], "nothing else is touched");
    keeps_to_its_role(&world.cluster, true)
}

#[tokio::test]
async fn a_delegate_in_a_namespace_that_is_not_watched_is_said() -> Result<()> {
    let cluster = Cluster::start().await?;
    let mut object = root();
    object["spec"]["http"][1]["delegate"]["namespace"] = "team".into();
    cluster.put(PATH, object);
    let world = World::with(cluster).await?;
    world.says("Ready=False NotWatched").await?;
    assert!(world.cluster.asked().iter().all(|asked| !asked.contains("/team/")), "nobody gave it a Role there");
    Ok(())
}
