//! Holds rollbacks in a cluster against those who write the old weights back (IO), through [`serin_kubernetes::hold`].
//!
//! engine (what is condemned, written and not cleared) -> one task for each such decision -> every 5 s: look at its objects (IO) ->
//! [`Hold`] (pure) -> have the engine say that it is written now, so that nobody clears it meanwhile -> write (IO) -> the engine, which
//! keeps what became of it and has it told. Who holds keeps nothing: after a restart it goes on from the decisions.

mod fight;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use serin_kubernetes::{
    apply::{Look, Options, look},
    cluster::Cluster,
    hold::{Hold, Next},
};
use tokio::{
    task::JoinHandle,
    time::{Instant, MissedTickBehavior, interval},
};

use super::{REQUEST, leader::Leader, write};
use crate::{
    config::{Object, Service},
    engine::{Event, Held, Written},
    shell::Handle,
};
use fight::Fight;

/// How often an object is looked at: with a thousand of them these are 200 requests a second, with the usual one or two nothing.
const LOOK: Duration = Duration::from_secs(5);

/// Holds what is to be held, until the engine is gone.
pub async fn run(cluster: Cluster, engine: Handle, leader: Leader) {
    let mut running: BTreeMap<u64, JoinHandle<()>> = BTreeMap::new();
    let mut ticks = interval(LOOK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        running.retain(|_, task| !task.is_finished());
        if !leader.is_leader() {
            continue;
        }
        let Ok((held, now)) = engine.ask(|engine, now| (engine.held(), now)).await else { return };
        for held in held {
            let left = held.service.rollback.hold.saturating_sub(now.since(held.since));
            if !left.is_zero() && !running.contains_key(&held.decision) {
                let (cluster, engine, leader) = (cluster.clone(), engine.clone(), leader.clone());
                let holder = Holder { cluster, engine, leader, decision: held.decision, start: Instant::now() };
                running.insert(held.decision, tokio::spawn(holder.run(held, left)));
            }
        }
    }
}

/// One rollback.
struct Holder {
    cluster: Cluster,
    engine: Handle,
    leader: Leader,
    decision: u64,
    start: Instant,
}

/// One of its objects.
struct One {
    object: Object,
    hold: Hold,
    fight: Fight,
    /// Why it could not be looked at, as it was logged last.
    unknown: Option<String>,
}

impl Holder {
    /// Until it is over, cleared, not guarded any more, or another replica leads.
    async fn run(self, held: Held, left: Duration) {
        let one = |object: &Object| One {
            object: object.clone(),
            hold: Hold::new(Duration::ZERO, left),
            fight: Fight::new(&held.service.name, &held.service.candidate),
            unknown: None,
        };
        let mut objects: Vec<One> = held.service.rollback.objects.iter().map(one).collect();
        let named = held.service.rollback.objects.clone();
        let mut ticks = interval(LOOK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while !objects.is_empty() {
            ticks.tick().await;
            let decision = self.decision;
            let held =
                self.engine.ask(move |engine, _| engine.held().into_iter().find(|held| held.decision == decision));
            let Ok(Some(Held { service, .. })) = held.await else { return };
            // With other objects it begins anew.
            if !self.leader.is_leader() || service.rollback.objects != named {
                return;
            }
            let mut others = Vec::new();
            for mut one in objects {
                if self.goes_on(&service, &mut one, left).await {
                    others.push(one);
                }
            }
            objects = others;
        }
    }

    /// Looks once, and does what is to be done. Whether it is to be looked at again.
    async fn goes_on(&self, service: &Arc<Service>, one: &mut One, left: Duration) -> bool {
        let Object { object, namespace, target } = &one.object;
        let intent = target.intent(namespace, &service.baseline, &service.candidate);
        let options = Options { request: REQUEST, ..Options::default() };
        let seen = match look(&self.cluster, object, &intent, &options).await {
            Ok(seen) => seen,
            Err(error) => {
                let why = error.to_string();
                if one.unknown.as_ref() != Some(&why) {
                    tracing::warn!(id = self.decision, %object, "not known whether the rollback is still there: {why}");
                    one.unknown = Some(why);
                }
                return self.start.elapsed() < left;
            }
        };
        one.unknown = None;
        match one.hold.looked(seen.is_right, self.start.elapsed()) {
            Next::Rest => self.start.elapsed() < left,
            Next::Wait(_) => true,
            Next::Write { times } => {
                self.write(service, one, &seen, times).await;
                true
            }
            Next::Over { times } => !self.leave(service, one, &seen, times).await,
        }
    }

    async fn write(&self, service: &Service, one: &mut One, seen: &Look, times: u32) {
        if !self.take().await {
            return;
        }
        let back = one.fight.back(seen, times);
        let written = write(&self.cluster, service, &one.object).await;
        if matches!(written, Written::Done(_) | Written::InEffect(_)) {
            one.hold.written();
        }
        self.tell(back.map(Written::Back).into_iter().chain([written]).collect()).await;
    }

    /// Whether that could be said.
    async fn leave(&self, service: &Service, one: &mut One, seen: &Look, times: u32) -> bool {
        let is_taken = self.take().await;
        if is_taken {
            let said = one.fight.over(seen, times, service.rollback.hold);
            self.tell(vec![Written::Left(said)]).await;
        }
        is_taken
    }

    async fn take(&self) -> bool {
        let decision = self.decision;
        self.engine.order(move |engine, now| (engine.again(decision, now), Vec::new())).await.unwrap_or(false)
    }

    async fn tell(&self, results: Vec<Written>) {
        // Without the engine the process is ending.
        let _ = self.engine.event(Event::Written { decision: self.decision, results }).await;
    }
}

#[cfg(test)]
mod tests;
