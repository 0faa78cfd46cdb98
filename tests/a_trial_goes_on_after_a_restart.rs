//! Does the running trial of a ReleaseGuard go on after `kill -9`, with each request as evidence once? And another trial begin anew?

use std::{
    net::SocketAddr,
    ops::Range,
    time::{SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use serin_proto::{
    convert,
    v1::{Decision, Outcome, ReportRequest, Series, SeriesDelta},
};
use serin_sketch::{Bucket, Counts, Micros};
use support::{feed, poll};

use crate::{
    a_release_guard_in_the_cluster::{GUARD, SOON, World},
    a_rollback_in_the_cluster::PATH,
};

const RELEASES: [(u32, &str, u64); 2] = [(0, "v1", 1), (1, "v2", 4)];
/// Reports before the end: too little to decide.
pub(crate) const BEFORE: u64 = 5;
/// What each counts of either release.
const EACH: u64 = 50;

/// Those before the end count one more, so that the remainder of the sum tells how many of them are in it. The first only begins the
/// trial: on a machine that is so busy that it comes too late to be judged, the second one does.
fn requests(sequence: u64) -> u64 {
    if (2..=BEFORE).contains(&sequence) { EACH + 1 } else { EACH }
}

/// One report a second, in which v2 is four times as slow, each sent when the one before is acknowledged. As of one that had no answer, and
/// goes on where it was, on a new stream.
pub(crate) async fn report(grpc: SocketAddr, sequences: Range<u64>) -> Result<()> {
    let first = sequences.start;
    let reporter = support::reporter::gateway("gateway", first);
    feed::each_second(grpc, reporter, sequences, |sequence| counted(sequence, sequence == first)).await
}

fn counted(sequence: u64, is_first: bool) -> ReportRequest {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let delta = |(series, _, times)| {
        let latencies: Counts = (1..=requests(sequence)).map(|at| (Bucket::of(Micros(times * 400 * at)), 1)).collect();
        let counts = convert::to_wire(&latencies);
        SeriesDelta { series, upstream: Some(counts.clone()), total: Some(counts), retries: 0 }
    };
    let series = |(id, release, _): (u32, &str, u64)| {
        let [service, route, release] = ["shop", "all", release].map(str::to_owned);
        Series { id, service, route, pod: format!("{release}-pod"), release, outcome: Outcome::Success.into() }
    };
    ReportRequest {
        sequence,
        interval_start_unix_us: (now.as_micros() as u64).saturating_sub(1_000_000),
        interval_ms: 1_000,
        new_series: if is_first { RELEASES.into_iter().map(series).collect() } else { Vec::new() },
        deltas: RELEASES.into_iter().map(delta).collect(),
        ..ReportRequest::default()
    }
}

/// All requests of before, and those of some reports after it.
pub(crate) fn each_is_evidence_once(decision: &Decision) -> Result<()> {
    let verdict = decision.verdict.as_ref().context("a decision has a verdict")?;
    let before: u64 = (2..=BEFORE).map(requests).sum();
    for requests in [verdict.baseline_requests, verdict.candidate_requests] {
        let others = requests.checked_sub(before);
        ensure!(others.is_some_and(|others| (1..60).contains(&(others / EACH)) && others % EACH == 0), "{verdict:?}");
    }
    Ok(())
}

/// In the middle of a trial, whose status says since when it runs.
async fn killed() -> Result<World> {
    let mut world = World::start().await?;
    world.judges("v2").await?;
    report(world.serin.grpc, 1..BEFORE + 1).await?;
    let says_since = || world.cluster.object(GUARD)?.pointer("/status/trialStartTime").cloned();
    poll::until("the trial's start", SOON, async || Ok(says_since().filter(|since| !since.is_null()))).await?;
    assert_eq!(world.serin.decisions().await?, [], "it is not decided yet");
    world.kill();
    Ok(world)
}

#[tokio::test]
async fn each_request_before_and_after_a_kill_is_evidence_once() -> Result<()> {
    let mut world = killed().await?;
    world.start_again().await?;
    world.judges("v2").await?;
    let feed = tokio::spawn(report(world.serin.grpc, BEFORE + 1..1_000));
    let decision = poll::until("a decision", SOON, async || Ok(world.serin.decisions().await?.pop())).await?;
    feed.abort();
    each_is_evidence_once(&decision)?;
    world.says("RolledBack=True Written").await
}

/// Somebody deploys while it is away.
#[tokio::test]
async fn another_candidate_begins_anew_and_that_is_said() -> Result<()> {
    let mut world = killed().await?;
    world.cluster.change(GUARD, |guard| {
        (guard["spec"]["baseline"], guard["spec"]["candidate"]) = ("v1".into(), "v3".into());
    })?;
    world.cluster.change(PATH, |routes| {
        routes["spec"]["http"][0]["route"][1]["destination"]["subset"] = "v3".into();
    })?;
    world.start_again().await?;
    world.judges("v3").await?;
    let says = |status: &Value| status["sentence"].as_str().map(str::to_owned);
    let sentence = poll::until("the new trial in the status", SOON, async || {
        let status = world.cluster.object(GUARD).context("the guard is gone")?["status"].take();
        Ok(says(&status).filter(|_| status["candidate"] == "v3" && status["trialStartTime"].is_null()))
    });
    assert_eq!(sentence.await?, "v3: before serin was started again v2 was on trial against v1, judged anew");
    Ok(())
}
