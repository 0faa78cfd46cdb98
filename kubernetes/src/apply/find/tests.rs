//! A root, and what it delegates to, in two namespaces.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use serde_json::{Value, json};

use crate::{
    apply::{Applied, ApplyError, Options, apply, look},
    cluster::Cluster,
    fake::{Answer, Asked, Log, server, status},
    intent::Intent,
    object::ObjectRef,
    release_guard::TargetKind,
};

const ROOT: &str = "edge/virtualservices/root";
const SHOP: &str = "team/virtualservices/shop";
const CART: &str = "edge/virtualservices/cart";

type Stored = Arc<Mutex<BTreeMap<&'static str, Value>>>;

fn object(path: &str, spec: Value) -> Value {
    let words: Vec<&str> = path.split('/').collect();
    json!({
        "apiVersion": "networking.istio.io/v1", "kind": "VirtualService",
        "metadata": { "namespace": words[0], "name": words[2], "uid": path, "resourceVersion": "1" }, "spec": spec,
    })
}

fn split(v1: u32, v2: u32) -> Value {
    let to = |subset, weight: u32| json!({ "destination": { "host": "shop", "subset": subset }, "weight": weight });
    json!({ "http": [{ "timeout": "3s", "route": [to("v1", v1), to("v2", v2)] }] })
}

fn stored() -> Stored {
    let to = |name: &str, namespace: Value| json!({ "delegate": { "name": name, "namespace": namespace } });
    let root = json!({ "hosts": ["shop.example.com"], "http": [to("cart", Value::Null), to("shop", json!("team"))] });
    let cart = json!({ "http": [{ "route": [{ "destination": { "host": "cart" } }] }] });
    let all = [(ROOT, root), (SHOP, split(90, 10)), (CART, cart)];
    Arc::new(Mutex::new(all.into_iter().map(|(path, spec)| (path, object(path, spec))).collect()))
}

/// `before` sees each request first, and may answer it.
fn cluster(
    stored: &Stored,
    mut before: impl FnMut(&Asked, &str, &mut BTreeMap<&str, Value>) -> Option<Answer> + Send + 'static,
) -> (Cluster, Log) {
    let stored = Arc::clone(stored);
    let (client, log) = server(move |asked| {
        let mut stored = stored.lock().unwrap();
        let path = asked.path.split_once("/namespaces/").unwrap().1;
        if let Some(answer) = before(asked, path, &mut stored) {
            return answer;
        }
        let Some(object) = stored.get_mut(path) else {
            return status(404, "NotFound", "not found", &json!({ "name": path }));
        };
        if asked.method == "PATCH" {
            let patch: json_patch::Patch = serde_json::from_value(asked.body.clone()).unwrap();
            if json_patch::patch(object, &patch).is_err() {
                return status(422, "Invalid", "a test failed", &json!({}));
            }
        }
        Answer::Json(200, object.clone())
    });
    (Cluster::new(client), log)
}

fn intent() -> Intent {
    Intent::subsets("shop.team", "edge", "v1", "v2")
}

fn root() -> ObjectRef {
    ObjectRef::new(TargetKind::VirtualService, "edge", "root").unwrap()
}

async fn run(cluster: &Cluster) -> Result<Applied, ApplyError> {
    apply(cluster, &root(), &intent(), &Options::default()).await
}

fn asked(log: &Log) -> Vec<String> {
    let log = log.lock().unwrap();
    log.iter().map(|asked| format!("{} {}", asked.method, asked.path.split_once("/namespaces/").unwrap().1)).collect()
}

#[tokio::test(start_paused = true)]
async fn the_delegate_is_written_and_never_the_root() {
    let stored = stored();
    let before = stored.lock().unwrap().clone();
    let (cluster, log) = cluster(&stored, |_, _, _| None);
    let is_right = async || look(&cluster, &root(), &intent(), &Options::default()).await.unwrap();
    assert!(!is_right().await.is_right);
    let Ok(Applied::Changed { object, weights, .. }) = run(&cluster).await else { panic!() };
    assert_eq!(object.to_string(), "VirtualService team/shop");
    assert_eq!(weights[1].to_string(), "VirtualService team/shop http[0]: v2 10 -> 0");
    let seen = is_right().await;
    assert_eq!((seen.is_right, seen.object), (true, object));
    let after = stored.lock().unwrap().clone();
    assert_eq!((&after[ROOT], &after[CART]), (&before[ROOT], &before[CART]));
    assert_eq!(after[SHOP]["spec"], split(100, 0));
    let [root, cart, shop] = [ROOT, CART, SHOP].map(|path| format!("GET {path}"));
    let look = [root, cart, shop];
    assert_eq!(asked(&log), [&look[..], &look[..], &[format!("PATCH {SHOP}")], &look[..]].concat());
}

/// Somebody moves the canary on in between: the delegate is read again, and nothing else.
#[tokio::test(start_paused = true)]
async fn a_conflict_is_read_and_planned_again() {
    let mut conflicts = 1;
    let stored = stored();
    let (cluster, log) = cluster(&stored, move |asked, path, stored| {
        if asked.method == "PATCH" && conflicts > 0 {
            conflicts -= 1;
            let object = stored.get_mut(path).unwrap();
            object["metadata"]["resourceVersion"] = "2".into();
            object["spec"] = split(80, 20);
        }
        None
    });
    assert!(matches!(run(&cluster).await, Ok(Applied::Changed { .. })));
    let patch = format!("PATCH {SHOP}");
    assert_eq!(asked(&log)[3..], [patch.clone(), format!("GET {SHOP}"), patch]);
    assert_eq!(stored.lock().unwrap()[SHOP]["spec"], split(100, 0));
}

#[tokio::test(start_paused = true)]
async fn what_goes_wrong_is_said_of_the_delegate() {
    let check =
        async |before: fn(&Asked, &str, &mut BTreeMap<&str, Value>) -> Option<Answer>, want: &str, said: &str| {
            let error = run(&cluster(&stored(), before).0).await.unwrap_err();
            let text = error.to_string();
            assert_eq!(error.reason(), want, "{text}");
            assert!(text.contains(said), "{text}");
        };
    // Of another namespace, in which serin has no Role.
    let forbidden: fn(&Asked, &str, &mut BTreeMap<&str, Value>) -> Option<Answer> =
        |_, path, _| path.starts_with("team/").then(|| status(403, "Forbidden", "no Role", &json!({})));
    check(forbidden, "Forbidden", "serin may not get VirtualService team/shop").await;
    check(|_, _, stored| stored.remove(SHOP).and(None), "NoDelegateSplits", "VirtualService team/shop does not exist")
        .await;
    let deleted = |asked: &Asked, _: &str, stored: &mut BTreeMap<&str, Value>| {
        (asked.method == "PATCH").then(|| stored.remove(SHOP)).and(None)
    };
    check(deleted, "DeletedMeanwhile", "VirtualService team/shop was deleted").await;
    let several = |_: &Asked, _: &str, stored: &mut BTreeMap<&str, Value>| {
        stored.get_mut(CART).unwrap()["spec"] = json!({ "http": [{ "route": [{ "destination": { "host": "shop.team", "subset": "v1" } },
            { "destination": { "host": "shop.team", "subset": "v2" } }] }] });
        None
    };
    check(several, "SeveralDelegatesSplit", "VirtualService edge/cart and VirtualService team/shop all send").await;
}

/// All delegates together have the time of one request.
#[tokio::test(start_paused = true)]
async fn a_server_that_hangs_is_given_up() {
    let start = tokio::time::Instant::now();
    let (cluster, _) = cluster(&stored(), |_, path, _| (path != ROOT).then_some(Answer::Never));
    let error = run(&cluster).await.unwrap_err();
    assert!(matches!(error, ApplyError::TimedOut { attempts: 5, .. }), "{error:?}");
    assert!((25..27).contains(&start.elapsed().as_secs()), "{:?}", start.elapsed());
}
