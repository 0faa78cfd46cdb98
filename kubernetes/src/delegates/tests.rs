use serde_json::json;

use super::*;

fn root(delegates: &[Value]) -> Value {
    let http: Vec<Value> = delegates.iter().map(|delegate| json!({ "delegate": delegate })).collect();
    json!({
        "apiVersion": "networking.istio.io/v1", "kind": "VirtualService",
        "metadata": { "name": "root", "namespace": "edge" },
        "spec": { "hosts": ["shop.example.com"], "http": http },
    })
}

/// In namespace team, to subsets of shop there.
fn delegate(name: &str, weights: &[(&str, u32)]) -> (ObjectRef, Option<Value>) {
    let to = |(subset, weight): &(&str, u32)| json!({ "destination": { "host": "shop", "subset": subset }, "weight": weight });
    let object = json!({
        "apiVersion": "networking.istio.io/v1", "kind": "VirtualService",
        "metadata": { "name": name, "namespace": "team" },
        "spec": { "http": [{ "route": weights.iter().map(to).collect::<Vec<_>>() }] },
    });
    (named("team", name), Some(object))
}

fn named(namespace: &str, name: &str) -> ObjectRef {
    ObjectRef::new(TargetKind::VirtualService, namespace, name).unwrap()
}

fn with(mut delegate: (ObjectRef, Option<Value>), key: &str, value: Value) -> (ObjectRef, Option<Value>) {
    delegate.1.as_mut().unwrap()["spec"][key] = value;
    delegate
}

#[test]
fn what_a_root_delegates_to() {
    let names = |object: &Value| -> Vec<String> { of(object).iter().map(ToString::to_string).collect() };
    let a = json!({ "name": "a" });
    let [b, of_root, bad] = [("b", "team"), ("c", ""), ("../x", "team")]
        .map(|(name, namespace)| json!({ "name": name, "namespace": namespace }));
    let found = names(&root(&[a.clone(), b, a, of_root, bad, json!({}), json!("a")]));
    assert_eq!(found, ["VirtualService edge/a", "VirtualService team/b", "VirtualService edge/c"]);
    let many: Vec<Value> = (0..100).map(|at| json!({ "name": format!("d{at}") })).collect();
    assert_eq!(of(&root(&many)).len(), MAX_DELEGATES + 1);
    // What is no root delegates nothing: Istio has one level.
    let mut without_hosts = root(&many);
    without_hosts["spec"]["hosts"] = json!([]);
    assert_eq!(of(&without_hosts), []);
    let mut another = root(&many);
    another["kind"] = "HTTPRoute".into();
    assert_eq!(of(&another), []);
}

#[track_caller]
fn check(delegates: Vec<(ObjectRef, Option<Value>)>, own: Value, want: Result<&str, &str>) {
    let mut root = root(&[]);
    root["spec"]["http"] = own;
    let family = Family { root, delegates };
    let found = family.splits(&Intent::subsets("shop.team", "edge", "v1", "v2"));
    let found = found.map(|(name, _)| name.map_or("the root", ObjectRef::name)).map_err(|why| why.to_string());
    assert_eq!(found, want.map_err(str::to_owned));
}

#[test]
fn the_one_that_splits() {
    let split = |name: &str| delegate(name, &[("v1", 90), ("v2", 10)]);
    let to_baseline = |name| delegate(name, &[("v1", 100)]);
    let other = |name| delegate(name, &[("v3", 50), ("v4", 50)]);
    let own = json!([{ "route": [
        { "destination": { "host": "shop.team", "subset": "v1" }, "weight": 90 },
        { "destination": { "host": "shop.team", "subset": "v2" }, "weight": 10 },
    ] }]);
    check(vec![other("a"), split("b")], json!([]), Ok("b"));
    check(vec![delegate("a", &[("v1", 100), ("v2", 0)])], json!([]), Ok("a"));
    check(vec![other("a")], own.clone(), Ok("the root"));
    check(vec![], json!([]), Ok("the root"));
    // Beside one that splits, those that do not divide anything do not matter.
    check(vec![to_baseline("a"), split("b")], json!([]), Ok("b"));
    check(vec![to_baseline("a"), other("b")], json!([]), Ok("a"));
    let several = |who: &str| {
        format!("{who} all send requests to these releases: name each that is to be changed as a target of its own")
    };
    check(vec![split("a"), split("b")], json!([]), Err(&several("VirtualService team/a and VirtualService team/b")));
    check(vec![split("a")], own, Err(&several("the root and VirtualService team/a")));
    check(
        vec![to_baseline("a"), to_baseline("b")],
        json!([]),
        Err(&several("VirtualService team/a and VirtualService team/b")),
    );
    let none =
        "neither it nor what it delegates to sends anything to shop.team.svc.cluster.local subset v2: check its name";
    check(vec![other("a")], json!([]), Err(none));
    let many = (0..=MAX_DELEGATES).map(|at| split(&format!("d{at}"))).collect();
    check(many, json!([]), Err("it delegates to more than 20: name the one that splits the service as target"));
}

#[test]
fn what_istio_ignores_is_ignored_and_said() {
    let split = || delegate("b", &[("v1", 90), ("v2", 10)]);
    let none = "neither it nor what it delegates to sends anything to shop.team.svc.cluster.local subset v2: check its name; \
                VirtualService team/b";
    let missing = format!("{none} does not exist: create it, or delegate to another");
    check(vec![(named("team", "b"), None)], json!([]), Err(&missing));
    let hosts = format!("{none} has hosts, so that Istio takes it for no delegate: take them out");
    check(vec![with(split(), "hosts", json!(["shop"]))], json!([]), Err(&hosts));
    let hidden = format!("{none} is not exported to the root's namespace: add it to exportTo");
    check(vec![with(split(), "exportTo", json!(["."]))], json!([]), Err(&hidden));
    for to in [json!([]), json!(["*"]), json!([".", "edge"])] {
        check(vec![with(split(), "exportTo", to)], json!([]), Ok("b"));
    }
    // One that delegates again.
    let further = with(split(), "http", json!([{ "delegate": { "name": "c" } }]));
    check(vec![further], json!([]), Err(none.rsplit_once("; ").unwrap().0));
}
