//! One simulated sidecar.

use std::{
    net::SocketAddr,
    sync::PoisonError,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, Result};
use serin_proto::{
    convert,
    v1::{Attachment, Outcome, ReportRequest, Reporter, Series, SeriesDelta, Vantage, ingest_client::IngestClient},
};
use serin_sketch::{Bucket, Counts, Micros};
use tokio::{sync::mpsc, time::Instant};
use tokio_stream::wrappers::ReceiverStream;

use crate::Lags;

const SERVICES: usize = 100;

/// What is in each report.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Contents {
    pub(crate) series: u32,
    /// Whether both timings are told, as by a sidecar.
    pub(crate) both_timings: bool,
}

/// Reports every second from a time on, and notes how long each acknowledgement takes.
pub(crate) async fn run(grpc: SocketAddr, at: usize, contents: Contents, from: Instant, lags: Lags) -> Result<()> {
    tokio::time::sleep_until(from).await;
    let mut client = IngestClient::connect(format!("http://{grpc}")).await?;
    let (messages, receiver) = mpsc::channel(8);
    let mut report = first(at, contents);
    messages.send(report.clone()).await?;
    let mut acks = client.report(ReceiverStream::new(receiver)).await?.into_inner();
    (report.reporter, report.new_series) = (None, Vec::new());
    let mut ticks = tokio::time::interval_at(from + Duration::from_secs(1), Duration::from_secs(1));
    acks.message().await?.context("the stream ended")?;
    loop {
        ticks.tick().await;
        report.sequence += 1;
        report.interval_start_unix_us = now_us() - 1_000_000;
        let sent = Instant::now();
        messages.send(report.clone()).await?;
        acks.message().await?.context("the stream ended")?;
        lags.lock().unwrap_or_else(PoisonError::into_inner).push(sent.elapsed());
    }
}

fn now_us() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_micros() as u64
}

fn first(at: usize, Contents { series, both_timings }: Contents) -> ReportRequest {
    let total =
        Counts::from_iter((0..30u64).map(|i| (Bucket::of(Micros(20_000 + 2_000 * i + at as u64 % 97)), 1 + i % 3)));
    let wire = convert::to_wire(&total);
    let upstream = both_timings.then(|| wire.clone());
    let delta = |series| SeriesDelta { series, upstream: upstream.clone(), total: Some(wire.clone()), retries: 0 };
    let definition = |id: u32| Series {
        id,
        service: format!("service-{}", at % SERVICES),
        route: format!("route-{}", id / 2),
        release: if id.is_multiple_of(2) { "v1".to_owned() } else { "v2".to_owned() },
        pod: format!("pod-{at}"),
        outcome: Outcome::Success.into(),
    };
    ReportRequest {
        reporter: Some(Reporter {
            node_id: format!("sidecar-{at}"),
            boot_nonce: at as u64,
            context_id: 1,
            vantage: Vantage::Inbound.into(),
            attachment: Attachment::AccessLog.into(),
            filter_version: "soak".into(),
            first_sequence: 1,
            workload: String::new(),
        }),
        sequence: 1,
        interval_start_unix_us: now_us() - 1_000_000,
        interval_ms: 1_000,
        new_series: (0..series).map(definition).collect(),
        deltas: (0..series).map(delta).collect(),
        ..ReportRequest::default()
    }
}
