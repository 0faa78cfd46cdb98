//! A sidecar that is only as much of a filter as the wire shows: numbered reports, at most eight unacknowledged, each kept until it is, and
//! sent again the same on the next stream.

use std::{
    collections::VecDeque,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::Result;
use serin_proto::{
    convert,
    v1::{Attachment, Outcome, ReportRequest, Reporter, Series, SeriesDelta, Vantage, ingest_client::IngestClient},
};
use serin_sketch::{Bucket, Counts, Micros};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Code;

/// Reports that may be unacknowledged.
const WINDOW: usize = 8;
/// How long it waits before it connects again: a filter's first wait.
const AGAIN: Duration = Duration::from_millis(500);

/// What one sidecar says.
#[derive(Clone, Debug)]
pub struct Says {
    /// Its node.
    pub node: String,
    /// The service that it is of.
    pub service: String,
    /// Series in each report, with ten requests each.
    pub series: u32,
}

/// What became of it.
#[derive(Debug, Default)]
pub struct Told {
    /// Requests in all reports that were acknowledged.
    pub requests: AtomicU64,
    /// Whether it is to count no more.
    pub is_enough: AtomicBool,
}

/// Reports as fast as it is acknowledged until it is enough, and then until everything is acknowledged.
///
/// # Errors
/// When a report is refused for what it says.
pub async fn run(grpc: SocketAddr, says: Says, told: Arc<Told>) -> Result<()> {
    let mut unacknowledged: VecDeque<(u64, Duration)> = VecDeque::new();
    let mut next = 1;
    loop {
        if unacknowledged.is_empty() && told.is_enough.load(Ordering::Relaxed) {
            return Ok(());
        }
        let ended = stream(grpc, &says, &told, &mut unacknowledged, &mut next).await;
        if let Err(status) = ended
            && status.code() == Code::InvalidArgument
        {
            return Err(status.into());
        }
        tokio::time::sleep(AGAIN).await;
    }
}

async fn stream(
    grpc: SocketAddr,
    says: &Says,
    told: &Told,
    unacknowledged: &mut VecDeque<(u64, Duration)>,
    next: &mut u64,
) -> Result<(), tonic::Status> {
    let unavailable = |error: tonic::transport::Error| tonic::Status::unavailable(error.to_string());
    let mut client = IngestClient::connect(format!("http://{grpc}")).await.map_err(unavailable)?;
    let (messages, receiver) = mpsc::channel(WINDOW + 1);
    let gone = |_| tonic::Status::unavailable("the stream is gone");
    let hello = ReportRequest {
        reporter: Some(gateway(&says.node, unacknowledged.front().map_or(*next, |(sequence, _)| *sequence))),
        interval_ms: 1_000,
        ..ReportRequest::default()
    };
    messages.send(hello).await.map_err(gone)?;
    for (at, (sequence, ended)) in unacknowledged.iter().enumerate() {
        messages.send(says.report(*sequence, *ended, at == 0)).await.map_err(gone)?;
    }
    let mut is_defined = !unacknowledged.is_empty();
    let mut acks = client.report(ReceiverStream::new(receiver)).await?.into_inner();
    loop {
        while unacknowledged.len() < WINDOW && !told.is_enough.load(Ordering::Relaxed) {
            let ended = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            messages.send(says.report(*next, ended, !is_defined)).await.map_err(gone)?;
            is_defined = true;
            unacknowledged.push_back((*next, ended));
            *next += 1;
        }
        if unacknowledged.is_empty() {
            return Ok(());
        }
        let Some(ack) = acks.message().await? else { return Ok(()) };
        while unacknowledged.front().is_some_and(|(sequence, _)| *sequence <= ack.acked_sequence) {
            unacknowledged.pop_front();
            told.requests.fetch_add(u64::from(says.series) * REQUESTS, Ordering::Relaxed);
        }
    }
}

/// How a reporter at a gateway introduces itself that still holds this report and those after it.
pub fn gateway(node_id: &str, first_sequence: u64) -> Reporter {
    Reporter {
        node_id: node_id.to_owned(),
        boot_nonce: 1,
        context_id: 1,
        vantage: Vantage::Gateway.into(),
        attachment: Attachment::AccessLog.into(),
        filter_version: "test".to_owned(),
        first_sequence,
        workload: String::new(),
    }
}

const REQUESTS: u64 = 10;

impl Says {
    fn report(&self, sequence: u64, ended: Duration, defines: bool) -> ReportRequest {
        let total = Counts::from_iter((0..REQUESTS).map(|i| (Bucket::of(Micros(20_000 + 5_000 * i)), 1)));
        let series = |id| Series {
            id,
            service: self.service.clone(),
            route: format!("route-{id}"),
            release: "v1".into(),
            pod: self.node.clone(),
            outcome: Outcome::Success.into(),
        };
        let delta = |series| SeriesDelta { series, upstream: None, total: Some(convert::to_wire(&total)), retries: 0 };
        ReportRequest {
            sequence,
            interval_start_unix_us: ended.as_micros() as u64 - 1_000_000,
            interval_ms: 1_000,
            new_series: if defines { (0..self.series).map(series).collect() } else { Vec::new() },
            deltas: (0..self.series).map(delta).collect(),
            ..ReportRequest::default()
        }
    }
}
