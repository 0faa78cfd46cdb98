//! In which version a kind that has weights is read and written: pure.
//!
//! The versions of a kind differ in nothing that is looked at here. Istio before 1.22 serves no v1 of VirtualService, the
//! Gateway API before 1.0 none of HTTPRoute and before 1.1 none of GRPCRoute, and one day the old ones go.

use std::fmt;

use crate::release_guard::TargetKind;

/// A version of an API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    /// v1
    V1,
    /// v1beta1
    V1Beta1,
    /// v1alpha3
    V1Alpha3,
    /// v1alpha2
    V1Alpha2,
}

/// What an API server says of one version of a group: the version, and the names of its resources.
pub(crate) type Resources = (Version, Vec<String>);

impl TargetKind {
    /// The API group.
    pub fn group(self) -> &'static str {
        match self {
            TargetKind::VirtualService => "networking.istio.io",
            TargetKind::HttpRoute | TargetKind::GrpcRoute => "gateway.networking.k8s.io",
        }
    }

    /// The name of the resource, as RBAC rules and paths have it.
    pub fn plural(self) -> &'static str {
        match self {
            TargetKind::VirtualService => "virtualservices",
            TargetKind::HttpRoute => "httproutes",
            TargetKind::GrpcRoute => "grpcroutes",
        }
    }

    /// Where its CRDs come from.
    pub fn project(self) -> &'static str {
        match self {
            TargetKind::VirtualService => "Istio",
            TargetKind::HttpRoute | TargetKind::GrpcRoute => "the Gateway API",
        }
    }

    /// The versions that are known, the newest first.
    pub fn versions(self) -> &'static [Version] {
        match self {
            TargetKind::VirtualService => &[Version::V1, Version::V1Beta1, Version::V1Alpha3],
            TargetKind::HttpRoute => &[Version::V1, Version::V1Beta1],
            TargetKind::GrpcRoute => &[Version::V1, Version::V1Alpha2],
        }
    }

    /// Whether an object says that it is of this kind, in a version that is known.
    pub(crate) fn is(self, api_version: &str, kind: &str) -> bool {
        let version = api_version.strip_prefix(self.group()).and_then(|rest| rest.strip_prefix('/'));
        let is_known = |version: &str| self.versions().iter().any(|known| known.name() == version);
        self.name() == kind && version.is_some_and(is_known)
    }

    /// As objects have it in `kind`.
    pub fn name(self) -> &'static str {
        match self {
            TargetKind::VirtualService => "VirtualService",
            TargetKind::HttpRoute => "HTTPRoute",
            TargetKind::GrpcRoute => "GRPCRoute",
        }
    }
}

impl Version {
    /// As paths and `apiVersion` have it.
    pub fn name(self) -> &'static str {
        match self {
            Version::V1 => "v1",
            Version::V1Beta1 => "v1beta1",
            Version::V1Alpha3 => "v1alpha3",
            Version::V1Alpha2 => "v1alpha2",
        }
    }

    /// Of the versions that an API server names, one that is known of the kind.
    pub(crate) fn of(kind: TargetKind, name: &str) -> Option<Self> {
        kind.versions().iter().copied().find(|version| version.name() == name)
    }
}

/// The newest version of a kind that is known here and served there. A group may be served in a version that the kind is not in.
pub(crate) fn choose(kind: TargetKind, served: &[Resources]) -> Option<Version> {
    let has = |version: &Version| {
        let mut of_it = served.iter().filter(|(named, _)| named == version);
        of_it.any(|(_, resources)| resources.iter().any(|resource| resource == kind.plural()))
    };
    kind.versions().iter().copied().find(has)
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Display for TargetKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_that_is_known_and_served() {
        use TargetKind::{GrpcRoute, HttpRoute, VirtualService};
        use Version::{V1, V1Alpha2, V1Alpha3, V1Beta1};
        let check = |kind: TargetKind, served: &[(Version, &[&str])], want: Option<Version>| {
            let named = |(version, resources): &(Version, &[&str])| {
                (*version, resources.iter().map(|resource| (*resource).to_owned()).collect())
            };
            let served: Vec<Resources> = served.iter().map(named).collect();
            assert_eq!(choose(kind, &served), want, "{kind} {served:?}");
        };
        let services: &[&str] = &["gateways", "virtualservices", "virtualservices/status"];
        check(VirtualService, &[(V1Alpha3, services), (V1Beta1, services), (V1, services)], Some(V1));
        check(VirtualService, &[(V1Alpha3, services), (V1Beta1, services)], Some(V1Beta1));
        check(VirtualService, &[(V1Alpha3, services)], Some(V1Alpha3));
        check(VirtualService, &[(V1, &["gateways", "virtualservices/status"])], None);
        check(VirtualService, &[], None);
        // The Gateway API 0.8, 1.0, 1.1, and 1.5.
        check(HttpRoute, &[(V1Beta1, &["httproutes"]), (V1Alpha2, &["grpcroutes", "httproutes"])], Some(V1Beta1));
        let both: &[(Version, &[&str])] = &[(V1, &["httproutes"]), (V1Alpha2, &["grpcroutes"])];
        check(HttpRoute, both, Some(V1));
        check(GrpcRoute, both, Some(V1Alpha2));
        check(GrpcRoute, &[(V1Alpha2, &["grpcroutes"]), (V1, &["httproutes", "grpcroutes"])], Some(V1));
        check(GrpcRoute, &[(V1, &["httproutes"]), (V1Beta1, &["grpcroutes"])], None);
        check(HttpRoute, &[(V1Alpha2, &["httproutes"])], None);
    }

    #[test]
    fn an_object_is_of_a_kind_in_a_version_that_is_known() {
        let check = |kind: TargetKind, api_version, name, want| {
            assert_eq!(kind.is(api_version, name), want, "{kind}: {api_version} {name}");
        };
        check(TargetKind::GrpcRoute, "gateway.networking.k8s.io/v1alpha2", "GRPCRoute", true);
        check(TargetKind::GrpcRoute, "gateway.networking.k8s.io/v1beta1", "GRPCRoute", false);
        check(TargetKind::HttpRoute, "gateway.networking.k8s.io/v1", "GRPCRoute", false);
        check(TargetKind::VirtualService, "networking.istio.io/v1alpha3", "VirtualService", true);
        check(TargetKind::VirtualService, "networking.istio.iov1", "VirtualService", false);
        check(TargetKind::VirtualService, "v1", "VirtualService", false);
    }

    #[test]
    fn what_is_served_and_not_known_is_left_out() {
        assert_eq!(Version::of(TargetKind::VirtualService, "v1beta1"), Some(Version::V1Beta1));
        assert_eq!(Version::of(TargetKind::VirtualService, "v2"), None);
        assert_eq!(Version::of(TargetKind::GrpcRoute, "v1beta1"), None);
    }
}
