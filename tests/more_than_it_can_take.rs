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
/// Of each tenth of a second `serin` runs this much.
const RUNS: Duration = Duration::from_millis(5);
const OF: Duration = Duration::from_millis(100);
const SOON: Duration = Duration::from_secs(120);

#[tokio::test(flavor = "multi_thread")]
async fn everything_is_counted_in_the_end() -> Result<()> {
    let seconds = env::var("SECONDS_LONG").ok().and_then(|seconds| seconds.parse().ok()).unwrap_or(6);
    let dir = tempfile::tempdir()?;
    let config = serin::configure(dir.path(), &dir.path().join("rds.yaml"))?;
    let serin = Serin::start(&config, &dir.path().join("serin.log")).await?;
    let told: Vec<Arc<Told>> = (0..SERVICES).map(|_| Arc::default()).collect();
    let mut sidecars = JoinSet::new();
    for at in 0..SERVICES * SIDECARS_EACH {
        // The services arrive one after the other.
        let service = at / SIDECARS_EACH;
        let says = Says { node: format!("node-{at}"), service: format!("service-{service}"), series: SERIES };
        let told = told.get(service).context("no such service")?;
        sidecars.spawn(reporter::run(serin.grpc, says, Arc::clone(told)));
        if at % SIDECARS_EACH == 0 {
            let seen = async || Ok((serin.metric("serin_services", &[]).await? > service as u64).then_some(()));
            poll::until("the service to be seen", SOON, seen).await?;
        }
    }
    // Less and less, until it is too much for it on this machine; and then for as long as was asked for.
    let (mut said, mut runs) = (None, RUNS);
    while said.is_none() && runs > Duration::from_micros(100) {
        let throttle = serin.process.throttle(runs, OF);
        let start = Instant::now();
        while start.elapsed() < Duration::from_secs(if said.is_none() { 6 } else { seconds }) {
            tokio::time::sleep(Duration::from_millis(200)).await;
            if told.iter().any(|told| told.shed.load(Ordering::Relaxed) > 0) && said.is_none() {
                said = poll::get(serin.metrics, "/healthz").await.filter(|said| said.contains("overloaded"));
            }
        }
        drop(throttle);
        runs /= 2;
    }
    told.iter().for_each(|told| told.is_enough.store(true, Ordering::Relaxed));
    while let Some(sidecar) = sidecars.join_next().await {
        sidecar??;
    }
    let shed: Vec<u64> = told.iter().map(|told| told.shed.load(Ordering::Relaxed)).collect();
    let requests: Vec<u64> = told.iter().map(|told| told.requests.load(Ordering::Relaxed)).collect();
    eprintln!("of each service, by arrival: streams shed {shed:?}, requests {requests:?}");
    // How many had to be shed is a matter of the machine; who was is not.
    let (older, newer) = shed.split_at(SERVICES / 2);
    let (older, newer) = (older.iter().sum::<u64>(), newer.iter().sum::<u64>());
    assert!(newer > 2 * older, "the newest are shed first: {shed:?}");
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
