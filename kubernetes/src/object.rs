//! Names an object that has weights: pure.

use std::fmt;

use crate::release_guard::TargetKind;

/// An object of the API server, by names that cannot lead to another path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectRef {
    pub(crate) kind: TargetKind,
    pub(crate) version: Version,
    pub(crate) namespace: String,
    pub(crate) name: String,
}

/// A name that no object can have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no name of an object: write 1 to 253 of a-z, 0-9, `-` and `.`, with a letter or digit at both ends")]
pub struct NameError(String);

/// A version that serves the kind. Istio before 1.22 has no v1, GRPCRoute never had v1beta1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Version {
    /// v1
    #[default]
    V1,
    /// v1beta1
    V1Beta1,
}

impl ObjectRef {
    /// Of version v1.
    ///
    /// # Errors
    /// When one of the names is not a DNS subdomain (RFC 1123), as Kubernetes has them.
    pub fn new(kind: TargetKind, namespace: &str, name: &str) -> Result<Self, NameError> {
        let checked = |name: &str| match is_name(name) {
            true => Ok(name.to_owned()),
            false => Err(NameError(name.chars().take(MAX_NAME).collect())),
        };
        Ok(ObjectRef { kind, version: Version::V1, namespace: checked(namespace)?, name: checked(name)? })
    }

    /// The same object, read and written in another version.
    #[must_use]
    pub fn in_version(self, version: Version) -> Self {
        ObjectRef { version, ..self }
    }

    /// The API group and the resource, as RBAC rules name them.
    pub fn resource(&self) -> (&'static str, &'static str) {
        match self.kind {
            TargetKind::VirtualService => ("networking.istio.io", "virtualservices"),
            TargetKind::HttpRoute => ("gateway.networking.k8s.io", "httproutes"),
            TargetKind::GrpcRoute => ("gateway.networking.k8s.io", "grpcroutes"),
        }
    }

    /// The path of the list that it is in.
    pub(crate) fn list_path(&self) -> String {
        let (group, resource) = self.resource();
        format!("/apis/{group}/{}/namespaces/{}/{resource}", self.version, self.namespace)
    }
}

/// In bytes.
const MAX_NAME: usize = 253;

pub(crate) fn is_name(name: &str) -> bool {
    let is_inner = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.');
    let is_end = |end: Option<&u8>| end.is_some_and(u8::is_ascii_alphanumeric);
    let bytes = name.as_bytes();
    bytes.len() <= MAX_NAME && bytes.iter().copied().all(is_inner) && is_end(bytes.first()) && is_end(bytes.last())
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Version::V1 => "v1",
            Version::V1Beta1 => "v1beta1",
        })
    }
}

impl fmt::Display for ObjectRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            TargetKind::VirtualService => "VirtualService",
            TargetKind::HttpRoute => "HTTPRoute",
            TargetKind::GrpcRoute => "GRPCRoute",
        };
        write!(f, "{kind} {}/{}", self.namespace, self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_stay_in_their_path() {
        let named = |namespace, name| ObjectRef::new(TargetKind::HttpRoute, namespace, name);
        let object = named("shop", "shop.v1-2").unwrap();
        assert_eq!(object.list_path(), "/apis/gateway.networking.k8s.io/v1/namespaces/shop/httproutes");
        assert_eq!(object.to_string(), "HTTPRoute shop/shop.v1-2");
        let older = object.in_version(Version::V1Beta1);
        assert_eq!(older.list_path(), "/apis/gateway.networking.k8s.io/v1beta1/namespaces/shop/httproutes");
        let long = "a".repeat(254);
        for bad in ["", ".", "..", "a/b", "../a", "a?b", "a%2fb", "A", "a ", "-a", "a.", "\u{e9}", long.as_str()] {
            assert!(named("shop", bad).is_err() && named(bad, "shop").is_err(), "{bad}");
        }
        assert!(named("shop", &long[1..]).is_ok());
    }
}
