//! `serin.v1.Ingest` (IO): reads streams, has [`validate`] check each message, and hands what is good to the
//! engine.

mod delta;
pub mod validate;

use std::{
    error::Error,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use serin_proto::{
    raw::{ReportRequest, ingest_server},
    v1::ReportResponse,
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Request, Response, Status, Streaming};

use crate::{
    engine::{Event, StreamId},
    shell::{Handle, Responses, Stopped},
};
use validate::{Accepted, Refusal, Session};

/// Acknowledgements waiting for one stream: a filter has at most 8 reports unacknowledged.
const RESPONSES: usize = 64;

/// The service.
pub struct Ingest {
    engine: Handle,
    next_stream: Arc<AtomicU64>,
}

impl Ingest {
    /// Feeds this engine.
    pub fn new(engine: Handle) -> Self {
        Ingest { engine, next_stream: Arc::new(AtomicU64::new(1)) }
    }
}

#[tonic::async_trait]
impl ingest_server::Ingest for Ingest {
    type ReportStream = ReceiverStream<Result<ReportResponse, Status>>;

    async fn report(&self, request: Request<Streaming<ReportRequest>>) -> Result<Response<Self::ReportStream>, Status> {
        let (responses, receiver) = mpsc::channel(RESPONSES);
        let stream = StreamId(self.next_stream.fetch_add(1, Ordering::Relaxed));
        let engine = self.engine.clone();
        tokio::spawn(async move {
            let ended = read(stream, request.into_inner(), &engine, &responses).await;
            if let Err(end) = ended {
                refuse(end, &engine, &responses).await;
            }
            // When the engine is gone there is nothing left to tell.
            let _ = engine.said(Event::Disconnected { stream }).await;
        });
        Ok(Response::new(ReceiverStream::new(receiver)))
    }
}

#[derive(Debug, thiserror::Error)]
enum End {
    #[error(transparent)]
    Refused(#[from] Refusal),
    #[error(transparent)]
    Transport(#[from] Status),
    #[error(transparent)]
    Stopped(#[from] Stopped),
}

async fn read(
    stream: StreamId,
    mut messages: Streaming<ReportRequest>,
    engine: &Handle,
    responses: &Responses,
) -> Result<(), End> {
    let Some(mut first) = messages.message().await? else { return Ok(()) };
    let (mut session, reporter) = Session::open(&mut first)?;
    let (node, version) = (reporter.id.node_id.to_string(), reporter.version.to_string());
    tracing::info!(%node, %version, context = reporter.id.context_id, "reporter connected");
    engine.open(stream, reporter, responses.clone()).await?;
    let mut message = Some(first);
    while let Some(next) = message {
        let event = match session.accept(next)? {
            Accepted::Heartbeat(heartbeat) => Event::Heartbeat { stream, heartbeat },
            Accepted::Report(report) => Event::Reported { stream, report },
        };
        engine.said(event).await?;
        // Once the answer's end is gone (the stream was closed) nobody waits for what is still to come.
        message = tokio::select! {
            next = messages.message() => next?,
            () = responses.closed() => None,
        };
    }
    Ok(())
}

async fn refuse(end: End, engine: &Handle, responses: &Responses) {
    let status = match end {
        End::Refused(refusal) => Status::invalid_argument(refusal.to_string()),
        // The peer went away: no one to tell, and nothing wrong with what it said.
        End::Transport(status) if !breaks_a_limit(&status) => return,
        End::Transport(status) => status,
        End::Stopped(stopped) => Status::unavailable(stopped.to_string()),
    };
    tracing::warn!(code = ?status.code(), "refused a report: {}", status.message());
    // Asked rather than told: the answer comes after the acknowledgements of what was good before.
    let _ = engine.refused().await;
    drop(responses.send(Err(status)).await);
}

/// Bytes that are too many, or that are not a message at all. A stream that the peer reset is `Internal` too, but has
/// the connection's error as its source.
fn breaks_a_limit(status: &Status) -> bool {
    match status.code() {
        Code::OutOfRange | Code::ResourceExhausted => true,
        Code::Internal => status.source().is_none(),
        _ => false,
    }
}
