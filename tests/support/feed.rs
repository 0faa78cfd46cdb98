//! A gateway's filter without a gateway: reports to `serin` of a service `shop` whose release v2 answers with errors.

use std::{
    net::SocketAddr,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, Result};
use serin_proto::v1::{
    Distribution, Outcome, ReportRequest, Reporter, Series, SeriesDelta, ingest_client::IngestClient,
};
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
        Feed(tokio::spawn(each_second(grpc, crate::reporter::gateway("gateway", 1), 1.., report)))
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

/// Says who reports, and sends one report after the other, each on its second once the one before is acknowledged.
///
/// # Errors
/// When the stream ends.
pub async fn each_second(
    grpc: SocketAddr,
    reporter: Reporter,
    sequences: impl Iterator<Item = u64>,
    report: impl Fn(u64) -> ReportRequest,
) -> Result<()> {
    let (messages, receiver) = mpsc::channel(8);
    let mut client = IngestClient::connect(format!("http://{grpc}")).await?;
    messages.send(ReportRequest { reporter: Some(reporter), interval_ms: 1_000, ..ReportRequest::default() }).await?;
    let mut acks = client.report(ReceiverStream::new(receiver)).await?.into_inner();
    let mut ticks = on_the_second();
    for sequence in sequences {
        ticks.tick().await;
        messages.send(report(sequence)).await?;
        while acks.message().await?.context("the stream ended")?.acked_sequence < sequence {}
    }
    Ok(())
}

/// Ticks with the wall clock's seconds, as the filter does: a second is judged half a second after its end, so that what is sent shortly
/// before then would be late whenever the machine is busy.
fn on_the_second() -> Interval {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let second = Duration::from_secs(1);
    let mut ticks =
        interval_at(Instant::now() + second.saturating_sub(Duration::from_nanos(now.subsec_nanos().into())), second);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    ticks
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
