//! ReleaseGuards as services (IO around pure parts): [`Watches`] -> [`Guards`] (pure) -> the engine -> [`status`](super::status)
//! and [`news`](super::news) (pure) -> the API server.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use k8s_openapi::{apimachinery::pkg::apis::meta::v1::Condition, jiff::Timestamp};
use kube::{
    Api, Client, Resource as _, ResourceExt as _,
    api::{Patch, PatchParams},
    runtime::events::{Event as News, Recorder, Reporter},
};
use serde_json::json;
use serin_kubernetes::{
    cluster::Cluster,
    reconcile::full_name,
    release_guard::{ReleaseGuard, ReleaseGuardStatus},
    writers::FIELD_MANAGER,
};
use serin_proto::v1::{Decision, Verdict};
use tokio::{
    task::JoinSet,
    time::{MissedTickBehavior, sleep, timeout},
};

use super::{
    guards::{Guards, Kept, World},
    leader::Leader,
    news::Told,
    status::{Known, noticed, status},
    throttle::Throttle,
    watches::{Watches, chain},
};
use crate::{
    config::Kubernetes,
    engine::{Deployed, Engine, Event},
    shell,
    shell::Handle,
    time::UnixMicros,
};

/// Changes come in bursts: a rollout is some hundred of them.
const DEBOUNCE: Duration = Duration::from_millis(100);
/// How often it is looked what there is to tell.
const LOOK: Duration = Duration::from_secs(1);
/// How long the API server may take for a status.
const REQUEST: Duration = Duration::from_secs(5);

/// Statuses that are being written: of 1,000 guards, each every 5 s.
const WRITES: usize = 200;

/// What is told of one ReleaseGuard.
struct Telling {
    uid: Option<String>,
    told: Told,
    conditions: Vec<Condition>,
}

/// What the engine says of a service.
struct Judged {
    verdict: Option<Verdict>,
    decision: Option<Decision>,
    /// The second in which its running trial began.
    began: Option<u64>,
}

/// All that the controller knows.
struct Controller {
    client: Client,
    recorder: Recorder,
    watches: Watches,
    guards: Guards,
    engine: Handle,
    leader: Leader,
    throttle: Throttle,
    telling: BTreeMap<String, Telling>,
    writes: JoinSet<(String, Option<Result<(), String>>)>,
    /// Why the last status of a ReleaseGuard was not written.
    unwritten: BTreeMap<String, String>,
    began: UnixMicros,
}

/// Runs until the engine is gone. `configured`: services of the configuration.
pub async fn run(cluster: Cluster, config: Kubernetes, configured: BTreeSet<String>, engine: Handle, leader: Leader) {
    let client = cluster.client().clone();
    let reporter = Reporter { controller: FIELD_MANAGER.to_owned(), instance: None };
    let mut controller = Controller {
        recorder: Recorder::new(client.clone(), reporter),
        watches: Watches::start(cluster, &config.namespaces),
        guards: Guards::new(configured),
        throttle: Throttle::default(),
        telling: BTreeMap::new(),
        writes: JoinSet::new(),
        unwritten: BTreeMap::new(),
        began: shell::now(),
        client,
        engine,
        leader,
    };
    let mut ticks = tokio::time::interval(LOOK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = controller.watches.changed() => {
                sleep(DEBOUNCE).await;
                if !controller.reconcile().await {
                    return;
                }
            }
            _ = ticks.tick() => {
                if !controller.tell().await {
                    return;
                }
            }
            Some(written) = controller.writes.join_next() => {
                if let Ok((guard, Some(written))) = written {
                    controller.wrote(guard, written);
                }
            }
        }
    }
}

impl Controller {
    /// Whether the engine is still there.
    async fn reconcile(&mut self) -> bool {
        for event in self.look() {
            log(&event);
            if self.engine.event(event).await.is_err() {
                return false;
            }
        }
        true
    }

    /// It is tried again; what is said of it is said once.
    fn wrote(&mut self, guard: String, written: Result<(), String>) {
        match written {
            Ok(()) if self.unwritten.remove(&guard).is_some() => {
                tracing::info!("the status of ReleaseGuard {guard} is written again");
            }
            Ok(()) => {}
            Err(why) => {
                self.throttle.failed(&guard);
                if self.unwritten.get(&guard) != Some(&why) {
                    tracing::warn!("the status of ReleaseGuard {guard} is not written: {why}");
                    self.unwritten.insert(guard, why);
                }
            }
        }
    }

    /// What the engine is to be told of what changed.
    fn look(&mut self) -> Vec<Event> {
        let (guards, unread) = self.watches.guards();
        self.watches.name(&guards);
        let namespaces: BTreeSet<String> = guards.iter().filter_map(|guard| guard.namespace()).collect();
        let pods = self.watches.pods(namespaces);
        let pods = |namespace: &str| Some(pods.get(namespace)?.as_deref().map_err(String::as_str));
        let watches = &self.watches;
        let target = |namespace: &str, target: &_| watches.target(namespace, target);
        let is_current = |object: &_| watches.is_current(object);
        let world = World { guards, unread, target: &target, pods: &pods, is_current: &is_current, now: now() };
        let events = self.guards.reconcile(&world);
        self.telling.retain(|name, _| self.guards.is_kept(name));
        self.throttle.retain(|name| self.guards.is_kept(name));
        self.unwritten.retain(|name, _| self.guards.is_kept(name));
        events
    }

    /// Whether the engine is still there.
    async fn tell(&mut self) -> bool {
        // Of several replicas the one that leads.
        if !self.leader.is_leader() {
            return true;
        }
        let services: BTreeSet<String> = self.guards.kept().map(|(_, kept)| kept.guard.spec.service.clone()).collect();
        let asked = self.engine.ask(move |engine, _| {
            // Of several aggregators the one that judges a service tells of it.
            let judged = services.into_iter().filter(|service| engine.judges(service));
            Judged::all(engine, judged)
        });
        let Ok(judged) = asked.await else { return false };
        for (name, kept) in self.guards.kept() {
            let Some(judged) = judged.get(&kept.guard.spec.service) else { continue };
            if self.writes.len() >= WRITES {
                break;
            }
            // Another one's verdict is not this one's.
            let judged = kept.pair.as_ref().map(|_| judged);
            let verdict = judged.and_then(|judged| judged.verdict.as_ref());
            let decision = judged.and_then(|judged| judged.decision.as_ref());
            let began = judged.and_then(|judged| judged.began);
            let telling = self.telling.entry(name.clone()).or_insert_with(|| Telling::of(kept, self.began));
            if telling.uid != kept.guard.uid() {
                *telling = Telling::of(kept, self.began);
            }
            let Kept { guard, ready, pair, promoted, redeployed, .. } = kept;
            let (pair, promoted) = (pair.as_ref(), *promoted);
            let set = pair.and_then(|pair| redeployed.set(&pair.candidate));
            let known = Known { guard, ready, pair, promoted, set: set.as_ref(), verdict, began, decision };
            let status = status(&known, &telling.conditions, now());
            let anew = pair.and_then(|pair| telling.told.deployed(&pair.candidate, redeployed.anew.as_ref()));
            let news = anew.into_iter().chain(telling.told.news(ready, verdict, decision)).collect::<Vec<_>>();
            telling.conditions.clone_from(&status.conditions);
            let text = format!("{:?} {}", telling.uid, noticed(&status));
            let status = self.throttle.is_due(name, text, shell::now()).then_some(status);
            if status.is_some() || !news.is_empty() {
                let write = write(self.client.clone(), self.recorder.clone(), Arc::clone(guard), status, news);
                self.writes.spawn(write);
            }
        }
        true
    }
}

impl Judged {
    /// In one pass over the guards: the engine does nothing else meanwhile.
    fn all(engine: &Engine, services: impl Iterator<Item = String>) -> BTreeMap<String, Self> {
        let decided = |service: String| {
            let decision = engine.decisions(&service, 1).pop();
            (service, Judged { verdict: None, decision, began: None })
        };
        let mut all: BTreeMap<String, Judged> = services.map(decided).collect();
        for guard in &engine.guards {
            if let Some(judged) = all.get_mut(&guard.service().name) {
                (judged.verdict, judged.began) = (Some(guard.verdict().clone()), guard.trial_began());
            }
        }
        all
    }
}

impl Telling {
    fn of(kept: &Kept, began: UnixMicros) -> Self {
        let status = kept.guard.status.clone().unwrap_or_default();
        let told = Told::new(&status, began.0);
        Telling { uid: kept.guard.uid(), told, conditions: status.conditions }
    }
}

fn log(event: &Event) {
    match event {
        Event::Restarted { service, trial: Ok(_) } => tracing::info!("{service}: the trial that was running goes on"),
        Event::Restarted { service, trial: Err(why) } => tracing::info!("{service}: {why}"),
        Event::Deployed { service, deployed: Deployed { set, is_other: true, .. } } => {
            tracing::info!("{service}: the candidate was deployed anew (ReplicaSet {set})");
        }
        _ => {}
    }
}

/// Writes a status and events; of the latter a failure is logged, since the next one says more.
async fn write(
    client: Client,
    recorder: Recorder,
    guard: Arc<ReleaseGuard>,
    status: Option<ReleaseGuardStatus>,
    news: Vec<News>,
) -> (String, Option<Result<(), String>>) {
    let name = full_name(&guard);
    for event in news {
        let published = timeout(REQUEST, recorder.publish(&event, &guard.object_ref(&()))).await;
        let why = match published {
            Ok(Ok(())) => continue,
            Ok(Err(error)) => chain(&error),
            Err(_) => "the API server does not answer".to_owned(),
        };
        tracing::warn!("the event {} of ReleaseGuard {name} is not written: {why}", event.reason);
    }
    let Some(status) = status else { return (name, None) };
    // With its uid, so that one that was made anew meanwhile does not get what is known of the old one.
    let body = json!({
        "apiVersion": ReleaseGuard::api_version(&()),
        "kind": ReleaseGuard::kind(&()),
        "metadata": { "name": guard.name_any(), "uid": guard.uid() },
        "status": status,
    });
    let api: Api<ReleaseGuard> = Api::namespaced(client, &guard.namespace().unwrap_or_default());
    let params = PatchParams::apply(FIELD_MANAGER).force();
    let written = match timeout(REQUEST, api.patch_status(&guard.name_any(), &params, &Patch::Apply(body))).await {
        Ok(Ok(_)) => Ok(()),
        // It was deleted meanwhile, or made anew: the watch tells.
        Ok(Err(kube::Error::Api(why))) if matches!(why.code, 404 | 409) => Ok(()),
        Ok(Err(error)) => Err(with_remedy(chain(&error))),
        Err(_) => Err("the API server does not answer".to_owned()),
    };
    (name, Some(written))
}

/// A field that the installed CRD does not have: the API server takes nothing of such a status (and answers 500).
fn with_remedy(said: String) -> String {
    let is_older = said.contains("not declared in schema");
    if is_older { format!("{said}; apply the CRD of this version of serin, crd-releaseguard.yaml") } else { said }
}

fn now() -> Timestamp {
    let micros = i64::try_from(shell::now().0).unwrap_or(i64::MAX);
    Timestamp::from_microsecond(micros).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// In the words of a kube-apiserver 1.36.
    #[test]
    fn an_older_crd_is_said() {
        let said = "failed to create typed patch object (shop/shop; serin.dev/v1alpha1, Kind=ReleaseGuard): .status.trialStartTime: field not \
                    declared in schema (500)";
        assert!(
            with_remedy(said.to_owned())
                .ends_with("(500); apply the CRD of this version of serin, crd-releaseguard.yaml")
        );
        assert_eq!(with_remedy("forbidden (403)".to_owned()), "forbidden (403)");
    }
}
