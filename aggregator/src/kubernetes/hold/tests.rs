//! In virtual time, over an API server whose object another program insists on.

use std::sync::atomic::{AtomicU32, Ordering};

use hyper::{Method, Request, Response};
use kube::{Client, client::Body};
use serde_json::{Value, json};
use serin_proto::v1::{Decision, DecisionEvent, DecisionStage};
use tokio::sync::mpsc;
use tower_test::mock;

use super::*;
use crate::{
    actuator::Order,
    config::Config,
    engine::Engine,
    shell::{Shell, now},
};

const SERIN_YAML: &str = "services: [{name: shop, vantage: gateway, baseline: v1, candidate: v2, rollback: {hold: 1m, kubernetes: {kind: \
                          VirtualService, namespace: shop-ns, name: shop, host: shop}}}]";

/// As Git has it: Argo CD writes it back as soon as it is changed.
fn as_in_git() -> Value {
    let route =
        |subset: &str, weight: u32| json!({ "destination": { "host": "shop", "subset": subset }, "weight": weight });
    let owner = json!({ "manager": "argocd-controller", "time": "2026-01-01T00:00:00Z", "fieldsV1": { "f:spec": { "f:http": {} } } });
    json!({
        "apiVersion": "networking.istio.io/v1", "kind": "VirtualService",
        "metadata": { "name": "shop", "namespace": "shop-ns", "uid": "u-1", "resourceVersion": "7", "managedFields": [owner] },
        "spec": { "hosts": ["shop"], "http": [{ "route": [route("v1", 90), route("v2", 10)] }] },
    })
}

/// What it says of the group.
fn served(path: &str) -> Option<Value> {
    let version = json!({ "groupVersion": "networking.istio.io/v1", "version": "v1" });
    let resource = json!({ "name": "virtualservices", "singularName": "", "namespaced": true, "kind": "VirtualService", "verbs": [] });
    match path {
        "/apis/networking.istio.io" => Some(json!({ "name": "networking.istio.io", "versions": [version] })),
        "/apis/networking.istio.io/v1" => {
            Some(json!({ "groupVersion": "networking.istio.io/v1", "resources": [resource] }))
        }
        _ => None,
    }
}

/// A cluster with it, and how many patches came.
fn insisting() -> (Cluster, Arc<AtomicU32>) {
    let (service, mut handle) = mock::pair::<Request<Body>, Response<Body>>();
    let patches = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&patches);
    tokio::spawn(async move {
        while let Some((request, send)) = handle.next_request().await {
            if request.method() == Method::PATCH {
                counted.fetch_add(1, Ordering::Relaxed);
            }
            let answer = served(request.uri().path()).unwrap_or_else(as_in_git);
            send.send_response(Response::new(Body::from(answer.to_string().into_bytes())));
        }
    });
    (Cluster::new(Client::new(service, "default")), patches)
}

/// Condemned, and written a moment ago.
fn written() -> Decision {
    let event = |stage: DecisionStage| DecisionEvent { unix_us: now().0, stage: stage.into(), sentence: String::new() };
    Decision {
        id: 1,
        service: "shop".to_owned(),
        candidate: "v2".to_owned(),
        baseline: "v1".to_owned(),
        unix_us: now().0,
        events: vec![event(DecisionStage::Decided), event(DecisionStage::Written)],
        ..Decision::default()
    }
}

/// An engine with that decision, and what it wants kept.
fn engine() -> (Handle, mpsc::UnboundedReceiver<Order>) {
    let (engine, first) = Engine::new(&Config::parse(SERIN_YAML).unwrap(), vec![written()], now());
    let (orders, ordered) = mpsc::unbounded_channel();
    let (shell, handle) = Shell::new(engine, orders, mpsc::unbounded_channel().0, None);
    tokio::spawn(shell.run(first));
    (handle, ordered)
}

/// What is said of it from now on, until something that contains a text.
async fn said(ordered: &mut mpsc::UnboundedReceiver<Order>, until: &str) -> Vec<String> {
    loop {
        let Some(Order::Persist(decision)) = ordered.recv().await else { continue };
        let said: Vec<String> = decision.events.iter().map(|event| event.sentence.clone()).collect();
        if said.iter().any(|said| said.contains(until)) {
            return said;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_fight_gets_slower_and_is_left_to_the_other_in_the_end() {
    let (cluster, patches) = insisting();
    let (engine, mut ordered) = engine();
    let began = Instant::now();
    tokio::spawn(run(cluster, engine.clone(), Leader::alone()));
    let said = said(&mut ordered, "left to others").await;
    // At once, and after 5, 10 and 20 s; the pause after that is 40 s.
    assert_eq!(patches.load(Ordering::Relaxed), 4);
    assert!((60..70).contains(&began.elapsed().as_secs()), "{:?}", began.elapsed());
    let last = said.last().unwrap();
    let want = "VirtualService shop-ns/shop: held for 1m (rollback.hold) while the old weights were written back by argocd-controller (Argo CD) 5 times; ";
    assert!(last.starts_with(want) && last.contains("ignoreDifferences"), "{last}");
    assert_eq!(engine.ask(|engine, _| engine.held()).await.unwrap(), []);
}

#[tokio::test(start_paused = true)]
async fn what_a_person_cleared_is_not_written_again() {
    let (cluster, patches) = insisting();
    let (engine, mut ordered) = engine();
    tokio::spawn(run(cluster, engine.clone(), Leader::alone()));
    said(&mut ordered, "2 times").await;
    engine.order(|engine, now| ((), engine.clear("shop", "v2", now).unwrap())).await.unwrap();
    let written = patches.load(Ordering::Relaxed);
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert_eq!(patches.load(Ordering::Relaxed), written);
}
