//! A gateway's filter without a gateway: reports to `serin` of a service `shop` whose release v2 answers with errors.

use std::{
    net::SocketAddr,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, Result};
use serin_proto::v1::{Distribution, Outcome, ReportRequest, Series, SeriesDelta, ingest_client::IngestClient};
use tokio::{
    sync::mpsc,
    task::JoinHandle,
    time::{Instant, Interval, MissedTickBehavior, interval_at},
};
use tokio_stream::wrappers::ReceiverStream;

/// Pods of each release.
const PODS: u32 = 3;
/// Requests to each pod a second.
const REQUESTS: u64 = 100;
/// Of v2's, those that fail.
const FAIL: u64 = 50;

/// Reports every second until it is dropped.
#[derive(Debug)]
pub struct Feed(JoinHandle<Result<()>>);

impl Feed {
    /// Begins.
    pub fn start(grpc: SocketAddr) -> Self {
        Feed(tokio::spawn(run(grpc)))
    }

    /// Whether its stream was ended.
    pub fn is_over(&self) -> bool {
        self.0.is_finished()
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Sends one report after the other, each a second after the one before: the first, of number 1, says whose they are.
///
/// # Errors
/// When the stream ends.
pub async fn each_second(grpc: SocketAddr, report: impl Fn(u64) -> ReportRequest) -> Result<()> {
    let (messages, receiver) = mpsc::channel(8);
    let mut client = IngestClient::connect(format!("http://{grpc}")).await?;
    let mut ticks = on_the_second();
    ticks.tick().await;
    messages.send(report(1)).await?;
    let mut acks = client.report(ReceiverStream::new(receiver)).await?.into_inner();
    for sequence in 2.. {
        acks.message().await?.context("the stream ended")?;
        ticks.tick().await;
        messages.send(report(sequence)).await?;
    }
    Ok(())
}

/// Ticks with the wall clock's seconds, as the filter does: a second is judged half a second after its end, so that what is sent shortly
/// before then would be late whenever the machine is busy.
pub fn on_the_second() -> Interval {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let second = Duration::from_secs(1);
    interval_at(Instant::now() + second.saturating_sub(Duration::from_nanos(now.subsec_nanos().into())), second)
}

async fn run(grpc: SocketAddr) -> Result<()> {
    let mut client = IngestClient::connect(format!("http://{grpc}")).await?;
    let (messages, receiver) = mpsc::channel(8);
    messages.send(hello()).await?;
    let mut acks = client.report(ReceiverStream::new(receiver)).await?.into_inner();
    let mut ticks = on_the_second();
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for sequence in 1.. {
        ticks.tick().await;
        messages.send(report(sequence)).await?;
        acks.message().await?;
    }
    Ok(())
}

fn hello() -> ReportRequest {
    let reporter = crate::reporter::gateway("gateway", 1);
    ReportRequest { reporter: Some(reporter), interval_ms: 1_000, ..ReportRequest::default() }
}

fn report(sequence: u64) -> ReportRequest {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let (mut new_series, mut deltas) = (Vec::new(), Vec::new());
    for id in 0..4 * PODS {
        let (release, outcome, count) = match id / PODS {
            0 => ("v1", Outcome::Success, REQUESTS),
            1 => ("v2", Outcome::Success, REQUESTS - FAIL),
            2 => ("v2", Outcome::ServerError, FAIL),
            // So that the baseline's errors are known as well.
            _ => ("v1", Outcome::ServerError, 1),
        };
        if sequence == 1 {
            let [service, route, release] = ["shop", "all", release].map(str::to_owned);
            let pod = format!("{release}-{}", id % PODS);
            new_series.push(Series { id, service, route, release, pod, outcome: outcome.into() });
        }
        let counts = || Some(Distribution { bucket_gaps: vec![500], counts: vec![count] });
        deltas.push(SeriesDelta { series: id, upstream: counts(), total: counts(), retries: 0 });
    }
    let requests = u64::from(PODS) * (2 * REQUESTS + 1);
    ReportRequest {
        sequence,
        interval_start_unix_us: u64::try_from(now.as_micros()).unwrap_or(u64::MAX).saturating_sub(1_000_000),
        interval_ms: 1_000,
        new_series,
        deltas,
        requests_before: (sequence - 1) * requests,
        ..ReportRequest::default()
    }
}
