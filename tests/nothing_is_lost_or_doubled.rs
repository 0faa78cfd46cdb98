//! Faults between the filter and `serin`, one after the other in a seeded order, with requests flowing: is every request counted once
//! in the end? `ROUNDS=100` has 20 of each; from 40 rounds on `serin` stands still for a minute each time.

use std::{env, time::Duration};

use anyhow::{Context, Result};
use rand::{RngExt, SeedableRng, rngs::StdRng, seq::SliceRandom};
use support::{
    gateway::{ACCESS_LOG, HTTP_FILTER, Shop},
    load::{Load, Plan, Protocol},
    poll,
    rig::Rig,
    serin::Serin,
};

const SOON: Duration = Duration::from_secs(90);
const RATE_PER_S: u64 = 250;

#[derive(Clone, Copy, Debug)]
enum Fault {
    /// `serin` is killed and started again.
    Kill,
    /// The connection breaks, and is there again later.
    Cut,
    /// Acknowledgements come late.
    Delay,
    /// Acknowledgements never come: the connection breaks while they are held back.
    Drop,
    /// `serin` stands still.
    Stop,
}

const FAULTS: [Fault; 5] = [Fault::Kill, Fault::Cut, Fault::Delay, Fault::Drop, Fault::Stop];

async fn sent_more(load: &Load, more: u64) -> Result<()> {
    let goal = load.tally().sent + more;
    poll::until("requests to be sent", SOON, async || Ok((load.tally().sent >= goal).then_some(()))).await
}

/// All that `serin` knows of: what it took itself, and what the filters say that an earlier run took.
async fn counted(serin: &Serin) -> Result<u64> {
    Ok(serin.requests(&[]).await? + serin.metric("serin_requests_delivered_before", &[]).await?)
}

async fn strike(fault: Fault, rig: &Rig, serin: &mut Serin, load: &Load, requests: u64) -> Result<()> {
    match fault {
        Fault::Kill => {
            serin.process.kill();
            sent_more(load, requests).await?;
            *serin = rig.serin().await?;
        }
        Fault::Cut => {
            rig.proxy.cut();
            sent_more(load, requests).await?;
            rig.proxy.heal(serin.grpc);
        }
        Fault::Delay => {
            rig.proxy.hold(true);
            sent_more(load, requests).await?;
            rig.proxy.hold(false);
        }
        Fault::Drop => {
            rig.proxy.hold(true);
            sent_more(load, requests).await?;
            rig.proxy.cut();
            rig.proxy.hold(false);
            rig.proxy.heal(serin.grpc);
        }
        Fault::Stop => {
            serin.process.pause();
            sent_more(load, requests).await?;
            serin.process.resume();
        }
    }
    Ok(())
}

async fn check(file: &str, seed: u64) -> Result<()> {
    let rounds = env::var("ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(FAULTS.len());
    let stop_s = if rounds >= 40 { 60 } else { 3 };
    let mut rng = StdRng::seed_from_u64(seed);
    let rig = Rig::start(Shop::open(2, 0.1).await?, file).await?;
    let mut serin = rig.serin().await?;
    let plan =
        Plan { rate_per_s: RATE_PER_S as f64, requests: 1_000_000, ..Plan::new(rig.envoy.address, Protocol::Http1) };
    let load = Load::start(plan)?;
    assert!(rounds >= FAULTS.len(), "ROUNDS={rounds}: at least {}, one for each kind", FAULTS.len());
    let mut faults = Vec::new();
    while faults.len() < rounds {
        let mut all = FAULTS;
        all.shuffle(&mut rng);
        faults.extend(all);
    }
    faults.truncate(rounds);
    for fault in &faults {
        sent_more(&load, rng.random_range(1..2 * RATE_PER_S)).await?;
        // Longer than a tick, so that reports meet it.
        let requests = match fault {
            Fault::Stop => stop_s * RATE_PER_S,
            _ => rng.random_range(2 * RATE_PER_S..3 * RATE_PER_S),
        };
        strike(*fault, &rig, &mut serin, &load, requests).await.with_context(|| format!("{fault:?}, seed {seed}"))?;
    }
    sent_more(&load, RATE_PER_S).await?;
    let tally = load.stop(SOON).await;
    let ended = rig.envoy.idle(SOON).await?;
    assert_eq!((tally.ok, ended), (tally.sent, tally.sent), "requests failed; {faults:?}, seed {seed}");
    let mut seen = 0;
    let exact = async || {
        seen = counted(&serin).await?;
        assert!(seen <= ended, "{seen} counted, {ended} served: {faults:?}, seed {seed}");
        Ok((seen == ended).then_some(()))
    };
    let exact = poll::until("every request to be counted", SOON, exact).await;
    exact.with_context(|| format!("{seen} counted of {ended}: {faults:?}, seed {seed}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn with_the_access_logger() -> Result<()> {
    check(ACCESS_LOG, 1).await
}

#[tokio::test(flavor = "multi_thread")]
async fn with_the_http_filter() -> Result<()> {
    check(HTTP_FILTER, 2).await
}
