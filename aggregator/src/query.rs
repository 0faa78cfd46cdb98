//! `serin.v1.Query` and `serin.v1.Control` (IO): questions and orders, passed to the engine.

use std::{collections::BTreeMap, pin::Pin, sync::Arc, time::Duration};

use prost::Message;
use serin_proto::v1::{
    ClearRequest, ClearResponse, CompareRequest, CompareResponse, HistoryEntry, ListDecisionsRequest,
    ListDecisionsResponse, ListProxiesRequest, ListProxiesResponse, PauseRequest, PauseResponse, ReadHistoryRequest,
    ReadRecordingRequest, RecordingPart, ResumeRequest, ResumeResponse, Verdict, WatchVerdictsRequest,
    control_client::ControlClient, control_server, query_client::QueryClient, query_server, read_recording_request::Of,
};
use tokio::sync::{mpsc, oneshot};
use tokio_stream::{
    Stream, StreamExt,
    wrappers::{BroadcastStream, ReceiverStream},
};
use tonic::{Request, Response, Status, Streaming, metadata::MetadataMap, transport::Channel};

use crate::{
    actuator::Order,
    cluster::{Forward, forwarded, is_forwarded},
    engine::{Effect, NotCleared, Recorded, merge},
    gates::unguarded,
    historian::Past,
    history::Decisions,
    paused::Keeper,
    recording::file,
    safety::Pause,
    shell::{Handle, Stopped, now},
};

/// Why serin is paused is in the sentence of each decision.
const REASON_BYTES_MAX: usize = 500;
const DECISIONS_DEFAULT: usize = 100;
/// The longest span that is read at once: as long as anything is kept.
const SPAN_MAX_S: u64 = 400 * 86_400;
/// How often a running trial is asked for what is new in its recording.
const RECORDING_EVERY: Duration = Duration::from_secs(1);
/// Parts of a recording that are read ahead of whoever reads them.
const PARTS_AHEAD: usize = 16;

/// Both services.
#[derive(Clone)]
pub struct Query {
    engine: Handle,
    decisions: Arc<dyn Decisions>,
    past: Arc<dyn Past>,
    forward: Option<Forward>,
    orders: mpsc::UnboundedSender<Order>,
    paused: Keeper,
    /// Whether ReleaseGuards bring services.
    guards: bool,
}

impl Query {
    /// Asks this engine.
    pub fn new(
        engine: Handle,
        orders: mpsc::UnboundedSender<Order>,
        decisions: Arc<dyn Decisions>,
        past: Arc<dyn Past>,
        forward: Option<Forward>,
        paused: Keeper,
        guards: bool,
    ) -> Self {
        Query { engine, decisions, past, forward, orders, paused, guards }
    }

    /// Keeps a pause, or that there is none any more, and has the engine go by it.
    async fn pause_for(&self, pause: Option<Pause>) -> Result<(), Status> {
        let kept = self.paused.keep(pause, &self.engine).await;
        kept.map_err(|error| Status::unavailable(format!("not changed, because {error}")))
    }

    /// Whether what was just done to a decision is kept, and is not undone by another aggregator.
    async fn settles(&self, decision: Option<u64>) -> Result<bool, Status> {
        let Some(decision) = decision else { return Ok(true) };
        // When this is answered, what was done has been ordered.
        self.engine.ask(|_, _| ()).await.map_err(unavailable)?;
        let (answer, wait) = oneshot::channel();
        let asked = self.orders.send(Order::Settle { decision, answer }).is_ok();
        if asked { wait.await.map_err(|_| unavailable(Stopped)) } else { Err(unavailable(Stopped)) }
    }

    /// The way to the aggregator that judges a service; `None` where that is this one.
    async fn elsewhere(&self, service: &str, metadata: &MetadataMap) -> Result<Option<Channel>, Status> {
        let Some(forward) = &self.forward else { return Ok(None) };
        let asked = service.to_owned();
        if self.engine.ask(move |engine, _| engine.judges(&asked)).await.map_err(unavailable)? {
            return Ok(None);
        }
        forward.to(service, metadata).await.map(Some)
    }
}

fn decision_in(effects: &[Effect]) -> Option<u64> {
    effects.iter().find_map(|effect| if let Effect::Persist(decision) = effect { Some(decision.id) } else { None })
}

fn unavailable(stopped: Stopped) -> Status {
    Status::unavailable(stopped.to_string())
}

#[tonic::async_trait]
impl query_server::Query for Query {
    type ReadHistoryStream = ReceiverStream<Result<HistoryEntry, Status>>;
    type ReadRecordingStream = ReceiverStream<Result<RecordingPart, Status>>;
    type WatchVerdictsStream = Pin<Box<dyn Stream<Item = Result<Verdict, Status>> + Send>>;

    async fn compare(&self, request: Request<CompareRequest>) -> Result<Response<CompareResponse>, Status> {
        let (metadata, _, message) = request.into_parts();
        if let Some(channel) = self.elsewhere(&message.service, &metadata).await? {
            return QueryClient::new(channel).compare(forwarded(message)).await;
        }
        let CompareRequest { service, window_s } = message;
        let asked = service.clone();
        let answer =
            self.engine.ask(move |engine, now| engine.compare(&asked, window_s, now)).await.map_err(unavailable)?;
        let none = || match self.guards {
            true => Status::unavailable(unguarded(&service)),
            false => Status::not_found(format!("service `{service}` is not in the configuration of this serin")),
        };
        answer.map(Response::new).ok_or_else(none)
    }

    async fn list_decisions(
        &self,
        request: Request<ListDecisionsRequest>,
    ) -> Result<Response<ListDecisionsResponse>, Status> {
        let ListDecisionsRequest { service, limit } = request.into_inner();
        let limit = if limit == 0 { DECISIONS_DEFAULT } else { limit as usize };
        let answer = self.engine.ask(move |engine, _| engine.decisions(&service, limit)).await;
        answer.map(|decisions| Response::new(ListDecisionsResponse { decisions })).map_err(unavailable)
    }

    async fn list_proxies(
        &self,
        request: Request<ListProxiesRequest>,
    ) -> Result<Response<ListProxiesResponse>, Status> {
        let own = self.engine.ask(|engine, now| engine.proxies(now)).await.map_err(unavailable)?;
        if is_forwarded(request.metadata()) {
            return Ok(Response::new(ListProxiesResponse { proxies: own, unanswered: Vec::new() }));
        }
        let (theirs, unanswered) = match &self.forward {
            Some(forward) => forward.proxies().await,
            None => Default::default(),
        };
        let proxies = merge(own.into_iter().chain(theirs));
        Ok(Response::new(ListProxiesResponse { proxies, unanswered }))
    }

    async fn read_history(
        &self,
        request: Request<ReadHistoryRequest>,
    ) -> Result<Response<Self::ReadHistoryStream>, Status> {
        let request = request.into_inner();
        if request.to_s <= request.from_s || request.to_s - request.from_s > SPAN_MAX_S {
            return Err(Status::invalid_argument("from_s must be before to_s, by 400 days at most"));
        }
        if !self.past.is_open() {
            return Err(Status::unavailable("there is no history: the log of serin says why"));
        }
        let (entries, receiver) = mpsc::channel(PARTS_AHEAD);
        tokio::spawn(Arc::clone(&self.past).read(request, entries));
        Ok(Response::new(ReceiverStream::new(receiver)))
    }

    async fn read_recording(
        &self,
        request: Request<ReadRecordingRequest>,
    ) -> Result<Response<Self::ReadRecordingStream>, Status> {
        let (metadata, _, message) = request.into_parts();
        let (parts, receiver) = mpsc::channel(PARTS_AHEAD);
        match message.of {
            Some(Of::Service(service)) => {
                if let Some(channel) = self.elsewhere(&service, &metadata).await? {
                    let message = ReadRecordingRequest { of: Some(Of::Service(service)) };
                    let theirs = QueryClient::new(channel).read_recording(forwarded(message)).await?.into_inner();
                    tokio::spawn(pass_on(theirs, parts));
                    return Ok(Response::new(ReceiverStream::new(receiver)));
                }
                let asked = service.clone();
                let known =
                    self.engine.ask(move |engine, _| engine.recording(&asked).map(drop)).await.map_err(unavailable)?;
                known.map_err(|error| Status::not_found(format!("service `{service}`: {error}")))?;
                tokio::spawn(follow(self.engine.clone(), service, parts));
            }
            Some(Of::Decision(decision)) => {
                let bytes = recorded(Arc::clone(&self.decisions), decision).await?;
                tokio::spawn(replay(bytes, parts));
            }
            None => return Err(Status::invalid_argument("say of which service, or of which decision")),
        }
        Ok(Response::new(ReceiverStream::new(receiver)))
    }

    async fn watch_verdicts(
        &self,
        request: Request<WatchVerdictsRequest>,
    ) -> Result<Response<Self::WatchVerdictsStream>, Status> {
        let wanted = request.into_inner().service;
        let later = BroadcastStream::new(self.engine.watch());
        let current: Vec<Verdict> =
            self.engine.ask(|engine, _| engine.verdicts().cloned().collect()).await.map_err(unavailable)?;
        // One who reads too slowly misses some, and is not told an old verdict after a newer one.
        let later = later.filter_map(Result::ok);
        let mut newest: BTreeMap<String, u64> = BTreeMap::new();
        let stream = tokio_stream::iter(current).chain(later).filter(move |verdict| {
            let newest = newest.entry(verdict.service.clone()).or_default();
            let fresh = verdict.unix_us >= *newest;
            *newest = verdict.unix_us.max(*newest);
            fresh && (wanted.is_empty() || wanted == verdict.service)
        });
        Ok(Response::new(Box::pin(stream.map(Ok))))
    }
}

#[tonic::async_trait]
impl control_server::Control for Query {
    async fn pause(&self, request: Request<PauseRequest>) -> Result<Response<PauseResponse>, Status> {
        let PauseRequest { for_s, reason } = request.into_inner();
        if reason.len() > REASON_BYTES_MAX {
            return Err(Status::invalid_argument(format!("a reason has at most {REASON_BYTES_MAX} bytes")));
        }
        let since = now();
        let until = (for_s > 0).then(|| since.plus(Duration::from_secs(for_s)));
        self.pause_for(Some(Pause { since, until, reason })).await?;
        Ok(Response::new(PauseResponse {}))
    }

    async fn resume(&self, _: Request<ResumeRequest>) -> Result<Response<ResumeResponse>, Status> {
        self.pause_for(None).await?;
        Ok(Response::new(ResumeResponse {}))
    }

    async fn clear(&self, request: Request<ClearRequest>) -> Result<Response<ClearResponse>, Status> {
        let (metadata, _, message) = request.into_parts();
        if let Some(channel) = self.elsewhere(&message.service, &metadata).await? {
            return ControlClient::new(channel).clear(forwarded(message)).await;
        }
        let ClearRequest { service, release } = message;
        let of = format!("release `{release}` of service `{service}`");
        let cleared = self.engine.order(move |engine, now| match engine.clear(&service, &release, now) {
            Ok(effects) => (Ok(decision_in(&effects)), effects),
            Err(error) => (Err(error), Vec::new()),
        });
        match cleared.await.map_err(unavailable)? {
            Ok(decision) if self.settles(decision).await? => Ok(Response::new(ClearResponse {})),
            Ok(_) => {
                Err(Status::unavailable(format!("{of}: another aggregator takes it over: try again in a few seconds")))
            }
            Err(error @ NotCleared::NotCondemned) => Err(Status::not_found(format!("{of}: {error}"))),
            Err(error @ NotCleared::Writing) => Err(Status::unavailable(format!("{of}: {error}"))),
        }
    }
}

type Parts = mpsc::Sender<Result<RecordingPart, Status>>;

/// Sends what another aggregator sends.
async fn pass_on(mut theirs: Streaming<RecordingPart>, parts: Parts) {
    while let Some(part) = theirs.next().await {
        if parts.send(part).await.is_err() {
            return;
        }
    }
}

/// Sends what a running trial has recorded, and then what it records, until it ends.
async fn follow(engine: Handle, service: String, parts: Parts) {
    let mut ticks = tokio::time::interval(RECORDING_EVERY);
    let mut sent = 0;
    while !parts.is_closed() {
        ticks.tick().await;
        let asked = service.clone();
        let news = engine.ask(move |engine, _| {
            let recorded = engine.recording(&asked).ok().flatten()?;
            let (Recorded::Running(kept) | Recorded::Ended(kept)) = recorded;
            Some((kept.from(sent).map(<[Vec<u8>]>::to_vec), matches!(recorded, Recorded::Ended(_))))
        });
        let (news, is_over) = match news.await {
            Ok(Some((Ok(news), is_over))) => (news, is_over),
            Ok(Some((Err(too_long), _))) => {
                drop(parts.send(Err(Status::resource_exhausted(too_long.to_string()))).await);
                return;
            }
            // Not begun yet.
            Ok(None) if sent == 0 => continue,
            Ok(None) | Err(_) => return,
        };
        sent += news.len();
        for part in news {
            if parts.send(decode(&part)).await.is_err() {
                return;
            }
        }
        if is_over {
            return;
        }
    }
}

fn decode(part: &[u8]) -> Result<RecordingPart, Status> {
    RecordingPart::decode(part).map_err(|error| Status::internal(format!("a part of a recording: {error}")))
}

async fn recorded(decisions: Arc<dyn Decisions>, decision: u64) -> Result<Vec<u8>, Status> {
    let found = decisions.recording(decision).await.map_err(Status::internal)?;
    found.ok_or_else(|| {
        Status::not_found(format!(
            "decision {decision} has no recording here: it is not known, is not among the newest 100, or its trial became longer than 64 MiB"
        ))
    })
}

async fn replay(bytes: Vec<u8>, parts: Parts) {
    let mut rest = bytes.strip_prefix(file::HEAD).unwrap_or_default();
    while let Some(part) = file::next_part(&mut rest) {
        if parts.send(decode(part)).await.is_err() {
            return;
        }
    }
}
