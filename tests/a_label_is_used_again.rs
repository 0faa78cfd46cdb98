//! Is a candidate judged anew when its label is given to other pods, as `release: canary` is? `serin serve` watches an imitated API server.

use anyhow::{Context, Result};
use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};
use serin_proto::v1::{Decision, DecisionStage};
use support::{cluster::Cluster, poll};
use tokio::process::{Child, Command};

use crate::{
    a_release_guard_in_the_cluster::{GUARD, NAMESPACE, SOON, World, weights},
    a_rollback_in_the_cluster::{PATH, gateway_of},
};

fn pod_path(name: &str) -> String {
    format!("/api/v1/namespaces/{NAMESPACE}/pods/{name}")
}

/// A rolling update of v2's Deployment: a pod of the new ReplicaSet gets ready, and then the old one is deleted.
fn deploy(cluster: &Cluster, set: &str, old_pod: &str, created: Timestamp) -> Result<()> {
    let created = created.to_string();
    let by = |kind: &str, name: &str| json!([{ "apiVersion": "apps/v1", "kind": kind, "name": name, "uid": name }]);
    cluster.put(
        &format!("/apis/apps/v1/namespaces/{NAMESPACE}/replicasets/{set}"),
        json!({
            "metadata": {
                "name": set, "namespace": NAMESPACE, "uid": set, "creationTimestamp": created,
                "ownerReferences": by("Deployment", "shop-v2"),
            },
            "spec": {},
        }),
    );
    let mut pod = cluster.object(&pod_path(old_pod)).context("there is an old pod")?;
    let name = format!("{set}-1");
    pod["metadata"]["name"] = json!(name);
    pod["metadata"]["uid"] = json!(name);
    pod["metadata"]["creationTimestamp"] = json!(created);
    pod["metadata"]["ownerReferences"] = by("ReplicaSet", set);
    cluster.put(&pod_path(&name), pod);
    cluster.change(&pod_path(old_pod), |pod| pod["metadata"]["deletionTimestamp"] = json!(created))?;
    cluster.delete(&pod_path(old_pod));
    Ok(())
}

/// The next second at the earliest: the API has times in whole ones.
fn after(decision: &Decision) -> Result<Timestamp> {
    let decided = i64::try_from(decision.unix_us / 1_000_000)?;
    Ok(Timestamp::from_second(Timestamp::now().as_second().max(decided + 1))?)
}

fn stages(decision: &Decision) -> Vec<DecisionStage> {
    decision.events.iter().map(|event| event.stage()).collect()
}

impl World {
    /// A person gives the candidate requests.
    fn split(&self, candidate: u64) -> Result<()> {
        self.cluster.change(PATH, |routes| {
            routes["spec"]["http"][0]["route"][0]["weight"] = json!(100 - candidate);
            routes["spec"]["http"][0]["route"][1]["weight"] = json!(candidate);
        })
    }

    fn weights(&self) -> Vec<Option<u64>> {
        weights(&self.cluster.object(PATH).unwrap_or_default())
    }

    async fn verdict(&self) -> Result<Value> {
        Ok(serde_json::from_str(&poll::get(self.serin.metrics, "/v1/verdict/shop").await.context("no verdict")?)?)
    }

    fn gate(&self, since: Timestamp) -> Result<Child> {
        let mut gate = Command::new(support::artifacts::serin()?);
        let (since, server) = (since.to_string(), self.serin.grpc.to_string());
        gate.args(["gate", "shop", "--candidate", "v2", "--since", &since, "--timeout", "1m", "--server", &server]);
        Ok(gate.stdout(std::process::Stdio::piped()).kill_on_drop(true).spawn()?)
    }

    /// Waits until the status says what the candidate is deployed as.
    async fn is_deployed_as(&self, set: &str) -> Result<()> {
        poll::until(&format!("{set} in the status"), SOON, async || {
            let status = self.cluster.object(GUARD).unwrap_or_default();
            Ok((status.pointer("/status/replicaSet/name") == Some(&json!(set))).then_some(()))
        })
        .await
    }
}

/// Condemned and rolled back; a good one under the same label is left alone; and the next one, deployed while Serin is away, is rolled back
/// again.
#[tokio::test]
async fn each_deployment_is_on_trial() -> Result<()> {
    let mut world = World::start().await?;
    world.judges("v2").await?;
    world.is_deployed_as("set-v2").await?;
    let feed = tokio::spawn(gateway_of(world.serin.grpc, 1, 4));
    world.says("RolledBack=True Written").await?;
    feed.abort();
    let first = world.serin.decisions().await?.pop().context("it was decided")?;

    let begin = after(&first)?;
    // A pipeline that begins while the one before is condemned.
    let mut gate = world.gate(begin)?;
    deploy(&world.cluster, "shop-good", "shop-v2-1", begin)?;
    world.says("RolledBack=False Cleared").await?;
    let said = "v2 was deployed anew (ReplicaSet shop-good)";
    assert_eq!(world.told("DeployedAnew"), [format!("Normal: {said}")]);
    assert_eq!(world.told("Cleared"), [format!("Normal: {said}: v2 may take traffic again")]);
    world.is_deployed_as("shop-good").await?;
    assert_eq!(world.verdict().await?["sentence"], "v2: deployed anew (ReplicaSet shop-good), cleared and judged anew");
    assert_eq!(world.weights(), [Some(100), Some(0)], "they are a person's to set");
    world.split(10)?;
    let feed = tokio::spawn(gateway_of(world.serin.grpc, 2, 1));
    let judged = poll::until("the new one to be judged", SOON, async || {
        let verdict = world.verdict().await?;
        Ok((verdict["candidate_requests"].as_u64() >= Some(150)).then_some(verdict))
    });
    let verdict = judged.await?;
    feed.abort();
    assert_eq!((&verdict["condemned"], &verdict["verdict"]), (&json!(false), &json!("gathering")), "{verdict}");
    assert!(verdict["trial_s"].as_u64() < Some(30), "of the old one nothing counts: {verdict}");
    assert_eq!(world.weights(), [Some(90), Some(10)]);
    assert_eq!(gate.try_wait()?, None, "nothing is known yet of what is deployed now");
    gate.kill().await?;

    world.kill();
    let begin = Timestamp::now();
    deploy(&world.cluster, "shop-slow", "shop-good-1", begin)?;
    world.start_again().await?;
    world.is_deployed_as("shop-slow").await?;
    let gate = world.gate(begin)?;
    let feed = tokio::spawn(gateway_of(world.serin.grpc, 3, 4));
    let ended = gate.wait_with_output().await?;
    feed.abort();
    let said = String::from_utf8(ended.stdout)?;
    assert_eq!((ended.status.code(), said.contains("shop is regressed: v2 against v1")), (Some(1), true), "{said}");
    world.says("RolledBack=True Written").await?;
    assert_eq!(world.weights(), [Some(100), Some(0)]);
    assert_eq!(world.told("DeployedAnew").len(), 2, "each once: {:?}", world.told("DeployedAnew"));
    let decisions = world.serin.decisions().await?;
    assert_eq!(decisions.len(), 2);
    assert_eq!(stages(&decisions[1]).last(), Some(&DecisionStage::Cleared));
    assert_eq!(decisions[1].id, first.id);
    Ok(())
}
