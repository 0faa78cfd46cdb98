//! One request, in the version that the API server serves: IO.

use std::{fmt::Display, time::Duration};

use kube::{
    api::{GetParams, Patch, PatchParams, Request},
    core::request::Error,
};
use serde_json::Value;

use super::{
    Options,
    answer::{Outcome, Setback, Verb, outcome, unserved},
    error::ApplyError,
};
use crate::{cluster::Cluster, object::ObjectRef, plan::Change, version::Version, writers::FIELD_MANAGER};

/// Whom to ask, and for how long.
#[derive(Clone, Copy)]
pub(super) struct Ask<'a> {
    pub(super) cluster: &'a Cluster,
    pub(super) limit: Duration,
}

impl Ask<'_> {
    /// Reads an object.
    pub(super) async fn get(&self, object: &ObjectRef) -> Result<Value, Outcome> {
        let request = |version| Request::new(object.list_path(version)).get(&object.name, &GetParams::default());
        self.send(object, Verb::Get, request).await
    }

    /// Changes an object.
    pub(super) async fn patch(&self, object: &ObjectRef, change: &Change, options: &Options) -> Result<Value, Outcome> {
        let params = PatchParams {
            dry_run: options.dry_run,
            field_manager: Some(FIELD_MANAGER.to_owned()),
            ..PatchParams::default()
        };
        let patch = Patch::<()>::Json(change.patch.clone());
        let request = |version| Request::new(object.list_path(version)).patch(&object.name, &params, &patch);
        self.send(object, Verb::Patch, request).await
    }

    async fn send(
        &self,
        object: &ObjectRef,
        verb: Verb,
        request: impl Fn(Version) -> Result<http::Request<Vec<u8>>, Error>,
    ) -> Result<Value, Outcome> {
        let slow = |_| Outcome::Again(Setback::Slow);
        let version = tokio::time::timeout(self.limit, self.cluster.version(object.kind)).await.map_err(slow)?;
        let version = version.map_err(|why| unserved(why, object))?;
        let request = request(version)
            .map_err(|error| Outcome::End(ApplyError::Client(Box::new(kube::Error::BuildRequest(error)))))?;
        let answer = answered(self.cluster.client().request(request), self.limit, verb, object).await;
        if matches!(answer, Err(Outcome::Again(Setback::Gone))) {
            self.cluster.forget(object.kind);
        }
        answer
    }
}

/// What comes of a request, or of waiting for its answer.
pub(crate) async fn answered<T>(
    request: impl Future<Output = kube::Result<T>>,
    limit: Duration,
    verb: Verb,
    object: &(dyn Display + Sync),
) -> Result<T, Outcome> {
    match tokio::time::timeout(limit, request).await {
        Ok(answer) => answer.map_err(|error| outcome(error, verb, object)),
        Err(_) => Err(Outcome::Again(Setback::Slow)),
    }
}
