//! `high_availability`: which Lease tells the replica that acts. Pure.

use serin_kubernetes::{object::ObjectRef, release_guard::TargetKind};

use super::{problem::Fault, scalar, section::Section};

const LEASE: &str = "NAMESPACE/NAME of a Lease, such as serin-system/serin";

/// A Lease of `coordination.k8s.io/v1`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseName {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

/// `None` where one replica is all. `shares`: whether several share their work through NATS, where each acts on what it judges.
pub(super) fn read(file: &mut Section<'_>, shares: bool) -> Option<LeaseName> {
    let lease = file.section("high_availability", |section| section.required("lease", LEASE, lease))?;
    if shares {
        let remedy = "with NATS every aggregator acts on what it judges: leave one of the two out";
        let shown = "high_availability".to_owned();
        file.note("high_availability", Fault::Taken { shown, by: "`history.nats`".to_owned(), remedy });
        return None;
    }
    Some(lease)
}

fn lease(node: &super::yaml::Node) -> Result<LeaseName, Fault> {
    let text = scalar::label(node)?;
    let (namespace, name) = text.split_once('/').ok_or_else(|| Fault::not(&node.value, LEASE))?;
    // As names of objects are checked everywhere.
    ObjectRef::new(TargetKind::VirtualService, namespace, name).map_err(|_| Fault::not(&node.value, LEASE))?;
    Ok(LeaseName { namespace: namespace.to_owned(), name: name.to_owned() })
}
