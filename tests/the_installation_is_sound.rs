//! Would a cluster take what `envoy-configs/istio/install` holds, and is all of it there? Kubernetes' own kinds are held against the types
//! of its API, which drop what they do not know, so that a field that is gone afterwards is an error; others against what is written down
//! here of them.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use k8s_openapi::{
    api::{
        apps::v1::Deployment,
        autoscaling::v2::HorizontalPodAutoscaler,
        core::v1::{ConfigMap, Namespace, PersistentVolumeClaim, Service, ServiceAccount},
        networking::v1::NetworkPolicy,
        policy::v1::PodDisruptionBudget,
        rbac::v1::{ClusterRole, ClusterRoleBinding, Role, RoleBinding},
    },
    apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};
use support::{artifacts, prometheus};

pub(crate) fn install() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../envoy-configs/istio/install")
}

fn read(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_saphyr::from_multiple(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Every YAML file below a folder.
fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => files(&path, found),
            false => found.extend(path.extension().is_some_and(|extension| extension == "yaml").then_some(path)),
        }
    }
}

/// Everything with a kind, but kustomizations and patches.
fn objects() -> Vec<(PathBuf, Value)> {
    let mut found = Vec::new();
    files(&install(), &mut found);
    found.sort();
    let patches = [
        "empty-dir/no-claim.yaml",
        "empty-dir/deployment.yaml",
        "high-availability/deployment.yaml",
        "high-availability/no-budget.yaml",
        "nats/deployment.yaml",
        "kustomization.yaml",
    ];
    let objects = found.into_iter().filter(|path| !patches.iter().any(|patch| path.ends_with(patch)));
    let documents = objects.flat_map(|path| read(&path).into_iter().map(move |document| (path.clone(), document)));
    documents.filter(|(_, document)| document.get("kind").is_some()).collect()
}

/// The fields that a type of the API does not know, or what it has against the rest.
fn lost<T: DeserializeOwned + Serialize>(document: &Value) -> Vec<String> {
    match serde_json::from_value::<T>(document.clone()) {
        Ok(read) => missing(document, &serde_json::to_value(read).unwrap(), ""),
        Err(error) => vec![error.to_string()],
    }
}

/// What is in one and not in the other.
fn missing(from: &Value, of: &Value, path: &str) -> Vec<String> {
    match (from, of) {
        (Value::Object(from), Value::Object(of)) => {
            let entries = from.iter().flat_map(|(key, value)| match of.get(key) {
                Some(other) => missing(value, other, &format!("{path}/{key}")),
                None => vec![format!("{path}/{key} is not known")],
            });
            entries.collect()
        }
        (Value::Array(from), Value::Array(of)) if from.len() == of.len() => {
            from.iter().zip(of).enumerate().flat_map(|(i, (a, b))| missing(a, b, &format!("{path}/{i}"))).collect()
        }
        _ if from == of => Vec::new(),
        _ => vec![format!("{path}: {from} became {of}")],
    }
}

/// Kinds whose schemas are not here: every path that may be there, and no other. `*` is any key or position.
fn written_down(kind: &str) -> &'static [&'static str] {
    match kind {
        "ServiceMonitor" => &[
            "spec/selector/matchLabels/*",
            "spec/endpoints/*/port",
            "spec/endpoints/*/path",
            "spec/endpoints/*/interval",
            "spec/endpoints/*/honorLabels",
            "spec/endpoints/*/relabelings/*/targetLabel",
            "spec/endpoints/*/relabelings/*/replacement",
        ],
        "PrometheusRule" => &[
            "spec/groups/*/name",
            "spec/groups/*/interval",
            "spec/groups/*/rules/*/record",
            "spec/groups/*/rules/*/alert",
            "spec/groups/*/rules/*/for",
            "spec/groups/*/rules/*/labels/severity",
            "spec/groups/*/rules/*/annotations/summary",
            "spec/groups/*/rules/*/expr",
        ],
        "AnalysisTemplate" => &[
            "spec/args/*/name",
            "spec/args/*/value",
            "spec/metrics/*/name",
            "spec/metrics/*/interval",
            "spec/metrics/*/failureLimit",
            "spec/metrics/*/inconclusiveLimit",
            "spec/metrics/*/successCondition",
            "spec/metrics/*/failureCondition",
            "spec/metrics/*/provider/web/url",
            "spec/metrics/*/provider/web/timeoutSeconds",
        ],
        // Its schema is looked at in `manifests_match_the_schemas.rs`.
        "AuthorizationPolicy" => &[
            "spec/selector/matchLabels/*",
            "spec/action",
            "spec/rules/*/from/*/source/notPrincipals/*",
            "spec/rules/*/to/*/operation/ports/*",
            "spec/rules/*/to/*/operation/paths/*",
        ],
        "Canary" => &[
            "spec/targetRef/apiVersion",
            "spec/targetRef/kind",
            "spec/targetRef/name",
            "spec/service/port",
            "spec/analysis/interval",
            "spec/analysis/threshold",
            "spec/analysis/maxWeight",
            "spec/analysis/stepWeight",
            "spec/analysis/webhooks/*/name",
            "spec/analysis/webhooks/*/type",
            "spec/analysis/webhooks/*/url",
            "spec/analysis/webhooks/*/timeout",
            "spec/analysis/webhooks/*/metadata/*",
        ],
        _ => &[],
    }
}

fn leaves(value: &Value, path: &str, found: &mut Vec<String>) {
    let mut go = |key: &str, value: &Value| {
        leaves(value, &if path.is_empty() { key.to_owned() } else { format!("{path}/{key}") }, found);
    };
    match value {
        Value::Object(map) => map.iter().for_each(|(key, value)| go(key, value)),
        Value::Array(items) => items.iter().enumerate().for_each(|(i, value)| go(&i.to_string(), value)),
        _ => found.push(path.to_owned()),
    }
}

fn unknown_paths(document: &Value, known: &[&str]) -> Vec<String> {
    let fits = |path: &str, known: &str| {
        let (path, known): (Vec<_>, Vec<_>) = (path.split('/').collect(), known.split('/').collect());
        path.len() == known.len() && path.iter().zip(&known).all(|(a, b)| a == b || *b == "*")
    };
    let mut found = Vec::new();
    leaves(&document["spec"], "spec", &mut found);
    found.retain(|path| !known.iter().any(|known| fits(path, known)));
    found
}

/// What a cluster would have against a document.
pub(crate) fn faults(document: &Value) -> Vec<String> {
    let kind = document["kind"].as_str().unwrap();
    match (document["apiVersion"].as_str().unwrap(), kind) {
        ("v1", "Namespace") => lost::<Namespace>(document),
        ("v1", "ServiceAccount") => lost::<ServiceAccount>(document),
        ("v1", "ConfigMap") => lost::<ConfigMap>(document),
        ("v1", "PersistentVolumeClaim") => lost::<PersistentVolumeClaim>(document),
        ("v1", "Service") => lost::<Service>(document),
        ("apps/v1", "Deployment") => lost::<Deployment>(document),
        ("networking.k8s.io/v1", "NetworkPolicy") => lost::<NetworkPolicy>(document),
        ("policy/v1", "PodDisruptionBudget") => lost::<PodDisruptionBudget>(document),
        ("autoscaling/v2", "HorizontalPodAutoscaler") => lost::<HorizontalPodAutoscaler>(document),
        ("rbac.authorization.k8s.io/v1", "Role") => lost::<Role>(document),
        ("rbac.authorization.k8s.io/v1", "RoleBinding") => lost::<RoleBinding>(document),
        ("rbac.authorization.k8s.io/v1", "ClusterRole") => lost::<ClusterRole>(document),
        ("rbac.authorization.k8s.io/v1", "ClusterRoleBinding") => lost::<ClusterRoleBinding>(document),
        ("apiextensions.k8s.io/v1", "CustomResourceDefinition") => lost::<CustomResourceDefinition>(document),
        ("monitoring.coreos.com/v1", "ServiceMonitor" | "PrometheusRule")
        | ("argoproj.io/v1alpha1", "AnalysisTemplate")
        | ("security.istio.io/v1", "AuthorizationPolicy")
        | ("flagger.app/v1beta1", "Canary") => unknown_paths(document, written_down(kind)),
        (version, kind) => vec![format!("nobody checks {version} {kind}")],
    }
}

#[test]
fn every_object_is_one_that_the_api_knows() {
    let objects = objects();
    for (file, document) in &objects {
        assert_eq!(faults(document), Vec::<String>::new(), "{}", file.display());
    }
    assert!(objects.len() > 20, "only {} objects", objects.len());
}

#[test]
fn what_is_wrong_is_found() {
    let all = objects();
    let of = |kind: &str| all.iter().find(|(_, document)| document["kind"] == kind).unwrap().1.clone();
    let cases = [
        ("Deployment", "/spec/template/spec/containers/0", "imagePulPolicy", json!("Always")),
        ("Deployment", "/spec", "replicas", json!("one")),
        ("NetworkPolicy", "/spec/ingress/0", "form", json!([])),
        ("ServiceMonitor", "/spec/endpoints/0", "intervall", json!("5s")),
        ("AnalysisTemplate", "/spec/metrics/0", "sucessCondition", json!("true")),
    ];
    for (kind, pointer, key, value) in cases {
        let mut wrong = of(kind);
        wrong.pointer_mut(pointer).unwrap().as_object_mut().unwrap().insert(key.to_owned(), value);
        assert!(!faults(&wrong).is_empty(), "{kind} {key}");
    }
}

/// Everything that a kustomization names is there, and every file is named by one.
#[test]
fn kustomizations_name_what_is_there() {
    let mut found = Vec::new();
    files(&install(), &mut found);
    let mut named = BTreeSet::new();
    for file in found.iter().filter(|path| path.ends_with("kustomization.yaml")) {
        let kustomization = read(file).remove(0);
        let folder = file.parent().unwrap();
        let resources = kustomization["resources"].as_array().unwrap().iter();
        let patches = kustomization.get("patches").and_then(Value::as_array).into_iter().flatten();
        for entry in resources.chain(patches.map(|patch| &patch["path"])) {
            let path = folder.join(entry.as_str().unwrap());
            let path = path.canonicalize().unwrap_or_else(|error| panic!("{}: {entry}: {error}", file.display()));
            assert!(path.is_file() || path.join("kustomization.yaml").is_file(), "{}: {entry}", file.display());
            // Kustomize refuses files above the folder.
            assert!(path.is_dir() || path.starts_with(folder.canonicalize().unwrap()), "{}: {entry}", file.display());
            named.insert(path);
        }
    }
    // An example, and what Prometheus reads.
    let elsewhere = |path: &PathBuf| path.ends_with("kustomization.yaml") || path.ends_with("flagger/canary.yaml");
    let prometheus = install().join("prometheus");
    for file in found.iter().filter(|path| !elsewhere(path) && !path.starts_with(&prometheus)) {
        assert!(named.contains(&file.canonicalize().unwrap()), "{} is in no kustomization", file.display());
    }
}

#[test]
fn the_pod_has_no_more_than_it_needs() {
    let deployment = read(&install().join("base/deployment.yaml")).remove(0);
    let pod = &deployment["spec"]["template"]["spec"];
    assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
    assert_eq!(pod["securityContext"]["seccompProfile"]["type"], "RuntimeDefault");
    let container = &pod["containers"][0];
    let security = &container["securityContext"];
    assert_eq!(security["readOnlyRootFilesystem"], true);
    assert_eq!(security["allowPrivilegeEscalation"], false);
    assert_eq!(security["capabilities"]["drop"], json!(["ALL"]));
    // Whoever asks for more is told by the API server.
    let namespace = read(&install().join("base/namespace.yaml")).remove(0);
    assert_eq!(namespace["metadata"]["labels"]["pod-security.kubernetes.io/warn"], "restricted");
    assert_eq!(container["livenessProbe"]["httpGet"]["path"], "/healthz");
    assert_eq!(container["readinessProbe"]["httpGet"]["path"], "/readyz");
}

/// Orders come to the port that reports come to, and only the aggregators themselves may send them through the mesh.
#[test]
fn only_serin_gives_orders_through_the_mesh() {
    use serin_proto::v1::control_server::SERVICE_NAME;
    let check = |documents: &[Value], namespace: &str| {
        let of = |kind: &str| documents.iter().find(|document| document["kind"] == kind).unwrap();
        let (policy, deployment, service) = (of("AuthorizationPolicy"), of("Deployment"), of("Service"));
        assert_eq!(policy["spec"]["action"], "DENY");
        assert_eq!(policy["metadata"]["namespace"], namespace);
        assert_eq!(policy["spec"]["selector"]["matchLabels"], deployment["spec"]["template"]["metadata"]["labels"]);
        let [rule] = policy["spec"]["rules"].as_array().unwrap().as_slice() else { panic!("{policy}") };
        let operation = &rule["to"][0]["operation"];
        assert_eq!(operation["paths"], json!([format!("/{SERVICE_NAME}/*")]));
        let port = &service["spec"]["ports"][0];
        assert_eq!((&port["appProtocol"], &operation["ports"]), (&json!("grpc"), &json!([port["port"].to_string()])));
        let account = of("ServiceAccount")["metadata"]["name"].as_str().unwrap();
        assert_eq!(rule["from"][0]["source"]["notPrincipals"], json!([format!("*/ns/{namespace}/sa/{account}")]));
    };
    let base: Vec<Value> =
        objects().into_iter().filter(|(path, _)| path.parent().unwrap().ends_with("base")).map(|of| of.1).collect();
    check(&base, "serin-system");
    // The sidecar that holds it up is there.
    let namespace = base.iter().find(|document| document["kind"] == "Namespace").unwrap();
    assert_eq!(namespace["metadata"]["labels"]["istio-injection"], "enabled");
    let mut command = Command::new(artifacts::serin().unwrap());
    command.args([
        "install",
        "--print",
        "--image",
        "example.org/serin:7",
        "--service",
        "cart",
        "--namespace",
        "elsewhere",
    ]);
    let printed = command.output().unwrap();
    check(&serde_saphyr::from_multiple(&String::from_utf8(printed.stdout).unwrap()).unwrap(), "elsewhere");
}

/// The Lease of the configuration is the one that the Role is about.
#[test]
fn replicas_may_write_the_lease_they_share() {
    let map = read(&install().join("overlays/high-availability/config-map.yaml")).remove(0);
    let config: Value = serde_saphyr::from_str(map["data"]["serin.yaml"].as_str().unwrap()).unwrap();
    let role = read(&install().join("base/rbac.yaml")).remove(0);
    let lease = format!(
        "{}/{}",
        role["metadata"]["namespace"].as_str().unwrap(),
        role["rules"][1]["resourceNames"][0].as_str().unwrap()
    );
    assert_eq!(config["high_availability"]["lease"], lease);
}

/// The operator's form of the rules and of the scraping says the same as Prometheus' own.
#[test]
fn both_forms_for_prometheus_say_the_same() {
    let operator = install().join("overlays/prometheus-operator");
    let own = install().join("prometheus");
    let rules = read(&operator.join("prometheus-rule.yaml")).remove(0);
    assert_eq!(rules["spec"], read(&own.join("rules.yaml")).remove(0));
    let endpoint = read(&operator.join("service-monitor.yaml")).remove(0)["spec"]["endpoints"][0].clone();
    let scrape = read(&own.join("scrape-config.yaml")).remove(0)["scrape_configs"][0].clone();
    assert_eq!((&endpoint["interval"], &scrape["scrape_interval"]), (&json!("5s"), &json!("5s")));
    assert_eq!((&endpoint["honorLabels"], &scrape["honor_labels"]), (&json!(true), &json!(true)));
    assert_eq!(endpoint["relabelings"][0]["replacement"], scrape["static_configs"][0]["labels"]["release"]);
}

/// The adapter's rule makes the metric that the autoscaler asks for, from a series that is recorded.
#[test]
fn the_autoscaler_asks_for_what_the_adapter_makes() {
    let hpa = read(&install().join("overlays/autoscaling/horizontal-pod-autoscaler.yaml")).remove(0);
    let adapter = read(&install().join("prometheus/adapter-values.yaml")).remove(0);
    let rule = &adapter["rules"]["external"][0];
    assert_eq!(hpa["spec"]["metrics"][0]["external"]["metric"]["name"], rule["name"]["as"]);
    let recorded = read(&install().join("prometheus/rules.yaml")).remove(0);
    let recorded = recorded["groups"][0]["rules"].as_array().unwrap();
    assert!(recorded.iter().any(|recorded| recorded["record"] == rule["seriesQuery"]), "{rule}");
}

#[test]
fn promtool_agrees_with_the_rules() {
    let Some(promtool) = prometheus::program("promtool").unwrap() else {
        eprintln!("skipped: there is no promtool (Debian: apt-get install prometheus)");
        return;
    };
    let run = |arguments: &[&str]| {
        Command::new(&promtool).args(arguments).current_dir(install().join("prometheus")).output().unwrap()
    };
    let checked = run(&["check", "rules", "rules.yaml"]);
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
    let tested = run(&["test", "rules", "rules.test.yaml"]);
    let said = [tested.stdout, tested.stderr].concat();
    assert!(tested.status.success(), "{}", String::from_utf8_lossy(&said));
    let scrape = run(&["check", "config", "--syntax-only", "scrape-config.yaml"]);
    assert!(scrape.status.success(), "{}", String::from_utf8_lossy(&scrape.stderr));
}
