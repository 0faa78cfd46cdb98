//! Is a ReleaseGuard in the cluster guarded, and does it say so? `serin serve` watches an imitated API server, whose watches are cut, too
//! old, or not answered.

use std::{collections::BTreeSet, time::Duration};

use anyhow::{Context, Result};
use http::StatusCode;
use serde_json::{Value, json};
use support::{cluster::Cluster, poll, serin::Serin};
use tempfile::TempDir;

use crate::{
    a_rollback_in_the_cluster::{PATH, gateway, virtual_service},
    other_controllers_ask_for_the_verdict::flagger,
};

const NAMESPACE: &str = "shop-ns";
pub(crate) const GUARD: &str = "/apis/serin.dev/v1alpha1/namespaces/shop-ns/releaseguards/shop";
const EVENTS: &str = "/apis/events.k8s.io/v1/namespaces/shop-ns/events";
/// A regression is found in about ten seconds; a failed watch is begun again after one or two.
pub(crate) const SOON: Duration = Duration::from_secs(60);

/// Which release is on trial is to be found.
fn guard() -> Value {
    json!({
        "apiVersion": "serin.dev/v1alpha1", "kind": "ReleaseGuard",
        "metadata": { "name": "shop", "namespace": NAMESPACE, "uid": "u-2", "generation": 1, "creationTimestamp": "2026-01-03T00:00:00Z" },
        "spec": { "service": "shop", "vantage": "gateway", "targets": [{ "kind": "VirtualService", "name": "shop", "host": "shop" }] },
    })
}

/// A pod with its ReplicaSet.
fn put_pod(cluster: &Cluster, release: &str, set: &str, created: &str) {
    let name = format!("shop-{release}-1");
    let owner = format!("set-{release}");
    let set = json!({ "metadata": { "name": owner, "namespace": NAMESPACE, "uid": owner, "creationTimestamp": set }, "spec": {} });
    cluster.put(&format!("/apis/apps/v1/namespaces/{NAMESPACE}/replicasets/{owner}"), set);
    let owners = json!([{ "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": owner, "uid": owner }]);
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": { "name": name, "namespace": NAMESPACE, "uid": name, "creationTimestamp": created, "ownerReferences": owners, "labels": { "app": "shop", "version": release } },
        "spec": { "nodeName": "n1", "containers": [{ "name": "shop" }] },
        "status": { "startTime": created, "podIP": "10.0.0.1", "conditions": [{ "type": "Ready", "status": "True" }] },
    });
    cluster.put(&format!("/api/v1/namespaces/{NAMESPACE}/pods/{name}"), pod);
}

pub(crate) struct World {
    pub(crate) cluster: Cluster,
    pub(crate) serin: Serin,
    dir: TempDir,
}

impl World {
    pub(crate) async fn start() -> Result<Self> {
        Self::with(Cluster::start().await?).await
    }

    pub(crate) async fn with(cluster: Cluster) -> Result<Self> {
        let dir = tempfile::tempdir()?;
        if cluster.object(PATH).is_none() {
            cluster.put(PATH, virtual_service());
        }
        cluster.put(GUARD, guard());
        // The stable release's pod is the younger one: it was made again on another node.
        put_pod(&cluster, "v1", "2026-01-01T00:00:00Z", "2026-01-03T00:00:00Z");
        put_pod(&cluster, "v2", "2026-01-02T00:00:00Z", "2026-01-02T00:00:00Z");
        let text = format!(
            "listen: {{ grpc: \"127.0.0.1:0\", metrics: \"127.0.0.1:0\" }}\ndata_dir: {}\nkubernetes: {{ namespaces: [{NAMESPACE}] }}\n",
            json!(dir.path().join("serin-data"))
        );
        std::fs::write(dir.path().join("serin.yaml"), text)?;
        let serin = serin(&cluster, &dir).await?;
        Ok(World { cluster, serin, dir })
    }

    async fn restart(&mut self) -> Result<()> {
        self.kill();
        self.start_again().await
    }

    pub(crate) fn kill(&mut self) {
        self.serin.process.kill();
    }

    pub(crate) async fn start_again(&mut self) -> Result<()> {
        self.serin = serin(&self.cluster, &self.dir).await?;
        Ok(())
    }

    /// The candidate that is judged; empty without any.
    async fn candidate(&self) -> String {
        let answer = poll::get(self.serin.metrics, "/v1/verdict/shop").await.unwrap_or_default();
        let answer: Value = serde_json::from_str(&answer).unwrap_or_default();
        answer["candidate"].as_str().unwrap_or_default().to_owned()
    }

    pub(crate) async fn judges(&self, candidate: &str) -> Result<()> {
        let what = format!("{candidate:?} to be judged");
        poll::until(&what, SOON, async || Ok((self.candidate().await == candidate).then_some(()))).await
    }

    /// Waits for a condition, as `Ready=True Guarding`.
    pub(crate) async fn says(&self, condition: &str) -> Result<()> {
        poll::until(condition, SOON, async || Ok(self.conditions().contains(condition).then_some(()))).await
    }

    pub(crate) fn conditions(&self) -> BTreeSet<String> {
        let guard = self.cluster.object(GUARD).unwrap_or_default();
        let conditions = guard.pointer("/status/conditions").and_then(Value::as_array).cloned().unwrap_or_default();
        let word = |condition: &Value, key: &str| condition[key].as_str().unwrap_or_default().to_owned();
        conditions.iter().map(|c| format!("{}={} {}", word(c, "type"), word(c, "status"), word(c, "reason"))).collect()
    }

    /// The first event of a reason.
    fn event(&self, reason: &str) -> Option<Value> {
        self.cluster.list(EVENTS).into_iter().find(|event| event["reason"] == reason)
    }

    /// What was told for a reason, as `Warning: note`, and how often where it was more than once.
    fn told(&self, reason: &str) -> Vec<String> {
        let events = self.cluster.list(EVENTS);
        let of_it = events.iter().filter(|event| event["reason"] == reason);
        let word = |event: &Value, key: &str| event[key].as_str().unwrap_or_default().to_owned();
        let times =
            |event: &Value| event.pointer("/series/count").map(|count| format!(" ({count} times)")).unwrap_or_default();
        of_it.map(|event| format!("{}: {}{}", word(event, "type"), word(event, "note"), times(event))).collect()
    }

    /// How often something was asked.
    pub(crate) fn asked(&self, start: &str) -> usize {
        self.cluster.asked().iter().filter(|asked| asked.starts_with(start)).count()
    }

    /// Waits until it is asked once more.
    async fn is_asked(&self, start: &str, before: usize) -> Result<()> {
        poll::until(start, SOON, async || Ok((self.asked(start) > before).then_some(()))).await
    }
}

async fn serin(cluster: &Cluster, dir: &TempDir) -> Result<Serin> {
    let kubeconfig = cluster.kubeconfig(dir.path())?;
    let (config, log) = (dir.path().join("serin.yaml"), dir.path().join("serin.log"));
    Serin::start_in(&config, &log, &[], &[("KUBECONFIG", &kubeconfig)]).await
}

pub(crate) fn weights(object: &Value) -> Vec<Option<u64>> {
    (0..2).map(|at| object.pointer(&format!("/spec/http/0/route/{at}/weight"))?.as_u64()).collect()
}

/// A guard that names no releases is a service only once two of them get requests.
#[tokio::test]
async fn a_pipeline_waits_for_the_service() -> Result<()> {
    let world = World::start().await?;
    world.cluster.delete(GUARD);
    world.judges("").await?;
    let gate = |timeout: &str| {
        let mut gate = tokio::process::Command::new(support::artifacts::serin()?);
        let server = world.serin.grpc.to_string();
        gate.args(["gate", "shop", "--candidate", "v2", "--timeout", timeout, "--server", &server]).kill_on_drop(true);
        Ok::<_, anyhow::Error>(gate.stdout(std::process::Stdio::piped()).spawn()?.wait_with_output())
    };
    let ended = gate("100ms")?.await?;
    let said = String::from_utf8(ended.stdout)?;
    assert_eq!((ended.status.code(), said.contains("`shop` is not guarded yet")), (Some(2), true), "{said}");
    let text = poll::get(world.serin.metrics, "/v1/verdict/shop?candidate=v2").await.context("no verdict")?;
    let verdict: Value = serde_json::from_str(&text)?;
    assert_eq!((&verdict["verdict"], &verdict["candidate"]), (&json!("gathering"), &json!("v2")), "{verdict}");

    // Traffic may increase: nothing is on trial before it does. Nothing is promoted.
    for (hook, want) in
        [("rollout", StatusCode::OK), ("promotion", StatusCode::CONFLICT), ("rollback", StatusCode::CONFLICT)]
    {
        let (status, said) = flagger(world.serin.metrics, hook, r#"{"name": "shop"}"#).await?;
        assert_eq!((status, said.contains("not guarded yet")), (want, true), "{hook}: {said}");
    }

    let waiting = gate("2m")?;
    world.cluster.put(GUARD, guard());
    let feed = tokio::spawn(gateway(world.serin.grpc));
    let ended = waiting.await?;
    let said = String::from_utf8(ended.stdout)?;
    assert_eq!((ended.status.code(), said.contains("shop is regressed: v2 against v1")), (Some(1), true), "{said}");
    let text = poll::get(world.serin.metrics, "/v1/verdict/shop?candidate=v3").await.context("no verdict")?;
    assert!(text.contains("v3 is not on trial yet: v2 is"), "{text}");
    feed.abort();
    Ok(())
}

#[tokio::test]
async fn a_slow_candidate_of_a_release_guard_is_taken_out() -> Result<()> {
    let mut world = World::start().await?;
    world.judges("v2").await?;
    let feed = tokio::spawn(gateway(world.serin.grpc));
    world.says("RolledBack=True Written").await?;
    feed.abort();
    let object = world.cluster.object(PATH).context("the routes are gone")?;
    assert_eq!(weights(&object), [Some(100), Some(0)], "{object}");
    assert_eq!(object.pointer("/spec/http/0/timeout"), Some(&json!("3s")), "nothing else is touched");
    let status = world.cluster.object(GUARD).context("the guard is gone")?["status"].take();
    assert_eq!((&status["verdict"], &status["observedGeneration"]), (&json!("regressed"), &json!(1)), "{status}");
    assert_eq!((&status["baseline"], &status["candidate"]), (&json!("v1"), &json!("v2")), "{status}");
    assert!(status["sentence"].as_str().is_some_and(|sentence| sentence.contains("slower")), "{status}");
    assert!(world.conditions().contains("Regressed=True Regressed"), "{status}");
    assert_eq!(world.told("Guarding"), ["Normal: v2 is judged against v1"]);
    let regressed = world.event("Regressed").context("it is told")?;
    assert_eq!((&regressed["type"], &regressed["regarding"]["name"]), (&json!("Warning"), &json!("shop")));
    assert!(world.told("Written").iter().any(|note| note.contains("v2 10 -> 0")), "{:?}", world.told("Written"));
    // With the candidate out of traffic the trial's releases are known all the same.
    world.says("Ready=True OneRelease").await?;
    let events = world.cluster.list(EVENTS);
    assert_eq!(world.candidate().await, "v2");
    // So they are after a restart, from the status; and nothing is told twice.
    let (before, status) = (world.conditions(), "PATCH /apis/serin.dev");
    let asked = world.asked(status);
    world.restart().await?;
    world.judges("v2").await?;
    world.is_asked(status, asked).await?;
    assert_eq!(world.conditions(), before);
    assert_eq!(world.cluster.list(EVENTS).len(), events.len(), "{:?}", world.cluster.list(EVENTS));
    keeps_to_its_role(&world.cluster, true)
}

/// A Role that lacks something is said once, and tried on.
#[tokio::test]
async fn a_status_that_may_not_be_written_is_said_once() -> Result<()> {
    let world = World::start().await?;
    world.says("Ready=True Guarding").await?;
    world.cluster.forbid(Some("/status"));
    let (status, asked) = ("PATCH /apis/serin.dev", world.asked("PATCH /apis/serin.dev"));
    world.cluster.change(GUARD, |guard| guard["metadata"]["generation"] = json!(2))?;
    // When it is tried for the third time, what there was to say of the second is said.
    world.is_asked(status, asked + 2).await?;
    let said = "the status of ReleaseGuard shop-ns/shop is not written: Forbidden (403)";
    assert_eq!(world.serin.process.log().matches("is not written").count(), 1, "{}", world.serin.process.log());
    assert!(world.serin.process.log().contains(said), "{}", world.serin.process.log());
    world.cluster.forbid(None);
    let again = async || Ok(world.serin.process.log().contains("is written again").then_some(()));
    poll::until("it to be written again", SOON, again).await
}

/// A watch that is cut is resumed, one that is too old is begun anew, and a server that is away changes nothing.
#[tokio::test]
async fn what_happens_to_watches_loses_no_guard() -> Result<()> {
    let world = World::start().await?;
    world.says("Ready=True Guarding").await?;
    let rename = |candidate: &str| {
        world.cluster.change(GUARD, |guard| {
            guard["spec"]["baseline"] = "v1".into();
            guard["spec"]["candidate"] = candidate.into();
        })
    };
    let split = |release: &str| {
        world
            .cluster
            .change(PATH, |routes| routes["spec"]["http"][0]["route"][1]["destination"]["subset"] = release.into())
    };
    world.cluster.cut();
    rename("v3")?;
    split("v3")?;
    world.judges("v3").await?;
    world.cluster.compact();
    rename("v4")?;
    split("v4")?;
    world.judges("v4").await?;
    let asked = world.asked("GET /apis/serin.dev");
    world.cluster.set_down(true);
    world.is_asked("GET /apis/serin.dev", asked).await?;
    assert_eq!(world.candidate().await, "v4", "it is guarded on");
    world.cluster.set_down(false);
    world.cluster.delete(PATH);
    world.says("Ready=False TargetNotFound").await?;
    assert_eq!(world.candidate().await, "v4", "judged, and not acted on");
    let missing = "Warning: VirtualService shop-ns/shop does not exist: create it, or name another target";
    assert_eq!(world.told("TargetNotFound"), [missing]);
    world.cluster.put(PATH, virtual_service());
    split("v4")?;
    world.says("Ready=True NoPods").await?;
    put_pod(&world.cluster, "v4", "2026-01-04T00:00:00Z", "2026-01-04T00:00:00Z");
    world.says("Ready=True Guarding").await?;
    // The same once more is a count at the same event.
    world.cluster.delete(PATH);
    world.says("Ready=False TargetNotFound").await?;
    assert_eq!(world.told("TargetNotFound"), [format!("{missing} (2 times)")]);
    world.cluster.compact();
    world.cluster.delete(GUARD);
    world.judges("").await?;
    let log = world.serin.process.log();
    assert!(log.contains("cannot be watched") && log.contains("are watched again"), "{log}");
    keeps_to_its_role(&world.cluster, false)
}

/// What a request asks to be allowed, as the API server reads it: verb, group and resource.
fn access(asked: &str) -> Option<(&'static str, String, String)> {
    let (method, uri) = asked.split_once(' ')?;
    let (path, query) = uri.split_once('?')?;
    let (group, rest) = match path.strip_prefix("/apis/") {
        Some(rest) => rest.split_once('/')?,
        None => ("", path.strip_prefix("/api/")?),
    };
    let words: Vec<&str> = rest.split_once("/namespaces/")?.1.split('/').skip(1).collect();
    let verb = match (method, words.len()) {
        ("GET", 1) if query.contains("watch=true") => "watch",
        ("GET", 1) => "list",
        ("GET", _) => "get",
        ("PATCH", _) => "patch",
        ("POST", _) => "create",
        _ => return None,
    };
    let resource = match words.as_slice() {
        [resource, _, subresource] => format!("{resource}/{subresource}"),
        [resource, ..] => (*resource).to_owned(),
        [] => return None,
    };
    Some((verb, group.to_owned(), resource))
}

/// `/apis/GROUP` and `/apis/GROUP/VERSION` are no resources: the ClusterRole `system:discovery` allows them to everyone who has an account.
fn asks_for_versions(asked: &str) -> bool {
    let words = asked.strip_prefix("GET /apis/").and_then(|path| path.split_once('?'));
    words.is_some_and(|(path, _)| path.split('/').count() <= 2)
}

/// What the Role of a guarded namespace allows.
fn allowed() -> Result<BTreeSet<(String, String, String)>> {
    let text = include_str!("../envoy-configs/istio/install/guarded-namespace/rbac.yaml");
    let words = |rule: &Value, key: &str| -> Vec<String> {
        rule[key].as_array().into_iter().flatten().filter_map(|word| word.as_str().map(str::to_owned)).collect()
    };
    let mut all = BTreeSet::new();
    for document in serde_saphyr::from_multiple::<Value>(text)? {
        for rule in document["rules"].as_array().into_iter().flatten() {
            for (group, resource) in words(rule, "apiGroups")
                .into_iter()
                .flat_map(|group| words(rule, "resources").into_iter().map(move |resource| (group.clone(), resource)))
            {
                all.extend(words(rule, "verbs").into_iter().map(|verb| (verb, group.clone(), resource.clone())));
            }
        }
    }
    Ok(all)
}

/// Everything that was asked is allowed. With `all`: and everything about VirtualServices that is allowed was asked.
pub(crate) fn keeps_to_its_role(cluster: &Cluster, all: bool) -> Result<()> {
    let (allowed, mut asked) = (allowed()?, BTreeSet::new());
    for line in cluster.asked().iter().filter(|line| !asks_for_versions(line)) {
        let (verb, group, resource) = access(line).with_context(|| format!("{line} is no request for a resource"))?;
        asked.insert((verb.to_owned(), group, resource));
    }
    let beyond: Vec<_> = asked.difference(&allowed).collect();
    assert!(beyond.is_empty(), "the Role forbids {beyond:?}");
    // The Gateway API's are the same with another name; an event that comes again is a patch.
    let is_elsewhere = |(verb, group, _): &&(String, String, String)| {
        group.contains("gateway") || (group.contains("events") && verb == "patch")
    };
    let unused: Vec<_> = allowed.difference(&asked).filter(|access| !is_elsewhere(access)).collect();
    assert!(!all || unused.is_empty(), "the Role allows {unused:?}, which nobody asks for");
    Ok(())
}
