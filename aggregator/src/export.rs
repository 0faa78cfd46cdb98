//! Sends histograms to an OpenTelemetry receiver (IO), so that something else keeps them longer.
//!
//! ```text
//! engine -> its histograms since the start -> `otlp` (pure) -> one request -> the receiver
//! ```
//!
//! Nothing is buffered: each request has everything since the start, so one that fails costs resolution and no counts. At the most it is
//! 4,096 histograms of some hundred buckets, 10 MB.

mod otlp;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_client::MetricsServiceClient;
use tonic::{
    Status,
    transport::{Channel, Endpoint},
};

use crate::{
    config::Otlp,
    metrics::latency,
    shell::{Handle, now},
};

/// How long the receiver may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// How the export does.
#[derive(Debug, Default)]
pub struct Exported {
    sent: AtomicU64,
    failed: AtomicU64,
}

impl Exported {
    /// How often histograms were taken, and how often not.
    pub fn read(&self) -> [u64; 2] {
        [self.sent.load(Relaxed), self.failed.load(Relaxed)]
    }
}

/// Exports until the engine is gone.
pub fn start(otlp: Otlp, engine: Handle) -> Arc<Exported> {
    let exported = Arc::new(Exported::default());
    tokio::spawn(run(otlp, engine, Arc::clone(&exported)));
    exported
}

async fn run(Otlp { endpoint, every }: Otlp, engine: Handle, exported: Arc<Exported>) {
    let channel = match Endpoint::from_shared(endpoint.clone()) {
        Ok(endpoint) => endpoint.connect_timeout(ANSWER_WITHIN).timeout(ANSWER_WITHIN).connect_lazy(),
        Err(error) => return tracing::error!("export.otlp.endpoint {endpoint}: {error}"),
    };
    let mut client = MetricsServiceClient::new(channel);
    let (started, mut is_failing) = (now(), false);
    let mut ticks = tokio::time::interval(every);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let Ok(histograms) = engine.ask(|engine, _| latency::histograms(engine)).await else { return };
        let sent = send(&mut client, otlp::request(&histograms, started, now())).await;
        let count = if sent.is_ok() { &exported.sent } else { &exported.failed };
        count.fetch_add(1, Relaxed);
        match &sent {
            Err(error) if !is_failing => {
                tracing::warn!("{endpoint} does not take histograms: {error}; they are sent again every {every:?}");
            }
            Ok(()) if is_failing => tracing::info!("{endpoint} takes histograms again"),
            _ => {}
        }
        is_failing = sent.is_err();
    }
}

async fn send(client: &mut MetricsServiceClient<Channel>, request: otlp::Request) -> Result<(), Status> {
    let answer = client.export(request).await?.into_inner();
    match answer.partial_success {
        Some(partial) if partial.rejected_data_points > 0 => Err(Status::invalid_argument(format!(
            "{} refused: {}",
            partial.rejected_data_points, partial.error_message
        ))),
        _ => Ok(()),
    }
}
