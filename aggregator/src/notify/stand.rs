//! Tells again what stands (IO), to those who take it as over when they hear nothing more: neither a restart of Alertmanager nor one of
//! serin loses it, and when serin is gone for good it ends by itself.

use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};

use super::Notifier;
use crate::{kubernetes::leader::Leader, shell::Handle};

/// As often as Prometheus does.
pub(super) const AGAIN: Duration = Duration::from_secs(60);

/// Until the engine is gone. The first time at once: an earlier run may have told it.
pub async fn run(notifier: Notifier, engine: Handle, leader: Leader) {
    if !notifier.stands() {
        return;
    }
    let mut ticks = interval(AGAIN);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        if !leader.is_leader() {
            continue;
        }
        let Ok((standing, now)) = engine.ask(|engine, now| (engine.standing(), now)).await else { return };
        notifier.stand(&standing, now);
    }
}
