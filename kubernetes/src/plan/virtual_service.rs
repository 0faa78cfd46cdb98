//! The traffic splits of an Istio VirtualService: pure.

use serde_json::Value;

use super::splits::{Destination, Found, Place, Role, Split, names};
use crate::{
    host,
    intent::Intent,
    json::{items, named, text},
};

/// The kinds of route that have a list of weighted destinations.
const PROTOCOLS: [&str; 3] = ["http", "tcp", "tls"];

pub(super) fn find(object: &Value, intent: &Intent) -> Found {
    let (namespace, name) = names(object);
    let spec = object.get("spec").unwrap_or(&Value::Null);
    let mut found = Found::default();
    for protocol in PROTOCOLS {
        for (index, route) in items(spec, protocol) {
            let shown = format!("VirtualService {namespace}/{name} {protocol}[{index}]{}", named(route));
            let path = ["spec", protocol, &index.to_string(), "route"].map(str::to_owned).to_vec();
            let place = Place { shown, path };
            if let Some(delegate) = route.get("delegate") {
                let to = (text(delegate, "namespace").unwrap_or(namespace), text(delegate, "name").unwrap_or_default());
                found.delegates.push(format!("{}/{}", to.0, to.1));
            }
            let destinations: Vec<Destination> = items(route, "route")
                .map(|(i, weighted)| destination(weighted, place.destination(i), namespace, intent))
                .collect();
            let is_only = destinations.len() == 1;
            let split = Split { place: place.shown, percent: true, destinations };
            match split.has(Role::Candidate) {
                // Istio ignores the weight of an only destination.
                true if is_only => found.straight.push(split.place),
                true => found.splits.push(split),
                false => {}
            }
        }
    }
    found
}

fn destination(weighted: &Value, path: Vec<String>, namespace: &str, intent: &Intent) -> Destination {
    let destination = weighted.get("destination").unwrap_or(&Value::Null);
    let host = text(destination, "host").unwrap_or("(no host)");
    let subset = text(destination, "subset");
    Destination {
        label: subset.unwrap_or(host).to_owned(),
        role: Role::of(&host::full(host, namespace), subset, intent),
        path,
        value: weighted.clone(),
        // Beside others a destination without a weight gets no requests.
        default_weight: 0,
    }
}
