//! A release that stops answering: is it rolled back before the first of its requests times out?

use std::{fs, time::Duration};

use anyhow::Result;
use serin_proto::v1::DecisionStage;
use support::{
    gateway::{HTTP_FILTER, Shop},
    load::{Load, Plan, Protocol},
    poll,
    rig::Rig,
    service::Behaviour,
};

const SOON: Duration = Duration::from_secs(30);
/// Longer than this test takes: what the judge knows by then it knows from requests under way.
const TIMEOUT: Duration = Duration::from_secs(180);
const DECIDED_WITHIN: Duration = Duration::from_secs(90);

#[tokio::test(flavor = "multi_thread")]
async fn with_the_http_filter() -> Result<()> {
    let shop = Shop::open(2, 0.1).await?;
    let routes = fs::read_to_string(&shop.routes)?;
    let patient = routes.replace("timeout: 3s", &format!("timeout: {}s", TIMEOUT.as_secs()));
    assert_ne!(patient, routes);
    fs::write(&shop.routes, patient)?;
    let rig = Rig::start(shop, HTTP_FILTER).await?;
    let serin = rig.serin().await?;
    // At 50 requests/s that hang, Envoy's circuit breaker (1,024) opens after 20 s.
    let plan = Plan {
        requests: 100 * 300,
        rate_per_s: 100.0,
        timeout: TIMEOUT,
        ..Plan::new(rig.envoy.address, Protocol::Http1)
    };
    let load = Load::start(plan)?;
    let known = async || {
        let candidate = serin.compare(0).await?.candidate;
        Ok(candidate.filter(|candidate| candidate.requests > 300).map(|_| ()))
    };
    poll::until("the candidate's requests to be counted", SOON, known).await?;
    rig.shop.v2.behave(Behaviour::Hang(1.0));
    let reached = async |stage| {
        let newest = serin.decisions().await?.into_iter().next();
        Ok(newest.filter(|decision| decision.events.iter().any(|event| event.stage() == stage)))
    };
    let decided = poll::until("a decision", DECIDED_WITHIN, || reached(DecisionStage::Decided)).await?;
    for outcome in ["timeout", "reset"] {
        assert_eq!(serin.requests(&[("outcome", outcome)]).await?, 0, "{outcome}: {decided:?}");
    }
    let settled = async || Ok((rig.shop.weight("shop-v2")? == 0).then_some(()));
    poll::until("the rollback to be written", SOON, settled).await?;
    // That it completes nothing proves nothing: it did not before.
    let confirmed = poll::until("the rollback to be confirmed", SOON, || reached(DecisionStage::Confirmed)).await?;
    assert!(confirmed.sources.iter().any(|proxy| proxy.share_before > 0.0), "{confirmed:?}");
    drop(load);
    Ok(())
}
