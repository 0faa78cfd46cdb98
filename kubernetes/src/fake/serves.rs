//! What a fake API server says that it serves.

use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use super::{Answer, Asked, status};
use crate::{release_guard::TargetKind, version::Version};

/// Kinds, each in a version; and how often it was asked for a group.
#[derive(Debug, Default)]
pub(crate) struct Serves {
    pub(crate) kinds: Vec<(TargetKind, Version)>,
    pub(crate) asked: usize,
    /// What every such question is answered with instead.
    pub(crate) refusal: Option<u16>,
}

pub(crate) type Served = Arc<Mutex<Serves>>;

impl Serves {
    /// All that serin knows, in v1.
    pub(crate) fn v1() -> Served {
        let all = [TargetKind::VirtualService, TargetKind::HttpRoute, TargetKind::GrpcRoute];
        Self::only(&all.map(|kind| (kind, Version::V1)))
    }

    pub(crate) fn only(kinds: &[(TargetKind, Version)]) -> Served {
        Arc::new(Mutex::new(Serves { kinds: kinds.to_vec(), ..Serves::default() }))
    }

    /// `None`: it is asked for something else.
    pub(super) fn answer(&mut self, asked: &Asked) -> Option<Answer> {
        let words: Vec<&str> = asked.path.trim_start_matches('/').split('/').collect();
        let (group, version) = match words.as_slice() {
            ["apis", group] => (*group, None),
            ["apis", group, version] => (*group, Some(*version)),
            ["apis", group, version, "namespaces", _, plural, ..] => return self.refuse(group, version, plural),
            _ => return None,
        };
        self.asked += usize::from(version.is_none());
        if let Some(code) = self.refusal {
            return Some(status(code, "Refused", "not for you", &json!({})));
        }
        let of_group = self.kinds.iter().filter(|(kind, _)| kind.group() == group);
        let named =
            |version: &Version| json!({ "groupVersion": format!("{group}/{version}"), "version": version.name() });
        let Some(version) = version else {
            let mut versions: Vec<Version> = of_group.map(|(_, version)| *version).collect();
            versions.sort();
            versions.dedup();
            let versions: Vec<Value> = versions.iter().map(named).collect();
            let found = json!({ "kind": "APIGroup", "apiVersion": "v1", "name": group, "versions": versions, "preferredVersion": versions.first() });
            return Some(if versions.is_empty() { nothing() } else { Answer::Json(200, found) });
        };
        let of_version = of_group.filter(|(_, served)| served.name() == version);
        let resource = |kind: &TargetKind| json!({ "name": kind.plural(), "singularName": "", "namespaced": true, "kind": kind.name(), "verbs": ["get", "patch"] });
        let resources: Vec<Value> = of_version.map(|(kind, _)| resource(kind)).collect();
        let list = json!({ "kind": "APIResourceList", "apiVersion": "v1", "groupVersion": format!("{group}/{version}"), "resources": resources });
        Some(if resources.is_empty() { nothing() } else { Answer::Json(200, list) })
    }

    /// 404, where a kind that has weights is not served in this version.
    fn refuse(&self, group: &str, version: &str, plural: &str) -> Option<Answer> {
        let is_ours = ["networking.istio.io", "gateway.networking.k8s.io"].contains(&group);
        let is_served = |(kind, served): &(TargetKind, Version)| kind.plural() == plural && served.name() == version;
        (is_ours && !self.kinds.iter().any(is_served)).then(nothing)
    }
}

fn nothing() -> Answer {
    Answer::Text(404, "404 page not found")
}
