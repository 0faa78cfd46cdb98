//! Writes rollbacks to objects in a cluster (IO), through [`serin_kubernetes::apply`]; and ReleaseGuards as services: `controller`.

mod controller;
mod earlier;
mod guards;
mod news;
mod service;
mod status;
mod throttle;
mod watches;

pub mod hold;
pub mod leader;

use std::{collections::BTreeSet, time::Duration};

use serin_kubernetes::{
    apply::{Applied, Options, apply},
    cluster::Cluster,
    connect,
    plan::Reweighted,
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
    let mut written = Vec::new();
    for object in &service.rollback.objects {
        written.push(match cluster {
            Some(cluster) => write(cluster, service, object).await,
            None => Written::Failed(format!("{}: serin was started without a cluster: restart it", object.object)),
        });
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

/// Its controller sends the requests to the stable release then.
async fn abort(cluster: &Cluster, service: &Service, Rollout { namespace, name }: &Rollout) -> Written {
    let (dry_run, candidate) = (service.rollback.dry_run, &service.candidate);
    let done = match rollout::run(cluster.client(), namespace, name, candidate, dry_run, REQUEST).await {
        Ok(true) => format!("Rollout {namespace}/{name}: the update to {candidate} is aborted"),
        Ok(false) => format!("Rollout {namespace}/{name}: the update to {candidate} was aborted already"),
        Err(error) => return Written::Failed(format!("Rollout {namespace}/{name}: {error}")),
    };
    if dry_run { Written::DryRun(format!("dry run: {done}")) } else { Written::Done(done) }
}

async fn write(cluster: &Cluster, service: &Service, Object { object, namespace, target }: &Object) -> Written {
    let dry_run = service.rollback.dry_run;
    let intent = target.intent(namespace, &service.baseline, &service.candidate);
    let options = Options { dry_run, request: REQUEST, ..Options::default() };
    let (found, done, notes) = match apply(cluster, object, &intent, &options).await {
        Ok(Applied::Changed { object, weights, notes, .. }) => {
            let said = reweighted(&object.to_string(), &weights);
            (object, said, notes)
        }
        Ok(Applied::InEffect { object, notes }) => {
            (object, format!("{} gets nothing already", service.candidate), notes)
        }
        Err(error) => return Written::Failed(format!("{object}: {error}")),
    };
    let by = if found == *object { String::new() } else { format!(", to which {object} delegates") };
    let sentence = notes.iter().fold(format!("{found}{by}: {done}"), |said, note| format!("{said}; {note}"));
    if dry_run { Written::DryRun(format!("dry run: {sentence}")) } else { Written::Done(sentence) }
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
    use super::*;

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
