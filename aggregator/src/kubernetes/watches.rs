//! What the API server has, kept at hand (IO): ReleaseGuards, pods, and the kinds of target that are named.
//!
//! `kube`'s watchers and reflectors do the work: they list, watch, resume where a watch was cut, list again where it cannot be
//! resumed, and wait longer from one failure to the next. A store changes when a list is complete, never in between, so that
//! an API server that is away changes nothing.

use std::{
    collections::{BTreeMap, BTreeSet},
    error::Error,
    fmt::Debug,
    hash::Hash,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use kube::{
    Api, Client, Resource,
    api::{ApiResource, DynamicObject, GroupVersionKind, ListParams},
    core::{DynamicResourceScope, error_boundary::DeserializeGuard},
    runtime::{
        WatchStreamExt as _,
        reflector::{ObjectRef as Named, Store, reflector, store::Writer},
        watcher,
    },
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use serin_kubernetes::{
    pods::{self, Pod},
    reconcile::Target,
    release_guard::{ReleaseGuard, TargetKind, TargetRef},
};
use tokio::{sync::Notify, task::JoinSet};
use tokio_stream::StreamExt as _;

/// How often it is looked whether an API server that was away is back.
const LOOK: Duration = Duration::from_secs(5);
/// The answer to a watch that is too old to be resumed.
const GONE: u16 = 410;

/// A ReleaseGuard, or what cannot be read as one: it must not keep the others from being read.
type Guard = DeserializeGuard<ReleaseGuard>;

/// How a watch fares.
#[derive(Debug, Default)]
struct State {
    is_listed: bool,
    /// What went wrong last, until it is well again.
    error: Option<String>,
}

/// The objects of one kind in one namespace, or in all.
struct Watch<K: Resource + 'static>
where
    K::DynamicType: Eq + Hash + Clone,
{
    store: Store<K>,
    state: Arc<Mutex<State>>,
}

/// All watches.
pub(super) struct Watches {
    client: Client,
    /// Which namespaces; `None` is all of them.
    scopes: Vec<Option<String>>,
    guards: Vec<Watch<Guard>>,
    pods: Vec<Watch<Pod>>,
    targets: BTreeMap<(usize, &'static str), Watch<DynamicObject>>,
    changed: Arc<Notify>,
    tasks: JoinSet<()>,
}

impl Watches {
    /// Of these namespaces, or of all without any.
    pub(super) fn start(client: Client, namespaces: &[String]) -> Self {
        let scopes: Vec<Option<String>> = match namespaces {
            [] => vec![None],
            named => named.iter().cloned().map(Some).collect(),
        };
        let (changed, mut tasks) = (Arc::new(Notify::new()), JoinSet::new());
        let of_guards = |namespace: &Option<String>| {
            let api = match namespace {
                Some(namespace) => Api::namespaced(client.clone(), namespace),
                None => Api::all(client.clone()),
            };
            Watch::start(api, ("releaseguards", ()), |_| (), &changed, &mut tasks)
        };
        let guards = scopes.iter().map(of_guards).collect();
        let of_pods = |namespace: &Option<String>| {
            let kind = pods::resource();
            Watch::start(api(&client, namespace.as_deref(), &kind), ("pods", kind), pods::strip, &changed, &mut tasks)
        };
        let pods = scopes.iter().map(of_pods).collect();
        Watches { scopes, guards, pods, targets: BTreeMap::new(), changed, tasks, client }
    }

    /// Returns when something changed since the last time.
    pub(super) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// All that can be read.
    pub(super) fn guards(&self) -> Vec<Arc<ReleaseGuard>> {
        let seen = self.guards.iter().flat_map(|watch| watch.store.state());
        let read = seen.filter_map(|guard| match &guard.0 {
            Ok(guard) => Some(Arc::new(guard.clone())),
            Err(why) => {
                let (namespace, name) = (why.metadata.namespace.as_deref(), why.metadata.name.as_deref());
                tracing::warn!(
                    namespace,
                    name,
                    "a ReleaseGuard cannot be read and is left out: {why}; is its CRD this version's?"
                );
                None
            }
        });
        read.collect()
    }

    /// Begins to watch the kinds that are named.
    pub(super) fn name(&mut self, guards: &[Arc<ReleaseGuard>]) {
        for guard in guards {
            let Some(scope) = self.scope(guard.metadata.namespace.as_deref().unwrap_or_default()) else { continue };
            for target in &guard.spec.targets {
                let kind = resource(target.kind);
                let what = plural(target.kind);
                let namespace = self.scopes.get(scope).and_then(Option::as_deref);
                let api = api(&self.client, namespace, &kind);
                let (changed, tasks) = (&self.changed, &mut self.tasks);
                let start = || Watch::start(api, (what, kind), |_| (), changed, tasks);
                self.targets.entry((scope, what)).or_insert_with(start);
            }
        }
    }

    /// A target as it was last seen; `None` as long as nothing is known.
    pub(super) fn target(&self, namespace: &str, target: &TargetRef) -> Option<Target> {
        let watch = self.targets.get(&(self.scope(namespace)?, plural(target.kind)))?;
        match watch.listed()? {
            Err(why) => Some(Target::NotWatched(why)),
            Ok(()) => {
                let kind = resource(target.kind);
                let named = Named::new_with(&target.name, kind.clone()).within(namespace);
                let found = watch.store.get(&named).and_then(|object| serde_json::to_value(&*object).ok());
                Some(found.map_or(Target::Missing, |object| Target::Found(typed(object, &kind))))
            }
        }
    }

    /// The pods of these namespaces as they were last seen, each with its namespace.
    pub(super) fn pods(&self, namespaces: BTreeSet<String>) -> BTreeMap<String, Result<Vec<pods::Seen>, String>> {
        let mut found = BTreeMap::new();
        for namespace in namespaces {
            let Some(watch) = self.scope(&namespace).and_then(|scope| self.pods.get(scope)) else { continue };
            let Some(listed) = watch.listed() else { continue };
            found.insert(namespace, listed.map(|()| Vec::new()));
        }
        for pod in self.pods.iter().flat_map(|watch| watch.store.state()) {
            let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
            if let Some(Ok(of_it)) = found.get_mut(namespace) {
                of_it.extend(pods::Seen::of(&pod));
            }
        }
        found
    }

    fn scope(&self, namespace: &str) -> Option<usize> {
        self.scopes.iter().position(|scope| scope.as_deref().is_none_or(|scope| scope == namespace))
    }
}

impl<K> Watch<K>
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + Sync + 'static,
    K::DynamicType: Eq + Hash + Clone + Debug + Send + Sync,
{
    fn start(
        api: Api<K>,
        (what, kind): (&'static str, K::DynamicType),
        strip: fn(&mut K),
        changed: &Arc<Notify>,
        tasks: &mut JoinSet<()>,
    ) -> Self {
        let writer = Writer::new(kind);
        let watch = Watch { store: writer.as_reader(), state: Arc::default() };
        let progress = Progress { what, state: Arc::clone(&watch.state), changed: Arc::clone(changed) };
        tasks.spawn(run(api, strip, writer, progress));
        watch
    }

    /// Whether all of it was listed once; or why not. `None`: not yet.
    fn listed(&self) -> Option<Result<(), String>> {
        let state = lock(&self.state);
        if state.is_listed { Some(Ok(())) } else { state.error.clone().map(Err) }
    }
}

/// What a watch tells.
struct Progress {
    what: &'static str,
    state: Arc<Mutex<State>>,
    changed: Arc<Notify>,
}

impl Progress {
    fn went_on(&self, is_complete: bool) {
        let mut state = lock(&self.state);
        state.is_listed |= is_complete;
        let was_away = state.error.take().is_some();
        drop(state);
        if was_away {
            tracing::info!("{} are watched again", self.what);
        }
        self.changed.notify_one();
    }

    fn failed(&self, error: &watcher::Error) {
        let (what, why) = (self.what, cause(error));
        let before = lock(&self.state).error.replace(why.clone());
        if before.is_none() {
            tracing::warn!("{what} cannot be watched: {why}; what was seen last stands until they are");
            self.changed.notify_one();
        }
    }

    fn is_away(&self) -> bool {
        lock(&self.state).error.is_some()
    }
}

async fn run<K>(api: Api<K>, strip: fn(&mut K), writer: Writer<K>, progress: Progress)
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + Sync + 'static,
    K::DynamicType: Eq + Hash + Clone,
{
    let events = watcher(api.clone(), watcher::Config::default()).default_backoff().modify(strip);
    let mut events = std::pin::pin!(reflector(writer, events));
    loop {
        let next = match progress.is_away() {
            false => events.next().await,
            // A watch that was resumed is silent until something happens.
            true => match tokio::time::timeout(LOOK, events.next()).await {
                Ok(next) => next,
                Err(_) => {
                    if api.list_metadata(&ListParams::default().limit(1)).await.is_ok() {
                        progress.went_on(false);
                    }
                    continue;
                }
            },
        };
        match next {
            Some(Ok(watcher::Event::Init | watcher::Event::InitApply(_))) => {}
            Some(Ok(watcher::Event::InitDone)) => progress.went_on(true),
            Some(Ok(watcher::Event::Apply(_) | watcher::Event::Delete(_))) => progress.went_on(false),
            // The server told that the watch is too old: it is begun anew, which is no trouble.
            Some(Err(watcher::Error::WatchError(status))) if status.code == GONE => {}
            Some(Err(error)) => progress.failed(&error),
            None => return,
        }
    }
}

/// What an error comes of: `kube`'s own text says only at which step.
fn cause(error: &watcher::Error) -> String {
    match error {
        watcher::Error::WatchError(status) => format!("{} ({})", status.message, status.code),
        watcher::Error::InitialListFailed(why)
        | watcher::Error::WatchStartFailed(why)
        | watcher::Error::WatchFailed(why) => chain(why),
        watcher::Error::NoResourceVersion => error.to_string(),
    }
}

/// An error with those that it comes of, each of which says only its own part.
pub(super) fn chain(error: &kube::Error) -> String {
    let mut said = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let part = cause.to_string();
        if !said.contains(&part) {
            said = format!("{said}: {part}");
        }
        source = cause.source();
    }
    said
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

fn api<K: Resource<DynamicType = ApiResource, Scope = DynamicResourceScope>>(
    client: &Client,
    namespace: Option<&str>,
    kind: &ApiResource,
) -> Api<K> {
    match namespace {
        Some(namespace) => Api::namespaced_with(client.clone(), namespace, kind),
        None => Api::all_with(client.clone(), kind),
    }
}

fn plural(kind: TargetKind) -> &'static str {
    match kind {
        TargetKind::VirtualService => "virtualservices",
        TargetKind::HttpRoute => "httproutes",
        TargetKind::GrpcRoute => "grpcroutes",
    }
}

fn resource(kind: TargetKind) -> ApiResource {
    let (group, name) = match kind {
        TargetKind::VirtualService => ("networking.istio.io", "VirtualService"),
        TargetKind::HttpRoute => ("gateway.networking.k8s.io", "HTTPRoute"),
        TargetKind::GrpcRoute => ("gateway.networking.k8s.io", "GRPCRoute"),
    };
    ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(group, "v1", name), plural(kind))
}

/// An object of a list does not say what it is.
fn typed(mut object: Value, kind: &ApiResource) -> Value {
    object["apiVersion"] = json!(kind.api_version);
    object["kind"] = json!(kind.kind);
    object
}
