//! Whether the rules that are shipped allow a request: every request of every test is held against them.

use std::collections::BTreeSet;

use serde_json::Value;

use super::Asked;

const RULES: [&str; 3] = [
    include_str!("../../../envoy-configs/istio/install/base/rbac.yaml"),
    include_str!("../../../envoy-configs/istio/install/guarded-namespace/rbac.yaml"),
    include_str!("../../../envoy-configs/istio/install/overlays/argo-rollouts/rbac.yaml"),
];

/// What a request asks to be allowed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Access {
    pub(crate) verb: String,
    pub(crate) group: String,
    /// With its subresource: `releaseguards/status`.
    pub(crate) resource: String,
}

impl Access {
    /// As the API server reads a request; `None` when it is not about a resource.
    pub(crate) fn of(asked: &Asked) -> Option<Self> {
        let mut words = asked.path.trim_matches('/').split('/');
        let group = match words.next()? {
            "api" => "",
            "apis" => words.next()?,
            _ => return None,
        };
        let mut rest = words.skip(1).peekable();
        // `namespaces` by itself is a resource, with a name and more behind it the place of one.
        let rest: Vec<&str> = match rest.peek() {
            Some(&"namespaces") => rest.skip(2).collect(),
            _ => rest.collect(),
        };
        let is_watch = asked.query.contains("watch=1") || asked.query.contains("watch=true");
        let verb = match (asked.method.as_str(), rest.len()) {
            ("GET", 1) if is_watch => "watch",
            ("GET", 1) => "list",
            ("GET", _) => "get",
            ("POST", _) => "create",
            ("PUT", _) => "update",
            ("PATCH", _) => "patch",
            ("DELETE", 1) => "deletecollection",
            ("DELETE", _) => "delete",
            _ => return None,
        };
        let resource = match rest.as_slice() {
            [resource] | [resource, _] => (*resource).to_owned(),
            [resource, _, subresource] => format!("{resource}/{subresource}"),
            _ => return None,
        };
        Some(Access { verb: verb.to_owned(), group: group.to_owned(), resource })
    }

    pub(crate) fn is_allowed(&self) -> bool {
        allowed().contains(self)
    }
}

/// All that the rules allow.
fn allowed() -> BTreeSet<Access> {
    let documents = RULES.iter().flat_map(|text| serde_saphyr::from_multiple::<Value>(text).unwrap());
    let rules = documents.flat_map(|document| document["rules"].as_array().cloned().unwrap_or_default());
    let words = |rule: &Value, key: &str| -> Vec<String> {
        rule[key].as_array().unwrap().iter().map(|word| word.as_str().unwrap().to_owned()).collect()
    };
    let mut all = BTreeSet::new();
    for rule in rules {
        for group in words(&rule, "apiGroups") {
            for resource in words(&rule, "resources") {
                for verb in words(&rule, "verbs") {
                    all.insert(Access { verb, group: group.clone(), resource: resource.clone() });
                }
            }
        }
    }
    all
}

fn asked(method: &str, path: &str, query: &str) -> Asked {
    let [method, path, query] = [method, path, query].map(str::to_owned);
    Asked { method, path, query, content_type: String::new(), body: Value::Null }
}

fn check(method: &str, path: &str, query: &str, want: [&str; 3]) {
    let [verb, group, resource] = want.map(str::to_owned);
    assert_eq!(Access::of(&asked(method, path, query)), Some(Access { verb, group, resource }), "{path}");
}

#[test]
fn a_request_is_read_as_the_api_server_does() {
    let guards = "/apis/serin.dev/v1alpha1/namespaces/shop/releaseguards";
    check("GET", guards, "", ["list", "serin.dev", "releaseguards"]);
    check("GET", guards, "watch=true&x=1", ["watch", "serin.dev", "releaseguards"]);
    check("GET", &format!("{guards}/shop"), "", ["get", "serin.dev", "releaseguards"]);
    check("PATCH", &format!("{guards}/shop/status"), "", ["patch", "serin.dev", "releaseguards/status"]);
    check("GET", "/api/v1/pods", "", ["list", "", "pods"]);
    check("GET", "/api/v1/namespaces/shop/pods/a", "", ["get", "", "pods"]);
    assert_eq!(Access::of(&asked("GET", "/version", "")), None);
}

/// What the code asks for, and why: no more is allowed, and no less.
#[test]
fn the_rules_are_exactly_what_is_needed() {
    let needed = [
        // lease
        ("coordination.k8s.io", "leases", &["create", "get", "update"][..]),
        // The controller's watches, and the status it writes: tests/a_release_guard_in_the_cluster.rs.
        ("serin.dev", "releaseguards", &["list", "watch"]),
        ("serin.dev", "releaseguards/status", &["patch"]),
        ("", "pods", &["list", "watch"]),
        ("apps", "replicasets", &["list", "watch"]),
        // apply, hold; and the controller's watches
        ("networking.istio.io", "virtualservices", &["get", "list", "watch", "patch"]),
        ("gateway.networking.k8s.io", "httproutes", &["get", "list", "watch", "patch"]),
        ("gateway.networking.k8s.io", "grpcroutes", &["get", "list", "watch", "patch"]),
        ("events.k8s.io", "events", &["create", "patch"]),
        // rollout
        ("argoproj.io", "rollouts", &["get"]),
        ("argoproj.io", "rollouts/status", &["patch"]),
    ];
    let needed: BTreeSet<Access> = needed
        .iter()
        .flat_map(|(group, resource, verbs)| {
            let (group, resource) = ((*group).to_owned(), (*resource).to_owned());
            verbs.iter().map(move |verb| Access {
                verb: (*verb).to_owned(),
                group: group.clone(),
                resource: resource.clone(),
            })
        })
        .collect();
    assert_eq!(allowed(), needed);
    let delete = asked("DELETE", "/apis/networking.istio.io/v1/namespaces/shop/virtualservices/shop", "");
    assert!(!Access::of(&delete).unwrap().is_allowed());
}
