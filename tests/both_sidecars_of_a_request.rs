//! A request passes the caller's sidecar and the callee's, and both count it. Is it then one request in each vantage, and judged in
//! one alone?

use std::{fs, time::Duration};

use anyhow::Result;
use serde_json::json;
use serin_proto::v1::Vantage;
use support::{
    bootstrap::Bootstrap,
    envoy::Envoy,
    gateway::Shop,
    load::{self, Plan, Protocol},
    poll,
    serin::{self, Serin},
};

const SOON: Duration = Duration::from_secs(30);
const REQUESTS: u64 = 600;

/// The sidecar of the pod of a release.
async fn inbound(shop: &Shop, serin: &Serin, release: &str) -> Result<Envoy> {
    let dir = shop.dir().join(release);
    fs::create_dir_all(&dir)?;
    let app = if release == "v1" { &shop.v1 } else { &shop.v2 };
    let bootstrap = Bootstrap::shipped("sidecar-inbound.yaml")?.cluster("serin", &[serin.grpc])?;
    let bootstrap = bootstrap.cluster("app", &app.addresses)?.change(|bootstrap| {
        bootstrap["node"]["id"] = json!(format!("shop-{release}-1"));
        bootstrap["node"]["metadata"]["LABELS"]["version"] = json!(release);
    });
    Envoy::start(&bootstrap, 1, &dir).await
}

#[tokio::test(flavor = "multi_thread")]
async fn are_two_vantages() -> Result<()> {
    let shop = Shop::open(1, 0.1).await?;
    let config = serin::configure(shop.dir(), &shop.routes)?;
    fs::write(&config, fs::read_to_string(&config)?.replacen("vantage: gateway", "vantage: outbound", 1))?;
    let serin = Serin::start(&config, &shop.dir().join("serin.log")).await?;
    let (v1, v2) = (inbound(&shop, &serin, "v1").await?, inbound(&shop, &serin, "v2").await?);
    let caller = Bootstrap::shipped("sidecar-outbound.yaml")?.routes(&shop.routes)?.cluster("serin", &[serin.grpc])?;
    let caller = caller.cluster("shop-v1", &[v1.address])?.cluster("shop-v2", &[v2.address])?;
    let caller = Envoy::start(&caller, 2, shop.dir()).await?;

    let tally = load::run(Plan { requests: REQUESTS, ..Plan::new(caller.address, Protocol::Http1) }).await?;
    assert_eq!(tally.ok, REQUESTS, "{tally:?}");
    // Once by each side, and no more than that.
    serin.counts(2 * REQUESTS, SOON).await?;
    let [of_v1, of_v2] = [("v1", &v1), ("v2", &v2)];
    for (release, sidecar) in [of_v1, of_v2] {
        let served = sidecar.idle(SOON).await?;
        assert!(served > REQUESTS / 4, "{release} served {served}");
        for vantage in ["inbound", "outbound"] {
            let counted = serin.requests(&[("release", release), ("vantage", vantage)]).await?;
            assert_eq!(counted, served, "{release} {vantage}");
        }
    }
    let judged = async || {
        let compared = serin.compare(0).await?;
        assert_eq!(compared.vantage(), Vantage::Outbound);
        let requests = [compared.baseline, compared.candidate].map(|release| release.map_or(0, |r| r.requests));
        assert!(requests.iter().sum::<u64>() <= REQUESTS, "{requests:?}");
        Ok((requests.iter().sum::<u64>() == REQUESTS).then_some(()))
    };
    poll::until("every request to be compared once", SOON, judged).await
}
