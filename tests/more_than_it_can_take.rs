//! Far more comes in than `serin` can take: is every count exact in the end, and did the services that arrived first suffer least?
//! `SECONDS_LONG=60` has it for a minute.

use std::{
    env,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use anyhow::{Context, Result};
use support::{
    poll,
    reporter::{self, Says, Told},
    serin::{self, Serin},
};
use tokio::{task::JoinSet, time::Instant};

const SERVICES: usize = 8;
const SIDECARS_EACH: usize = 24;
const SERIES: u32 = 40;
/// Of each tenth of a second `serin` runs this much: a twentieth of a core, whatever the machine.
const RUNS: Duration = Duration::from_millis(5);
const STOPS: Duration = Duration::from_millis(95);
const SOON: Duration = Duration::from_secs(120);

#[tokio::test(flavor = "multi_thread")]
async fn everything_is_counted_in_the_end() -> Result<()> {
    let seconds = env::var("SECONDS_LONG").ok().and_then(|seconds| seconds.parse().ok()).unwrap_or(6);
    let dir = tempfile::tempdir()?;
    let config = serin::configure(dir.path(), &dir.path().join("rds.yaml"))?;
    let serin = Serin::start(&config, &dir.path().join("serin.log")).await?;
    let until = Instant::now() + Duration::from_secs(seconds);
    let told: Vec<Arc<Told>> = (0..SERVICES).map(|_| Arc::default()).collect();
    let mut sidecars = JoinSet::new();
    for at in 0..SERVICES * SIDECARS_EACH {
        // The services arrive one after the other.
        let service = at / SIDECARS_EACH;
        let says = Says { node: format!("node-{at}"), service: format!("service-{service}"), series: SERIES };
        let told = told.get(service).context("no such service")?;
        sidecars.spawn(reporter::run(serin.grpc, says, until, Arc::clone(told)));
        if at % SIDECARS_EACH == 0 {
            let seen = async || Ok((serin.metric("serin_services", &[]).await? > service as u64).then_some(()));
            poll::until("the service to be seen", SOON, seen).await?;
        }
    }
    let mut said = None;
    while Instant::now() < until {
        serin.process.pause();
        tokio::time::sleep(STOPS).await;
        serin.process.resume();
        tokio::time::sleep(RUNS).await;
        if told.iter().any(|told| told.shed.load(Ordering::Relaxed) > 0) && said.is_none() {
            // Asked while it has the whole machine, for as long as that takes.
            said = poll::get(serin.metrics, "/healthz").await;
        }
    }
    while let Some(sidecar) = sidecars.join_next().await {
        sidecar??;
    }
    let shed: Vec<u64> = told.iter().map(|told| told.shed.load(Ordering::Relaxed)).collect();
    let requests: Vec<u64> = told.iter().map(|told| told.requests.load(Ordering::Relaxed)).collect();
    eprintln!("of each service, by arrival: streams shed {shed:?}, requests {requests:?}");
    assert_eq!(shed.first(), Some(&0), "the oldest service is shed last: {shed:?}");
    assert!(shed.last().is_some_and(|shed| *shed > 0), "the newest one is shed first: {shed:?}");
    let said = said.context("it was overloaded")?;
    assert!(said.starts_with("ok, but overloaded: ") && said.contains("of 9 services are shed"), "{said}");
    let sent: u64 = told.iter().map(|told| told.requests.load(Ordering::Relaxed)).sum();
    assert_eq!(serin.requests(&[]).await?, sent, "all that was acknowledged, once");
    let calm = async || Ok((serin.metric("serin_services_shed", &[]).await? == 0).then_some(()));
    poll::until("all to be let in again", SOON, calm).await?;
    assert_eq!(poll::get(serin.metrics, "/healthz").await.as_deref(), Some("ok\n"));
    assert!(serin.process.log().contains("overload"), "{}", serin.process.log());
    Ok(())
}
