//! Pods, as far as anybody here needs them: pure.
//!
//! Of what the API server sends only these fields are read, and [`strip`] takes out what any object has besides, so that
//! 10,000 pods are some 10 MB.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::{
    apimachinery::pkg::apis::meta::v1::{OwnerReference, Time},
    jiff::Timestamp,
};
use kube::core::{ApiResource, GroupVersionKind, Object, ObjectMeta};
use serde::{Deserialize, Serialize};

use crate::discover::{self, RELEASE_LABELS, release_of};

/// A pod as the API server sends it.
pub type Pod = Object<Spec, Status>;

/// A ReplicaSet, of which only its metadata are of interest.
pub type ReplicaSet = Object<Nothing, Nothing>;

/// What is not read.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Nothing {}

/// Where it runs.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Spec {
    #[serde(default)]
    node_name: String,
}

/// How it fares.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    #[serde(default, skip_serializing_if = "String::is_empty")]
    phase: String,
    #[serde(default)]
    start_time: Option<Time>,
    #[serde(default, rename = "podIP")]
    pod_ip: String,
    #[serde(default)]
    conditions: Vec<State>,
    #[serde(default)]
    container_statuses: Vec<Container>,
}

/// One of its containers.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Container {
    name: String,
    #[serde(default)]
    state: ContainerState,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct ContainerState {
    running: Option<Running>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Running {
    started_at: Option<Time>,
}

/// Istio's container: its restart does not make the application cold.
const SIDECAR: &str = "istio-proxy";

impl Status {
    /// Of the pod, or of the container that was restarted last.
    fn started(&self) -> Option<&Time> {
        let of_app = self.container_statuses.iter().filter(|container| container.name != SIDECAR);
        let restarted = of_app.filter_map(|container| container.state.running.as_ref()?.started_at.as_ref());
        restarted.chain(&self.start_time).max()
    }
}

/// One of its conditions.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct State {
    #[serde(rename = "type")]
    type_: String,
    status: String,
}

/// Labels that tell which application a pod is part of, the first that it has counts: Istio's canonical service, and what that
/// is taken from.
const APP_LABELS: [&str; 3] = ["service.istio.io/canonical-name", "app.kubernetes.io/name", "app"];
/// The condition of one that takes requests.
const READY: &str = "Ready";
/// The phases of one that has ended.
const ENDED: [&str; 2] = ["Failed", "Succeeded"];
/// How far a kubelet's clock may be off. NTP keeps them within milliseconds.
const SKEW_S: i64 = 5;

/// For a watch.
pub fn resource() -> ApiResource {
    ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk("", "v1", "Pod"), "pods")
}

/// For a watch of ReplicaSets.
pub fn owners() -> ApiResource {
    ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk("apps", "v1", "ReplicaSet"), "replicasets")
}

/// Takes out what is of no use here.
pub fn strip_owner(owner: &mut ReplicaSet) {
    let ObjectMeta { name, namespace, uid, resource_version, creation_timestamp, owner_references, .. } =
        std::mem::take(&mut owner.metadata);
    let owner_references = only_owner(owner_references);
    owner.metadata = ObjectMeta {
        name,
        namespace,
        uid,
        resource_version,
        creation_timestamp,
        owner_references,
        ..ObjectMeta::default()
    };
    owner.types = None;
}

/// Who made it, as far as it is of interest.
fn only_owner(owners: Option<Vec<OwnerReference>>) -> Option<Vec<OwnerReference>> {
    let owner = |owner: OwnerReference| OwnerReference { uid: owner.uid, ..OwnerReference::default() };
    owners.map(|owners| owners.into_iter().take(1).map(owner).collect())
}

/// The same of a pod.
pub fn strip(pod: &mut Pod) {
    let ObjectMeta {
        name,
        namespace,
        uid,
        resource_version,
        creation_timestamp,
        deletion_timestamp,
        labels,
        owner_references,
        ..
    } = std::mem::take(&mut pod.metadata);
    let is_used = |label: &String| RELEASE_LABELS.iter().chain(&APP_LABELS).any(|used| used == label);
    let labels = labels.map(|labels| labels.into_iter().filter(|(label, _)| is_used(label)).collect());
    let owner_references = only_owner(owner_references);
    pod.metadata = ObjectMeta {
        name,
        namespace,
        uid,
        resource_version,
        creation_timestamp,
        deletion_timestamp,
        labels,
        owner_references,
        ..ObjectMeta::default()
    };
    if let Some(status) = &mut pod.status {
        status.conditions.retain(|condition| condition.type_ == READY);
        status.start_time = status.started().cloned();
        status.container_statuses.clear();
    }
    pod.types = None;
}

/// A ReplicaSet: one deployment of a release, whose label may be that of the one before.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Set {
    /// By the clock of the API server.
    pub created: Timestamp,
    /// Which one: a Deployment that is made anew gives the same name again.
    pub uid: String,
    /// Its name.
    pub name: String,
    /// The uid of the Deployment, or of whatever else made it.
    pub made_by: Option<String>,
}

impl Set {
    /// `None` of what no API server sends.
    pub fn of(set: &ReplicaSet) -> Option<Self> {
        let ObjectMeta { name, uid, creation_timestamp, owner_references, .. } = &set.metadata;
        Some(Set {
            created: creation_timestamp.as_ref()?.0,
            uid: uid.clone()?,
            name: name.clone()?,
            made_by: owner_references.iter().flatten().next().map(|owner| owner.uid.clone()),
        })
    }
}

/// A pod as it was last seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Its name.
    pub name: String,
    /// Its address; empty while it has none.
    pub ip: String,
    /// Where it runs; empty while that is open.
    pub node: String,
    /// The application that its labels tell.
    pub app: Option<String>,
    /// The release that its labels tell.
    pub release: Option<String>,
    /// By the clock of the API server.
    pub created: Timestamp,
    /// The application in it, by the clock of its node.
    pub started: Option<Timestamp>,
    /// Whether it takes requests: one that is being deleted says so until it is gone, and does not.
    pub is_ready: bool,
    /// Whether it is being deleted, or has ended: one that was evicted stays as an object for long.
    pub is_leaving: bool,
    /// Whether none of its containers runs any more.
    pub has_ended: bool,
    /// The uid of its ReplicaSet, or of whatever else made it.
    pub owner: Option<String>,
    /// That ReplicaSet, where it is known.
    pub set: Option<Set>,
}

impl Seen {
    /// `None` of what no API server sends.
    pub fn of(pod: &Pod) -> Option<Self> {
        let ObjectMeta { name, creation_timestamp, deletion_timestamp, labels, owner_references, .. } = &pod.metadata;
        let (none, no_labels) = (Status::default(), BTreeMap::new());
        let status = pod.status.as_ref().unwrap_or(&none);
        let has_ended = ENDED.contains(&status.phase.as_str());
        let is_leaving = deletion_timestamp.is_some() || has_ended;
        let labels = labels.as_ref().unwrap_or(&no_labels);
        let app = APP_LABELS.iter().filter_map(|label| labels.get(*label)).find(|app| !app.is_empty());
        Some(Seen {
            name: name.clone()?,
            ip: status.pod_ip.clone(),
            node: pod.spec.node_name.clone(),
            app: app.cloned(),
            release: release_of(labels).map(str::to_owned),
            created: creation_timestamp.as_ref()?.0,
            started: status.started().map(|time| time.0),
            is_ready: !is_leaving
                && status.conditions.iter().any(|state| state.type_ == READY && state.status == "True"),
            is_leaving,
            has_ended,
            owner: owner_references.iter().flatten().next().map(|owner| owner.uid.clone()),
            set: None,
        })
    }

    /// By how many seconds its node's clock differs, as far as can be told: it cannot start before it was created, nor in the
    /// future.
    pub fn skew_s(&self, now: Timestamp) -> Option<i64> {
        let started = self.started?;
        let behind = started.as_second() - self.created.as_second();
        let ahead = started.as_second() - now.as_second();
        if behind < -SKEW_S { Some(behind) } else { (ahead > SKEW_S).then_some(ahead) }
    }
}

/// The pods that may be those of a service: all but those that say that they are of another application.
pub fn of_service<'a>(pods: &'a [Seen], service: &str) -> impl Iterator<Item = &'a Seen> {
    let short = service.split('.').next().unwrap_or(service).to_owned();
    let service = service.to_owned();
    pods.iter().filter(move |pod| pod.app.as_ref().is_none_or(|app| *app == service || *app == short))
}

/// As [`discover`](mod@crate::discover) has them. A release is as old as its ReplicaSet: its pods may all have been made again, on
/// other nodes. Where something else made them, as old as the first that is still there. A pod that is being deleted makes no release
/// older that has others: of a new build under the name of an old one both have pods for a while.
pub fn by_release<'a>(pods: impl Iterator<Item = &'a Seen>) -> Vec<discover::Pod> {
    let pods: Vec<&Seen> = pods.collect();
    let stays: BTreeSet<&String> =
        pods.iter().filter(|pod| !pod.is_leaving).filter_map(|pod| pod.release.as_ref()).collect();
    let counts = |pod: &&Seen| !pod.is_leaving || pod.release.as_ref().is_some_and(|release| !stays.contains(release));
    let known = |pod: &Seen| {
        let (release, since) = (pod.release.clone()?, pod.set.as_ref().map_or(pod.created, |set| set.created));
        Some(discover::Pod { release, since, ready: pod.is_ready })
    };
    pods.iter().copied().filter(counts).filter_map(known).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn pod() -> Value {
        json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {
                "name": "shop-v2-1", "namespace": "shop", "uid": "u", "resourceVersion": "7",
                "creationTimestamp": "2026-01-01T00:00:00Z",
                "labels": { "app": "shop", "version": "v2", "pod-template-hash": "77" },
                "annotations": { "long": "x".repeat(100_000) },
                "managedFields": [{ "manager": "kubelet", "operation": "Update" }],
                "ownerReferences": [{ "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "shop-v2", "uid": "rs" }],
            },
            "spec": { "nodeName": "n1", "containers": [{ "name": "shop", "image": "shop:2" }] },
            "status": {
                "startTime": "2026-01-01T00:00:01Z", "podIP": "10.0.0.7",
                "containerStatuses": [
                    { "name": "shop", "image": "shop:2", "state": { "running": { "startedAt": "2026-01-01T00:00:30Z" } } },
                    { "name": "istio-proxy", "state": { "running": { "startedAt": "2026-01-01T00:00:40Z" } } },
                    { "name": "job", "state": { "terminated": { "exitCode": 0 } } },
                ],
                "conditions": [{ "type": "PodScheduled", "status": "True" }, { "type": "Ready", "status": "True" }],
            },
        })
    }

    #[test]
    fn little_is_kept_and_all_that_is_needed() {
        let mut read: Pod = serde_json::from_value(pod()).unwrap();
        let whole = Seen::of(&read).unwrap();
        strip(&mut read);
        assert_eq!(Seen::of(&read), Some(whole.clone()));
        assert!(size_of::<Pod>() + serde_json::to_string(&read).unwrap().len() < 1_000, "{}", size_of::<Pod>());
        assert_eq!((whole.node.as_str(), whole.ip.as_str(), whole.is_ready), ("n1", "10.0.0.7", true));
        assert_eq!(whole.started, Some("2026-01-01T00:00:30Z".parse().unwrap()), "restarted since");
        assert_eq!((whole.app.as_deref(), whole.release.as_deref()), (Some("shop"), Some("v2")));
    }

    /// A pod that is just being scheduled has neither node nor status.
    #[test]
    fn a_pod_without_a_node() {
        let mut early = pod();
        (early["spec"], early["status"]) = (json!({}), json!({ "phase": "Pending" }));
        let seen = Seen::of(&serde_json::from_value(early).unwrap()).unwrap();
        assert_eq!((seen.node.as_str(), seen.started, seen.is_ready), ("", None, false));
        assert_eq!(seen.skew_s(Timestamp::UNIX_EPOCH), None);
    }

    #[test]
    fn a_nodes_clock() {
        let at = |text: &str| -> Timestamp { text.parse().unwrap() };
        let check = |started: &str, skew| {
            let mut seen = Seen::of(&serde_json::from_value(pod()).unwrap()).unwrap();
            seen.started = Some(at(started));
            assert_eq!(seen.skew_s(at("2026-01-01T00:01:00Z")), skew, "{started}");
        };
        check("2026-01-01T00:00:30Z", None);
        check("2025-12-31T23:59:56Z", None);
        check("2025-12-31T23:59:00Z", Some(-60));
        check("2026-01-01T00:02:00Z", Some(60));
    }

    #[test]
    fn whose_pods() {
        let mut seen = Seen::of(&serde_json::from_value(pod()).unwrap()).unwrap();
        let is_of = |seen: &Seen, service| of_service(std::slice::from_ref(seen), service).count() == 1;
        assert!(is_of(&seen, "shop") && is_of(&seen, "shop.shop.svc.cluster.local") && !is_of(&seen, "cart"));
        seen.app = None;
        assert!(is_of(&seen, "cart"), "nothing says that it is not");
    }

    /// Pods that were made again do not make their release younger.
    #[test]
    fn a_release_is_as_old_as_its_replica_set() {
        let alone = Seen::of(&serde_json::from_value(pod()).unwrap()).unwrap();
        let older = "2025-01-01T00:00:00Z".parse().unwrap();
        let owned = Seen {
            set: Some(Set { name: "shop-v2".to_owned(), uid: "rs".to_owned(), created: older, made_by: None }),
            ..alone.clone()
        };
        let since: Vec<_> = by_release([&alone, &owned].into_iter()).into_iter().map(|pod| pod.since).collect();
        assert_eq!(since, [alone.created, older]);
    }

    /// The kubelet says Ready until its containers are gone.
    #[test]
    fn one_that_is_being_deleted_takes_no_requests() {
        let mut going = pod();
        going["metadata"]["deletionTimestamp"] = "2026-01-01T01:00:00Z".into();
        let mut read: Pod = serde_json::from_value(going).unwrap();
        strip(&mut read);
        let going = Seen::of(&read).unwrap();
        assert!(!going.is_ready && going.is_leaving);
        let mut evicted = pod();
        evicted["status"]["phase"] = "Failed".into();
        let mut read: Pod = serde_json::from_value(evicted).unwrap();
        strip(&mut read);
        let ended = Seen::of(&read).unwrap();
        assert_eq!([&going, &ended].map(|pod| (pod.is_leaving, pod.has_ended)), [(true, false), (true, true)]);
        let next = Seen { created: "2026-01-01T01:00:00Z".parse().unwrap(), is_leaving: false, ..going.clone() };
        let ages = |pods: &[&Seen]| -> Vec<Timestamp> {
            by_release(pods.iter().copied()).into_iter().map(|pod| pod.since).collect()
        };
        assert_eq!(ages(&[&going, &next]), [next.created]);
        let other = Seen { release: Some("v1".to_owned()), ..next.clone() };
        assert_eq!(ages(&[&going, &other]), [going.created, other.created], "the last of its release");
    }

    #[test]
    fn of_a_replica_set_little_is_kept() {
        let mut set: ReplicaSet = serde_json::from_value(json!({
            "apiVersion": "apps/v1", "kind": "ReplicaSet",
            "metadata": { "name": "shop-v2", "uid": "rs", "creationTimestamp": "2026-01-01T00:00:00Z", "annotations": { "a": "x" },
                "ownerReferences": [{ "apiVersion": "apps/v1", "kind": "Deployment", "name": "shop", "uid": "d", "controller": true }] },
            "spec": { "replicas": 3, "template": { "spec": { "containers": [] } } }, "status": { "replicas": 3 },
        }))
        .unwrap();
        let whole = Set::of(&set).unwrap();
        strip_owner(&mut set);
        assert_eq!(Set::of(&set), Some(whole.clone()));
        assert_eq!((whole.name.as_str(), whole.made_by.as_deref()), ("shop-v2", Some("d")));
        assert!(serde_json::to_string(&set).unwrap().len() < 300, "{set:?}");
    }
}
