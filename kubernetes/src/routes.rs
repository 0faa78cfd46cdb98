//! The weighted routes of an object, whatever its kind: pure.

mod gateway;
mod virtual_service;

use serde_json::Value;

use crate::{json::text, release_guard::TargetKind};

/// A route and where it sends its requests.
#[derive(Debug)]
pub(crate) struct Route {
    /// For people, such as `VirtualService default/shop http[0] (primary)`.
    pub(crate) place: String,
    /// Whether weights are meant as percentages.
    pub(crate) percent: bool,
    /// Whether all requests go to the only destination, so that no weight can change that.
    pub(crate) straight: bool,
    /// Where copies of its requests go, whose answers nobody sees.
    pub(crate) mirrors: Vec<Target>,
    /// In the order of the list.
    pub(crate) destinations: Vec<Destination>,
}

/// What a request or its copy is sent to.
#[derive(Debug)]
pub(crate) struct Target {
    /// A full name; `None` for what is no Service.
    pub(crate) host: Option<String>,
    pub(crate) subset: Option<String>,
}

/// One of a route's destinations.
#[derive(Debug)]
pub(crate) struct Destination {
    /// For people.
    pub(crate) label: String,
    pub(crate) target: Target,
    /// The way from the object's top to it.
    pub(crate) path: Vec<String>,
    /// All of it, as read.
    pub(crate) value: Value,
    /// What no weight means.
    default_weight: u32,
}

/// The largest weight of the Gateway API; Istio's are percentages.
const MAX_WEIGHT: u32 = 1_000_000;

impl Destination {
    /// Its weight, or what stands there instead, in at most 40 characters.
    pub(crate) fn weight(&self) -> Result<u32, String> {
        let Some(value) = self.value.get("weight").filter(|value| !value.is_null()) else {
            return Ok(self.default_weight);
        };
        let weight = value.as_u64().and_then(|weight| u32::try_from(weight).ok());
        weight.filter(|&weight| weight <= MAX_WEIGHT).ok_or_else(|| value.to_string().chars().take(40).collect())
    }
}

/// The routes of an object, or its `apiVersion` and `kind` when it has none that are known.
pub(crate) fn of(object: &Value) -> Result<Vec<Route>, (String, String)> {
    match kind_of(object) {
        Some(TargetKind::VirtualService) => Ok(virtual_service::routes(object)),
        Some(kind @ (TargetKind::HttpRoute | TargetKind::GrpcRoute)) => Ok(gateway::routes(object, kind)),
        None => {
            let said = |key, none: &str| text(object, key).unwrap_or(none).to_owned();
            Err((said("apiVersion", "(no apiVersion)"), said("kind", "(no kind)")))
        }
    }
}

/// What an object says that it is.
pub(crate) fn kind_of(object: &Value) -> Option<TargetKind> {
    let (api_version, kind) = (text(object, "apiVersion")?, text(object, "kind")?);
    let all = [TargetKind::VirtualService, TargetKind::HttpRoute, TargetKind::GrpcRoute];
    all.into_iter().find(|known| known.is(api_version, kind))
}

/// The namespace and the name of an object.
pub(crate) fn names(object: &Value) -> (&str, &str) {
    let metadata = object.get("metadata").unwrap_or(&Value::Null);
    (text(metadata, "namespace").unwrap_or("default"), text(metadata, "name").unwrap_or("(no name)"))
}

fn path(list: [&str; 4], index: usize) -> Vec<String> {
    list.into_iter().map(str::to_owned).chain([index.to_string()]).collect()
}
