//! What the API server has, kept at hand (IO): ReleaseGuards, pods, and the kinds of target that are named.
//!
//! Each kind and namespace is a [`Watch`].

mod watch;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use k8s_openapi::jiff::Timestamp;
use kube::{
    Api, Client, Resource,
    api::{ApiResource, DynamicObject, GroupVersionKind},
    core::{DynamicResourceScope, error_boundary::DeserializeGuard},
};
use serde_json::{Value, json};
use serin_kubernetes::{
    pods::{self, Pod, ReplicaSet},
    reconcile::Target,
    release_guard::{ReleaseGuard, TargetKind, TargetRef},
};
use tokio::{sync::Notify, task::JoinSet};

use watch::Watch;
pub(super) use watch::chain;

/// A ReleaseGuard, or what cannot be read as one: it must not keep the others from being read.
type Guard = DeserializeGuard<ReleaseGuard>;

/// All watches.
pub(super) struct Watches {
    client: Client,
    /// Which namespaces; `None` is all of them.
    scopes: Vec<Option<String>>,
    guards: Vec<Watch<Guard>>,
    pods: Vec<Watch<Pod>>,
    owners: Vec<Watch<ReplicaSet>>,
    targets: BTreeMap<(usize, &'static str), Watch<DynamicObject>>,
    /// ReleaseGuards that cannot be read, and why.
    unread: BTreeMap<String, String>,
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
        let of_owners = |namespace: &Option<String>| {
            let kind = pods::owners();
            let api = api(&client, namespace.as_deref(), &kind);
            Watch::start(api, ("replicasets", kind), pods::strip_owner, &changed, &mut tasks)
        };
        let owners = scopes.iter().map(of_owners).collect();
        Watches {
            scopes,
            guards,
            pods,
            owners,
            targets: BTreeMap::new(),
            unread: BTreeMap::new(),
            changed,
            tasks,
            client,
        }
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
                let found = watch.get(namespace, &target.name, kind.clone());
                let found = found.and_then(|object| serde_json::to_value(&*object).ok());
                Some(found.map_or(Target::Missing, |object| Target::Found(typed(object, &kind))))
            }
        }
    }

    /// Whether a target is watched without trouble, so that it is as it was last seen.
    pub(super) fn is_current(&self, namespace: &str, target: &TargetRef) -> bool {
        let watch = self.scope(namespace).and_then(|scope| self.targets.get(&(scope, plural(target.kind))));
        watch.is_some_and(Watch::is_current)
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
        let owners = self.owners.iter().flat_map(Watch::all);
        let created = owners
            .filter_map(|owner| Some((owner.metadata.uid.clone()?, owner.metadata.creation_timestamp.clone()?.0)));
        let created: BTreeMap<String, Timestamp> = created.collect();
        for pod in self.pods.iter().flat_map(Watch::all) {
            let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
            if let Some(Ok(of_it)) = found.get_mut(namespace) {
                of_it.extend(pods::Seen::of(&pod).map(|pod| {
                    let owner_created = pod.owner.as_ref().and_then(|owner| created.get(owner).copied());
                    pods::Seen { owner_created, ..pod }
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
