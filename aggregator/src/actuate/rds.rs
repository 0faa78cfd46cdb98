//! The traffic splits of an Envoy RDS file: pure.

use serde_json::Value;

use super::{
    splits::{Destination, Found, Path, Split, items, named, text},
    weights::Role,
};

/// What is looked for.
pub(super) struct Names<'a> {
    pub(super) baseline: &'a str,
    pub(super) candidate: &'a str,
}

const ROUTE_CONFIGURATION: &str = "/envoy.config.route.v3.RouteConfiguration";

/// Every route of a DiscoveryResponse's RouteConfigurations that mentions the candidate's cluster.
pub(super) fn find(document: &Value, names: &Names<'_>) -> Vec<Found> {
    let mut found = Vec::new();
    for (r, resource) in items(document, "resources") {
        if !text(resource, "@type").is_some_and(|kind| kind.ends_with(ROUTE_CONFIGURATION)) {
            continue;
        }
        let name = text(resource, "name").unwrap_or("(no name)");
        let hosts = spelled(resource, ["virtual_hosts", "virtualHosts"]);
        for (h, host) in items(resource, hosts) {
            for (i, route) in items(host, "routes") {
                let place =
                    format!("RouteConfiguration {name} {hosts}[{h}]{} routes[{i}]{}", named(host), named(route));
                let path = vec!["resources".into(), r.into(), hosts.into(), h.into(), "routes".into(), i.into()];
                found.extend(in_route(route, names, place, path));
            }
        }
    }
    found
}

fn in_route(route: &Value, names: &Names<'_>, place: String, mut path: Path) -> Option<Found> {
    let action = route.get("route")?;
    if text(action, "cluster") == Some(names.candidate) {
        return Some(Found::Straight { place });
    }
    let weighted = spelled(action, ["weighted_clusters", "weightedClusters"]);
    let destinations: Vec<Destination> =
        items(action.get(weighted)?, "clusters").map(|(_, cluster)| destination(cluster, names)).collect();
    path.extend(["route".into(), weighted.into(), "clusters".into()]);
    let split = Split { place, path, destinations };
    split.has(Role::Candidate).then_some(Found::Split(split))
}

fn destination(cluster: &Value, names: &Names<'_>) -> Destination {
    let name = text(cluster, "name").unwrap_or("(no name)");
    let role = match name {
        name if name == names.candidate => Role::Candidate,
        name if name == names.baseline => Role::Baseline,
        _ => Role::Other,
    };
    Destination { label: name.to_owned(), role }
}

/// The spelling that the file uses: protobuf's JSON form has two for a field, and Envoy reads both.
fn spelled(value: &Value, [field, json]: [&'static str; 2]) -> &'static str {
    if value.get(json).is_some() { json } else { field }
}
