use kube::{
    Api, Client,
    api::{ApiResource, DynamicObject, Patch, PatchParams},
};
use serde_json::Value;

use super::{Abort, NotAborted, abort};
use crate::{
    apply::{ApplyError, Options, Outcome, Tries, Verb, answered},
    writers::FIELD_MANAGER,
};

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
    /// Anything else.
    #[error(transparent)]
    Request(ApplyError),
}

impl From<ApplyError> for RunError {
    fn from(error: ApplyError) -> Self {
        match error {
            ApplyError::NotFound(_) | ApplyError::NotThere { .. } => RunError::NotFound,
            ApplyError::Forbidden { message, .. } => RunError::Forbidden(message),
            other => RunError::Request(other),
        }
    }
}

/// One Rollout.
struct Run<'a> {
    rollouts: Api<DynamicObject>,
    name: &'a str,
    candidate: &'a str,
    options: &'a Options,
    /// For people.
    told: String,
    /// Whether a patch got no answer: it may have been applied.
    is_unknown: bool,
}

/// Aborts the update that brings `candidate`; whether it was under way until now.
///
/// # Errors
/// When it cannot be, or is not certain to be the right one.
pub async fn run(
    client: &Client,
    namespace: &str,
    name: &str,
    candidate: &str,
    options: &Options,
) -> Result<bool, RunError> {
    let kind = ApiResource {
        group: "argoproj.io".into(),
        version: "v1alpha1".into(),
        api_version: "argoproj.io/v1alpha1".into(),
        kind: "Rollout".into(),
        plural: "rollouts".into(),
    };
    let rollouts = Api::namespaced_with(client.clone(), namespace, &kind);
    let told = format!("Rollout {namespace}/{name}");
    let mut run = Run { rollouts, name, candidate, options, told, is_unknown: false };
    let mut tries = Tries::new(options);
    loop {
        let setback = match run.attempt().await {
            Ok(done) => return Ok(done?),
            Err(Outcome::End(error)) => return Err(error.into()),
            Err(Outcome::Again(setback)) => setback,
        };
        tracing::debug!(rollout = run.told, attempt = tries.made, ?setback, "not aborted");
        if !tries.again(&setback).await {
            // Who writes it is its own controller.
            return Err(setback.given_up(run.told, tries.made, options.request, Vec::new()).into());
        }
    }
}

impl Run<'_> {
    async fn attempt(&mut self) -> Result<Result<bool, NotAborted>, Outcome> {
        let limit = self.options.request;
        let read = answered(self.rollouts.get(self.name), limit, Verb::Get, &self.told).await?;
        let client = |error| Outcome::End(ApplyError::Client(Box::new(kube::Error::SerdeError(error))));
        let rollout: Value = serde_json::to_value(read).map_err(client)?;
        let patch = match abort(&rollout, self.candidate) {
            Ok(Abort::Patch(patch)) => Patch::<()>::Json(patch),
            Ok(Abort::InEffect) => return Ok(Ok(self.is_unknown)),
            Err(why) => return Ok(Err(why)),
        };
        let params = PatchParams { dry_run: self.options.dry_run, ..PatchParams::apply(FIELD_MANAGER) };
        let sent = self.rollouts.patch_status(self.name, &params, &patch);
        let answer = answered(sent, limit, Verb::Patch, &self.told).await;
        self.is_unknown |= matches!(&answer, Err(Outcome::Again(setback)) if setback.is_unknown());
        answer.map(|_| Ok(true))
    }
}

#[cfg(test)]
mod tests;
