//! Answers a scrape of `/metrics` (IO), with what the engine and those around it know.

use std::sync::Arc;

use axum::{
    Router,
    http::{HeaderMap, HeaderName, StatusCode, header},
    routing::get,
};
use serin_proto::v1::Proxy;
use tokio::sync::watch;

use crate::{
    cluster::Forward,
    engine,
    export::Exported,
    kubernetes::leader::Leader,
    metrics::{self, Format},
    notify::Notifier,
    shell::Handle,
};

type Answer = (StatusCode, [(HeaderName, &'static str); 1], Vec<u8>);

/// What is asked.
#[derive(Clone)]
pub struct Scraped {
    /// What is counted and judged.
    pub engine: Handle,
    /// Whether what was counted is kept.
    pub keeping: watch::Receiver<bool>,
    /// Whether this replica acts.
    pub leader: Leader,
    /// How the export of histograms does.
    pub exported: Vec<Arc<Exported>>,
    /// How notifications do.
    pub notifier: Notifier,
    /// The way to other aggregators, where there are any.
    pub forward: Option<Forward>,
}

impl Scraped {
    /// The path.
    pub fn routes(self) -> Router {
        Router::new().route("/metrics", get(move |headers: HeaderMap| async move { self.answer(&headers).await }))
    }

    async fn answer(&self, headers: &HeaderMap) -> Answer {
        let accept = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
        let format = Format::accepted(accept);
        let is_kept = *self.keeping.borrow();
        let gathered = self.engine.ask(move |engine, now| {
            let proxies = engine.proxies(now);
            let registry = metrics::gather(engine, &proxies, is_kept, now);
            (registry, proxies.into_iter().filter(|proxy| proxy.missing > 0).collect::<Vec<Proxy>>())
        });
        let plain = |code, said: String| (code, [(header::CONTENT_TYPE, "text/plain")], said.into_bytes());
        let (mut registry, lacking) = match gathered.await {
            Ok(gathered) => gathered,
            Err(stopped) => return plain(StatusCode::SERVICE_UNAVAILABLE, stopped.to_string()),
        };
        if let Some(missing) = self.missing(lacking).await {
            metrics::missing(&mut registry, missing);
        }
        self.notifier.register(&mut registry);
        metrics::leads(&mut registry, self.leader.is_leader());
        metrics::exports(&mut registry, &self.exported);
        match metrics::encode(&registry, format) {
            Ok(bytes) => (StatusCode::OK, [(header::CONTENT_TYPE, format.content_type())], bytes),
            Err(error) => plain(StatusCode::INTERNAL_SERVER_ERROR, error),
        }
    }

    /// What these proxies lack as far as this aggregator knows may be at others, so those are asked: not in the usual case, in which nothing
    /// is lacking. `None`: not all of them answer.
    async fn missing(&self, lacking: Vec<Proxy>) -> Option<u64> {
        let theirs = match &self.forward {
            Some(forward) if !lacking.is_empty() => {
                let (theirs, unanswered) = forward.proxies().await;
                unanswered.is_empty().then_some(theirs)?
            }
            _ => Vec::new(),
        };
        Some(engine::missing(lacking, theirs))
    }
}
