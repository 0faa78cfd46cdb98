//! Which version is asked for, and what is said where there is none.

use serde_json::json;

use super::*;
use crate::{
    apply::{Applied, ApplyError, Options, apply},
    fake::{Answer, Log, Served, Serves, server_that},
    intent::Intent,
    object::ObjectRef,
};

fn route(path: &str) -> Answer {
    let version = path.split('/').nth(3).unwrap();
    let backend = |name: &str, weight| json!({ "name": name, "weight": weight });
    let object = json!({
        "apiVersion": format!("gateway.networking.k8s.io/{version}"), "kind": "HTTPRoute",
        "metadata": { "name": "shop", "namespace": "shop", "uid": "u1", "resourceVersion": "1" },
        "spec": { "rules": [{ "backendRefs": [backend("shop-v1", 90), backend("shop-v2", 10)] }] },
    });
    Answer::Json(200, object)
}

/// A cluster with an HTTPRoute, in whatever version it is asked for that is served.
fn cluster(served: &Served) -> (Cluster, Log) {
    let (client, log) = server_that(served, |asked| route(&asked.path));
    (Cluster::new(client), log)
}

async fn run(cluster: &Cluster) -> Result<Applied, ApplyError> {
    let object = ObjectRef::new(TargetKind::HttpRoute, "shop", "shop").unwrap();
    apply(cluster, &object, &Intent::hosts("shop", "shop-v1", "shop-v2"), &Options::default()).await
}

/// The versions of what was read and written.
fn versions(log: &Log) -> Vec<String> {
    log.lock().unwrap().iter().map(|asked| asked.path.split('/').nth(3).unwrap().to_owned()).collect()
}

#[tokio::test(start_paused = true)]
async fn only_the_older_version_is_served() {
    let served = Serves::only(&[(TargetKind::HttpRoute, Version::V1Beta1)]);
    let (cluster, log) = cluster(&served);
    assert!(matches!(run(&cluster).await, Ok(Applied::Changed { .. })));
    assert_eq!(versions(&log), ["v1beta1"; 2]);
    assert!(matches!(run(&cluster.clone()).await, Ok(Applied::Changed { .. })));
    assert_eq!(served.lock().unwrap().asked, 1, "it is asked once");
}

#[tokio::test(start_paused = true)]
async fn of_both_the_newer_is_taken() {
    let served = Serves::only(&[(TargetKind::HttpRoute, Version::V1Beta1), (TargetKind::HttpRoute, Version::V1)]);
    let (cluster, log) = cluster(&served);
    assert!(matches!(run(&cluster).await, Ok(Applied::Changed { .. })));
    assert_eq!(versions(&log), ["v1"; 2]);
}

#[tokio::test(start_paused = true)]
async fn a_kind_that_is_not_there_is_said_and_found_once_it_is() {
    let served = Serves::only(&[(TargetKind::GrpcRoute, Version::V1)]);
    let (cluster, log) = cluster(&served);
    let error = run(&cluster).await.unwrap_err();
    assert_eq!(error.reason(), "NotServed");
    assert_eq!(
        error.to_string(),
        "HTTPRoute shop/shop cannot be read: the API server serves no HTTPRoute in a version that serin knows (v1, v1beta1): \
         install the CRDs of the Gateway API"
    );
    assert_eq!(versions(&log), [""; 0]);
    served.lock().unwrap().kinds.push((TargetKind::HttpRoute, Version::V1));
    assert!(matches!(run(&cluster).await, Ok(Applied::Changed { .. })));
}

/// An upgrade of the CRDs takes the old version away.
#[tokio::test(start_paused = true)]
async fn a_version_that_goes_is_asked_for_again() {
    let served = Serves::only(&[(TargetKind::HttpRoute, Version::V1Beta1)]);
    let (cluster, log) = cluster(&served);
    assert!(matches!(run(&cluster).await, Ok(Applied::Changed { .. })));
    served.lock().unwrap().kinds = vec![(TargetKind::HttpRoute, Version::V1)];
    assert!(matches!(run(&cluster).await, Ok(Applied::Changed { .. })));
    assert_eq!(versions(&log), ["v1beta1", "v1beta1", "v1", "v1"]);
    assert_eq!(served.lock().unwrap().asked, 2);
}

#[tokio::test(start_paused = true)]
async fn who_may_not_ask_is_told_what_is_missing() {
    let served = Serves::v1();
    served.lock().unwrap().refusal = Some(403);
    let error = run(&cluster(&served).0).await.unwrap_err();
    assert!(error.to_string().contains("ClusterRole system:discovery"), "{error}");
    assert!(!error.is_passing());
}

/// Of the questions that are not answered the same is held as of any other request.
#[tokio::test(start_paused = true)]
async fn a_busy_server_is_asked_again() {
    let served = Serves::v1();
    served.lock().unwrap().refusal = Some(503);
    let error = run(&cluster(&served).0).await.unwrap_err();
    assert!(matches!(error, ApplyError::Busy { attempts: 5, code: 503, .. }), "{error:?}");
    assert_eq!(served.lock().unwrap().asked, 5);
}
