use std::{fs, path::Path, sync::LazyLock};

use k8s_openapi::jiff::Timestamp;
use kube::{CustomResourceExt as _, core::cel::Validator};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::discover::Pair;

/// Is the committed CRD what the types generate? `make crd` renews it.
#[test]
fn the_installed_crd_is_current() {
    let committed =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../envoy-configs/istio/install/base/crd-releaseguard.yaml");
    let fresh = yaml().unwrap();
    if std::env::var_os("SERIN_UPDATE_CRD").is_some() {
        fs::write(&committed, &fresh).unwrap();
    }
    let same = fs::read_to_string(&committed).is_ok_and(|text| text == fresh);
    assert!(same, "{} is not what the types generate: run `make crd`", committed.display());
    let read: Value = serde_saphyr::from_str(&fresh).unwrap();
    assert_eq!(read, serde_json::to_value(ReleaseGuard::crd()).unwrap(), "the YAML says something else");
}

fn schema() -> Value {
    let crd = serde_json::to_value(ReleaseGuard::crd()).unwrap();
    crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"].clone()
}

/// What Kubernetes asks of a structural schema, and what it bounds the cost of CEL rules by.
fn structural_faults(schema: &Value, path: &str, faults: &mut Vec<String>) {
    let mut fault = |what: &str| faults.push(format!("{path}: {what}"));
    let map = schema.as_object().unwrap();
    if !map.get("type").is_some_and(Value::is_string) {
        fault("no type");
    }
    for forbidden in
        ["$ref", "definitions", "$defs", "oneOf", "anyOf", "allOf", "not", "patternProperties", "const", "examples"]
    {
        if map.contains_key(forbidden) {
            fault(forbidden);
        }
    }
    if map.contains_key("properties") && map.contains_key("additionalProperties") {
        fault("both properties and additionalProperties");
    }
    if schema["type"] == "array" && !map.contains_key("items") {
        fault("no items");
    }
    for rule in map.get("x-kubernetes-validations").and_then(Value::as_array).into_iter().flatten() {
        if rule["rule"].as_str().unwrap().is_empty() || rule["message"].as_str().unwrap().is_empty() {
            fault("a rule without text");
        }
    }
    let in_spec = path.starts_with("/spec/");
    if in_spec && schema["type"] == "string" && !map.contains_key("maxLength") && !map.contains_key("enum") {
        fault("no maxLength");
    }
    if in_spec && schema["type"] == "array" && !map.contains_key("maxItems") {
        fault("no maxItems");
    }
    for (name, property) in map.get("properties").and_then(Value::as_object).into_iter().flatten() {
        structural_faults(property, &format!("{path}/{name}"), faults);
    }
    for key in ["items", "additionalProperties"] {
        if let Some(inner) = map.get(key) {
            structural_faults(inner, &format!("{path}/{key}"), faults);
        }
    }
}

#[test]
fn the_schema_is_structural() {
    let mut faults = Vec::new();
    structural_faults(&schema(), "", &mut faults);
    assert_eq!(faults, Vec::<String>::new());

    let mut wrong = schema();
    wrong["properties"]["spec"]["properties"]["service"] = json!({ "anyOf": [] });
    structural_faults(&wrong, "", &mut faults);
    assert_eq!(faults, ["/spec/service: no type", "/spec/service: anyOf"]);
}

/// What an API server has against a spec: the schema's faults, or else those of its rules.
fn faults(spec: &Value, old: Option<&Value>) -> Vec<String> {
    let schema = schema();
    let spec_schema = &schema["properties"]["spec"];
    let validator = jsonschema::draft202012::new(spec_schema).unwrap();
    let faults: Vec<String> = validator.iter_errors(spec).map(|error| error.to_string()).collect();
    if !faults.is_empty() {
        return faults;
    }
    let errors = Validator::new().validate(spec_schema, spec, old);
    errors
        .err()
        .into_iter()
        .flat_map(|errors| errors.into_iter().map(|error| error.message).collect::<Vec<_>>())
        .collect()
}

/// A right spec, with the defaults that the API server fills in.
fn right() -> Value {
    json!({
        "service": "shop", "vantage": "gateway", "baseline": "v1", "candidate": "v2", "routes": ["checkout"],
        "timing": "upstream", "action": "rollback", "hold": "1h", "confirmWithin": "30s",
        "rules": {
            "regression": "10%", "false_rollback": "0.1%", "false_pass": "5%", "trial": "1h30m", "guard": "0s",
            "throughput": "judged", "limits": { "p50": "1ms", "p95": "200ms", "p99": "500ms", "p99.9": "10m" },
            "metrics": [
                { "name": "p99", "thresholds": { "pass": 0.05, "marginal": 0.2 } },
                { "name": "p99.9", "thresholds": { "pass": 0.1, "marginal": 0.5 } },
            ],
        },
        "targets": [
            { "kind": "VirtualService", "name": "shop", "host": "shop", "subset": "release-{release}" },
            { "kind": "HTTPRoute", "name": "shop", "host": "shop-{release}" },
        ],
    })
}

/// Fills in the defaults as the API server does, where the parent is there.
fn fill_in(schema: &Value, value: &mut Value) {
    for (name, property) in schema.get("properties").and_then(Value::as_object).into_iter().flatten() {
        let map = value.as_object_mut().unwrap();
        if let Some(default) = property.get("default") {
            map.entry(name.clone()).or_insert_with(|| default.clone());
        }
        if let Some(inner) = map.get_mut(name).filter(|inner| inner.is_object()) {
            fill_in(property, inner);
        }
    }
}

fn filled_in(mut spec: Value) -> Value {
    fill_in(&schema()["properties"]["spec"], &mut spec);
    spec
}

#[test]
fn the_example_is_right() {
    let text = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/examples/release-guard.yaml")).unwrap();
    let example: Value = serde_saphyr::from_str(&text).unwrap();
    assert_eq!(faults(&example["spec"], None), Vec::<String>::new());
    // It says everything: nothing is filled in, and no key is lost on the way through the types.
    assert_eq!(filled_in(example["spec"].clone()), example["spec"]);
    let guard: ReleaseGuard = serde_json::from_value(example.clone()).unwrap();
    assert_eq!(serde_json::to_value(guard).unwrap(), example);
}

#[test]
fn the_example_in_the_words_of_the_yaml_file() {
    let text = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/examples/release-guard.yaml")).unwrap();
    let guard: ReleaseGuard = serde_saphyr::from_str(&text).unwrap();
    let rules = json!({
        "regression": "10%", "false_rollback": "0.1%", "false_pass": "5%", "trial": "30m", "guard": "30m",
        "throughput": "ignored", "limits": { "p95": "200ms", "p99": "500ms" },
        "metrics": [{ "name": "p99", "thresholds": { "pass": 0.05, "marginal": 0.2 } }],
    });
    let expected = json!({
        "name": "shop", "vantage": "gateway", "baseline": "v1", "candidate": "v2", "routes": ["checkout"],
        "timing": "upstream", "judge": rules,
        "rollback": { "action": "rollback", "dry_run": false, "confirm_within": "30s", "hold": "1h" },
    });
    assert_eq!(guard.spec.service(&guard.spec.pair().unwrap()), expected);
    let quiet = ReleaseGuardSpec { action: Action::DryRun, baseline: None, ..guard.spec };
    assert_eq!(quiet.pair(), None);
    let found = Pair { baseline: "v7".to_owned(), candidate: "v8".to_owned() };
    let service = quiet.service(&found);
    assert_eq!((&service["baseline"], &service["rollback"]["dry_run"]), (&json!("v7"), &json!(true)));
}

#[test]
fn what_must_be_said() {
    let least = filled_in(json!({ "service": "shop", "vantage": "inbound" }));
    assert_eq!(faults(&least, None), ["nothing to roll back: name a target, or set action to notify"]);
    let watched = filled_in(json!({ "service": "shop", "vantage": "inbound", "action": "notify" }));
    assert_eq!(faults(&watched, None), Vec::<String>::new());
    // The types have the schema's defaults.
    let guard: ReleaseGuardSpec = serde_json::from_value(json!({ "service": "shop", "vantage": "inbound" })).unwrap();
    let mut written = serde_json::to_value(guard).unwrap();
    written["rules"] = least["rules"].clone();
    assert_eq!(written, least);
}

proptest! {
    /// A duration that the schema takes is one that the parser of `serin.yaml` reads.
    #[test]
    fn durations_are_read_alike(text in DURATION_PATTERN) {
        prop_assert!(DURATION.is_valid(&json!(text)) == (text.len() >= 2), "{}", text);
        if text.len() >= 2 {
            let parser = jiff::fmt::friendly::SpanParser::new();
            prop_assert!(parser.parse_unsigned_duration(&text).is_ok(), "{}", text);
        }
    }
}

static DURATION: LazyLock<jsonschema::Validator> = LazyLock::new(|| {
    let schema = schema();
    jsonschema::draft202012::new(schema.pointer("/properties/spec/properties/hold").unwrap()).unwrap()
});

/// The schema's, with numbers of up to three digits.
const DURATION_PATTERN: &str = "([0-9]{1,3}h)?([0-9]{1,3}m)?([0-9]{1,3}s)?([0-9]{1,3}ms)?";

#[test]
fn right_specs() {
    assert_eq!(faults(&right(), None), Vec::<String>::new());
    assert_eq!(faults(&right(), Some(&right())), Vec::<String>::new());
    let mut kayenta = right();
    kayenta["rules"] = json!({ "thresholds": { "pass": 0.05, "marginal": 0.1 } });
    assert_eq!(faults(&kayenta, None), Vec::<String>::new());
    let least = json!({ "service": "shop", "vantage": "inbound", "action": "notify", "timing": "total", "hold": "1m", "confirmWithin": "1h", "rules": {} });
    assert_eq!(faults(&least, None), Vec::<String>::new());

    let guard: ReleaseGuardSpec = serde_json::from_value(right()).unwrap();
    assert_eq!(serde_json::to_value(guard).unwrap(), right());
    let guard: ReleaseGuardSpec = serde_json::from_value(json!({ "service": "shop", "vantage": "inbound" })).unwrap();
    assert_eq!((guard.action, guard.timing), (Action::Rollback, Timing::Upstream));
    assert_eq!((guard.hold.as_str(), guard.confirm_within.as_str()), ("1h", "30s"));
}

#[test]
fn wrong_specs() {
    let cases = [
        ("/candidate", json!("v1"), "baseline and candidate are the same"),
        ("/targets", json!([]), "nothing to roll back"),
        ("/service", json!(""), "shorter than 1"),
        ("/vantage", json!("everywhere"), "is not one of"),
        ("/action", json!("promote"), "is not one of"),
        ("/hold", json!("30s"), "hold must be from 1m to 720h"),
        ("/hold", json!("721h"), "hold must be from 1m to 720h"),
        ("/hold", json!("1 hour"), "does not match"),
        ("/confirmWithin", json!("500ms"), "confirmWithin must be from 1s to 1h"),
        ("/rules/regression", json!("10"), "does not match"),
        ("/rules/regression", json!("0.5%"), "regression must be from 1% to 1000%"),
        ("/rules/false_rollback", json!("11%"), "false_rollback must be from"),
        ("/rules/false_rollback", json!("0.00000001%"), "false_rollback must be from"),
        ("/rules/false_pass", json!("51%"), "false_pass must be from"),
        ("/rules/trial", json!("59s"), "trial must be"),
        ("/rules/trial", json!("90s500ms"), "trial must be in whole seconds"),
        ("/rules/guard", json!("25h"), "guard must be"),
        ("/rules/throughput", json!("maybe"), "is not one of"),
        ("/rules/metrics/0/name", json!("p90"), "is not one of"),
        ("/rules/metrics/0/thresholds/pass", json!(0.3), "pass must be below marginal"),
        ("/rules/metrics/1/name", json!("p99"), "each metric comes once"),
        ("/rules/limits/p99", json!("11m"), "a limit must be from 1ms to 10m"),
        ("/rules/limits/p99.9", json!("0ms"), "a limit must be from 1ms to 10m"),
        ("/rules/limits/p50", json!(500), "is not of type"),
        ("/rules/regression", json!("10%"), "give regression or thresholds"),
        ("/rules", json!({ "thresholds": { "pass": 0.1, "marginal": 0.1 } }), "pass must be below marginal"),
        ("/rules", json!({ "thresholds": { "pass": 0.001, "marginal": 0.1 } }), "less than the minimum"),
        ("/targets/0/subset", json!("v2"), "put {release} into the subset"),
        ("/targets/0/host", json!("shop-{release}"), "told apart by host or by subset"),
        ("/targets/1/host", json!("shop"), "the Gateway API has no subsets"),
        ("/targets/1/name", json!("../shop"), "does not match"),
        ("/targets/1/kind", json!("TCPRoute"), "is not one of"),
    ];
    for (pointer, value, said) in cases {
        let mut wrong = right();
        if said.starts_with("give regression") {
            wrong["rules"]["thresholds"] = json!({ "pass": 0.05, "marginal": 0.1 });
        }
        *wrong.pointer_mut(pointer).unwrap() = value;
        let faults = faults(&wrong, None);
        assert!(faults.len() == 1 && faults[0].contains(said), "{pointer}: {said}: {faults:?}");
    }
    let mut moved = right();
    moved["service"] = "cart".into();
    assert_eq!(faults(&moved, Some(&right())), ["the service cannot change: make another ReleaseGuard"]);
}

/// The keys of `judge` in `serin.yaml`, which its parser reads.
#[test]
fn rules_have_the_keys_of_the_yaml_file() {
    let keys = |pointer: &str| -> Vec<String> {
        let mut keys: Vec<String> = schema().pointer(pointer).unwrap().as_object().unwrap().keys().cloned().collect();
        keys.sort();
        keys
    };
    let rules = "/properties/spec/properties/rules/properties";
    assert_eq!(
        keys(rules),
        [
            "false_pass",
            "false_rollback",
            "guard",
            "limits",
            "metrics",
            "regression",
            "thresholds",
            "throughput",
            "trial"
        ]
    );
    assert_eq!(keys(&format!("{rules}/limits/properties")), ["p50", "p95", "p99", "p99.9"]);
    assert_eq!(keys(&format!("{rules}/thresholds/properties")), ["marginal", "pass"]);
    assert_eq!(keys(&format!("{rules}/metrics/items/properties")), ["name", "thresholds"]);
}

#[test]
fn targets_are_intents() {
    let check = |host: &str, subset: Option<&str>, expected| {
        let subset = subset.map(str::to_owned);
        let target =
            TargetRef { kind: TargetKind::VirtualService, name: "x".to_owned(), host: host.to_owned(), subset };
        assert_eq!(target.intent("prod", "v1", "v2"), expected, "{host}");
    };
    check("shop", None, Intent::subsets("shop", "prod", "v1", "v2"));
    check("shop", Some("r-{release}"), Intent::subsets("shop", "prod", "r-v1", "r-v2"));
    check("shop-{release}", None, Intent::hosts("prod", "shop-v1", "shop-v2"));
    check("shop-{release}.test", None, Intent::hosts("other", "shop-v1.test", "shop-v2.test"));
}

#[test]
fn texts_of_the_columns() {
    assert_eq!(Ratio::new("p99", 1.123, 1.08, 1.169).text, "p99 +12.3% (+8.0% to +16.9%)");
    assert_eq!(Ratio::new("p50", 0.99, 0.95, 1.0).text, "p50 -1.0% (-5.0% to +0.0%)");
    assert_eq!(Needed::new(1_200, Some(40)).text, "1200 requests, 40 s");
    assert_eq!(Needed::new(u64::MAX, None).requests, i64::MAX);
    assert_eq!(Needed::new(1, None).text, "1 requests, longer than the trial");
}

#[test]
fn a_conditions_time_is_when_its_status_changed() {
    let at = |second| Timestamp::from_second(second).unwrap();
    let mut conditions = Vec::new();
    let steps = [
        ("Ready", false, "NoCandidate", 10, 10),
        ("Ready", false, "ThirdRelease", 20, 10),
        ("RolledBack", true, "Regressed", 30, 30),
        ("Ready", true, "InEffect", 40, 40),
    ];
    for (type_, status, reason, now, expected) in steps {
        set_condition(&mut conditions, condition(type_, status, reason, "", at(now)));
        let set = conditions.iter().find(|condition| condition.type_ == type_).unwrap();
        assert_eq!((set.reason.as_str(), set.last_transition_time.0), (reason, at(expected)));
    }
    assert_eq!(conditions.len(), 2);
}
