//! Reads the weights that requests are sent by (IO), for services of the configuration whose throughput is judged: in files, and in
//! objects of a cluster. Those of ReleaseGuards are watched (`kubernetes/weighed.rs`).

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use serin_kubernetes::cluster::Cluster;
use tokio::{task::JoinSet, time::MissedTickBehavior};

use crate::{
    actuate::{self, Intent},
    config::Service,
    engine::Event,
    kubernetes,
    shell::Handle,
};

/// How often. The engine takes a weight for settled only when it has been the same for longer, and it takes at least eight seconds of
/// missing requests to condemn a candidate: less than that it may be held against a weight that has just been changed.
const EVERY: Duration = Duration::from_secs(5);

/// A share, or why it cannot be read.
type Read = Result<Option<f64>, String>;

/// Runs until the engine is gone. `configured`: the services that are not a ReleaseGuard's.
pub async fn run(engine: Handle, cluster: Option<Cluster>, configured: BTreeSet<String>) {
    let judged = |service: &Arc<Service>| service.throughput && configured.contains(&service.name);
    let mut unread: BTreeMap<String, String> = BTreeMap::new();
    let mut ticks = tokio::time::interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let Ok(services) = engine.ask(|engine, _| engine.services()).await else { return };
        // At once, so that an API server that hangs does not keep the others' weights from being read.
        let mut reading = JoinSet::new();
        for service in services.into_iter().filter(judged) {
            let cluster = cluster.clone();
            reading.spawn(async move { (service.name.clone(), read(cluster.as_ref(), service).await) });
        }
        while let Some(read) = reading.join_next().await {
            let Ok((service, read)) = read else { continue };
            let share = told(&mut unread, &service, read);
            if engine.event(Event::Weighed { service, share }).await.is_err() {
                return;
            }
        }
    }
}

/// The share that all targets say; `None` where they do not agree, or there are none.
async fn read(cluster: Option<&Cluster>, service: Arc<Service>) -> Read {
    let of_objects = match cluster {
        Some(cluster) => kubernetes::weigh(cluster, &service).await?,
        None => Vec::new(),
    };
    let of_files = tokio::task::spawn_blocking(move || {
        let intent = Intent { baseline: &service.baseline, candidate: &service.candidate };
        service.rollback.targets.iter().map(|target| actuate::share(target, &intent)).collect::<Vec<_>>()
    });
    let of_files = of_files.await.map_err(|error| error.to_string())?;
    Ok(common(&[of_files, of_objects].concat()))
}

fn common(shares: &[Option<f64>]) -> Option<f64> {
    let first = shares.first().copied().flatten()?;
    shares.iter().all(|share| *share == Some(first)).then_some(first)
}

/// Says once why nothing is known.
fn told(unread: &mut BTreeMap<String, String>, service: &str, read: Read) -> Option<f64> {
    match read {
        Ok(share) => {
            unread.remove(service);
            share
        }
        Err(why) => {
            if unread.get(service) != Some(&why) {
                tracing::warn!(service, "its weights cannot be read, so its throughput is not judged: {why}");
                unread.insert(service.to_owned(), why);
            }
            None
        }
    }
}
