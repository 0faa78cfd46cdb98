//! The filter's own machine without an Envoy around it, fed by the clock and by nothing else (open loop): what is not acknowledged it keeps, merges
//! and sends again as it does in a worker.

use std::{
    future,
    net::SocketAddr,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, Result, anyhow};
use prost::Message;
use serin_filter::{
    labels::{Labels, Source, Sources},
    measure::Timings,
    reporter::{Action, Reporter, Surroundings},
};
use serin_proto::v1::{Outcome, ReportRequest, ReportResponse, ingest_client::IngestClient};
use serin_sketch::Micros;
use tokio::{
    runtime,
    sync::mpsc,
    task::{JoinSet, LocalSet},
    time::Instant,
};
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::{
    Code, Status,
    transport::{Channel, Endpoint},
};

use crate::reporter::gateway;

const INTERVAL: Duration = Duration::from_secs(1);

/// What one filter counts.
#[derive(Clone, Debug)]
pub struct Counts {
    /// Its node.
    pub node: String,
    /// The service that it is of.
    pub service: String,
    /// Series in each second.
    pub series: u32,
    /// Requests in each of them.
    pub requests: u32,
}

/// What became of it, of several filters together.
#[derive(Debug, Default)]
pub struct Tally {
    /// Requests that were counted.
    pub counted: AtomicU64,
    /// Those of them that were acknowledged.
    pub acknowledged: AtomicU64,
    /// How often a stream was closed for want of room.
    pub shed: AtomicU64,
    /// When that was for the first time.
    pub first_shed: OnceLock<Instant>,
    /// Reports that were merged with others or waited, at most, in one filter.
    pub backlog_max: AtomicU64,
}

type Added = (Counts, Arc<Tally>, Arc<AtomicBool>);

/// Filters in a thread of their own, since one is not to be sent between threads.
#[derive(Debug)]
pub struct Filters {
    add: mpsc::UnboundedSender<Added>,
    hurry: Arc<AtomicBool>,
    thread: thread::JoinHandle<Result<()>>,
}

impl Filters {
    /// None yet. They report to this address.
    ///
    /// # Errors
    /// When there is no thread to be had.
    pub fn start(grpc: SocketAddr) -> Result<Self> {
        let (add, mut added) = mpsc::unbounded_channel::<Added>();
        let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
        let hurry = Arc::new(AtomicBool::new(false));
        let hurries = Arc::clone(&hurry);
        let all = async move {
            let mut running = JoinSet::new();
            while let Some(one) = added.recv().await {
                running.spawn_local(Filter::run(grpc, one, Arc::clone(&hurries)));
            }
            while let Some(ended) = running.join_next().await {
                ended??;
            }
            Ok(())
        };
        let thread = thread::Builder::new().name("filters".to_owned());
        Ok(Filters { add, hurry, thread: thread.spawn(move || LocalSet::new().block_on(&runtime, all))? })
    }

    /// One more, which counts until it is enough.
    pub fn add(&self, counts: Counts, tally: Arc<Tally>, is_enough: Arc<AtomicBool>) {
        // Where the thread has ended, `delivered` says so.
        let _ = self.add.send((counts, tally, is_enough));
    }

    /// Waits until all have counted enough and everything is acknowledged. They do not wait any more before they connect again.
    ///
    /// # Errors
    /// When a report was refused for what it says.
    pub async fn delivered(self) -> Result<()> {
        self.hurry.store(true, Ordering::Relaxed);
        drop(self.add);
        let joined = tokio::task::spawn_blocking(move || self.thread.join()).await?;
        joined.map_err(|_| anyhow!("the filters' thread panicked"))?
    }
}

struct Stream {
    to: mpsc::UnboundedSender<ReportRequest>,
    answers: mpsc::UnboundedReceiver<Result<ReportResponse, Status>>,
    /// Ends with it.
    _task: JoinSet<()>,
}

struct Filter {
    reporter: Reporter,
    channel: Channel,
    stream: Option<Stream>,
    keys: Vec<Vec<u8>>,
    counts: Counts,
    tally: Arc<Tally>,
    is_enough: Arc<AtomicBool>,
    hurries: Arc<AtomicBool>,
    /// Seconds that were counted.
    seconds: u64,
    undelivered: u64,
}

impl Filter {
    async fn run(grpc: SocketAddr, (counts, tally, is_enough): Added, hurries: Arc<AtomicBool>) -> Result<()> {
        let interval_ms = u64::try_from(INTERVAL.as_millis())?;
        let mut filter = Filter {
            reporter: Reporter::new(gateway(&counts.node, 1), interval_ms, now_us()),
            channel: Endpoint::from_shared(format!("http://{grpc}"))?.connect_lazy(),
            stream: None,
            keys: keys(&counts),
            counts,
            tally,
            is_enough,
            hurries,
            seconds: 0,
            undelivered: 0,
        };
        let start = Instant::now();
        let mut next = start;
        loop {
            tokio::select! {
                () = tokio::time::sleep_until(next) => {
                    // What a second brings does not depend on how late this is.
                    filter.count(start.elapsed().as_secs() + 1);
                    let actions = filter.reporter.tick(now_us(), Surroundings::default());
                    filter.carry_out(actions)?;
                    next = Instant::now() + Duration::from_millis(filter.reporter.next_tick_ms(now_us()).into());
                }
                answer = answer(&mut filter.stream) => filter.take(answer)?,
            }
            let undelivered = filter.reporter.undelivered();
            let acknowledged = filter.undelivered.saturating_sub(undelivered);
            filter.tally.acknowledged.fetch_add(acknowledged, Ordering::Relaxed);
            filter.undelivered = undelivered;
            if filter.is_enough.load(Ordering::Relaxed) && filter.reporter.is_delivered() {
                return Ok(());
            }
        }
    }

    /// Counts what came up to this second.
    fn count(&mut self, seconds: u64) {
        let new = seconds.saturating_sub(self.seconds);
        self.seconds = seconds;
        if self.is_enough.load(Ordering::Relaxed) {
            if self.hurries.load(Ordering::Relaxed) {
                self.reporter.hurry();
            }
            return;
        }
        for _ in 0..new {
            for key in &self.keys {
                for request in 0..self.counts.requests {
                    let timings = Timings { upstream: None, total: Micros(20_000 + 5_000 * u64::from(request)) };
                    self.reporter.record(key, timings, 0, now_us);
                }
            }
        }
        let counted = new * u64::from(self.counts.series) * u64::from(self.counts.requests);
        self.tally.counted.fetch_add(counted, Ordering::Relaxed);
        self.undelivered += counted;
    }

    fn carry_out(&mut self, actions: Vec<Action>) -> Result<()> {
        for action in actions {
            match action {
                Action::Cancel => self.stream = None,
                Action::Open => self.stream = Some(open(self.channel.clone())),
                Action::Send(message) => {
                    let message = ReportRequest::decode(message.as_slice())?;
                    if let Some(state) = &message.state {
                        self.tally.backlog_max.fetch_max(state.backlog_reports.into(), Ordering::Relaxed);
                    }
                    // Where it is gone, its answers end.
                    let _ = self.stream.as_ref().context("no stream was opened")?.to.send(message);
                }
            }
        }
        Ok(())
    }

    fn take(&mut self, answer: Option<Result<ReportResponse, Status>>) -> Result<()> {
        match answer {
            Some(Ok(response)) => {
                let actions = self.reporter.message(&response.encode_to_vec());
                return self.carry_out(actions);
            }
            Some(Err(status)) if status.code() == Code::InvalidArgument => return Err(status.into()),
            Some(Err(status)) if status.code() == Code::ResourceExhausted => {
                self.tally.first_shed.get_or_init(Instant::now);
                self.tally.shed.fetch_add(1, Ordering::Relaxed);
            }
            Some(Err(_)) | None => {}
        }
        self.stream = None;
        self.reporter.closed();
        Ok(())
    }
}

async fn answer(stream: &mut Option<Stream>) -> Option<Result<ReportResponse, Status>> {
    match stream {
        Some(stream) => stream.answers.recv().await,
        None => future::pending().await,
    }
}

fn open(channel: Channel) -> Stream {
    let (to, messages) = mpsc::unbounded_channel();
    let (told, answers) = mpsc::unbounded_channel();
    let mut task = JoinSet::new();
    task.spawn(async move {
        let mut client = IngestClient::new(channel);
        let mut from = match client.report(UnboundedReceiverStream::new(messages)).await {
            Ok(response) => response.into_inner(),
            Err(status) => return drop(told.send(Err(status))),
        };
        while let Some(answer) = from.message().await.transpose() {
            if told.send(answer).is_err() {
                return;
            }
        }
    });
    Stream { to, answers, _task: task }
}

/// Of its series: they differ by route.
fn keys(counts: &Counts) -> Vec<Vec<u8>> {
    let sources = Sources {
        service: Source::Fixed(counts.service.clone()),
        route: Source::RouteName,
        release: Source::Fixed("v1".to_owned()),
        pod: Source::NodeId,
        methods: false,
    };
    let labels = Labels::new(sources, &counts.node, |_| None);
    let key = |route: u32| {
        let mut key = Vec::new();
        labels.write_key(Outcome::Success, &[Some(format!("route-{route}").as_bytes())], &mut key);
        key
    };
    (0..counts.series).map(key).collect()
}

fn now_us() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_micros()).unwrap_or(u64::MAX)
}
