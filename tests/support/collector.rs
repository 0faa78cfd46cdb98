//! An aggregator for tests and benchmarks: takes reports as `serin` does, acknowledges them, and keeps all there is in them.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
};

use anyhow::{Context, Result};
use prost::Message;
use serin_proto::{
    convert,
    v1::{
        ReportRequest, ReportResponse, Reporter, ReporterState, Series,
        ingest_server::{Ingest, IngestServer},
    },
};
use serin_sketch::Counts;
use tokio::{net::TcpListener, sync::mpsc, task::JoinSet};
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::{Request, Response, Status, Streaming, transport::Server};

/// What was counted in one series.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Timings {
    /// Until the upstream's response.
    pub upstream: Counts,
    /// Until the end; every request once.
    pub total: Counts,
    /// Attempts beyond the first.
    pub retries: u64,
}

impl Timings {
    /// Adds another's.
    pub fn merge(&mut self, other: &Timings) {
        self.upstream.merge(&other.upstream);
        self.total.merge(&other.total);
        self.retries += other.retries;
    }
}

/// One message as it came.
#[derive(Clone, Debug)]
pub struct Arrived {
    /// Its length as protobuf.
    pub bytes: usize,
    /// Its series, with the id set to 0.
    pub deltas: Vec<(Series, Timings)>,
    /// What the reporter said of itself.
    pub state: ReporterState,
}

/// All that came so far.
#[derive(Debug, Default)]
pub struct Collected {
    /// Every message, in the order of arrival. A report that was sent again comes again.
    pub arrived: Vec<Arrived>,
    applied: BTreeSet<(String, u64, u32, u64)>,
    series: BTreeMap<String, (Series, Timings)>,
}

impl Collected {
    /// Every series, each report counted once.
    pub fn series(&self) -> impl Iterator<Item = &(Series, Timings)> {
        self.series.values()
    }

    /// Requests in all series.
    pub fn requests(&self) -> u64 {
        self.series.values().map(|(_, timings)| timings.total.total()).sum()
    }
}

type Shared = Arc<Mutex<Collected>>;

/// A running collector. Dropping it ends it.
#[derive(Debug)]
pub struct Collector {
    /// Where it listens.
    pub address: SocketAddr,
    collected: Shared,
    _tasks: JoinSet<()>,
}

impl Collector {
    /// Starts it on a port of its own.
    ///
    /// # Errors
    /// When no port can be had.
    pub async fn start() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await.context("cannot listen on loopback")?;
        let address = listener.local_addr()?;
        let collected = Shared::default();
        let service = IngestServer::new(Taker(collected.clone()));
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            // It ends with the collector.
            let _ = Server::builder().add_service(service).serve_with_incoming(TcpListenerStream::new(listener)).await;
        });
        Ok(Collector { address, collected, _tasks: tasks })
    }

    /// What came so far.
    pub fn look<T>(&self, look: impl FnOnce(&Collected) -> T) -> T {
        look(&self.collected.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

struct Taker(Shared);

#[tonic::async_trait]
impl Ingest for Taker {
    type ReportStream = ReceiverStream<Result<ReportResponse, Status>>;

    async fn report(&self, request: Request<Streaming<ReportRequest>>) -> Result<Response<Self::ReportStream>, Status> {
        let (acks, receiver) = mpsc::channel(64);
        let collected = self.0.clone();
        let mut messages = request.into_inner();
        tokio::spawn(async move {
            let (mut reporter, mut defined) = (Reporter::default(), BTreeMap::new());
            while let Ok(Some(message)) = messages.message().await {
                reporter = message.reporter.clone().unwrap_or(reporter);
                let acked_sequence = message.sequence;
                collected.lock().unwrap_or_else(PoisonError::into_inner).take(&reporter, &mut defined, message);
                if acked_sequence > 0 && acks.send(Ok(ReportResponse { acked_sequence })).await.is_err() {
                    return;
                }
            }
        });
        Ok(Response::new(ReceiverStream::new(receiver)))
    }
}

impl Collected {
    fn take(&mut self, reporter: &Reporter, defined: &mut BTreeMap<u32, Series>, message: ReportRequest) {
        let bytes = message.encoded_len();
        defined.extend(message.new_series.into_iter().map(|series| (series.id, Series { id: 0, ..series })));
        let counts = |wire: Option<_>| convert::from_wire(&wire.unwrap_or_default()).unwrap_or_default();
        let deltas = message.deltas.into_iter().filter_map(|delta| {
            let timings =
                Timings { upstream: counts(delta.upstream), total: counts(delta.total), retries: delta.retries };
            Some((defined.get(&delta.series)?.clone(), timings))
        });
        let deltas: Vec<(Series, Timings)> = deltas.collect();
        let id = (reporter.node_id.clone(), reporter.boot_nonce, reporter.context_id, message.sequence);
        if message.sequence > 0 && self.applied.insert(id) {
            for (series, timings) in &deltas {
                let (_, sum) = self.series.entry(format!("{series:?}")).or_insert((series.clone(), Timings::default()));
                sum.merge(timings);
            }
        }
        self.arrived.push(Arrived { bytes, deltas, state: message.state.unwrap_or_default() });
    }
}
