//! The manifests of `envoy-configs/istio` with a user's names in them (pure): text -> documents -> the
//! overlays' patches in them -> names set where they belong -> text.

use std::collections::BTreeSet;

use serde_json::Value;

/// The files, as they are in the repository.
macro_rules! manifest {
    ($name:literal) => {
        include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../envoy-configs/istio/", $name))
    };
}

mod extra;
mod merge;
mod naming;

pub use extra::Extra;

const BASE: [&str; 11] = [
    manifest!("install/base/namespace.yaml"),
    manifest!("install/base/crd-releaseguard.yaml"),
    manifest!("install/base/service-account.yaml"),
    manifest!("install/base/rbac.yaml"),
    manifest!("install/base/config-map.yaml"),
    manifest!("install/base/persistent-volume-claim.yaml"),
    manifest!("install/base/deployment.yaml"),
    manifest!("install/base/service.yaml"),
    manifest!("install/base/network-policy.yaml"),
    manifest!("install/base/authorization-policy.yaml"),
    manifest!("install/base/pod-disruption-budget.yaml"),
];
const GUARDED: &str = manifest!("install/guarded-namespace/rbac.yaml");

/// A user's names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Names {
    /// Where the aggregator runs.
    pub namespace: String,
    /// What it runs.
    pub image: String,
    /// The namespace of the service.
    pub guard: String,
    /// The namespace of the gateway, where requests are measured there.
    pub gateway: String,
    /// The service, as the filter labels it.
    pub service: String,
    /// Its stable release.
    pub baseline: String,
    /// Its release on trial.
    pub candidate: String,
    /// The NATS servers, where several aggregators share the work.
    pub nats: String,
}

/// Where requests are measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Place {
    /// In the release's own sidecar.
    Inbound,
    /// In the callers' sidecars.
    Outbound,
    /// At a gateway.
    Gateway,
}

/// How the filter is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Attachment {
    /// A fault in it cannot touch a request.
    AccessLogger,
    /// Also tells of requests under way.
    HttpFilter,
}

/// Why nothing was rendered.
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    /// The files in this build are not YAML, which its tests rule out.
    #[error("a manifest in this build cannot be read: {0}")]
    Read(#[from] serde_saphyr::Error),
    /// Nor can they be written.
    #[error("a manifest cannot be written: {0}")]
    Write(#[from] serde_saphyr::ser::Error),
    /// With NATS every replica acts, with a Lease one of them.
    #[error("high-availability and nats exclude each other: choose one of them")]
    Exclusive,
    /// A configuration of the filter is not JSON.
    #[error("the filter's configuration in this build cannot be read: {0}")]
    Plugin(#[from] serde_json::Error),
}

impl Place {
    fn word(self) -> &'static str {
        match self {
            Place::Inbound => "inbound",
            Place::Outbound => "outbound",
            Place::Gateway => "gateway",
        }
    }
}

/// The EnvoyFilter that attaches the filter.
fn envoy_filter(place: Place, attachment: Attachment) -> &'static str {
    match (attachment, place) {
        (Attachment::AccessLogger, Place::Inbound) => manifest!("access-logger-inbound.yaml"),
        (Attachment::AccessLogger, Place::Outbound) => manifest!("access-logger-outbound.yaml"),
        (Attachment::AccessLogger, Place::Gateway) => manifest!("access-logger-gateway.yaml"),
        (Attachment::HttpFilter, Place::Inbound) => manifest!("http-filter-inbound.yaml"),
        (Attachment::HttpFilter, Place::Outbound) => manifest!("http-filter-outbound.yaml"),
        (Attachment::HttpFilter, Place::Gateway) => manifest!("http-filter-gateway.yaml"),
    }
}

/// All documents, for `kubectl apply -f -`.
///
/// # Errors
/// When two extras exclude each other. Otherwise never in a build whose tests pass.
pub fn render(names: &Names, place: Place, attachment: Attachment, extras: &[Extra]) -> Result<String, InstallError> {
    let extras: BTreeSet<Extra> = extras.iter().flat_map(|extra| extra.needs().into_iter().chain([*extra])).collect();
    if extras.is_superset(&BTreeSet::from([Extra::HighAvailability, Extra::Nats])) {
        return Err(InstallError::Exclusive);
    }
    // Who may guard all namespaces needs no Role in one.
    let guarded = (!extras.contains(&Extra::AllNamespaces)).then_some(GUARDED);
    let added = extras.iter().flat_map(|extra| extra.manifests());
    let files = BASE.into_iter().chain(guarded).chain([envoy_filter(place, attachment)]).chain(added.copied());
    let mut documents = read(files)?;
    for patch in read(extras.iter().flat_map(|extra| extra.patches()).copied())? {
        merge::patch(&mut documents, patch);
    }
    let mut text = String::new();
    for mut document in documents {
        naming::name(&mut document, names, place, &extras)?;
        text.push_str("---\n");
        text.push_str(&serde_saphyr::to_string(&document)?);
    }
    Ok(text)
}

fn read<'a>(files: impl Iterator<Item = &'a str>) -> Result<Vec<Value>, InstallError> {
    let mut documents = Vec::new();
    for file in files {
        documents.extend(serde_saphyr::from_multiple::<Value>(file)?);
    }
    Ok(documents)
}

#[cfg(test)]
mod tests;
