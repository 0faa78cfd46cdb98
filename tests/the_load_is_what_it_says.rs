//! The parts that the other tests measure with: the service's latencies, its answers, and the load's own counting.

use std::time::Duration;

use anyhow::Result;
use rand::{SeedableRng, rngs::StdRng};
use serin_sketch::{Counts, Micros};
use support::{
    latency::Latency,
    load::{self, Arrivals, Plan, Protocol, Tally},
    service::{Behaviour, Release},
};

type Count = fn(&Tally) -> u64;

fn quantiles(latency: Latency) -> [f64; 4] {
    let mut rng = StdRng::seed_from_u64(1);
    let mut counts = Counts::new();
    (0..400_000).for_each(|_| counts.record(Micros(latency.draw(&mut rng).as_micros() as u64)));
    [0.5, 0.95, 0.99, 0.999].map(|q| counts.quantile(q).unwrap().mid().as_millis_f64())
}

/// The body below p95 is a truncated lognormal distribution, so p50, which is its 0.5/0.95 quantile times 0.95, is the
/// lognormal's own median; p99 = 91.04 * 5^(1/3), p99.9 = 91.04 * 50^(1/3).
#[test]
fn latencies_follow_the_model() {
    let close = |got: [f64; 4], want: [f64; 4]| {
        got.iter()
            .zip(want)
            .for_each(|(got, want)| assert!((got / want - 1.0).abs() < 0.04, "{got} ms, not {want} ms"));
    };
    close(quantiles(Latency { scale: 1.0, tail: 1.0 }), [40.0, 91.04, 155.7, 335.4]);
    close(quantiles(Latency { scale: 1.0, tail: 1.5 }), [40.0, 91.04, 233.5, 503.1]);
    close(quantiles(Latency { scale: 0.1, tail: 1.0 }), [4.0, 9.104, 15.57, 33.54]);
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_are_told_apart_in_every_protocol() -> Result<()> {
    let release = Release::start(1, 0.01).await?;
    let cases: [(Protocol, &str, Count); 9] = [
        (Protocol::Http1, "", |t| t.ok),
        (Protocol::Http1, "404", |t| t.client_errors),
        (Protocol::Http1, "500", |t| t.server_errors),
        (Protocol::Http2, "", |t| t.ok),
        (Protocol::Http2, "503", |t| t.server_errors),
        (Protocol::Grpc, "", |t| t.ok),
        (Protocol::Grpc, "grpc-5", |t| t.client_errors),
        (Protocol::Grpc, "grpc-13", |t| t.server_errors),
        (Protocol::Grpc, "hang", |t| t.timed_out),
    ];
    for (protocol, answer, class) in cases {
        let timeout = Duration::from_millis(if answer == "hang" { 50 } else { 10_000 });
        let plan = Plan { answer, requests: 20, timeout, ..Plan::new(release.addresses[0], protocol) };
        let tally = load::run(plan).await?;
        assert_eq!(
            (tally.sent, class(&tally), tally.latency.total()),
            (20, 20, 20),
            "{protocol:?} {answer}: {tally:?}"
        );
    }
    assert_eq!(release.served(), 9 * 20);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn behaviour_changes_while_it_runs() -> Result<()> {
    let release = Release::start(2, 0.01).await?;
    let plan = Plan { arrivals: Arrivals::Poisson(7), ..Plan::new(release.addresses[1], Protocol::Http1) };
    assert_eq!(load::run(plan.clone()).await?.ok, 100);
    release.behave(Behaviour::Errors(1.0));
    assert_eq!(load::run(plan.clone()).await?.server_errors, 100);
    release.behave(Behaviour::Hang(1.0));
    let hanging = Plan { timeout: Duration::from_millis(30), ..plan };
    assert_eq!(load::run(hanging).await?.timed_out, 100);
    Ok(())
}

/// The generator does not wait for answers: all are sent although none ever comes, and what has no end when it is
/// stopped is in `sent` alone.
#[tokio::test(flavor = "multi_thread")]
async fn the_load_does_not_wait_for_answers() -> Result<()> {
    let release = Release::start(1, 0.01).await?;
    release.behave(Behaviour::Hang(1.0));
    let load = load::Load::start(Plan::new(release.addresses[0], Protocol::Http2))?;
    let all_sent = async || Ok((load.tally().sent == 100).then_some(()));
    support::poll::until("all to be sent", Duration::from_secs(20), all_sent).await?;
    let tally = load.stop(Duration::ZERO).await;
    assert_eq!((tally.sent, tally.ended()), (100, 0));
    Ok(())
}
