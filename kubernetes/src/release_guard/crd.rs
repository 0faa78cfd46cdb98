//! The CustomResourceDefinition as it is installed: pure.

use kube::CustomResourceExt as _;

use super::ReleaseGuard;

const HEADER: &str = "\
# The custom resource ReleaseGuard. Generated from kubernetes/src/release_guard.rs, do not edit: `make crd` renews it.
";

/// `envoy-configs/istio/install/base/crd-releaseguard.yaml`.
///
/// # Errors
/// When the types cannot be written as YAML, which no valid build of this crate does.
pub fn yaml() -> Result<String, serde_saphyr::ser::Error> {
    Ok(format!("{HEADER}{}", serde_saphyr::to_string(&ReleaseGuard::crd())?))
}
