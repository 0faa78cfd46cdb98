//! What Envoy counted is what `serin` counted, exactly, whatever the protocol, the attachment and the outcome.

use std::{fs, time::Duration};

use anyhow::Result;
use support::{
    gateway::{ACCESS_LOG, HTTP_FILTER, Shop},
    load::{self, Plan, Protocol},
    rig::Rig,
    serin::Serin,
};

/// Besides the service: `/direct` is answered by Envoy itself, and paths outside `/shop` lead nowhere.
fn add_routes(shop: &Shop) -> Result<()> {
    let shipped = fs::read_to_string(&shop.routes)?;
    let direct = "    routes:\n    - { name: direct, match: { path: /direct }, direct_response: { status: 200 } }\n";
    let changed = shipped.replacen("    routes:\n", direct, 1).replacen("{ prefix: / }", "{ prefix: /shop }", 1);
    assert!(changed.contains(direct) && changed.contains("prefix: /shop"), "{changed}");
    Ok(fs::write(&shop.routes, changed)?)
}

/// Sends 50 requests, and returns how many more `serin` has under an outcome once it has all that Envoy had.
async fn more(rig: &Rig, serin: &Serin, plan: Plan, outcome: &str) -> Result<u64> {
    let before = serin.requests(&[("outcome", outcome)]).await?;
    let tally = load::run(Plan { requests: 50, ..plan }).await?;
    assert_eq!((tally.sent, tally.ended()), (50, 50));
    rig.agree(serin).await?;
    Ok(serin.requests(&[("outcome", outcome)]).await? - before)
}

async fn check(file: &str) -> Result<()> {
    let shop = Shop::open(2, 0.1).await?;
    add_routes(&shop)?;
    let rig = Rig::start(shop, file).await?;
    let serin = rig.serin().await?;
    let plan = |protocol, path, answer| Plan { path, answer, ..Plan::new(rig.envoy.address, protocol) };
    let cases = [
        (plan(Protocol::Http1, "/shop/items", ""), "success"),
        (plan(Protocol::Http1, "/shop/items", "404"), "client_error"),
        (plan(Protocol::Http1, "/shop/items", "503"), "server_error"),
        (plan(Protocol::Http1, "/direct", ""), "success"),
        (plan(Protocol::Http1, "/nowhere", ""), "client_error"),
        // The route's own timeout of 3 s.
        (plan(Protocol::Http1, "/shop/items", "hang"), "timeout"),
        (plan(Protocol::Http2, "/shop/items", ""), "success"),
        (plan(Protocol::Http2, "/shop/items", "500"), "server_error"),
        (plan(Protocol::Http2, "/nowhere", ""), "client_error"),
        (Plan { timeout: Duration::from_millis(100), ..plan(Protocol::Http2, "/shop/items", "hang") }, "aborted"),
        (plan(Protocol::Grpc, "/shop.v1.Shop/Get", ""), "success"),
        (plan(Protocol::Grpc, "/shop.v1.Shop/Get", "grpc-5"), "client_error"),
        (plan(Protocol::Grpc, "/shop.v1.Shop/Get", "grpc-13"), "server_error"),
    ];
    let all = 50 * cases.len() as u64;
    for (plan, outcome) in cases {
        let case = format!("{file}: {:?} {} {}", plan.protocol, plan.path, plan.answer);
        assert_eq!(more(&rig, &serin, plan, outcome).await?, 50, "{case} {outcome}");
    }
    assert_eq!(rig.envoy.requests_ended().await?, all);
    assert_eq!(serin.requests(&[]).await?, all);
    // 650 requests, of which /direct and /nowhere never reached a release.
    assert_eq!(rig.shop.v1.served() + rig.shop.v2.served(), all - 150);
    let releases = serin.compare(0).await?;
    let counted = releases.baseline.unwrap().requests + releases.candidate.unwrap().requests;
    assert_eq!(counted, all - 150);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn with_the_access_logger() -> Result<()> {
    check(ACCESS_LOG).await
}

#[tokio::test(flavor = "multi_thread")]
async fn with_the_http_filter() -> Result<()> {
    check(HTTP_FILTER).await
}
