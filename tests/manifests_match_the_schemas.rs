//! Would a cluster take the manifests in `envoy-configs/istio`, and the filter and the aggregator what is inside them?
//!
//! Istio's kinds are held against the schemas of the real CustomResourceDefinitions (`data/istio-crds.yaml`). A cluster
//! silently drops fields that a schema does not know, so here they are errors. Rules in CEL
//! (`x-kubernetes-validations`) are not checked.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use jsonschema::Validator;
use serde_json::{Map, Value, json};

const CRDS: &str = include_str!("data/istio-crds.yaml");
const STRING_VALUE: &str = "type.googleapis.com/google.protobuf.StringValue";

/// Every document of every manifest of the attachments and of the aggregator, with the name of its file. What overlays add or change is
/// looked at in `the_installation_is_sound.rs`.
fn manifests() -> Vec<(String, Value)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../envoy-configs/istio");
    let list = |folder: PathBuf| fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let files = list(folder.clone()).chain(list(folder.join("install/base")));
    let is_manifest =
        |path: &PathBuf| path.extension().is_some_and(|e| e == "yaml") && !path.ends_with("kustomization.yaml");
    let documents = files.filter(is_manifest).flat_map(|path| {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        documents(&fs::read_to_string(&path).unwrap()).into_iter().map(move |document| (name.clone(), document))
    });
    documents.collect()
}

fn documents(text: &str) -> Vec<Value> {
    serde_saphyr::from_multiple(text).unwrap()
}

/// What is wrong with the `spec` of a document of an Istio kind; nothing is said about other kinds.
fn faults(document: &Value) -> Vec<String> {
    let Some((group, version)) = document["apiVersion"].as_str().unwrap().split_once("istio.io/") else {
        return Vec::new();
    };
    let schema = documents(CRDS).into_iter().find_map(|crd| {
        let spec = &crd["spec"];
        let ours = spec["group"] == format!("{group}istio.io") && spec["names"]["kind"] == document["kind"];
        let mut versions = spec["versions"].as_array().unwrap().iter().filter(|_| ours);
        let version = versions.find(|v| v["name"] == version && v["served"] == true)?;
        Some(version["schema"]["openAPIV3Schema"]["properties"]["spec"].clone())
    });
    let Some(schema) = schema else {
        return vec![format!("{} {} is not in the CRDs", document["apiVersion"], document["kind"])];
    };
    let errors = strict(schema);
    let errors = errors.iter_errors(&document["spec"]);
    errors.map(|error| format!("{}: {error}", error.instance_path())).collect()
}

fn strict(mut schema: Value) -> Validator {
    deny_unknown_fields(&mut schema);
    jsonschema::draft202012::new(&schema).unwrap()
}

/// Kubernetes prunes what is in no `properties` unless told to preserve it. In a structural schema only these three
/// keywords lead to where fields are declared; `oneOf` and its like only restrict them.
fn deny_unknown_fields(schema: &mut Value) {
    let Some(schema) = schema.as_object_mut() else { return };
    if let Some(Value::Object(properties)) = schema.get_mut("properties") {
        properties.values_mut().for_each(deny_unknown_fields);
        if schema.get("x-kubernetes-preserve-unknown-fields") != Some(&Value::Bool(true)) {
            schema.entry("additionalProperties").or_insert(Value::Bool(false));
        }
    }
    for keyword in ["items", "additionalProperties"] {
        schema.get_mut(keyword).into_iter().for_each(deny_unknown_fields);
    }
}

/// Every plugin configuration of a document, wherever it is in there.
fn plugin_configurations(value: &Value, found: &mut Vec<Value>) {
    match value {
        Value::Object(map) if map.get("@type") == Some(&json!(STRING_VALUE)) => {
            found.push(serde_json::from_str(map["value"].as_str().unwrap()).unwrap());
        }
        Value::Object(map) => {
            found.extend(map.get("pluginConfig").cloned());
            map.values().for_each(|value| plugin_configurations(value, found));
        }
        Value::Array(items) => items.iter().for_each(|value| plugin_configurations(value, found)),
        _ => {}
    }
}

/// What the filter has against a plugin configuration.
fn plugin_faults(configuration: &Value) -> Vec<String> {
    let parsed = serin_filter::config::Config::parse(configuration.to_string().as_bytes());
    parsed.err().unwrap_or_default().iter().map(ToString::to_string).collect()
}

#[test]
fn every_manifest_is_one_that_istio_knows() {
    let manifests = manifests();
    for (file, document) in &manifests {
        assert_eq!(faults(document), Vec::<String>::new(), "{file}");
    }
    let kinds: BTreeSet<&str> = manifests.iter().filter_map(|(_, document)| document["kind"].as_str()).collect();
    assert!(kinds.is_superset(&BTreeSet::from(["EnvoyFilter", "WasmPlugin", "Deployment"])), "{kinds:?}");
}

#[test]
fn every_object_has_a_kind_and_a_name_of_its_own() {
    let mut seen = BTreeSet::new();
    for (file, document) in manifests() {
        let fields = [&document["apiVersion"], &document["kind"], &document["metadata"]["name"]];
        let words: Vec<&str> = fields.iter().filter_map(|field| field.as_str()).collect();
        assert!(words.len() == 3 && words.iter().all(|word| !word.is_empty()), "{file}: {fields:?}");
        assert!(seen.insert(words.join(" ")), "{file}: {words:?} is there twice");
    }
}

#[test]
fn the_filter_can_read_its_configuration() {
    let mut attached = 0;
    for (file, document) in manifests() {
        let mut found = Vec::new();
        plugin_configurations(&document, &mut found);
        for configuration in &found {
            assert_eq!(plugin_faults(configuration), Vec::<String>::new(), "{file}");
        }
        let counting = found.iter().filter(|configuration| configuration["attachment"] != "exceptions").count();
        let attaches = ["EnvoyFilter", "WasmPlugin", "TrafficExtension"].iter().any(|kind| document["kind"] == *kind);
        assert_eq!(counting, usize::from(attaches), "{file}");
        attached += counting;
    }
    assert_eq!(attached, 8);
}

/// The name that the filters call and the Service that answers.
#[test]
fn the_filter_reports_to_the_aggregators_service() {
    let manifests = manifests();
    let services = manifests.iter().filter(|(_, document)| document["kind"] == "Service");
    let clusters: BTreeSet<String> = services
        .flat_map(|(_, service)| {
            let (name, namespace) = (&service["metadata"]["name"], &service["metadata"]["namespace"]);
            let host = format!("{}.{}.svc.cluster.local", name.as_str().unwrap(), namespace.as_str().unwrap());
            let ports = service["spec"]["ports"].as_array().unwrap();
            let grpc = ports.iter().filter(|port| port["appProtocol"] == "grpc");
            grpc.map(move |port| format!("outbound|{}||{host}", port["port"]))
        })
        .collect();
    for (file, document) in &manifests {
        let mut found = Vec::new();
        plugin_configurations(document, &mut found);
        for configuration in found.iter().filter(|configuration| configuration["attachment"] != "exceptions") {
            assert!(clusters.contains(configuration["cluster"].as_str().unwrap()), "{file}: not in {clusters:?}");
        }
    }
}

#[test]
fn the_aggregator_can_read_its_configuration_and_writes_nothing() {
    let manifests = manifests();
    let texts = manifests.iter().filter_map(|(_, document)| document["data"]["serin.yaml"].as_str());
    let configs: Vec<_> = texts.map(|text| serin::config::Config::parse(text).unwrap()).collect();
    assert_eq!(configs.len(), 1);
    // What is written is said by ReleaseGuards, of which none is installed.
    assert!(configs.iter().all(|config| config.services.is_empty() && config.kubernetes.is_some()));
}

/// A failure policy is what decides whether a trap in the filter costs requests (facts tried on the real Envoy).
#[test]
fn a_trap_in_the_filter_does_the_least_harm() {
    for (file, document) in manifests() {
        let text = document.to_string();
        let loggers = text.matches("access_loggers.wasm.v3.WasmAccessLog").count();
        assert_eq!(text.matches(r#""failure_policy":"FAIL_RELOAD""#).count(), loggers, "{file}");
        let filters =
            text.matches(r#""@type":"type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm""#).count();
        assert_eq!(text.matches(r#""fail_open":true"#).count(), filters, "{file}");
        for (kind, pointer) in [("WasmPlugin", "/spec"), ("TrafficExtension", "/spec/wasm")] {
            if document["kind"] == kind {
                let spec = document.pointer(pointer).unwrap();
                assert_eq!(spec["failStrategy"], "FAIL_OPEN", "{file}");
            }
        }
    }
}

/// Plugins that share a VM share its end.
#[test]
fn every_attachment_has_a_vm_of_its_own() {
    let mut seen = BTreeSet::new();
    for (file, document) in manifests().iter().filter(|(_, document)| document["kind"] == "EnvoyFilter") {
        let text = document.to_string();
        let ids: BTreeSet<String> =
            text.split(r#""vm_id":""#).skip(1).filter_map(|rest| Some(rest.split_once('"')?.0.to_owned())).collect();
        assert_eq!(ids.len(), 1, "{file}: {ids:?}");
        assert!(seen.insert(ids), "{file}");
    }
}

/// Every way of attaching the filter at every place, and each says the vantage of its place.
#[test]
fn every_place_has_its_attachments() {
    let mut got = BTreeSet::new();
    for (file, document) in manifests().iter().filter(|(_, document)| document["kind"] == "EnvoyFilter") {
        let context = document["spec"]["configPatches"][0]["match"]["context"].as_str().unwrap().to_lowercase();
        let mut found = Vec::new();
        plugin_configurations(document, &mut found);
        for plugin in found.iter().filter(|plugin| plugin["attachment"] != "exceptions") {
            let (vantage, attachment) = (plugin["vantage"].as_str().unwrap(), plugin["attachment"].as_str().unwrap());
            assert_eq!(context.trim_start_matches("sidecar_"), vantage, "{file}");
            got.insert((vantage.to_owned(), attachment.to_owned()));
        }
    }
    let places = ["inbound", "outbound", "gateway"];
    let want = places.iter().flat_map(|p| ["access_log", "http_filter"].map(|a| ((*p).to_owned(), a.to_owned())));
    assert_eq!(got, want.collect());
}

/// Wherever an exceptions logger is shipped, its filter is the one that the tests against the real Envoy run.
#[test]
fn the_exceptions_filter_is_the_same_everywhere() {
    fn filters(value: &Value, found: &mut Vec<Value>) {
        match value {
            Value::Object(map) => {
                found.extend(map.get("filter").filter(|_| map.contains_key("typed_config")).cloned());
                map.values().for_each(|value| filters(value, found));
            }
            Value::Array(items) => items.iter().for_each(|value| filters(value, found)),
            _ => {}
        }
    }
    let mut found = Vec::new();
    filters(&support::bootstrap::shipped(support::gateway::ACCESS_LOG).unwrap(), &mut found);
    manifests().iter().for_each(|(_, document)| filters(document, &mut found));
    assert_eq!(found.len(), 4);
    assert!(found.iter().all(|filter| *filter == found[0]));
}

/// The checks above can fail: a right document, and what is said when one thing in it is wrong.
#[test]
fn what_is_wrong_is_found() {
    let right = json!({
        "apiVersion": "networking.istio.io/v1", "kind": "VirtualService", "metadata": { "name": "shop" },
        "spec": { "hosts": ["shop"], "http": [{ "route": [{ "destination": { "host": "shop" }, "weight": 100 }] }] },
    });
    assert_eq!(faults(&right), Vec::<String>::new());
    let route = "/spec/http/0/route/0";
    let cases = [
        (route, json!({ "destination": { "host": "shop" }, "wieght": 100 }), "wieght"),
        (route, json!({ "destination": { "host": "shop" }, "weight": "100" }), "integer"),
        (route, json!({ "weight": 100 }), "destination"),
        ("/spec", json!({ "host": ["shop"] }), "host"),
        ("/apiVersion", json!("networking.istio.io/v2"), "not in the CRDs"),
        ("/kind", json!("VirtualServise"), "not in the CRDs"),
    ];
    for (pointer, value, said) in cases {
        let mut wrong = right.clone();
        *wrong.pointer_mut(pointer).unwrap() = value;
        let faults = faults(&wrong);
        assert!(faults.iter().any(|fault| fault.contains(said)), "{said}: {faults:?}");
    }
}

#[test]
fn a_wrong_plugin_configuration_is_found() {
    let right = json!({ "cluster": "serin", "vantage": "inbound", "attachment": "access_log", "pod": "none" });
    assert_eq!(plugin_faults(&right), Vec::<String>::new());
    for (key, value) in [
        ("clustre", json!("serin")),
        ("vantage", json!("everywhere")),
        ("route", json!("none")),
        ("pod", json!({ "fixed": 1 })),
        ("release", json!({ "node_label": "version", "fixed": "v1" })),
        ("interval_ms", json!("1s")),
    ] {
        let mut wrong: Map<String, Value> = right.as_object().unwrap().clone();
        wrong.insert(key.to_owned(), value);
        assert_eq!(plugin_faults(&Value::Object(wrong)).len(), 1, "{key}");
    }
    // Without a cluster and a vantage; the attachment has a default.
    assert_eq!(plugin_faults(&json!({})).len(), 2);
}
