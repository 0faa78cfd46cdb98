//! Writes rollbacks to objects in a cluster (IO), through [`serin_kubernetes::apply`]; and ReleaseGuards as services: `controller`.

mod controller;
mod earlier;
mod guards;
mod news;
mod redeployed;
mod service;
mod status;
mod throttle;
mod watches;
mod weighed;

pub mod hold;
pub mod leader;

use std::{collections::BTreeSet, time::Duration};

use serin_kubernetes::{
    apply::{self, Applied, ApplyError, Options, apply},
    cluster::Cluster,
    connect,
    object::ObjectRef,
    plan::{Obstacle, Reweighted},
    release_guard::TargetKind,
    rollout,
};
use tokio::time::timeout;

pub use controller::run as control;

use crate::{
    config::{Config, Object, Rollout, Service},
    engine::Written,
};

/// Long for an answer that takes 10 ms. At most 5 attempts of two requests, so 21 s in all with the pauses, and 12 s more where the version
/// and delegates are to be learnt: an API server that hangs must not hold up other services for longer.
const REQUEST: Duration = Duration::from_secs(2);

/// There is no way to the cluster that the configuration names objects of.
#[derive(Debug, thiserror::Error)]
#[error(
    "cannot reach the cluster that `kubernetes`, `rollback.kubernetes` or `high_availability` is about: {0}; run serin in the cluster, or set KUBECONFIG"
)]
pub struct NoCluster(String);

/// The cluster, where the configuration is about a cluster: from KUBECONFIG, `~/.kube/config` or the service account.
/// Nothing is sent yet.
///
/// # Errors
/// When none of them is there, or one cannot be read.
pub async fn cluster(config: &Config) -> Result<Option<Cluster>, NoCluster> {
    let has_objects = config
        .services
        .iter()
        .any(|Service { rollback, .. }| !rollback.objects.is_empty() || rollback.rollout.is_some());
    if !has_objects && config.kubernetes.is_none() && config.lease.is_none() {
        return Ok(None);
    }
    let found = kube::Config::infer().await.map_err(|error| NoCluster(error.to_string()))?;
    connect::client(found).map(|client| Some(Cluster::new(client))).map_err(|error| NoCluster(error.to_string()))
}

/// Asks in which versions the kinds of the configuration's objects are served, so that it is known when they are to be written. What is not
/// served is said now, and asked for again then.
pub async fn ask(cluster: Cluster, kinds: BTreeSet<TargetKind>) {
    for kind in kinds {
        match timeout(REQUEST, cluster.version(kind)).await {
            Ok(Ok(version)) => tracing::debug!("{kind} is served in {version}"),
            Ok(Err(why)) => tracing::warn!("rollback.kubernetes: {}", watches::chain(&why)),
            Err(_) => {
                tracing::warn!("rollback.kubernetes: the API server does not say in which version {kind} is served")
            }
        }
    }
}

/// The kinds of the configuration's objects.
pub fn kinds(config: &Config) -> BTreeSet<TargetKind> {
    let objects = config.services.iter().flat_map(|service| &service.rollback.objects);
    objects.map(|object| object.object.kind()).collect()
}

/// Writes a service's objects, one after the other.
pub async fn roll_back(cluster: Option<&Cluster>, service: &Service) -> Vec<Written> {
    let objects = &service.rollback.objects;
    let mut written = Vec::new();
    match cluster {
        Some(cluster) => {
            let mut answers = Vec::new();
            for object in objects {
                answers.push((&object.object, try_write(cluster, service, object).await));
            }
            written.extend(told(answers, service.rollback.dry_run));
        }
        None => {
            let without = |of: &Object| format!("{}: serin was started without a cluster: restart it", of.object);
            written.extend(objects.iter().map(without).map(Written::Failed));
        }
    }
    if let Some(rollout) = &service.rollback.rollout {
        written.push(match cluster {
            Some(cluster) => abort(cluster, service, rollout).await,
            None => {
                Written::Failed(format!("Rollout {}: serin was started without a cluster: restart it", rollout.name))
            }
        });
    }
    written
}

/// The candidate's share of the weights of a service's objects; `None` of one whose routes do not tell.
///
/// # Errors
/// What keeps one of them from being read.
pub async fn weigh(cluster: &Cluster, service: &Service) -> Result<Vec<Option<f64>>, String> {
    let options = Options { request: REQUEST, ..Options::default() };
    let mut shares = Vec::new();
    for Object { object, namespace, target } in &service.rollback.objects {
        let intent = target.intent(namespace, &service.baseline, &service.candidate);
        let share = apply::weigh(cluster, object, &intent, &options).await;
        shares.push(share.map_err(|error| format!("{object}: {error}"))?);
    }
    Ok(shares)
}

/// Its controller sends the requests to the stable release then.
async fn abort(cluster: &Cluster, service: &Service, Rollout { namespace, name }: &Rollout) -> Written {
    let (dry_run, candidate) = (service.rollback.dry_run, &service.candidate);
    let options = Options { dry_run, request: REQUEST, ..Options::default() };
    let done = match rollout::run(cluster.client(), namespace, name, candidate, &options).await {
        Ok(true) => (true, format!("Rollout {namespace}/{name}: the update to {candidate} is aborted")),
        Ok(false) => (false, format!("Rollout {namespace}/{name}: the update to {candidate} was aborted already")),
        Err(error) => return Written::Failed(format!("Rollout {namespace}/{name}: {error}")),
    };
    written(dry_run, done)
}

async fn write(cluster: &Cluster, service: &Service, object: &Object) -> Written {
    try_write(cluster, service, object).await.unwrap_or_else(|error| failed(&object.object, &error))
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
            written(dry_run, (false, sentence))
        }
        Err(error) => failed(object, &error),
    };
    answers.into_iter().map(told).collect()
}

async fn try_write(cluster: &Cluster, service: &Service, of: &Object) -> Result<Written, ApplyError> {
    let Object { object, namespace, target } = of;
    let dry_run = service.rollback.dry_run;
    let intent = target.intent(namespace, &service.baseline, &service.candidate);
    let options = Options { dry_run, request: REQUEST, ..Options::default() };
    let (found, changed, done, notes) = match apply(cluster, object, &intent, &options).await? {
        Applied::Changed { object, weights, notes, .. } => {
            let said = reweighted(&object.to_string(), &weights);
            (object, true, said, notes)
        }
        Applied::InEffect { object, notes } => {
            (object, false, format!("{} gets nothing already", service.candidate), notes)
        }
    };
    let by = if found == *object { String::new() } else { format!(", to which {object} delegates") };
    let sentence = notes.iter().fold(format!("{found}{by}: {done}"), |said, note| format!("{said}; {note}"));
    Ok(written(dry_run, (changed, sentence)))
}

/// `changed`: whether anything had to be.
fn written(dry_run: bool, (changed, sentence): (bool, String)) -> Written {
    match (dry_run, changed) {
        (true, _) => Written::DryRun(format!("dry run: {sentence}")),
        (false, true) => Written::Done(sentence),
        (false, false) => Written::InEffect(sentence),
    }
}

/// As `http[0]: v1 90 -> 100, v2 10 -> 0; http[1]: ...`: of the object, which is said before.
fn reweighted(object: &str, weights: &[Reweighted]) -> String {
    let routes = weights.chunk_by(|one, next| one.place == next.place).filter_map(|route| {
        let place = &route.first()?.place;
        let changes = route
            .iter()
            .map(|Reweighted { destination, before, after, .. }| format!("{destination} {before} -> {after}"));
        let changes = changes.collect::<Vec<_>>().join(", ");
        Some(format!("{}: {changes}", place.strip_prefix(object).unwrap_or(place).trim_start()))
    });
    routes.collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use serin_kubernetes::intent::Intent;

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
        let [Written::InEffect(said), second] = written.as_slice() else { panic!("{written:?}") };
        assert_eq!(*second, done());
        assert!(said.starts_with("VirtualService prod/mesh: no route sends anything to shop"), "{said}");
        let dry = told(vec![(&gateway, Ok(Written::DryRun("dry run".to_owned()))), (&mesh, without())], true);
        assert!(matches!(&dry[1], Written::DryRun(_)), "{dry:?}");
        let none = told(vec![(&gateway, without()), (&mesh, Err(ApplyError::Unauthorized))], false);
        assert!(none.iter().all(|written| matches!(written, Written::Failed(_))), "{none:?}");
    }

    #[test]
    fn each_route_is_named_once() {
        let of = |place: &str, destination: &str, before, after| Reweighted {
            place: format!("VirtualService shop/shop {place}"),
            destination: destination.to_owned(),
            before,
            after,
        };
        let weights = [of("http[0]", "v1", 90, 100), of("http[0]", "v2", 10, 0), of("http[2] (beta)", "v2", 100, 0)];
        let said = reweighted("VirtualService shop/shop", &weights);
        assert_eq!(said, "http[0]: v1 90 -> 100, v2 10 -> 0; http[2] (beta): v2 100 -> 0");
        assert_eq!(reweighted("HTTPRoute a/b", &weights[..1]), "VirtualService shop/shop http[0]: v1 90 -> 100");
    }
}
