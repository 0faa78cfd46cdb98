//! Four times what `serin` can take comes in: is every count exact in the end, and did the services that arrived first suffer least?
//! What it can take is measured before; it is slowed down so that this machine can offer more. `SECONDS_LONG=60` has it for a minute.
#![expect(clippy::print_stderr, reason = "what was measured")]

use std::{
    collections::BTreeMap,
    env,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, Result, ensure};
use serin_proto::v1::ReadHistoryRequest;
use support::{
    filter::{Counts, Filters, Tally},
    poll,
    serin::{self, Serin},
};
use tokio::time::Instant;

/// Those of the filters; the configuration names one more. So few that a quarter of those that are let in is one.
const SERVICES: usize = 4;
const SERIES: u32 = 80;
const REQUESTS: u32 = 4;
/// Of each tenth of a second `serin` runs this much.
const RUNS: Duration = Duration::from_millis(4);
const OF: Duration = Duration::from_millis(100);
const TIMES: usize = 4;
const FILTERS_AT_FIRST: usize = 45;
/// So many times as many filters in each step, until it is too much.
const GROWTH: f64 = 1.6;
/// This many, each with a connection, are as good as no limit.
const FILTERS_MAX: usize = 2_000;
const SOON: Duration = Duration::from_secs(300);

struct Offered {
    filters: Filters,
    count: usize,
    tallies: Vec<Arc<Tally>>,
    /// For those that were there at first, and for those that are too much.
    is_enough: [Arc<AtomicBool>; 2],
}

impl Offered {
    fn grow(&mut self, to: usize) {
        for at in self.count..to {
            let service = at % SERVICES;
            let (node, service_name) = (format!("node-{at}"), format!("service-{service}"));
            let counts = Counts { node, service: service_name, series: SERIES, requests: REQUESTS };
            let is_enough = Arc::clone(&self.is_enough[usize::from(at >= FILTERS_AT_FIRST)]);
            self.filters.add(counts, Arc::clone(&self.tallies[service]), is_enough);
        }
        self.count = self.count.max(to);
    }

    /// What all filters counted, and what of it is acknowledged, in series: each second of one has so many requests.
    fn series(&self) -> (u64, u64) {
        let sum = |of: fn(&Tally) -> u64| self.tallies.iter().map(|tally| of(tally)).sum::<u64>() / u64::from(REQUESTS);
        let acknowledged = sum(|tally| tally.acknowledged.load(Ordering::Relaxed));
        (sum(|tally| tally.counted.load(Ordering::Relaxed)), acknowledged)
    }

    fn per_s(&self) -> u64 {
        self.count as u64 * u64::from(SERIES)
    }

    /// Offers more and more, until just before the next second comes the last one still waits as a whole, and a second later again; the most
    /// series that were acknowledged a second.
    async fn capacity(&mut self, step: Duration) -> Result<f64> {
        let mut best: f64 = 0.0;
        almost_a_second_later(Duration::ZERO).await;
        loop {
            let (before, start) = (self.series().1, Instant::now());
            // New connections may make it late once.
            let mut is_late = true;
            for window in [step, Duration::from_secs(1)] {
                if is_late {
                    almost_a_second_later(window).await;
                    let (counted, acknowledged) = self.series();
                    is_late = counted - acknowledged > self.per_s();
                }
            }
            let taken = (self.series().1 - before) as f64 / start.elapsed().as_secs_f64();
            eprintln!("{} series/s offered, {taken:.0} acknowledged, late: {is_late}", self.per_s());
            best = best.max(taken);
            if is_late {
                return Ok(best);
            }
            let to = (self.count as f64 * GROWTH) as usize;
            ensure!(to < FILTERS_MAX, "{best:.0} series/s are not too much for it: slow it down more");
            self.grow(to);
        }
    }
}

/// Filters report at the seconds: at the end of one that is about so long from now.
async fn almost_a_second_later(about: Duration) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let end = (now + about).as_secs();
    tokio::time::sleep((Duration::from_millis(end * 1_000 + 950)).saturating_sub(now)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_is_counted_in_the_end() -> Result<()> {
    let seconds = env::var("SECONDS_LONG").ok().and_then(|seconds| seconds.parse().ok()).unwrap_or(4);
    let dir = tempfile::tempdir()?;
    let config = serin::configure(dir.path(), &dir.path().join("rds.yaml"))?;
    let serin = Serin::start(&config, &dir.path().join("serin.log")).await?;
    let tallies: Vec<Arc<Tally>> = (0..SERVICES).map(|_| Arc::default()).collect();
    let mut offered =
        Offered { filters: Filters::start(serin.grpc)?, count: 0, tallies, is_enough: Default::default() };
    for service in 1..=SERVICES {
        // They arrive one after the other.
        offered.grow(service);
        let seen = async || Ok((serin.metric("serin_services", &[]).await? > service as u64).then_some(()));
        poll::until("the service to be seen", SOON, seen).await?;
    }
    offered.grow(FILTERS_AT_FIRST);
    let throttle = serin.process.throttle(RUNS, OF);
    let capacity = offered.capacity(Duration::from_secs((seconds / 10).clamp(2, 6))).await?;
    offered.grow((TIMES as f64 * capacity / f64::from(SERIES)).ceil() as usize);
    let ((before, taken_before), start) = (offered.series(), Instant::now());
    let mut said = None;
    while start.elapsed() < Duration::from_secs(seconds) || said.is_none() {
        ensure!(start.elapsed() < Duration::from_secs(seconds) + SOON, "it never said that it is overloaded");
        tokio::time::sleep(Duration::from_millis(200)).await;
        if said.is_none() && offered.tallies.iter().any(|tally| tally.shed.load(Ordering::Relaxed) > 0) {
            said = poll::get(serin.metrics, "/healthz").await.filter(|said| said.contains("overloaded"));
        }
    }
    let (counted, acknowledged) = offered.series();
    let took = start.elapsed().as_secs_f64();
    eprintln!(
        "it can take {capacity:.0} series/s; offered {:.0} series/s for {took:.0} s, acknowledged {:.0}",
        (counted - before) as f64 / took,
        (acknowledged - taken_before) as f64 / took
    );
    drop(throttle);
    // What is left is what it can take with ease.
    let Offered { filters, tallies, is_enough: [first, others], .. } = offered;
    others.store(true, Ordering::Relaxed);
    let calm = async || Ok((serin.metric("serin_services_shed", &[]).await? == 0).then_some(()));
    poll::until("all to be let in again", SOON, calm).await?;
    first.store(true, Ordering::Relaxed);
    filters.delivered().await?;
    eprintln!("everything is delivered {:.0} s after the overload", start.elapsed().as_secs_f64() - took);
    told_in_order(&tallies);
    let said = said.context("it was overloaded")?;
    assert!(said.starts_with("ok, but overloaded: ") && said.contains("of 5 services are shed"), "{said}");
    for (service, tally) in tallies.iter().enumerate() {
        let counted = tally.counted.load(Ordering::Relaxed);
        let each = vec![counted / u64::from(SERIES); SERIES as usize];
        assert_eq!(
            kept(&serin, &format!("service-{service}")).await?,
            each,
            "what service-{service} counted, by route"
        );
    }
    let sent: u64 = tallies.iter().map(|tally| tally.counted.load(Ordering::Relaxed)).sum();
    assert_eq!(serin.requests(&[]).await?, sent, "all that was counted, once");
    let well = async || Ok(poll::get(serin.metrics, "/healthz").await.filter(|said| said == "ok\n"));
    poll::until("it to say that it is well", SOON, well).await?;
    assert!(serin.process.log().contains("overload"), "{}", serin.process.log());
    Ok(())
}

/// The requests of each route in the history.
async fn kept(serin: &Serin, service: &str) -> Result<Vec<u64>> {
    let now_s = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    let (from_s, to_s) = (now_s - 3_600, now_s + 60);
    let request = ReadHistoryRequest { service: service.to_owned(), from_s, to_s, ..ReadHistoryRequest::default() };
    let mut entries = serin.query().read_history(request).await?.into_inner();
    let mut routes = BTreeMap::<String, u64>::new();
    while let Some(entry) = entries.message().await? {
        *routes.entry(entry.route).or_default() += entry.total.iter().flat_map(|total| &total.counts).sum::<u64>();
    }
    Ok(routes.into_values().collect())
}

/// How many had to be shed is a matter of the machine; who was first is not.
fn told_in_order(tallies: &[Arc<Tally>]) {
    let load = |of: fn(&Tally) -> u64| tallies.iter().map(|tally| of(tally)).collect::<Vec<_>>();
    let shed = load(|tally| tally.shed.load(Ordering::Relaxed));
    let counted = load(|tally| tally.counted.load(Ordering::Relaxed));
    let backlog = load(|tally| tally.backlog_max.load(Ordering::Relaxed));
    eprintln!(
        "of each service, by arrival: streams shed {shed:?}, requests {counted:?}, most reports waiting {backlog:?}"
    );
    let first: Vec<Option<Instant>> = tallies.iter().map(|tally| tally.first_shed.get().copied()).collect();
    assert!(first.last().is_some_and(Option::is_some), "the newest one is shed");
    for older in first.windows(2) {
        // A quarter at a time, and each at a time of its own.
        assert!(
            older[0].is_none_or(|at| older[1].is_some_and(|newer| newer < at)),
            "the newest are shed first: {first:?}"
        );
    }
}
