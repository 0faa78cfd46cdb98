//! `rollback.kubernetes` and `rollback.argo_rollout`: objects in a cluster. Pure.

use serin_kubernetes::{
    object::ObjectRef,
    release_guard::{TargetKind, TargetRef},
};

use super::{
    Object, Rollout,
    problem::Fault,
    scalar::{self, LABEL},
    section::Section,
};

const KIND: &str = "`VirtualService`, `HTTPRoute` or `GRPCRoute`";
const NAME: &str = "a name of 1 to 253 of a-z, 0-9, `-` and `.`, with a letter or digit at both ends";
const RELEASE: &str = "{release}";
const ONE_PLACE: &str = "no subset where the host has {release} in it: releases are told apart by one of the two";
const NO_SUBSETS: &str = "a host with {release} in it, such as shop-{release}: the Gateway API has no subsets";

/// `rollback.argo_rollout`: a Rollout.
pub(super) fn rollout(section: &mut Section<'_>) -> Option<Rollout> {
    let (namespace, name) = (named(section, "namespace"), named(section, "name"));
    Some(Rollout { namespace: namespace?, name: name? })
}

fn named(section: &mut Section<'_>, key: &'static str) -> Option<String> {
    section.required(key, NAME, |node| {
        let name = scalar::label(node)?;
        let object = ObjectRef::new(TargetKind::VirtualService, &name, &name);
        object.map(|_| name).map_err(|_| Fault::not(&node.value, NAME))
    })
}

/// The same rules as those of a ReleaseGuard's targets.
pub(super) fn read(section: &mut Section<'_>) -> Option<Object> {
    let kind = section.required("kind", KIND, |node| {
        let kind = match scalar::label(node)?.as_str() {
            "VirtualService" => TargetKind::VirtualService,
            "HTTPRoute" => TargetKind::HttpRoute,
            "GRPCRoute" => TargetKind::GrpcRoute,
            _ => return Err(Fault::not(&node.value, KIND)),
        };
        Ok(kind)
    });
    let (namespace, name) = (named(section, "namespace"), named(section, "name"));
    let host = section.required("host", LABEL, |node| {
        let host = scalar::label(node)?;
        let is_told_apart =
            host.contains(RELEASE) || !matches!(kind, Some(TargetKind::HttpRoute | TargetKind::GrpcRoute));
        if is_told_apart { Ok(host) } else { Err(Fault::not(&node.value, NO_SUBSETS)) }
    });
    let subset = section.optional("subset", |node| {
        let subset = scalar::template(node)?.render(RELEASE);
        let is_twice = host.as_ref().is_some_and(|host| host.contains(RELEASE));
        if is_twice { Err(Fault::not(&node.value, ONE_PLACE)) } else { Ok(subset) }
    });
    let (namespace, target) = (namespace?, TargetRef { kind: kind?, name: name?, host: host?, subset });
    let object = target.object(&namespace).ok()?;
    Some(Object { object, namespace, target })
}
