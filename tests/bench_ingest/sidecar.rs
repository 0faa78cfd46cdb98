//! One simulated sidecar.

use std::{net::SocketAddr, time::Duration};

use anyhow::{Context, Result};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use serin_proto::{
    convert,
    v1::{Attachment, Outcome, ReportRequest, Reporter, Series, SeriesDelta, Vantage, ingest_client::IngestClient},
};
use serin_sketch::{Bucket, Counts, Micros};
use tokio::{sync::mpsc, time::Instant};
use tokio_stream::wrappers::ReceiverStream;

/// Series of one sidecar: five routes, two releases seen, two outcomes.
pub(crate) const SERIES: u32 = 20;
/// Reports that may be unacknowledged, as a filter has it.
const WINDOW: u64 = 8;

/// What was sent and acknowledged.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sent {
    pub(crate) reports: u64,
    pub(crate) series: u64,
    pub(crate) requests: u64,
}

impl Sent {
    pub(crate) fn add(&mut self, other: Sent) {
        self.reports += other.reports;
        self.series += other.series;
        self.requests += other.requests;
    }
}

/// Sends reports until then, and waits for all acknowledgements.
pub(crate) async fn run(grpc: SocketAddr, at: usize, until: Instant) -> Result<Sent> {
    let mut client = IngestClient::connect(format!("http://{grpc}")).await?;
    let (messages, receiver) = mpsc::channel(WINDOW as usize);
    let deltas = deltas(at as u64);
    let requests: u64 =
        deltas.iter().map(|delta| delta.total.iter().flat_map(|total| &total.counts).sum::<u64>()).sum();
    let mut sent = Sent::default();
    messages.send(report(at, 1, 0, &deltas)).await?;
    let mut acks = client.report(ReceiverStream::new(receiver)).await?.into_inner();
    let (mut next, mut acked) = (2, 0);
    loop {
        let is_over = Instant::now() >= until;
        while !is_over && next - 1 - acked < WINDOW {
            messages.send(report(at, next, (next - 1) * requests, &deltas)).await?;
            next += 1;
        }
        if acked + 1 == next && is_over {
            break;
        }
        acked = acks.message().await?.context("the stream ended")?.acked_sequence;
    }
    sent.add(Sent { reports: acked, series: acked * u64::from(SERIES), requests: acked * requests });
    Ok(sent)
}

/// Sends a report at this time and then every so often, for ever.
pub(crate) async fn paced(grpc: SocketAddr, at: usize, start: Instant, every: Duration) -> Result<()> {
    let mut client = IngestClient::connect(format!("http://{grpc}")).await?;
    let (messages, receiver) = mpsc::channel(WINDOW as usize);
    let deltas = deltas(at as u64);
    let mut ticks = tokio::time::interval_at(start, every);
    messages.send(report(at, 1, 0, &deltas)).await?;
    let mut acks = client.report(ReceiverStream::new(receiver)).await?.into_inner();
    let mut next = 2;
    loop {
        ticks.tick().await;
        messages.send(report(at, next, 0, &deltas)).await?;
        acks.message().await?.context("the stream ended")?;
        next += 1;
    }
}

fn report(at: usize, sequence: u64, requests_before: u64, deltas: &[SeriesDelta]) -> ReportRequest {
    let now_us =
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default().as_micros() as u64;
    let mut report = ReportRequest {
        sequence,
        interval_start_unix_us: now_us.saturating_sub(1_000_000),
        interval_ms: 1_000,
        deltas: deltas.to_vec(),
        requests_before,
        ..ReportRequest::default()
    };
    if sequence == 1 {
        report.reporter = Some(Reporter {
            node_id: format!("sidecar-{at}"),
            boot_nonce: at as u64,
            context_id: 1,
            vantage: Vantage::Inbound.into(),
            attachment: Attachment::AccessLog.into(),
            filter_version: "bench".into(),
            first_sequence: 1,
            workload: String::new(),
        });
        report.new_series = (0..SERIES).map(|id| series(at, id)).collect();
    }
    report
}

fn series(at: usize, id: u32) -> Series {
    Series {
        id,
        service: format!("service-{}", at % 8),
        route: format!("GET /route/{}", id % 5),
        release: if id.is_multiple_of(2) { "v1".to_owned() } else { "v2".to_owned() },
        pod: format!("pod-{at}"),
        outcome: if id < SERIES / 2 { Outcome::Success.into() } else { Outcome::ClientError.into() },
    }
}

/// 30 to 60 non-empty buckets in each timing.
pub(crate) fn deltas(seed: u64) -> Vec<SeriesDelta> {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut counts = || {
        let buckets = rng.random_range(30..=60);
        let mut counts = Counts::new();
        while counts.iter().len() < buckets {
            let us = 20_000.0 * (2.0 * rng.random::<f64>()).exp();
            counts.add(Bucket::of(Micros(us as u64)), rng.random_range(1..=3));
        }
        counts
    };
    let delta = |series| {
        let total = counts();
        SeriesDelta {
            series,
            upstream: Some(convert::to_wire(&total)),
            total: Some(convert::to_wire(&total)),
            retries: 0,
        }
    };
    (0..SERIES).map(delta).collect()
}
