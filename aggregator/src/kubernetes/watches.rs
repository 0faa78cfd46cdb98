//! What the API server has, kept at hand (IO): ReleaseGuards, pods, and the kinds of target that are named.
//!
//! Each kind and namespace is a [`Watch`].

mod targets;
mod watch;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use kube::{
    Api, Client, Resource,
    api::ApiResource,
    core::{DynamicResourceScope, error_boundary::DeserializeGuard},
};
use serde_json::Value;
use serin_kubernetes::{
    cluster::Cluster,
    delegates::{self, Family},
    object::ObjectRef,
    pods::{self, Pod, ReplicaSet},
    reconcile::Target,
    release_guard::{ReleaseGuard, TargetRef},
};
use tokio::{sync::Notify, task::JoinSet};

use targets::{Targets, Unknown};
use watch::Watch;
pub(super) use watch::chain;

/// A ReleaseGuard, or what cannot be read as one: it must not keep the others from being read.
type Guard = DeserializeGuard<ReleaseGuard>;

/// All watches.
pub(super) struct Watches {
    /// Which namespaces; `None` is all of them.
    scopes: Vec<Option<String>>,
    guards: Vec<Watch<Guard>>,
    pods: Vec<Watch<Pod>>,
    owners: Vec<Watch<ReplicaSet>>,
    targets: Targets,
    /// ReleaseGuards that cannot be read, and why.
    unread: BTreeMap<String, String>,
    changed: Arc<Notify>,
    _tasks: JoinSet<()>,
}

impl Watches {
    /// Of these namespaces, or of all without any.
    pub(super) fn start(cluster: Cluster, namespaces: &[String]) -> Self {
        let scopes: Vec<Option<String>> = match namespaces {
            [] => vec![None],
            named => named.iter().cloned().map(Some).collect(),
        };
        let client = cluster.client().clone();
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
        let of_owners = |namespace: &Option<String>| {
            let kind = pods::owners();
            let api = api(&client, namespace.as_deref(), &kind);
            Watch::start(api, ("replicasets", kind), pods::strip_owner, &changed, &mut tasks)
        };
        let owners = scopes.iter().map(of_owners).collect();
        let targets = Targets::new(cluster, &changed);
        Watches { scopes, guards, pods, owners, targets, unread: BTreeMap::new(), changed, _tasks: tasks }
    }

    /// Returns when something changed since the last time.
    pub(super) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// All that can be read; and which cannot, as `namespace/name`.
    pub(super) fn guards(&mut self) -> (Vec<Arc<ReleaseGuard>>, BTreeSet<String>) {
        let (mut read, mut unread) = (Vec::new(), BTreeMap::new());
        for guard in self.guards.iter().flat_map(Watch::all) {
            match &guard.0 {
                Ok(guard) => read.push(Arc::new(guard.clone())),
                Err(why) => {
                    let name = |name: &Option<String>| name.clone().unwrap_or_default();
                    let full_name = format!("{}/{}", name(&why.metadata.namespace), name(&why.metadata.name));
                    unread.insert(full_name, why.to_string());
                }
            }
        }
        for (name, why) in unread.iter().filter(|(name, why)| self.unread.get(*name) != Some(why)) {
            tracing::warn!("ReleaseGuard {name} cannot be read and stays as it was: {why}; is its CRD this version's?");
        }
        let names = unread.keys().cloned().collect();
        self.unread = unread;
        (read, names)
    }

    /// Begins to watch the kinds that are named.
    pub(super) fn name(&mut self, guards: &[Arc<ReleaseGuard>]) {
        for guard in guards {
            let namespace = guard.metadata.namespace.as_deref().unwrap_or_default();
            for object in guard.spec.targets.iter().filter_map(|target| target.object(namespace).ok()) {
                self.watch(&object);
                // What it delegates to may be in another namespace, whose watch is told of when it is listed.
                if let Some(Ok(Some(root))) = self.seen(&object) {
                    delegates::of(&root).iter().for_each(|delegate| self.watch(delegate));
                }
            }
        }
    }

    fn watch(&mut self, object: &ObjectRef) {
        if let Some(scope) = self.scope(object.namespace()) {
            self.targets.name(self.scopes.get(scope).and_then(Option::as_deref), object.kind());
        }
    }

    /// A target and what it delegates to as they were last seen; `None` as long as not all is known.
    pub(super) fn target(&self, namespace: &str, target: &TargetRef) -> Option<Target> {
        // What has a name that no object can have is none.
        let Ok(object) = target.object(namespace) else { return Some(Target::Missing) };
        let root = match self.seen(&object)? {
            Ok(Some(root)) => root,
            Ok(None) => return Some(Target::Missing),
            Err(Unknown::NotServed(why)) => return Some(Target::NotServed(why)),
            Err(Unknown::NotWatched(why)) => return Some(Target::NotWatched(why)),
        };
        let mut delegates = Vec::new();
        for delegate in delegates::of(&root) {
            match self.seen(&delegate)? {
                Ok(found) => delegates.push((delegate, found)),
                Err(why) => return Some(Target::NotWatched(format!("{delegate}, to which it delegates: {why}"))),
            }
        }
        Some(Target::Found(Family { root, delegates }))
    }

    /// An object as it was last seen, if it is there; `None` as long as nothing is known.
    fn seen(&self, object: &ObjectRef) -> Option<Result<Option<Value>, Unknown>> {
        let Some(scope) = self.scope(object.namespace()) else {
            let why = format!("namespace {} is not watched: add it to kubernetes.namespaces", object.namespace());
            return Some(Err(Unknown::NotWatched(why)));
        };
        self.targets.get(self.scopes.get(scope).and_then(Option::as_deref), object)
    }

    /// Whether an object is watched without trouble, so that it is as it was last seen.
    pub(super) fn is_current(&self, object: &ObjectRef) -> bool {
        let scope = self.scope(object.namespace()).and_then(|scope| self.scopes.get(scope));
        scope.is_some_and(|scope| self.targets.is_current(scope.as_deref(), object.kind()))
    }

    /// The pods of these namespaces as they were last seen, each with its namespace.
    pub(super) fn pods(&self, namespaces: BTreeSet<String>) -> BTreeMap<String, Result<Vec<pods::Seen>, String>> {
        let mut found = BTreeMap::new();
        for namespace in namespaces {
            let Some(scope) = self.scope(&namespace) else { continue };
            let (Some(pods), Some(owners)) = (self.pods.get(scope), self.owners.get(scope)) else { continue };
            // Ages without ReplicaSets may be the wrong way round.
            let (Some(pods), Some(owners)) = (pods.listed(), owners.listed()) else { continue };
            let owners = owners.map_err(|why| format!("replicasets: {why}"));
            found.insert(namespace, pods.and(owners).map(|()| Vec::new()));
        }
        let sets = self.owners.iter().flat_map(Watch::all).filter_map(|set| pods::Set::of(&set));
        let sets: BTreeMap<String, pods::Set> = sets.map(|set| (set.uid.clone(), set)).collect();
        for pod in self.pods.iter().flat_map(Watch::all) {
            let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
            if let Some(Ok(of_it)) = found.get_mut(namespace) {
                of_it.extend(pods::Seen::of(&pod).map(|pod| {
                    let set = pod.owner.as_ref().and_then(|owner| sets.get(owner).cloned());
                    pods::Seen { set, ..pod }
                }));
            }
        }
        found
    }

    fn scope(&self, namespace: &str) -> Option<usize> {
        self.scopes.iter().position(|scope| scope.as_deref().is_none_or(|scope| scope == namespace))
    }
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
