//! Of two replicas that share a Lease the one that holds it acts, and when it dies the other one does. Without NATS: the Service sends
//! reports to the one that is ready, but a connection that was there before stays where it is.

use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::json;
use serin_proto::v1::{Decision, DecisionStage};
use support::{api_server::ApiServer, feed::Feed, poll, serin::Serin};
use tempfile::TempDir;

use crate::a_rollback_in_the_cluster::{PATH, virtual_service};

/// A takeover takes less than 15 s, finding a regression some seconds.
const SOON: Duration = Duration::from_secs(60);

/// The first that is started leads before the second one is.
pub(crate) struct Replicas {
    pub(crate) api: ApiServer,
    pub(crate) first: Serin,
    pub(crate) second: Serin,
    _dir: TempDir,
}

impl Replicas {
    pub(crate) async fn start() -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let api = ApiServer::start(PATH, virtual_service(), false).await?;
        let kubeconfig = api.kubeconfig(dir.path())?;
        let replica = async |name: &str| {
            let text = format!(
                "listen: {{ grpc: \"127.0.0.1:0\", metrics: \"127.0.0.1:0\" }}\n\
                 data_dir: {}\n\
                 high_availability: {{ lease: serin-system/serin }}\n\
                 services:\n\
                 - {{ name: shop, vantage: gateway, baseline: v1, candidate: v2, rollback: {{ kubernetes: {{ kind: \
                 VirtualService, namespace: shop-ns, name: shop, host: shop }} }} }}\n",
                json!(dir.path().join(name))
            );
            let config = dir.path().join(format!("{name}.yaml"));
            std::fs::write(&config, text)?;
            let log = dir.path().join(format!("{name}.log"));
            Serin::start_in(&config, &log, &[], &[("KUBECONFIG", &kubeconfig)]).await
        };
        let first = replica("first").await?;
        leads(&first).await?;
        let second = replica("second").await?;
        Ok(Replicas { api, first, second, _dir: dir })
    }
}

/// Waits until it leads, which is when it is ready.
pub(crate) async fn leads(serin: &Serin) -> Result<()> {
    poll::until("a replica to lead", SOON, async || Ok(poll::get(serin.metrics, "/readyz").await)).await?;
    anyhow::ensure!(serin.metric("serin_leader", &[]).await? == 1);
    Ok(())
}

/// Its decision, once something of this stage happened to it, and what it says of that.
async fn decided(serin: &Serin, stage: DecisionStage) -> Result<(Decision, String)> {
    poll::until("a decision of this stage", SOON, async || {
        let newest = serin.decisions().await?.into_iter().next();
        Ok(newest.and_then(|decision| {
            let event = decision.events.iter().find(|event| event.stage() == stage)?;
            let sentence = event.sentence.clone();
            Some((decision, sentence))
        }))
    })
    .await
}

#[tokio::test]
async fn the_one_that_holds_the_lease_writes() -> Result<()> {
    let replicas = Replicas::start().await?;
    let Replicas { api, first, second, .. } = &replicas;
    let _feeds = [Feed::start(first.grpc), Feed::start(second.grpc)];
    decided(first, DecisionStage::Written).await?;
    let (standby, sentence) = decided(second, DecisionStage::NotWritten).await?;
    assert!(sentence.contains("this replica is standby"), "{sentence}");
    assert!(standby.events.iter().all(|event| event.stage() != DecisionStage::Written), "{standby:?}");
    assert_eq!(api.patches().len(), 1);
    Ok(())
}

#[tokio::test]
async fn when_it_dies_the_other_one_acts_on_what_is_still_condemned() -> Result<()> {
    let mut replicas = Replicas::start().await?;
    let Replicas { api, first, second, .. } = &mut replicas;
    // A connection from before: the standby takes the reports and judges them.
    let _feed = Feed::start(second.grpc);
    decided(second, DecisionStage::NotWritten).await?;
    assert_eq!(api.patches(), [""; 0]);
    let healthy = poll::get(second.metrics, "/healthz").await.context("a standby is healthy")?;
    assert!(healthy.contains("standby"), "{healthy}");
    assert_eq!(poll::get(second.metrics, "/readyz").await, None);
    assert_eq!(second.metric("serin_leader", &[]).await?, 0);

    let led = api.holder();
    first.process.kill();
    leads(second).await?;
    let (decision, sentence) = decided(second, DecisionStage::Written).await?;
    assert!(sentence.starts_with("VirtualService shop-ns/shop: "), "{sentence}");
    assert_eq!(api.patches().len(), 1, "{decision:?}");
    assert_eq!(api.object().pointer("/spec/http/0/route/1/weight"), Some(&json!(0)));
    assert_ne!(api.holder(), led);
    Ok(())
}

/// As one whose network was cut, or whose machine stood still.
#[tokio::test]
async fn one_that_leads_no_more_sends_those_who_report_to_it_to_the_other() -> Result<()> {
    let replicas = Replicas::start().await?;
    let Replicas { api, first, second, .. } = &replicas;
    let feed = Feed::start(first.grpc);
    poll::until("a report", SOON, async || Ok((first.requests(&[]).await? > 0).then_some(()))).await?;
    first.process.pause();
    leads(second).await?;
    first.process.resume();
    poll::until("the stream to be ended", SOON, async || Ok(feed.is_over().then_some(()))).await?;
    assert_eq!(poll::get(first.metrics, "/readyz").await, None);
    assert_eq!(api.patches().len(), 0, "what it decided while it stood still it did not write");
    Ok(())
}

/// The API server is on another thread than the one that waits for the end.
#[tokio::test(flavor = "multi_thread")]
async fn one_that_is_stopped_does_not_have_the_other_wait() -> Result<()> {
    let mut replicas = Replicas::start().await?;
    let Replicas { api, first, second, .. } = &mut replicas;
    let led = api.holder();
    first.process.stop();
    // It was left, or taken since; but not as it was when nobody let it go.
    assert_ne!(api.holder(), led);
    leads(second).await
}
