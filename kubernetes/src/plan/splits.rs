//! The traffic splits of an object that mention the candidate: pure.

use serde_json::Value;

use super::{gateway, obstacle::Obstacle, virtual_service};
use crate::{intent::Intent, json::text};

/// What an object has to say about the candidate.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// The routes that divide their requests.
    pub(super) splits: Vec<Split>,
    /// The routes that send all of them to the candidate.
    pub(super) straight: Vec<String>,
    /// `namespace/name` of the VirtualServices that decide for some routes.
    pub(super) delegates: Vec<String>,
}

/// A weighted choice between destinations, the candidate among them.
#[derive(Debug)]
pub(super) struct Split {
    /// For people.
    pub(super) place: String,
    /// Whether the weights are meant as percentages.
    pub(super) percent: bool,
    /// In the order of the list.
    pub(super) destinations: Vec<Destination>,
}

/// One of a split's destinations.
#[derive(Debug)]
pub(super) struct Destination {
    /// For people.
    pub(super) label: String,
    pub(super) role: Role,
    /// The way from the object's top to it.
    pub(super) path: Vec<String>,
    /// All of it, as read.
    pub(super) value: Value,
    /// What no weight means.
    pub(super) default_weight: u32,
}

/// What a destination is to a rollback.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Candidate,
    Baseline,
    Other,
}

impl Role {
    pub(super) fn of(host: &str, subset: Option<&str>, intent: &Intent) -> Self {
        match () {
            () if intent.candidate.is(host, subset) => Role::Candidate,
            () if intent.baseline.is(host, subset) => Role::Baseline,
            () => Role::Other,
        }
    }
}

impl Split {
    pub(super) fn has(&self, role: Role) -> bool {
        self.destinations.iter().any(|destination| destination.role == role)
    }
}

/// Where a route stands in its object, for people and for the patch.
pub(super) struct Place {
    pub(super) shown: String,
    /// Of the list of destinations.
    pub(super) path: Vec<String>,
}

impl Place {
    pub(super) fn destination(&self, index: usize) -> Vec<String> {
        self.path.iter().cloned().chain([index.to_string()]).collect()
    }
}

const ISTIO: [&str; 3] = ["networking.istio.io/v1", "networking.istio.io/v1beta1", "networking.istio.io/v1alpha3"];
const GATEWAY: [&str; 2] = ["gateway.networking.k8s.io/v1", "gateway.networking.k8s.io/v1beta1"];

/// Every route of the object that mentions the candidate.
pub(super) fn find(object: &Value, intent: &Intent) -> Result<Found, Obstacle> {
    let api_version = text(object, "apiVersion").unwrap_or("(no apiVersion)");
    let kind = text(object, "kind").unwrap_or("(no kind)");
    match kind {
        "VirtualService" if ISTIO.contains(&api_version) => Ok(virtual_service::find(object, intent)),
        "HTTPRoute" if GATEWAY.contains(&api_version) => Ok(gateway::find(object, kind, intent)),
        // GRPCRoute was never served as v1beta1.
        "GRPCRoute" if GATEWAY.first() == Some(&api_version) => Ok(gateway::find(object, kind, intent)),
        _ => Err(Obstacle::UnknownKind { api_version: api_version.to_owned(), kind: kind.to_owned() }),
    }
}

/// The namespace and the name of an object.
pub(super) fn names(object: &Value) -> (&str, &str) {
    let metadata = object.get("metadata").unwrap_or(&Value::Null);
    (text(metadata, "namespace").unwrap_or("default"), text(metadata, "name").unwrap_or("(no name)"))
}
