use std::time::Duration;

use kube::{
    Api, Client,
    api::{ApiResource, DynamicObject, Patch, PatchParams},
};
use serde_json::Value;

use super::{Abort, NotAborted, abort};
use crate::writers::FIELD_MANAGER;

/// How often it is read anew when its controller wrote it in between.
const ATTEMPTS: u32 = 3;

/// Why a Rollout is not aborted.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// There is nothing to abort, or it is not certain.
    #[error(transparent)]
    NotAborted(#[from] NotAborted),
    /// It is not there.
    #[error("it does not exist: check its name and namespace, and that Argo Rollouts is installed")]
    NotFound,
    /// RBAC.
    #[error("serin may not do this: apply the overlay argo-rollouts, which gives it the verbs ({0})")]
    Forbidden(String),
    /// Its controller writes it all the time.
    #[error("it was changed by others each of {ATTEMPTS} times that serin was about to abort it")]
    Contended,
    /// No answer in time. It may have been aborted.
    #[error("the API server gave no answer within {} s", .0.as_secs_f64())]
    TimedOut(Duration),
    /// Anything else.
    #[error("the API server: {0}")]
    Request(Box<kube::Error>),
}

impl From<kube::Error> for RunError {
    fn from(error: kube::Error) -> Self {
        match error {
            kube::Error::Api(status) if status.code == 404 => RunError::NotFound,
            kube::Error::Api(status) if status.code == 403 => RunError::Forbidden(status.message),
            other => RunError::Request(Box::new(other)),
        }
    }
}

/// Aborts the update that brings `candidate`; whether it was under way until now. `request`: how long one request may take. With `dry_run`
/// the server checks the patch and keeps nothing.
///
/// # Errors
/// When it cannot be, or is not certain to be the right one.
pub async fn run(
    client: &Client,
    namespace: &str,
    name: &str,
    candidate: &str,
    dry_run: bool,
    request: Duration,
) -> Result<bool, RunError> {
    let kind = ApiResource {
        group: "argoproj.io".into(),
        version: "v1alpha1".into(),
        api_version: "argoproj.io/v1alpha1".into(),
        kind: "Rollout".into(),
        plural: "rollouts".into(),
    };
    let rollouts: Api<DynamicObject> = Api::namespaced_with(client.clone(), namespace, &kind);
    let params = PatchParams { dry_run, ..PatchParams::apply(FIELD_MANAGER) };
    let late = |_| RunError::TimedOut(request);
    for _ in 0..ATTEMPTS {
        let read = tokio::time::timeout(request, rollouts.get(name)).await.map_err(late)??;
        let rollout: Value = serde_json::to_value(read).map_err(kube::Error::SerdeError)?;
        let Abort::Patch(patch) = abort(&rollout, candidate)? else { return Ok(false) };
        let patch = Patch::<()>::Json(patch);
        match tokio::time::timeout(request, rollouts.patch_status(name, &params, &patch)).await.map_err(late)? {
            Ok(_) => return Ok(true),
            // A `test` of the patch failed, or the version: its controller was faster.
            Err(kube::Error::Api(status)) if matches!(status.code, 409 | 422) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(RunError::Contended)
}
