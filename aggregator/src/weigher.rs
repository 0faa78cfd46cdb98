//! Reads the weights that requests are sent by (IO), for services whose throughput is judged.

use std::{sync::Arc, time::Duration};

use crate::{
    actuate::{self, Intent},
    config::Service,
    engine::Event,
    shell::Handle,
};

/// How often. The engine takes a weight for settled only when it has been the same for longer.
const EVERY: Duration = Duration::from_secs(5);

/// Runs until the engine is gone.
pub async fn run(engine: Handle) {
    let judged = |service: &Arc<Service>| service.throughput && !service.rollback.targets.is_empty();
    let mut ticks = tokio::time::interval(EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        // Services come and go.
        let Ok(services) = engine.ask(|engine, _| engine.services()).await else { return };
        for service in services.into_iter().filter(judged) {
            let name = service.name.clone();
            let read = tokio::task::spawn_blocking(move || share(&service)).await;
            let event = Event::Weighed { service: name, share: read.ok().flatten() };
            if engine.event(event).await.is_err() {
                return;
            }
        }
    }
}

/// The share that all targets say; `None` where they do not agree.
fn share(service: &Service) -> Option<f64> {
    let intent = Intent { baseline: &service.baseline, candidate: &service.candidate };
    let mut shares = service.rollback.targets.iter().map(|target| actuate::share(target, &intent));
    let first = shares.next().flatten()?;
    shares.all(|share| share == Some(first)).then_some(first)
}
