//! Writes rollbacks to objects in a cluster (IO), through [`serin_kubernetes::apply`]; and ReleaseGuards as services: `controller`.

mod controller;
mod guards;
mod news;
mod service;
mod status;
mod throttle;
mod watches;

pub mod hold;
pub mod leader;

use std::time::Duration;

use kube::Client;
use serin_kubernetes::{
    apply::{Applied, ApplyError, Options, apply},
    connect,
    object::ObjectRef,
    plan::Obstacle,
    rollout,
};

pub use controller::run as control;

use crate::{
    config::{Config, Object, Rollout, Service},
    engine::Written,
};

/// Long for an answer that takes 10 ms. At most 5 attempts of two requests, so 21 s in all with the pauses: an API
/// server that hangs must not hold up other services for longer.
const REQUEST: Duration = Duration::from_secs(2);

/// There is no way to the cluster that the configuration names objects of.
#[derive(Debug, thiserror::Error)]
#[error(
    "cannot reach the cluster that `kubernetes`, `rollback.kubernetes` or `high_availability` is about: {0}; run serin in the cluster, or set KUBECONFIG"
)]
pub struct NoCluster(String);

/// A client, where the configuration is about a cluster: from KUBECONFIG, `~/.kube/config` or the service account.
/// Nothing is sent yet.
///
/// # Errors
/// When none of them is there, or one cannot be read.
pub async fn client(config: &Config) -> Result<Option<Client>, NoCluster> {
    let has_objects = config
        .services
        .iter()
        .any(|Service { rollback, .. }| !rollback.objects.is_empty() || rollback.rollout.is_some());
    if !has_objects && config.kubernetes.is_none() && config.lease.is_none() {
        return Ok(None);
    }
    let found = kube::Config::infer().await.map_err(|error| NoCluster(error.to_string()))?;
    connect::client(found).map(Some).map_err(|error| NoCluster(error.to_string()))
}

/// Writes a service's objects, one after the other.
pub async fn roll_back(client: Option<&Client>, service: &Service) -> Vec<Written> {
    let objects = &service.rollback.objects;
    let mut written = Vec::new();
    match client {
        Some(client) => {
            let mut answers = Vec::new();
            for object in objects {
                answers.push((&object.object, try_write(client, service, object).await));
            }
            written.extend(told(answers, service.rollback.dry_run));
        }
        None => {
            let without = |of: &Object| format!("{}: serin was started without a cluster: restart it", of.object);
            written.extend(objects.iter().map(without).map(Written::Failed));
        }
    }
    if let Some(rollout) = &service.rollback.rollout {
        written.push(match client {
            Some(client) => abort(client, service, rollout).await,
            None => {
                Written::Failed(format!("Rollout {}: serin was started without a cluster: restart it", rollout.name))
            }
        });
    }
    written
}

/// Its controller sends the requests to the stable release then.
async fn abort(client: &Client, service: &Service, Rollout { namespace, name }: &Rollout) -> Written {
    let (dry_run, candidate) = (service.rollback.dry_run, &service.candidate);
    let done = match rollout::run(client, namespace, name, candidate, dry_run, REQUEST).await {
        Ok(true) => format!("Rollout {namespace}/{name}: the update to {candidate} is aborted"),
        Ok(false) => format!("Rollout {namespace}/{name}: the update to {candidate} was aborted already"),
        Err(error) => return Written::Failed(format!("Rollout {namespace}/{name}: {error}")),
    };
    if dry_run { Written::DryRun(format!("dry run: {done}")) } else { Written::Done(done) }
}

async fn write(client: &Client, service: &Service, object: &Object) -> Written {
    try_write(client, service, object).await.unwrap_or_else(|error| failed(&object.object, &error))
}

fn failed(object: &ObjectRef, error: &ApplyError) -> Written {
    Written::Failed(format!("{object}: {error}"))
}

/// What became of each object. Where one is rolled back, another one that sends nothing to the candidate is as it should be.
fn told(answers: Vec<(&ObjectRef, Result<Written, ApplyError>)>, dry_run: bool) -> Vec<Written> {
    let any = answers.iter().any(|(_, answer)| answer.is_ok());
    let told = |(object, answer): (&ObjectRef, Result<Written, ApplyError>)| match answer {
        Ok(written) => written,
        Err(ApplyError::Refused(Obstacle::NoCandidate { candidate })) if any => {
            let sentence = format!("{object}: no route sends anything to {candidate}, nothing to change");
            if dry_run { Written::DryRun(format!("dry run: {sentence}")) } else { Written::Done(sentence) }
        }
        Err(error) => failed(object, &error),
    };
    answers.into_iter().map(told).collect()
}

async fn try_write(client: &Client, service: &Service, of: &Object) -> Result<Written, ApplyError> {
    let Object { object, namespace, target } = of;
    let dry_run = service.rollback.dry_run;
    let intent = target.intent(namespace, &service.baseline, &service.candidate);
    let options = Options { dry_run, request: REQUEST, ..Options::default() };
    let (done, notes) = match apply(client, object, &intent, &options).await? {
        Applied::Changed { weights, notes, .. } => {
            (weights.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "), notes)
        }
        Applied::InEffect { notes } => (format!("{} gets nothing already", service.candidate), notes),
    };
    let sentence = notes.iter().fold(format!("{object}: {done}"), |said, note| format!("{said}; {note}"));
    Ok(if dry_run { Written::DryRun(format!("dry run: {sentence}")) } else { Written::Done(sentence) })
}

#[cfg(test)]
mod tests {
    use serin_kubernetes::{intent::Intent, release_guard::TargetKind};

    use super::*;

    /// The gateway has v2, and the mesh not yet.
    #[test]
    fn an_object_without_the_candidate_fails_only_where_no_other_has_it() {
        let object = |name| ObjectRef::new(TargetKind::VirtualService, "prod", name).unwrap();
        let (gateway, mesh) = (object("gateway"), object("mesh"));
        let candidate = Intent::subsets("shop", "prod", "v1", "v2").candidate;
        let without = || Err(ApplyError::Refused(Obstacle::NoCandidate { candidate: candidate.clone() }));
        let done = || Written::Done("v2 10 -> 0".to_owned());
        let written = told(vec![(&mesh, without()), (&gateway, Ok(done()))], false);
        let [Written::Done(said), second] = written.as_slice() else { panic!("{written:?}") };
        assert_eq!(*second, done());
        assert!(said.starts_with("VirtualService prod/mesh: no route sends anything to shop"), "{said}");
        let dry = told(vec![(&gateway, Ok(Written::DryRun("dry run".to_owned()))), (&mesh, without())], true);
        assert!(matches!(&dry[1], Written::DryRun(_)), "{dry:?}");
        let none = told(vec![(&gateway, without()), (&mesh, Err(ApplyError::Unauthorized))], false);
        assert!(none.iter().all(|written| matches!(written, Written::Failed(_))), "{none:?}");
    }
}
