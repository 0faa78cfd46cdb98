//! The traffic splits of an Istio VirtualService: pure.

use serde_json::Value;

use super::{
    host,
    splits::{Destination, Found, Split, items, named, text},
    weights::Role,
};

/// What is looked for.
pub(super) struct Names<'a> {
    pub(super) host: &'a str,
    pub(super) baseline: &'a str,
    pub(super) candidate: &'a str,
}

const GROUP: &str = "networking.istio.io/";
const VERSIONS: [&str; 3] = ["v1", "v1beta1", "v1alpha3"];

/// The kinds of route that have a list of weighted destinations.
const PROTOCOLS: [&str; 3] = ["http", "tcp", "tls"];

/// Every route of a VirtualService that mentions the candidate. Another kind of document has none.
pub(super) fn find(document: &Value, names: &Names<'_>) -> Result<Vec<Found>, String> {
    let version = text(document, "apiVersion").and_then(|api| api.strip_prefix(GROUP));
    let (Some(version), Some("VirtualService")) = (version, text(document, "kind")) else {
        return Ok(Vec::new());
    };
    if !VERSIONS.contains(&version) {
        return Err(format!("a VirtualService of {GROUP}{version}: only {} are known", VERSIONS.join(", ")));
    }
    let Some(spec) = document.get("spec") else {
        return Ok(Vec::new());
    };
    let metadata = document.get("metadata").unwrap_or(&Value::Null);
    let namespace = text(metadata, "namespace").unwrap_or("default");
    let name = text(metadata, "name").unwrap_or("(no name)");
    let mut found = Vec::new();
    for protocol in PROTOCOLS {
        for (index, route) in items(spec, protocol) {
            let destinations: Vec<Destination> =
                items(route, "route").map(|(_, weighted)| destination(weighted, names, namespace)).collect();
            if !destinations.iter().any(|destination| destination.role == Role::Candidate) {
                continue;
            }
            let place = format!("VirtualService {namespace}/{name} {protocol}[{index}]{}", named(route));
            // Istio ignores the weight of an only destination.
            found.push(if destinations.len() == 1 {
                Found::Straight { place }
            } else {
                let path = vec!["spec".into(), protocol.into(), index.into(), "route".into()];
                Found::Split(Split { place, path, destinations })
            });
        }
    }
    Ok(found)
}

fn destination(weighted: &Value, names: &Names<'_>, namespace: &str) -> Destination {
    let destination = weighted.get("destination").unwrap_or(&Value::Null);
    let host = text(destination, "host").unwrap_or("(no host)");
    let subset = text(destination, "subset");
    let role = match subset {
        _ if !host::same(host, names.host, namespace) => Role::Other,
        Some(subset) if subset == names.candidate => Role::Candidate,
        Some(subset) if subset == names.baseline => Role::Baseline,
        _ => Role::Other,
    };
    Destination { label: subset.unwrap_or(host).to_owned(), role }
}
