//! The routes of an Istio VirtualService: pure.

use serde_json::Value;

use super::{Destination, Route, Target, names, path};
use crate::{
    host,
    json::{items, named, text},
};

/// The kinds of route that have a list of weighted destinations.
const PROTOCOLS: [&str; 3] = ["http", "tcp", "tls"];

pub(super) fn routes(object: &Value) -> Vec<Route> {
    let spec = object.get("spec").unwrap_or(&Value::Null);
    let all =
        PROTOCOLS.into_iter().flat_map(|protocol| items(spec, protocol).map(move |(i, route)| (protocol, i, route)));
    all.map(|(protocol, index, route)| one(object, protocol, index, route)).collect()
}

fn one(object: &Value, protocol: &str, index: usize, route: &Value) -> Route {
    let (namespace, name) = names(object);
    let at = index.to_string();
    let destinations: Vec<Destination> = items(route, "route")
        .map(|(i, weighted)| destination(weighted, path(["spec", protocol, &at, "route"], i), namespace))
        .collect();
    Route {
        place: format!("VirtualService {namespace}/{name} {protocol}[{index}]{}", named(route)),
        percent: true,
        // Istio ignores the weight of an only destination.
        straight: destinations.len() == 1,
        mirrors: mirrors(route, namespace),
        destinations,
    }
}

/// `mirror` is the older field, for one; `mirrors` is the list.
fn mirrors(route: &Value, namespace: &str) -> Vec<Target> {
    let listed = items(route, "mirrors").filter_map(|(_, mirror)| mirror.get("destination"));
    route.get("mirror").into_iter().chain(listed).map(|destination| target(destination, namespace)).collect()
}

fn destination(weighted: &Value, path: Vec<String>, namespace: &str) -> Destination {
    let destination = weighted.get("destination").unwrap_or(&Value::Null);
    let label = text(destination, "subset").or(text(destination, "host")).unwrap_or("(no host)");
    Destination {
        label: label.to_owned(),
        target: target(destination, namespace),
        path,
        value: weighted.clone(),
        // Beside others a destination without a weight gets no requests.
        default_weight: 0,
    }
}

fn target(destination: &Value, namespace: &str) -> Target {
    Target {
        host: text(destination, "host").map(|host| host::full(host, namespace)),
        subset: text(destination, "subset").map(str::to_owned),
    }
}
