//! A gRPC error comes in the trailers of a response whose HTTP status is 200, and counts against its release.

use anyhow::Result;
use support::{
    gateway::{ACCESS_LOG, HTTP_FILTER, Shop},
    load::{self, Plan, Protocol},
    rig::Rig,
};

async fn check(file: &str) -> Result<()> {
    let rig = Rig::start(Shop::open(1, 0.1).await?, file).await?;
    let serin = rig.serin().await?;
    let plan = Plan::new(rig.envoy.address, Protocol::Grpc);
    // Unavailable is the server's fault; not found and invalid argument are the caller's.
    let cases = [("", 100, 0), ("grpc-14", 40, 40), ("grpc-5", 30, 0), ("grpc-3", 20, 0), ("grpc-13", 10, 10)];
    for (answer, requests, _) in cases {
        assert_eq!(load::run(Plan { answer, requests, ..plan.clone() }).await?.broken, 0);
    }
    assert_eq!(rig.agree(&serin).await?, cases.iter().map(|(_, requests, _)| requests).sum::<u64>());
    let releases = serin.compare(0).await?;
    let errors = releases.baseline.unwrap().errors + releases.candidate.unwrap().errors;
    assert_eq!(errors, cases.iter().map(|(_, _, errors)| errors).sum::<u64>(), "{file}");
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
