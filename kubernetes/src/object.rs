//! Names an object that has weights: pure.

use std::fmt;

use crate::{release_guard::TargetKind, version::Version};

/// An object of the API server, by names that cannot lead to another path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectRef {
    pub(crate) kind: TargetKind,
    pub(crate) namespace: String,
    pub(crate) name: String,
}

/// A name that no object can have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no name of an object: write 1 to 253 of a-z, 0-9, `-` and `.`, with a letter or digit at both ends")]
pub struct NameError(String);

impl ObjectRef {
    /// # Errors
    /// When one of the names is not a DNS subdomain (RFC 1123), as Kubernetes has them.
    pub fn new(kind: TargetKind, namespace: &str, name: &str) -> Result<Self, NameError> {
        let checked = |name: &str| match is_name(name) {
            true => Ok(name.to_owned()),
            false => Err(NameError(name.chars().take(MAX_NAME).collect())),
        };
        Ok(ObjectRef { kind, namespace: checked(namespace)?, name: checked(name)? })
    }

    /// What it is.
    pub fn kind(&self) -> TargetKind {
        self.kind
    }

    /// Where it is.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// Its name there.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The path of the list that it is in.
    pub(crate) fn list_path(&self, version: Version) -> String {
        let (group, plural) = (self.kind.group(), self.kind.plural());
        format!("/apis/{group}/{version}/namespaces/{}/{plural}", self.namespace)
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

impl fmt::Display for ObjectRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}/{}", self.kind, self.namespace, self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_stay_in_their_path() {
        let named = |namespace, name| ObjectRef::new(TargetKind::HttpRoute, namespace, name);
        let object = named("shop", "shop.v1-2").unwrap();
        assert_eq!(object.list_path(Version::V1), "/apis/gateway.networking.k8s.io/v1/namespaces/shop/httproutes");
        assert_eq!(object.to_string(), "HTTPRoute shop/shop.v1-2");
        assert_eq!(
            object.list_path(Version::V1Beta1),
            "/apis/gateway.networking.k8s.io/v1beta1/namespaces/shop/httproutes"
        );
        let long = "a".repeat(254);
        for bad in ["", ".", "..", "a/b", "../a", "a?b", "a%2fb", "A", "a ", "-a", "a.", "\u{e9}", long.as_str()] {
            assert!(named("shop", bad).is_err() && named(bad, "shop").is_err(), "{bad}");
        }
        assert!(named("shop", &long[1..]).is_ok());
    }
}
