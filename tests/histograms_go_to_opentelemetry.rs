//! Does an OpenTelemetry receiver get the histograms, and does its absence disturb nobody? A small receiver, behind the real gRPC.

use std::{collections::BTreeMap, fs, net::SocketAddr, time::Duration};

use anyhow::{Context, Result};
use opentelemetry_proto::tonic::{
    collector::metrics::v1::{
        ExportMetricsServiceRequest, ExportMetricsServiceResponse,
        metrics_service_server::{MetricsService, MetricsServiceServer},
    },
    common::v1::any_value::Value,
    metrics::v1::{ExponentialHistogramDataPoint, metric::Data},
};
use serin_proto::{
    convert,
    v1::{Outcome, ReportRequest, Series, SeriesDelta, ingest_client::IngestClient},
};
use serin_sketch::{Counts, Micros};
use support::{poll, serin, serin::Serin};
use tokio::{
    net::TcpListener,
    sync::{oneshot, watch},
    task::JoinHandle,
};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status, transport::Server};

const SOON: Duration = Duration::from_secs(20);

/// Keeps what came last.
struct Receiver(watch::Sender<ExportMetricsServiceRequest>);

#[tonic::async_trait]
impl MetricsService for Receiver {
    async fn export(
        &self,
        request: Request<ExportMetricsServiceRequest>,
    ) -> Result<Response<ExportMetricsServiceResponse>, Status> {
        self.0.send_replace(request.into_inner());
        Ok(Response::new(ExportMetricsServiceResponse::default()))
    }
}

/// A receiver that is there until it is told to stop.
struct Listening {
    address: SocketAddr,
    received: watch::Receiver<ExportMetricsServiceRequest>,
    stop: oneshot::Sender<()>,
    serving: JoinHandle<()>,
}

async fn receive(address: SocketAddr) -> Result<Listening> {
    let listener = TcpListener::bind(address).await?;
    let address = listener.local_addr()?;
    let (sender, received) = watch::channel(ExportMetricsServiceRequest::default());
    let server = Server::builder().add_service(MetricsServiceServer::new(Receiver(sender)));
    let (stop, stopped) = oneshot::channel();
    let serving = tokio::spawn(async move {
        let stopped = async move { drop(stopped.await) };
        drop(server.serve_with_incoming_shutdown(TcpListenerStream::new(listener), stopped).await);
    });
    Ok(Listening { address, received, stop, serving })
}

/// The points of the last request, by release.
fn points(request: &ExportMetricsServiceRequest) -> BTreeMap<String, ExponentialHistogramDataPoint> {
    let metrics = request.resource_metrics.iter().flat_map(|of| &of.scope_metrics).flat_map(|of| &of.metrics);
    let points = metrics.flat_map(|metric| match &metric.data {
        Some(Data::ExponentialHistogram(histogram)) => histogram.data_points.clone(),
        _ => Vec::new(),
    });
    let release = |point: &ExponentialHistogramDataPoint| {
        let release = point.attributes.iter().find(|attribute| attribute.key == "release")?;
        match release.value.as_ref()?.value.as_ref()? {
            Value::StringValue(release) => Some(release.clone()),
            _ => None,
        }
    };
    points.filter_map(|point| Some((release(&point)?, point))).collect()
}

/// Reports these once.
async fn report(grpc: SocketAddr, counts: &Counts) -> Result<()> {
    let series = Series {
        id: 1,
        service: "shop".into(),
        route: "all".into(),
        release: "v1".into(),
        pod: String::new(),
        outcome: Outcome::Success.into(),
    };
    let reporter = support::reporter::gateway("gateway", 1);
    let wire = Some(convert::to_wire(counts));
    let deltas = vec![SeriesDelta { series: 1, upstream: wire.clone(), total: wire, retries: 0 }];
    let new_series = vec![series];
    let message = ReportRequest {
        reporter: Some(reporter),
        sequence: 1,
        interval_ms: 1_000,
        new_series,
        deltas,
        ..Default::default()
    };
    let mut client = IngestClient::connect(format!("http://{grpc}")).await?;
    let stream = tokio_stream::StreamExt::chain(tokio_stream::iter([message]), tokio_stream::pending());
    let mut answers = client.report(stream).await?.into_inner();
    tokio::time::timeout(SOON, answers.message()).await.context("not acknowledged")??;
    Ok(())
}

/// Two edges around the 99th percentile, in seconds.
fn p99(point: &ExponentialHistogramDataPoint) -> Option<(f64, f64)> {
    let buckets = point.positive.as_ref()?;
    let (mut below, rank) = (point.zero_count, (0.99 * point.count as f64).ceil() as u64);
    let at = buckets.bucket_counts.iter().position(|count| {
        below += count;
        below >= rank
    })?;
    let edge = |index: i32| (f64::from(index) / f64::from(1 << point.scale)).exp2();
    let index = buckets.offset + i32::try_from(at).ok()?;
    Some((edge(index), edge(index + 1)))
}

#[tokio::test(flavor = "multi_thread")]
async fn as_exponential_ones_and_an_absent_receiver_is_only_said() -> Result<()> {
    let Listening { address, mut received, stop, serving } = receive("127.0.0.1:0".parse()?).await?;
    let dir = tempfile::tempdir()?;
    let config = serin::configure(dir.path(), &dir.path().join("rds.yaml"))?;
    let text = fs::read_to_string(&config)?;
    fs::write(&config, format!("{text}export: {{ otlp: {{ endpoint: \"http://{address}\", every: 1s }} }}\n"))?;
    let serin = Serin::start(&config, &dir.path().join("serin.log")).await?;
    let mut counts = Counts::new();
    (1..=1_000).for_each(|ms| counts.record(Micros(ms * 1_000)));
    report(serin.grpc, &counts).await?;

    let has_all = |request: &ExportMetricsServiceRequest| points(request).contains_key("v1");
    let last = tokio::time::timeout(SOON, received.wait_for(has_all)).await.context("nothing came")??.clone();
    let point = points(&last).remove("v1").context("no point of v1")?;
    let in_buckets: u64 = point.positive.iter().flat_map(|buckets| &buckets.bucket_counts).sum();
    assert_eq!((point.count, point.zero_count + in_buckets), (1_000, 1_000));
    let ours = counts.quantile(0.99).context("no p99")?.mid().0 as f64 / 1e6;
    let (low, high) = p99(&point).context("no p99")?;
    assert!(low <= ours && ours <= high, "{ours} s is not in {low} to {high}");

    drop(stop);
    tokio::time::timeout(SOON, serving).await.context("the receiver does not stop")??;
    poll::until("the failure to be counted", SOON, async || {
        Ok((serin.metric("serin_export_failures_total", &[]).await? >= 2).then_some(()))
    })
    .await?;
    assert_eq!(serin.requests(&[]).await?, 1_000);
    assert_eq!(serin.process.log().matches("does not take histograms").count(), 1, "{}", serin.process.log());

    let Listening { mut received, stop: _stop, .. } = receive(address).await?;
    let last = tokio::time::timeout(SOON, received.wait_for(has_all)).await.context("nothing came again")??.clone();
    assert_eq!(points(&last).get("v1").map(|point| point.count), Some(1_000), "nothing was lost meanwhile");
    Ok(())
}
