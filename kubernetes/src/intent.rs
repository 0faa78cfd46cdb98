//! What a rollback is to reach: the baseline at 100, the candidate at 0. Pure.

use std::fmt;

use crate::host;

/// All requests to the baseline, none to the candidate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Intent {
    /// The stable release.
    pub baseline: Backend,
    /// The release to take out of traffic.
    pub candidate: Backend,
}

/// Where a release's requests are sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backend {
    /// Its full name: `shop.prod.svc.cluster.local`, or another host as it is.
    host: String,
    /// A subset of the host; `None` means all of it.
    subset: Option<String>,
}

impl Intent {
    /// Releases that are subsets of one host. A short host is completed with `namespace`.
    pub fn subsets(host: &str, namespace: &str, baseline: &str, candidate: &str) -> Self {
        let backend = |subset: &str| Backend { host: host::full(host, namespace), subset: Some(subset.to_owned()) };
        Intent { baseline: backend(baseline), candidate: backend(candidate) }
    }

    /// Releases with a host (a Service) each. A short host is completed with `namespace`.
    pub fn hosts(namespace: &str, baseline: &str, candidate: &str) -> Self {
        let backend = |name: &str| Backend { host: host::full(name, namespace), subset: None };
        Intent { baseline: backend(baseline), candidate: backend(candidate) }
    }
}

impl Backend {
    /// Whether a destination means this release; `host` is a full name.
    pub(crate) fn is(&self, host: &str, subset: Option<&str>) -> bool {
        self.host == host && (self.subset.is_none() || self.subset.as_deref() == subset)
    }
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.subset {
            Some(subset) => write!(f, "{} subset {subset}", self.host),
            None => f.write_str(&self.host),
        }
    }
}
