//! Sends histograms to others (IO), so that they keep them longer: over OTLP, or by Prometheus's remote write.
//!
//! ```text
//! engine -> its histograms since the start -> `otlp`, `remote_write` (pure) -> one request -> the receiver
//! ```
//!
//! Nothing is buffered: each request has everything since the start, so one that fails costs resolution and no counts. At the most it is
//! 4,096 histograms of some hundred buckets, 10 MB.

mod otlp;
mod post;
mod remote_write;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_client::MetricsServiceClient;
use serin_sketch::Counts;
use tonic::transport::{Channel, Endpoint};

use crate::{
    config::{Exporter, Receives},
    metrics::{Labels, latency},
    shell::{Handle, now},
    time::UnixMicros,
};

pub use post::NoAuthorities;
use post::Post;

/// How long the receiver may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// How the export to one receiver does.
#[derive(Debug)]
pub struct Exported {
    /// As in the configuration.
    pub to: &'static str,
    sent: AtomicU64,
    failed: AtomicU64,
}

impl Exported {
    /// How often histograms were taken, and how often not.
    pub fn read(&self) -> [u64; 2] {
        [self.sent.load(Relaxed), self.failed.load(Relaxed)]
    }
}

enum Sender {
    Otlp(MetricsServiceClient<Channel>),
    RemoteWrite(Post),
}

/// Exports to each until the engine is gone.
///
/// # Errors
/// When there are no certificate authorities to trust.
pub fn start(exporters: Vec<Exporter>, engine: &Handle) -> Result<Vec<Arc<Exported>>, NoAuthorities> {
    let start = |Exporter { receives, address, every }| {
        let (to, sender) = match receives {
            Receives::Otlp => match Endpoint::from_shared(address.clone()) {
                Ok(endpoint) => {
                    let channel = endpoint.connect_timeout(ANSWER_WITHIN).timeout(ANSWER_WITHIN).connect_lazy();
                    ("otlp", Sender::Otlp(MetricsServiceClient::new(channel)))
                }
                Err(error) => {
                    tracing::error!("export.otlp.endpoint {address}: {error}");
                    return Ok(None);
                }
            },
            Receives::RemoteWrite => ("remote_write", Sender::RemoteWrite(Post::new(address.clone())?)),
        };
        let exported = Arc::new(Exported { to, sent: AtomicU64::new(0), failed: AtomicU64::new(0) });
        tokio::spawn(run(sender, address, every, engine.clone(), Arc::clone(&exported)));
        Ok(Some(exported))
    };
    exporters.into_iter().filter_map(|exporter| start(exporter).transpose()).collect()
}

async fn run(mut sender: Sender, address: String, every: Duration, engine: Handle, exported: Arc<Exported>) {
    let (started, mut is_failing) = (now(), false);
    let mut ticks = tokio::time::interval(every);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let Ok(histograms) = engine.ask(|engine, _| latency::histograms(engine)).await else { return };
        let sent = sender.send(&histograms, started).await;
        let count = if sent.is_ok() { &exported.sent } else { &exported.failed };
        count.fetch_add(1, Relaxed);
        match &sent {
            Err(error) if !is_failing => {
                tracing::warn!("{address} does not take histograms: {error}; they are sent again every {every:?}");
            }
            Ok(()) if is_failing => tracing::info!("{address} takes histograms again"),
            _ => {}
        }
        is_failing = sent.is_err();
    }
}

impl Sender {
    async fn send(&mut self, histograms: &[(Labels, Counts)], started: UnixMicros) -> Result<(), String> {
        match self {
            Sender::Otlp(client) => {
                let answer = client.export(otlp::request(histograms, started, now())).await;
                match answer.map_err(|status| status.to_string())?.into_inner().partial_success {
                    Some(partial) if partial.rejected_data_points > 0 => {
                        Err(format!("{} refused: {}", partial.rejected_data_points, partial.error_message))
                    }
                    _ => Ok(()),
                }
            }
            Sender::RemoteWrite(post) => post.send(remote_write::body(histograms, now())?).await,
        }
    }
}
