//! The way to an API server, and in which version that serves the kinds that have weights.
//!
//! `/apis/GROUP` and `/apis/GROUP/VERSION` (IO) -> [`choose`](version::choose) (pure) -> kept until the version is gone. Every
//! account that is authenticated may ask this: the API server itself binds them to the ClusterRole `system:discovery`.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{APIGroup, APIResourceList};
use kube::Client;
use serde::de::DeserializeOwned;

use crate::{
    release_guard::TargetKind,
    version::{self, Version},
};

/// A cluster. Its clones know the same.
#[derive(Clone)]
pub struct Cluster {
    client: Client,
    versions: Arc<Mutex<BTreeMap<TargetKind, Version>>>,
}

/// Why it is not known in which version a kind is served.
#[derive(Debug, thiserror::Error)]
pub enum Unserved {
    /// In none that is known.
    #[error(
        "the API server serves no {0} in a version that serin knows ({known}): install the CRDs of {project}",
        known = known(*.0), project = .0.project()
    )]
    NotInstalled(TargetKind),
    /// It may not be asked.
    #[error(
        "serin may not ask which versions of {group} are served: bind its service account to the ClusterRole system:discovery ({message})"
    )]
    Forbidden {
        /// Which.
        group: &'static str,
        /// What the server said.
        message: String,
    },
    /// The API server did not say.
    #[error("the API server does not say which versions it serves")]
    NotSaid(#[source] Box<kube::Error>),
}

impl Cluster {
    /// Nothing is asked yet.
    pub fn new(client: Client) -> Self {
        Cluster { client, versions: Arc::default() }
    }

    /// For anything else.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// The version of a kind: asked once.
    ///
    /// # Errors
    /// When it is not served, or the API server does not say.
    pub async fn version(&self, kind: TargetKind) -> Result<Version, Unserved> {
        if let Some(version) = self.versions().get(&kind) {
            return Ok(*version);
        }
        let version = self.ask(kind).await?;
        self.versions().insert(kind, version);
        Ok(version)
    }

    /// A path of the version was not there: it is to be asked again.
    pub fn forget(&self, kind: TargetKind) {
        self.versions().remove(&kind);
    }

    async fn ask(&self, kind: TargetKind) -> Result<Version, Unserved> {
        let group = kind.group();
        let said: Option<APIGroup> = self.get(group, format!("/apis/{group}")).await?;
        let named = said.into_iter().flat_map(|group| group.versions);
        let known: Vec<Version> = named.filter_map(|named| Version::of(kind, &named.version)).collect();
        let mut served = Vec::new();
        for version in known {
            let listed: Option<APIResourceList> = self.get(group, format!("/apis/{group}/{version}")).await?;
            let resources = listed.into_iter().flat_map(|list| list.resources);
            served.push((version, resources.map(|resource| resource.name).collect()));
        }
        version::choose(kind, &served).ok_or(Unserved::NotInstalled(kind))
    }

    /// `None`: nothing is there.
    async fn get<T: DeserializeOwned>(&self, group: &'static str, path: String) -> Result<Option<T>, Unserved> {
        let not_said = |error| Unserved::NotSaid(Box::new(error));
        let request =
            http::Request::get(path).body(Vec::new()).map_err(|error| not_said(kube::Error::HttpError(error)))?;
        match self.client.request(request).await {
            Ok(said) => Ok(Some(said)),
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(None),
            Err(kube::Error::Api(status)) if status.code == 403 => {
                Err(Unserved::Forbidden { group, message: status.message })
            }
            Err(error) => Err(not_said(error)),
        }
    }

    fn versions(&self) -> MutexGuard<'_, BTreeMap<TargetKind, Version>> {
        self.versions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn known(kind: TargetKind) -> String {
    kind.versions().iter().map(|version| version.name()).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests;
