use std::{fs, path::Path};

use proptest::prelude::*;
use serde_json::{Map, json};

use super::*;
use crate::{
    delegates::{self, Family, NotFollowed},
    object::ObjectRef,
    routes,
};

const DATA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/plan");

/// `# subsets HOST NAMESPACE BASELINE CANDIDATE` or `# hosts NAMESPACE BASELINE CANDIDATE`, a manifest's first line.
fn intent(line: &str) -> Intent {
    match line.split(' ').collect::<Vec<_>>().as_slice() {
        ["#", "subsets", host, namespace, baseline, candidate] => Intent::subsets(host, namespace, baseline, candidate),
        ["#", "hosts", namespace, baseline, candidate] => Intent::hosts(namespace, baseline, candidate),
        _ => panic!("no intent: {line}"),
    }
}

fn reviews() -> Intent {
    Intent::subsets("reviews", "default", "v1", "v2")
}

/// A plan as it stands in the `NAME.out.yaml` files.
fn shown(plan: &Plan) -> Value {
    let all = |notes: &[Obstacle]| -> Vec<String> { notes.iter().map(said).collect() };
    match plan {
        Plan::Change(change) => {
            let weights: Vec<String> = change.weights.iter().map(ToString::to_string).collect();
            json!({ "change": weights, "notes": all(&change.notes), "patch": change.patch })
        }
        Plan::InEffect { notes } => json!({ "in_effect": true, "notes": all(notes) }),
        Plan::Refused(obstacle) => json!({ "refused": said(obstacle) }),
    }
}

fn said(obstacle: &Obstacle) -> String {
    format!("{}: {obstacle}", obstacle.reason())
}

fn applied(object: &Value, change: &Change) -> Value {
    let mut after = object.clone();
    json_patch::patch(&mut after, &change.patch).unwrap();
    after
}

/// The value without the weights of destinations.
fn without_weights(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            let weighted = map.contains_key("destination") || map.contains_key("name");
            let kept = map.iter().filter(|(key, _)| !(weighted && *key == "weight"));
            kept.map(|(key, value)| (key.clone(), without_weights(value))).collect::<Map<_, _>>().into()
        }
        Value::Array(items) => items.iter().map(without_weights).collect(),
        other => other.clone(),
    }
}

/// Every `NAME.in.yaml`: its name, the intent of its first line, the object. Behind a root there are its delegates: then it is the one of
/// them that is to be changed, or the root with the reason why none is.
fn manifests() -> Vec<(String, Intent, Value, Option<NotFollowed>)> {
    let files = fs::read_dir(DATA).unwrap().map(|entry| entry.unwrap().path());
    let manifests = files.filter_map(|path| {
        let name = path.file_name()?.to_str()?.strip_suffix(".in.yaml")?.to_owned();
        let text = fs::read_to_string(&path).unwrap();
        let intent = intent(text.lines().next().unwrap());
        let mut documents: Vec<Value> = serde_saphyr::from_multiple(&text).unwrap();
        let root = documents.remove(0);
        let (object, why) = followed(root, &documents, &intent);
        Some((name, intent, object, why))
    });
    manifests.collect()
}

fn followed(root: Value, others: &[Value], intent: &Intent) -> (Value, Option<NotFollowed>) {
    let is_named = |name: &ObjectRef, object: &Value| routes::names(object) == (name.namespace(), name.name());
    let read = |name: ObjectRef| {
        let object = others.iter().find(|object| is_named(&name, object)).cloned();
        (name, object)
    };
    let family = Family { delegates: delegates::of(&root).into_iter().map(read).collect(), root };
    match family.splits(intent) {
        Ok((_, object)) => (object.clone(), None),
        Err(why) => (family.root, Some(why)),
    }
}

/// As [`plan`], of what was found.
fn planned(object: &Value, intent: &Intent, why: Option<&NotFollowed>) -> Plan {
    why.map_or_else(|| plan(object, intent), |why| Plan::Refused(why.clone().into()))
}

/// Every `NAME.in.yaml` has the plan that `NAME.out.yaml` says. `SERIN_UPDATE_PLANS=1` renews them: read the diff.
#[test]
fn manifests_and_their_plans() {
    let manifests = manifests();
    for (name, intent, object, why) in &manifests {
        let first = planned(object, intent, why.as_ref());
        let out = Path::new(DATA).join(format!("{name}.out.yaml"));
        if std::env::var_os("SERIN_UPDATE_PLANS").is_some() {
            fs::write(&out, serde_saphyr::to_string(&shown(&first)).unwrap()).unwrap();
        }
        let expected: Value = serde_saphyr::from_str(&fs::read_to_string(&out).unwrap()).unwrap();
        assert_eq!(shown(&first), expected, "{name}");
        if let Plan::Change(change) = &first {
            let after = applied(object, change);
            assert_eq!(without_weights(&after), without_weights(object), "{name}");
            assert!(!matches!(plan(&after, intent), Plan::Change(_)), "{name}: the second time");
        }
    }
    assert!(manifests.len() > 30, "{}", manifests.len());
}

/// The schema of a VirtualService's spec in Istio's own CRDs.
fn istio_schema(version: &str) -> jsonschema::Validator {
    let crds = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/data/istio-crds.yaml")).unwrap();
    let crds: Vec<Value> = serde_saphyr::from_multiple(&crds).unwrap();
    let crd = crds.iter().find(|crd| crd["spec"]["names"]["kind"] == "VirtualService").unwrap();
    let mut versions = crd["spec"]["versions"].as_array().unwrap().iter();
    let version = versions.find(|known| known["name"] == version).unwrap();
    jsonschema::draft202012::new(&version["schema"]["openAPIV3Schema"]["properties"]["spec"]).unwrap()
}

/// Every VirtualService here is one that Istio's schema takes, before and after. It takes negative weights, too.
#[test]
fn virtual_services_are_as_istio_knows_them() {
    let schemas = ["v1", "v1beta1", "v1alpha3"].map(|version| (version, istio_schema(version)));
    let mut seen = 0;
    for (name, intent, object, _) in manifests().iter().filter(|(_, _, object, _)| object["kind"] == "VirtualService") {
        let version = object["apiVersion"].as_str().unwrap().split_once('/').unwrap().1;
        let (_, schema) = schemas.iter().find(|(known, _)| *known == version).unwrap();
        let check = |object: &Value| {
            let faults: Vec<String> = schema.iter_errors(&object["spec"]).map(|error| error.to_string()).collect();
            assert_eq!(faults, Vec::<String>::new(), "{name}");
        };
        check(object);
        if let Plan::Change(change) = plan(object, intent) {
            check(&applied(object, &change));
            seen += 1;
        }
    }
    assert!(seen > 10, "{seen}");
}

fn split(weights: [Value; 3]) -> Value {
    let [v1, v2, v3] = weights;
    json!({
        "apiVersion": "networking.istio.io/v1", "kind": "VirtualService",
        "metadata": { "name": "reviews", "namespace": "default", "uid": "u", "resourceVersion": "7" },
        "spec": { "hosts": ["reviews"], "http": [{ "route": [
            { "destination": { "host": "reviews", "subset": "v1" }, "weight": v1 },
            { "destination": { "host": "reviews", "subset": "v2" }, "weight": v2 },
            { "destination": { "host": "reviews", "subset": "v3" }, "weight": v3 },
        ] }] },
    })
}

#[test]
fn objects_at_the_limits() {
    let mut object = split([90.into(), 10.into(), 0.into()]);
    object["spec"]["padding"] =
        "x".repeat(MAX_OBJECT_BYTES - object.to_string().len() - r#","padding":"""#.len()).into();
    assert_eq!(object.to_string().len(), MAX_OBJECT_BYTES);
    assert!(matches!(plan(&object, &reviews()), Plan::Change(_)));
    object["metadata"]["name"] = "reviews1".into();
    assert_eq!(plan(&object, &reviews()), Plan::Refused(Obstacle::TooLarge { limit: MAX_OBJECT_BYTES }));

    let mut many = split([90.into(), 10.into(), 0.into()]);
    let route = many["spec"]["http"][0].clone();
    // Two guards, and a test and a replace for each of two weights.
    let most = (MAX_OPERATIONS - 2) / 4;
    many["spec"]["http"] = vec![route.clone(); most].into();
    assert!(matches!(plan(&many, &reviews()), Plan::Change(_)));
    many["spec"]["http"] = vec![route; most + 1].into();
    let operations = 2 + 4 * (most + 1);
    let refused = Obstacle::TooManyRoutes { operations, limit: MAX_OPERATIONS };
    assert_eq!(plan(&many, &reviews()), Plan::Refused(refused));
}

#[test]
fn what_is_not_from_the_server_or_going_away() {
    let check = |edit: fn(&mut Value), reason: &str| {
        let mut object = split([90.into(), 10.into(), 0.into()]);
        edit(&mut object);
        match plan(&object, &reviews()) {
            Plan::Refused(obstacle) => assert_eq!(obstacle.reason(), reason),
            other => panic!("{reason}: {other:?}"),
        }
    };
    check(|object| object["metadata"] = json!({ "uid": "u" }), "NotFromServer");
    check(|object| object["metadata"] = json!({ "resourceVersion": "7" }), "NotFromServer");
    check(|object| object["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into(), "BeingDeleted");
    check(|object| object["kind"] = "DestinationRule".into(), "UnknownKind");
    check(|object| object["apiVersion"] = "networking.istio.io/v2".into(), "UnknownKind");
    check(|object| object["spec"] = Value::Null, "NoCandidate");
    check(|object| *object = Value::Null, "UnknownKind");
    let same = Intent::subsets("reviews", "default", "v1", "v1");
    let refused = plan(&split([90.into(), 10.into(), 0.into()]), &same);
    assert!(matches!(refused, Plan::Refused(Obstacle::SameRelease { .. })));
}

/// The patch is for the object as read: on any other it fails as a whole.
#[test]
fn a_patch_fails_on_another_object() {
    let object = split([90.into(), 10.into(), 0.into()]);
    let Plan::Change(change) = plan(&object, &reviews()) else { panic!() };
    for (pointer, value) in [
        ("/metadata/uid", json!("another")),
        ("/metadata/resourceVersion", json!("8")),
        ("/spec/http/0/route/0/weight", json!(80)),
        ("/spec/http/0/route/1/weight", json!(20)),
    ] {
        let mut other = object.clone();
        *other.pointer_mut(pointer).unwrap() = value;
        assert!(json_patch::patch(&mut other, &change.patch).is_err(), "{pointer}");
    }
}

/// Something of any shape, to stand where Serin does not look.
fn anything() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        "[a-z~/ ]{0,6}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
            prop::collection::btree_map("[a-z~/]{1,4}", inner, 0..3).prop_map(|map| json!(map)),
        ]
    })
}

fn written_weight() -> impl Strategy<Value = Option<Value>> {
    prop_oneof![
        8 => (0..=100u32).prop_map(|weight| Some(weight.into())),
        1 => Just(None),
        1 => anything().prop_map(Some),
    ]
}

/// A VirtualService or an HTTPRoute with routes of up to four destinations.
fn object() -> impl Strategy<Value = Value> {
    let destination = (0..=3usize, written_weight(), anything());
    let route = (prop::collection::vec(destination, 0..4), anything());
    (prop::collection::vec(route, 0..4), any::<bool>(), anything()).prop_map(|(routes, istio, extra)| {
        let release = |i: usize| ["shop-v1", "shop-v2", "shop-v3", "cart"][i];
        let destination = |(i, weight, extra): &(usize, Option<Value>, Value)| {
            let mut destination = match istio {
                true => json!({ "destination": { "host": release(*i) }, "x": extra }),
                false => json!({ "name": release(*i), "port": 80, "filters": extra }),
            };
            if let Some(weight) = weight {
                destination["weight"] = weight.clone();
            }
            destination
        };
        let routes: Vec<Value> = routes
            .iter()
            .map(|(destinations, extra)| {
                let list: Vec<Value> = destinations.iter().map(destination).collect();
                let key = if istio { "route" } else { "backendRefs" };
                json!({ key: list, "other": extra })
            })
            .collect();
        let (api_version, kind, key) = match istio {
            true => ("networking.istio.io/v1beta1", "VirtualService", "http"),
            false => ("gateway.networking.k8s.io/v1", "HTTPRoute", "rules"),
        };
        json!({
            "apiVersion": api_version, "kind": kind, "extra": extra,
            "metadata": { "name": "shop", "namespace": "default", "uid": "u", "resourceVersion": "7" },
            "spec": { key: routes },
        })
    })
}

proptest! {
    #[test]
    fn a_patch_changes_weights_and_nothing_else(object in object()) {
        let intent = Intent::hosts("default", "shop-v1", "shop-v2");
        if let Plan::Change(change) = plan(&object, &intent) {
            let after = applied(&object, &change);
            prop_assert_eq!(without_weights(&after), without_weights(&object));
            let changed = change.patch.iter().filter(|operation| !matches!(operation, json_patch::PatchOperation::Test(_)));
            prop_assert_eq!(changed.count(), change.weights.len());
            prop_assert!(!change.weights.is_empty());
            for weight in &change.weights {
                prop_assert!(weight.destination == "shop-v1" || weight.after == 0, "{}", weight);
                prop_assert!(weight.destination != "shop-v1" || weight.after > 0, "{}", weight);
                prop_assert!(["shop-v1", "shop-v2"].contains(&weight.destination.as_str()), "{}", weight);
            }
            prop_assert!(!matches!(plan(&after, &intent), Plan::Change(_)));
        }
    }

    #[test]
    fn whatever_stands_in_an_object_is_planned_or_refused(spec in anything(), rest in anything()) {
        for (api_version, kind, key) in [
            ("networking.istio.io/v1", "VirtualService", "http"),
            ("gateway.networking.k8s.io/v1", "GRPCRoute", "rules"),
        ] {
            let object = json!({ "apiVersion": api_version, "kind": kind, "metadata": rest, "spec": { key: [spec, rest] } });
            let _ = plan(&object, &Intent::hosts("default", "shop-v1", "shop-v2"));
        }
    }
}
