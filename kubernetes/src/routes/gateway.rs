//! The rules of the Gateway API's HTTPRoute and GRPCRoute: pure.

use serde_json::Value;

use super::{Destination, Route, Target, names, path};
use crate::{
    host,
    json::{items, named, text},
    release_guard::TargetKind,
};

/// The weight of a backend that says none (`BackendRef.weight`).
const DEFAULT_WEIGHT: u32 = 1;

pub(super) fn routes(object: &Value, kind: TargetKind) -> Vec<Route> {
    let (namespace, name) = names(object);
    let spec = object.get("spec").unwrap_or(&Value::Null);
    let route = |(index, rule): (usize, &Value)| {
        let at = index.to_string();
        let destinations: Vec<Destination> = items(rule, "backendRefs")
            .map(|(i, backend)| destination(backend, path(["spec", "rules", &at, "backendRefs"], i), namespace))
            .collect();
        Route {
            place: format!("{kind} {namespace}/{name} rules[{index}]{}", named(rule)),
            percent: false,
            // A rule whose only backend has weight 0 answers 500: that is no place to send requests to.
            straight: matches!(destinations.as_slice(), [only] if only.weight() != Ok(0)),
            mirrors: mirrors(rule, namespace),
            destinations,
        }
    };
    items(spec, "rules").map(route).collect()
}

fn mirrors(rule: &Value, namespace: &str) -> Vec<Target> {
    let filters = items(rule, "filters").map(|(_, filter)| filter);
    filters.filter_map(|filter| filter.pointer("/requestMirror/backendRef")).map(|to| target(to, namespace)).collect()
}

fn destination(backend: &Value, path: Vec<String>, namespace: &str) -> Destination {
    Destination {
        label: text(backend, "name").unwrap_or("(no name)").to_owned(),
        target: target(backend, namespace),
        path,
        value: backend.clone(),
        default_weight: DEFAULT_WEIGHT,
    }
}

fn target(backend: &Value, namespace: &str) -> Target {
    let namespace = text(backend, "namespace").unwrap_or(namespace);
    // Another kind of backend may have the name of a Service without being it.
    let is_core = matches!(text(backend, "group"), None | Some(""));
    let is_service = is_core && matches!(text(backend, "kind"), None | Some("Service"));
    let host = text(backend, "name").filter(|_| is_service).map(|name| host::full(name, namespace));
    Target { host, subset: None }
}
