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
pub async fn run(services: Arc<[Service]>, engine: Handle) {
    let judged = |service: &Service| service.throughput && !service.rollback.targets.is_empty();
    if !services.iter().any(judged) {
        return;
    }
    let mut ticks = tokio::time::interval(EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        for (at, _) in services.iter().enumerate().filter(|(_, service)| judged(service)) {
            let services = Arc::clone(&services);
            let read = tokio::task::spawn_blocking(move || services.get(at).and_then(share)).await;
            let event = Event::Weighed { service: at, share: read.ok().flatten() };
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
