//! Two Envoys send the requests, and one of them does not read what was written. Does the decision name it, and say when it follows?

use std::{fs, path::Path, time::Duration};

use anyhow::{Context, Result, bail};
use serde_json::json;
use serin_proto::v1::{Decision, DecisionStage, SourceState};
use support::{
    envoy::Envoy,
    gateway::{ACCESS_LOG, Shop},
    load::{Load, Plan, Protocol},
    poll,
    serin::{self, Serin},
    service::Behaviour,
};

const DECIDED_WITHIN: Duration = Duration::from_secs(120);
const SOON: Duration = Duration::from_secs(60);
/// 400 and 20 requests a second for as long as the test may take.
const SECONDS: u64 = 300;

/// An Envoy by another name, whose routes are its own. Both are of one workload.
async fn client(shop: &Shop, serin: &Serin, name: &str, routes: &Path) -> Result<Envoy> {
    let dir = shop.dir().join(name);
    fs::create_dir_all(&dir)?;
    let bootstrap = shop.bootstrap(ACCESS_LOG, serin.grpc)?.routes(routes)?;
    let bootstrap = bootstrap.change(|bootstrap| {
        let metadata = json!({ "NAMESPACE": "shop", "WORKLOAD_NAME": "client" });
        bootstrap["node"] = json!({ "id": name, "cluster": "client.shop", "metadata": metadata });
    });
    Envoy::start(&bootstrap, 1, &dir).await
}

/// Envoy reads the routes when a file is moved to where they are.
fn put(text: &str, routes: &Path) -> Result<()> {
    let beside = routes.with_extension("new");
    fs::write(&beside, text)?;
    fs::rename(&beside, routes).context("cannot replace the routes")
}

async fn told(serin: &Serin, stage: DecisionStage) -> Result<Option<(Decision, String)>> {
    let Some(decision) = serin.decisions().await?.into_iter().next() else { return Ok(None) };
    let event = decision.events.iter().find(|event| event.stage() == stage).map(|event| event.sentence.clone());
    Ok(event.map(|sentence| (decision, sentence)))
}

#[tokio::test(flavor = "multi_thread")]
async fn one_proxy_that_does_not_follow_is_named() -> Result<()> {
    let shop = Shop::open(1, 0.1).await?;
    let config = serin::configure(shop.dir(), &shop.routes)?;
    fs::write(&config, fs::read_to_string(&config)?.replacen("confirm_within: 15s", "confirm_within: 6s", 1))?;
    let serin = Serin::start(&config, &shop.dir().join("serin.log")).await?;
    let stale = shop.dir().join("stale.yaml");
    put(&fs::read_to_string(&shop.routes)?, &stale)?;
    let (follows, stuck) =
        (client(&shop, &serin, "client-1", &shop.routes).await?, client(&shop, &serin, "client-7", &stale).await?);
    shop.v2.behave(Behaviour::Errors(0.9));
    let load = |envoy: &Envoy, rate: u64| {
        let plan = Plan::new(envoy.address, Protocol::Http1);
        Load::start(Plan { requests: rate * SECONDS, rate_per_s: rate as f64, ..plan })
    };
    let (many, few) = (load(&follows, 400)?, load(&stuck, 20)?);

    let sentence =
        poll::until("client-7 to be named", DECIDED_WITHIN, async || told(&serin, DecisionStage::NotInEffect).await);
    let (decision, sentence) = sentence.await?;
    assert!(sentence.contains("client-7 of shop/client ("), "{sentence}");
    assert!(sentence.contains("of its own) still sends v2 requests; the other 1 stopped within "), "{sentence}");
    let sources = &decision.sources;
    let states: Vec<_> =
        sources.iter().map(|source| (source.node_id.as_str(), source.proxies, source.state())).collect();
    assert_eq!(states, [("", 2, SourceState::Sends), ("client-7", 1, SourceState::Sends)], "{sources:?}");
    assert!(sources.iter().all(|source| source.workload == "shop/client"), "{sources:?}");

    put(&fs::read_to_string(&shop.routes)?, &stale)?;
    let confirmed =
        poll::until("both to be seen to follow", SOON, async || Ok(told(&serin, DecisionStage::Confirmed).await?));
    let (decision, sentence) = confirmed.await?;
    assert!(sentence.contains("s: client-7 after "), "{sentence}");
    assert!(sentence.contains("s, the other proxy of shop/client within "), "{sentence}");
    let [workload] = &decision.sources[..] else { bail!("{:?}", decision.sources) };
    assert_eq!(
        (workload.workload.as_str(), workload.proxies, workload.state()),
        ("shop/client", 2, SourceState::Stopped)
    );
    assert!(workload.stopped_after_ms > 6_000, "{workload:?}");
    let (many, few) = (many.stop(SOON).await, few.stop(SOON).await);
    serin.counts(many.sent + few.sent, SOON).await
}
