//! The traffic splits of the Gateway API's HTTPRoute and GRPCRoute: pure.

use serde_json::Value;

use super::splits::{Destination, Found, Place, Role, Split, names};
use crate::{
    host,
    intent::Intent,
    json::{items, named, text},
};

/// The weight of a backend that says none (`BackendRef.weight`).
const DEFAULT_WEIGHT: u32 = 1;

pub(super) fn find(object: &Value, kind: &str, intent: &Intent) -> Found {
    let (namespace, name) = names(object);
    let spec = object.get("spec").unwrap_or(&Value::Null);
    let mut found = Found::default();
    for (index, rule) in items(spec, "rules") {
        let shown = format!("{kind} {namespace}/{name} rules[{index}]{}", named(rule));
        let path = ["spec", "rules", &index.to_string(), "backendRefs"].map(str::to_owned).to_vec();
        let place = Place { shown, path };
        let destinations: Vec<Destination> = items(rule, "backendRefs")
            .map(|(i, backend)| destination(backend, place.destination(i), namespace, intent))
            .collect();
        // A rule whose only backend has weight 0 answers 500: that is no place to send requests to.
        let is_only = matches!(destinations.as_slice(), [only] if only.value.get("weight") != Some(&0.into()));
        let split = Split { place: place.shown, percent: false, destinations };
        match split.has(Role::Candidate) {
            true if is_only => found.straight.push(split.place),
            true => found.splits.push(split),
            false => {}
        }
    }
    found
}

fn destination(backend: &Value, path: Vec<String>, namespace: &str, intent: &Intent) -> Destination {
    let name = text(backend, "name").unwrap_or("(no name)");
    let namespace = text(backend, "namespace").unwrap_or(namespace);
    // Another kind of backend may have the name of a Service without being it.
    let is_service =
        matches!(text(backend, "group"), None | Some("")) && matches!(text(backend, "kind"), None | Some("Service"));
    Destination {
        label: name.to_owned(),
        role: if is_service { Role::of(&host::full(name, namespace), None, intent) } else { Role::Other },
        path,
        value: backend.clone(),
        default_weight: DEFAULT_WEIGHT,
    }
}
