//! `serin.v1.Query` and `serin.v1.Control` (IO): questions and orders, passed to the engine.

use std::{collections::BTreeMap, pin::Pin};

use serin_proto::v1::{
    ClearRequest, ClearResponse, CompareRequest, CompareResponse, ListDecisionsRequest, ListDecisionsResponse,
    ListProxiesRequest, ListProxiesResponse, Verdict, WatchVerdictsRequest, control_server, query_server,
};
use tokio_stream::{Stream, StreamExt, wrappers::BroadcastStream};
use tonic::{Request, Response, Status};

use crate::{
    engine::NotCleared,
    shell::{Handle, Stopped},
};

const DECISIONS_DEFAULT: usize = 100;

/// Both services.
#[derive(Clone)]
pub struct Query(Handle);

impl Query {
    /// Asks this engine.
    pub fn new(engine: Handle) -> Self {
        Query(engine)
    }
}

fn unavailable(stopped: Stopped) -> Status {
    Status::unavailable(stopped.to_string())
}

#[tonic::async_trait]
impl query_server::Query for Query {
    type WatchVerdictsStream = Pin<Box<dyn Stream<Item = Result<Verdict, Status>> + Send>>;

    async fn compare(&self, request: Request<CompareRequest>) -> Result<Response<CompareResponse>, Status> {
        let CompareRequest { service, window_s } = request.into_inner();
        let asked = service.clone();
        let answer = self.0.ask(move |engine, now| engine.compare(&asked, window_s, now)).await.map_err(unavailable)?;
        let none = || Status::not_found(format!("service `{service}` is not in the configuration of this serin"));
        answer.map(Response::new).ok_or_else(none)
    }

    async fn list_decisions(
        &self,
        request: Request<ListDecisionsRequest>,
    ) -> Result<Response<ListDecisionsResponse>, Status> {
        let ListDecisionsRequest { service, limit } = request.into_inner();
        let limit = if limit == 0 { DECISIONS_DEFAULT } else { limit as usize };
        let answer = self.0.ask(move |engine, _| engine.decisions(&service, limit)).await;
        answer.map(|decisions| Response::new(ListDecisionsResponse { decisions })).map_err(unavailable)
    }

    async fn list_proxies(&self, _: Request<ListProxiesRequest>) -> Result<Response<ListProxiesResponse>, Status> {
        let answer = self.0.ask(|engine, now| engine.proxies(now)).await;
        answer.map(|proxies| Response::new(ListProxiesResponse { proxies })).map_err(unavailable)
    }

    async fn watch_verdicts(
        &self,
        request: Request<WatchVerdictsRequest>,
    ) -> Result<Response<Self::WatchVerdictsStream>, Status> {
        let wanted = request.into_inner().service;
        let later = BroadcastStream::new(self.0.watch());
        let current: Vec<Verdict> =
            self.0.ask(|engine, _| engine.verdicts().cloned().collect()).await.map_err(unavailable)?;
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
    async fn clear(&self, request: Request<ClearRequest>) -> Result<Response<ClearResponse>, Status> {
        let ClearRequest { service, release } = request.into_inner();
        let of = format!("release `{release}` of service `{service}`");
        let cleared = self.0.order(move |engine, now| match engine.clear(&service, &release, now) {
            Ok(effects) => (Ok(()), effects),
            Err(error) => (Err(error), Vec::new()),
        });
        match cleared.await.map_err(unavailable)? {
            Ok(()) => Ok(Response::new(ClearResponse {})),
            Err(error @ NotCleared::NotCondemned) => Err(Status::not_found(format!("{of}: {error}"))),
            Err(error @ NotCleared::Writing) => Err(Status::unavailable(format!("{of}: {error}"))),
        }
    }
}
