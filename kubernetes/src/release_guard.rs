//! The custom resource `ReleaseGuard`: one service on trial, as a Kubernetes object. Pure.
//!
//! Its `rules` have the keys and the way of writing values of `judge` in `serin.yaml`, so that one parser reads both.
//! What the schema and its CEL rules refuse is refused when the object is applied; the rest is said in a condition.

#![allow(unreachable_pub, reason = "KubeSchema copies the types into functions, as public as they are")]
#![allow(clippy::duplicated_attributes, reason = "each column has a name and a type of its own")]

mod crd;
mod rules;
mod service;
mod status;

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use crd::yaml;
pub use rules::{Limits, Metric, MetricName, Rules, Thresholds, Throughput};
pub use status::{DeployedSet, Needed, Ratio, ReleaseGuardStatus, VerdictState, condition, set_condition};

use crate::{
    intent::Intent,
    object::{NameError, ObjectRef},
};

/// What a release's name is put in place of.
pub(crate) const RELEASE: &str = "{release}";

/// Watches the latency of a service's candidate release and takes it out of traffic when it is slower than the baseline.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "serin.dev",
    version = "v1alpha1",
    kind = "ReleaseGuard",
    plural = "releaseguards",
    shortname = "rg",
    category = "serin",
    namespaced,
    status = "ReleaseGuardStatus",
    derive = "PartialEq",
    doc = "Watches the latency of a service's candidate release and takes it out of traffic when it is slower than the baseline.",
    printcolumn(name = "Service", type_ = "string", json_path = ".spec.service"),
    printcolumn(name = "Candidate", type_ = "string", json_path = ".status.candidate"),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].status"),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].reason"),
    printcolumn(name = "Verdict", type_ = "string", json_path = ".status.verdict"),
    printcolumn(name = "Ratio", type_ = "string", json_path = ".status.ratio.text"),
    printcolumn(name = "Needs", type_ = "string", json_path = ".status.needed.text", priority = "1"),
    printcolumn(name = "Action", type_ = "string", json_path = ".spec.action", priority = "1"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[x_kube(
    validation = Rule::new("!has(self.baseline) || !has(self.candidate) || self.baseline != self.candidate")
        .message("baseline and candidate are the same: name the release on trial"),
    validation = Rule::new("self.action != 'rollback' || (has(self.targets) && size(self.targets) > 0)")
        .message("nothing to roll back: name a target, or set action to notify"),
    validation = Rule::new("self.service == oldSelf.service")
        .message("the service cannot change: make another ReleaseGuard")
)]
#[serde(rename_all = "camelCase")]
pub struct ReleaseGuardSpec {
    /// The service as the filter labels it, such as shop.
    #[schemars(length(min = 1, max = 256))]
    pub service: String,
    /// Where its requests are measured. Reports from elsewhere are kept but not judged.
    pub vantage: Vantage,
    /// The stable release. Without it, it is found from the targets' weights and the pods' labels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", length(min = 1, max = 256))]
    pub baseline: Option<String>,
    /// The release on trial. Without it, it is found from the targets' weights and the pods' labels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", length(min = 1, max = 256))]
    pub candidate: Option<String>,
    /// The routes to compare, each with its like. Without any: all routes together.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 50), inner(length(min = 1, max = 256)))]
    pub routes: Vec<String>,
    /// Which of a request's two durations is judged.
    #[serde(default)]
    pub timing: Timing,
    /// What counts as a regression, and how sure to be.
    #[serde(default)]
    pub rules: Rules,
    /// The objects whose weights are changed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub targets: Vec<TargetRef>,
    /// What to do about a regression.
    #[serde(default)]
    pub action: Action,
    /// How long a rollback is held against others who write the old weights back, such as 1h; from 1m to 720h.
    #[serde(default = "hold")]
    #[schemars(schema_with = "rules::duration")]
    #[x_kube(validation = Rule::new("duration(self) >= duration('1m') && duration(self) <= duration('720h')")
        .message("hold must be from 1m to 720h"))]
    pub hold: String,
    /// How long the proxies may take until the candidate gets no requests, such as 30s; from 1s to 1h.
    #[serde(default = "confirm_within")]
    #[schemars(schema_with = "rules::duration")]
    #[x_kube(validation = Rule::new("duration(self) >= duration('1s') && duration(self) <= duration('1h')")
        .message("confirmWithin must be from 1s to 1h"))]
    pub confirm_within: String,
}

/// Where requests are measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Vantage {
    /// At the release's own sidecar.
    Inbound,
    /// At the callers' sidecars.
    Outbound,
    /// At a gateway or a front proxy.
    Gateway,
}

/// Which of a request's two durations.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Timing {
    /// Request sent to the upstream until its response.
    #[default]
    Upstream,
    /// Request received until last byte sent.
    Total,
}

/// What to do about a regression.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// Set the candidate's weight to 0.
    #[default]
    Rollback,
    /// Say what would be written, and write nothing.
    DryRun,
    /// Say that there is a regression, and leave it to others.
    Notify,
}

/// An object whose weights are changed, in the namespace of the ReleaseGuard.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[x_kube(
    validation = Rule::new("!has(self.subset) || !self.host.contains('{release}')")
        .message("releases are told apart by host or by subset: put {release} into one of them"),
    validation = Rule::new("self.kind == 'VirtualService' || self.host.contains('{release}')")
        .message("the Gateway API has no subsets: put {release} into host, such as shop-{release}")
)]
#[serde(rename_all = "camelCase")]
pub struct TargetRef {
    /// VirtualService of networking.istio.io, or HTTPRoute or GRPCRoute of gateway.networking.k8s.io.
    pub kind: TargetKind,
    /// Its name.
    #[schemars(length(min = 1, max = 253), regex(pattern = "^[a-z0-9]([-.a-z0-9]*[a-z0-9])?$"))]
    pub name: String,
    /// The destination host whose weights are changed, such as shop; as it is written there, where the cluster's domain is not cluster.local. With {release} in it, each release has one of its own.
    #[schemars(length(min = 1, max = 253))]
    pub host: String,
    /// How a release's subset is named, with {release} in it. Without it, and without {release} in the host: as the release.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", length(min = 1, max = 253))]
    #[x_kube(validation = Rule::new("self.contains('{release}')").message("put {release} into the subset"))]
    pub subset: Option<String>,
}

/// The kinds of object that have weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub enum TargetKind {
    /// Istio's.
    VirtualService,
    /// The Gateway API's, for HTTP.
    #[serde(rename = "HTTPRoute")]
    HttpRoute,
    /// The Gateway API's, for gRPC.
    #[serde(rename = "GRPCRoute")]
    GrpcRoute,
}

impl TargetRef {
    /// The object. `namespace` is that of the ReleaseGuard.
    ///
    /// # Errors
    /// When one of the names cannot be that of an object.
    pub fn object(&self, namespace: &str) -> Result<ObjectRef, NameError> {
        ObjectRef::new(self.kind, namespace, &self.name)
    }

    /// What a rollback of `candidate` is to reach. `namespace` is that of the ReleaseGuard.
    pub fn intent(&self, namespace: &str, baseline: &str, candidate: &str) -> Intent {
        let named = |template: &str, release: &str| template.replace(RELEASE, release);
        if self.host.contains(RELEASE) {
            return Intent::hosts(namespace, &named(&self.host, baseline), &named(&self.host, candidate));
        }
        let subset = self.subset.as_deref().unwrap_or(RELEASE);
        Intent::subsets(&self.host, namespace, &named(subset, baseline), &named(subset, candidate))
    }
}

/// As in `serin.yaml`.
fn confirm_within() -> String {
    "30s".to_owned()
}

/// As long as a person may need to look.
fn hold() -> String {
    "1h".to_owned()
}

#[cfg(test)]
mod tests;
