//! In which versions an imitated API server serves the kinds that have weights, and what it says of that. It keeps them in v1.

use std::collections::BTreeSet;

use serde_json::{Value, json};

const VIRTUAL_SERVICE: (&str, &str, &str) = ("networking.istio.io", "virtualservices", "VirtualService");
const HTTP_ROUTE: (&str, &str, &str) = ("gateway.networking.k8s.io", "httproutes", "HTTPRoute");
const GRPC_ROUTE: (&str, &str, &str) = ("gateway.networking.k8s.io", "grpcroutes", "GRPCRoute");
const KINDS: [(&str, &str, &str); 3] = [VIRTUAL_SERVICE, HTTP_ROUTE, GRPC_ROUTE];

/// Each as a version and the name of a resource.
#[derive(Debug)]
pub(crate) struct Served(BTreeSet<(String, String)>);

impl Default for Served {
    fn default() -> Self {
        Served::of(&[("v1", "virtualservices"), ("v1", "httproutes"), ("v1", "grpcroutes")])
    }
}

impl Served {
    pub(crate) fn of(resources: &[(&str, &str)]) -> Self {
        Served(resources.iter().map(|(version, plural)| ((*version).to_owned(), (*plural).to_owned())).collect())
    }

    /// What it says of a group or a version of one: `Err` where there is none, `None` where it is asked for something else.
    pub(crate) fn said(&self, path: &str) -> Option<Result<Value, ()>> {
        let words: Vec<&str> = path.trim_start_matches('/').split('/').collect();
        let (group, asked) = match words.as_slice() {
            ["apis", group] => (*group, None),
            ["apis", group, version] => (*group, Some(*version)),
            _ => return None,
        };
        let mut versions = BTreeSet::new();
        let mut resources = Vec::new();
        for (version, plural) in &self.0 {
            let Some((.., kind)) = KINDS.iter().find(|(of, known, _)| *of == group && known == plural) else {
                continue;
            };
            versions.insert(version);
            if asked == Some(version.as_str()) {
                resources.push(json!({ "name": plural, "singularName": "", "namespaced": true, "kind": kind, "verbs": ["get", "patch"] }));
            }
        }
        let named = |version: &&String| json!({ "groupVersion": format!("{group}/{version}"), "version": version });
        let versions: Vec<Value> = versions.iter().map(named).collect();
        let group_version = format!("{group}/{}", asked.unwrap_or_default());
        Some(match asked {
            None if versions.is_empty() => Err(()),
            Some(_) if resources.is_empty() => Err(()),
            None => Ok(json!({ "kind": "APIGroup", "apiVersion": "v1", "name": group, "versions": versions })),
            Some(_) => Ok(
                json!({ "kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group_version, "resources": resources }),
            ),
        })
    }

    /// Where it keeps what has this path; `None` where it serves no such thing.
    pub(crate) fn kept(&self, path: &str) -> Option<String> {
        let mut words: Vec<&str> = path.split('/').collect();
        // `/apis/GROUP/VERSION/KIND`, or with `namespaces/NAMESPACE` before the kind.
        let plural = if words.get(4) == Some(&"namespaces") { words.get(6) } else { words.get(4) };
        let is_ours = |(group, known, _): &&(&str, &str, &str)| words.get(2) == Some(group) && plural == Some(known);
        let Some((_, plural, _)) = KINDS.iter().find(is_ours) else { return Some(path.to_owned()) };
        let version = words.get(3).copied().unwrap_or_default();
        if !self.0.contains(&(version.to_owned(), (*plural).to_owned())) {
            return None;
        }
        if let Some(version) = words.get_mut(3) {
            *version = "v1";
        }
        Some(words.join("/"))
    }

    /// An object says the version that it was asked for in.
    pub(crate) fn retold(asked: &str, object: &mut Value) {
        let mut words = asked.split('/').skip(2);
        let (Some(group), Some(version)) = (words.next(), words.next()) else { return };
        let of_group = object["apiVersion"].as_str().is_some_and(|told| told.split('/').next() == Some(group));
        if of_group && KINDS.iter().any(|(ours, ..)| *ours == group) {
            object["apiVersion"] = Value::from(format!("{group}/{version}"));
        }
    }
}
