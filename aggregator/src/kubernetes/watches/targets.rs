//! The objects of the kinds that are named as targets, each kind in the version that the API server serves (IO).
//!
//! A kind that is named for the first time is asked for until it is there; then it is watched. A watch that is answered with 404 was of
//! a version that went with an upgrade, or of a kind that was taken out: it is asked for anew.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use kube::api::{ApiResource, DynamicObject, GroupVersionKind};
use serde_json::{Value, json};
use serin_kubernetes::{
    cluster::{Cluster, Unserved},
    object::ObjectRef,
    release_guard::TargetKind,
    version::Version,
};
use tokio::{
    sync::Notify,
    task::JoinSet,
    time::{sleep, timeout},
};

use super::{
    api,
    watch::{Watch, chain},
};

/// How often it is asked whether a kind is there.
const LOOK: Duration = Duration::from_secs(5);
/// How long the API server may take to say so.
const REQUEST: Duration = Duration::from_secs(5);

/// Why nobody knows an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Unknown {
    /// Its kind is not there, with the remedy.
    NotServed(String),
    /// The API server does not tell, because of this.
    NotWatched(String),
}

/// In which version a kind is served, or why that is not known; `None`: not yet.
type Found = Arc<Mutex<Option<Result<Version, Unknown>>>>;

/// Of all namespaces that are watched.
pub(super) struct Targets {
    cluster: Cluster,
    kinds: BTreeMap<TargetKind, Found>,
    watches: BTreeMap<(Option<String>, TargetKind), Watch<DynamicObject>>,
    changed: Arc<Notify>,
    tasks: JoinSet<()>,
}

impl Targets {
    pub(super) fn new(cluster: Cluster, changed: &Arc<Notify>) -> Self {
        let (kinds, watches) = (BTreeMap::new(), BTreeMap::new());
        Targets { cluster, kinds, watches, changed: Arc::clone(changed), tasks: JoinSet::new() }
    }

    /// Begins to watch a kind in a scope.
    pub(super) fn name(&mut self, scope: Option<&str>, kind: TargetKind) {
        let at = (scope.map(str::to_owned), kind);
        if self.watches.get(&at).is_some_and(Watch::is_gone) {
            self.watches.retain(|(_, of), _| *of != kind);
            self.cluster.forget(kind);
            // Not at once: an API server that says that it serves what it then does not would be asked without end.
            self.find(kind, LOOK);
        }
        if !self.kinds.contains_key(&kind) {
            self.find(kind, Duration::ZERO);
        }
        let found = self.kinds.get(&kind).and_then(|found| match &*lock(found) {
            Some(Ok(version)) => Some(*version),
            _ => None,
        });
        if let Some(version) = found {
            let (client, changed, tasks) = (self.cluster.client(), &self.changed, &mut self.tasks);
            let start = || {
                let kind_of = resource(kind, version);
                Watch::start(api(client, scope, &kind_of), (kind.plural(), kind_of), |_| (), changed, tasks)
            };
            self.watches.entry(at).or_insert_with(start);
        }
    }

    /// An object of a scope as it was last seen, if it is there; `None` as long as nothing is known.
    pub(super) fn get(&self, scope: Option<&str>, object: &ObjectRef) -> Option<Result<Option<Value>, Unknown>> {
        let kind = object.kind();
        if let Some(Err(why)) = &*lock(self.kinds.get(&kind)?) {
            return Some(Err(why.clone()));
        }
        let watch = self.watches.get(&(scope.map(str::to_owned), kind))?;
        let found = || watch.get(object.namespace(), object.name());
        let read = || Some(typed(serde_json::to_value(&*found()?).ok()?, watch.kind()));
        Some(watch.listed()?.map(|()| read()).map_err(Unknown::NotWatched))
    }

    /// Whether a kind is watched in a scope without trouble.
    pub(super) fn is_current(&self, scope: Option<&str>, kind: TargetKind) -> bool {
        self.watches.get(&(scope.map(str::to_owned), kind)).is_some_and(Watch::is_current)
    }

    fn find(&mut self, kind: TargetKind, after: Duration) {
        let found = Found::default();
        self.kinds.insert(kind, Arc::clone(&found));
        let (cluster, changed) = (self.cluster.clone(), Arc::clone(&self.changed));
        self.tasks.spawn(async move {
            sleep(after).await;
            while !is_found(&cluster, kind, &found, &changed).await {
                sleep(LOOK).await;
            }
        });
    }
}

/// Asks once.
async fn is_found(cluster: &Cluster, kind: TargetKind, found: &Found, changed: &Notify) -> bool {
    let said = match timeout(REQUEST, cluster.version(kind)).await {
        Ok(Ok(version)) => Ok(version),
        Ok(Err(why @ Unserved::NotSaid(_))) => Err(Unknown::NotWatched(chain(&why))),
        Ok(Err(why)) => Err(Unknown::NotServed(why.to_string())),
        Err(_) => Err(Unknown::NotWatched("the API server does not answer".to_owned())),
    };
    let is_found = said.is_ok();
    let mut before = lock(found);
    match (&*before, &said) {
        (Some(Err(was)), Err(is)) if was == is => return false,
        (_, Ok(version)) => tracing::info!("{} are watched in {version}", kind.plural()),
        (_, Err(why)) => tracing::warn!("{} are not watched: {why}", kind.plural()),
    }
    *before = Some(said);
    drop(before);
    changed.notify_one();
    is_found
}

impl fmt::Display for Unknown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Unknown::NotServed(why) | Unknown::NotWatched(why)) = self;
        f.write_str(why)
    }
}

fn resource(kind: TargetKind, version: Version) -> ApiResource {
    let named = GroupVersionKind::gvk(kind.group(), version.name(), kind.name());
    ApiResource::from_gvk_with_plural(&named, kind.plural())
}

/// An object of a list does not say what it is.
fn typed(mut object: Value, kind: &ApiResource) -> Value {
    object["apiVersion"] = json!(kind.api_version);
    object["kind"] = json!(kind.kind);
    object
}

fn lock<T>(state: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}
