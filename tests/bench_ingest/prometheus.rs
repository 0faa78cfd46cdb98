//! The same histograms through a real Prometheus, as classic and as native ones, beside Serin.
//!
//! 1,000 sidecars with 20 series of two timings each. Serin gets a report of each every second. Each Prometheus scrapes each sidecar every ten seconds (it
//! does not keep up with every second on this machine), with counters that have grown. All three run at the same time; what counts is the CPU
//! time of each process: Serin's for one second, Prometheus's for one scrape. Medians of the windows.

use std::{
    collections::BTreeMap,
    fmt::Write,
    net::SocketAddr,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, Result};
use bytes::Bytes;
use http_body_util::Full;
use hyper::{Request, Response, body::Incoming, service::service_fn};
use hyper_util::rt::TokioIo;
use prometheus_client::encoding::prometheus_protobuf::prometheus_data_model as model;
use prost::Message;
use serde_json::json;
use serin_proto::{convert, v1::SeriesDelta};
use serin_sketch::Counts;
use support::{
    poll,
    process::Process,
    prometheus::{self, Prometheus},
    serin::{self, Serin},
};
use tokio::{net::TcpListener, task::JoinSet, time::Instant};

use crate::sidecar;

const SIDECARS: usize = 1_000;
const SCRAPE: Duration = Duration::from_secs(10);
/// Series are made in the first scrapes, which is not counted.
const WARM_UP: u32 = 3;
const WINDOWS: usize = 5;
/// Upper bounds of 20 classic buckets, in seconds: a factor of 1.3 around what is served.
const CLASSIC: [f64; 20] = [
    0.005,
    0.0065,
    0.0085,
    0.011,
    0.0143,
    0.0186,
    0.0242,
    0.0314,
    0.0408,
    0.053,
    0.069,
    0.0897,
    0.117,
    0.152,
    0.197,
    0.256,
    0.333,
    0.433,
    0.563,
    f64::INFINITY,
];
const PER_OCTAVE: f64 = 32.0;

/// What it took, in CPU seconds.
pub(crate) struct Cost {
    pub(crate) serin: f64,
    pub(crate) classic: f64,
    pub(crate) native: f64,
    /// Serin's resident memory for each series that reports.
    pub(crate) bytes_per_series: f64,
}

/// Runs all three; `None` where Prometheus is not installed.
pub(crate) async fn compare(dir: &Path) -> Result<Option<Cost>> {
    let Some(program) = prometheus::program("prometheus")? else { return Ok(None) };
    let exposed = Arc::new(Exposed::new());
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let mut tasks = JoinSet::new();
    tasks.spawn(serve(listener, exposed));
    let classic = scraping(&program, "classic", address, &[], dir).await?;
    let native = scraping(&program, "native", address, &["--enable-feature=native-histograms"], dir).await?;
    let config = serin::configure(dir, &dir.join("rds.yaml"))?;
    let serin = Serin::start(&config, &dir.join("serin-beside.log")).await?;
    let idle = serin.process.resident_bytes()?;
    for at in 0..SIDECARS {
        tasks.spawn(report(serin.grpc, at));
    }
    tokio::time::sleep(SCRAPE * WARM_UP).await;
    for prometheus in [&classic, &native] {
        let up = async || Ok(prometheus.value("sum(up)").await?.filter(|up| *up == SIDECARS as f64));
        poll::until("all sidecars to be scraped", SCRAPE * 3, up).await?;
    }
    let processes = [&serin.process, &classic.process, &native.process];
    let mut windows: [Vec<f64>; 3] = Default::default();
    for _ in 0..WINDOWS {
        let before = processes.map(Process::cpu_s);
        tokio::time::sleep(SCRAPE).await;
        for ((window, before), process) in windows.iter_mut().zip(before).zip(processes) {
            window.push(process.cpu_s()? - before?);
        }
    }
    let memory = serin.process.resident_bytes()?.saturating_sub(idle);
    let bytes_per_series = memory as f64 / (SIDECARS as f64 * f64::from(sidecar::SERIES));
    let [serin, classic, native] = windows.map(median);
    Ok(Some(Cost { serin: serin / SCRAPE.as_secs_f64(), classic, native, bytes_per_series }))
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}

async fn scraping(
    program: &Path,
    form: &'static str,
    address: SocketAddr,
    arguments: &[&str],
    dir: &Path,
) -> Result<Prometheus> {
    let target = |at: usize| {
        json!({ "targets": [address.to_string()],
            "labels": { "__metrics_path__": format!("/{form}/{at}"), "instance": format!("sidecar-{at}") } })
    };
    let interval = format!("{}s", SCRAPE.as_secs());
    let config = json!({
        "global": { "scrape_interval": interval, "scrape_timeout": interval },
        "scrape_configs": [{ "job_name": "sidecars", "static_configs": (0..SIDECARS).map(target).collect::<Vec<_>>() }],
    });
    Prometheus::configured(program, &config, arguments, &dir.join(form)).await
}

/// Sends one report every second.
async fn report(grpc: SocketAddr, at: usize) -> Result<()> {
    let offset = Duration::from_millis(at as u64 % 1_000);
    sidecar::paced(grpc, at, Instant::now() + offset, Duration::from_secs(1)).await
}

/// The histograms of all sidecars, which grow with each scrape.
struct Exposed {
    sidecars: Vec<Vec<(String, Counts)>>,
    scrapes: BTreeMap<&'static str, Vec<AtomicU64>>,
}

impl Exposed {
    fn new() -> Self {
        let sidecars = (0..SIDECARS).map(|at| series(&sidecar::deltas(at as u64))).collect();
        let scrapes = || (0..SIDECARS).map(|_| AtomicU64::new(0)).collect();
        Exposed { sidecars, scrapes: BTreeMap::from([("classic", scrapes()), ("native", scrapes())]) }
    }

    fn answer(&self, path: &str) -> Option<Vec<u8>> {
        let (form, at) = path.strip_prefix('/')?.split_once('/')?;
        let at: usize = at.parse().ok()?;
        let series = self.sidecars.get(at)?;
        let times = 1 + self.scrapes.get(form)?.get(at)?.fetch_add(1, Ordering::Relaxed);
        Some(if form == "native" { native(series, times) } else { classic(series, times).into_bytes() })
    }
}

/// Labels, and what one second counted.
fn series(deltas: &[SeriesDelta]) -> Vec<(String, Counts)> {
    let mut all = Vec::new();
    for (at, delta) in deltas.iter().enumerate() {
        for (timing, counts) in [("upstream", &delta.upstream), ("total", &delta.total)] {
            let counts = counts.as_ref().and_then(|wire| convert::from_wire(wire).ok()).unwrap_or_default();
            all.push((format!("{at}/{timing}"), counts));
        }
    }
    all
}

fn labels(name: &str) -> [(&'static str, String); 5] {
    let (at, timing) = name.split_once('/').unwrap_or_default();
    let id: u32 = at.parse().unwrap_or_default();
    [
        ("route", format!("GET /route/{}", id % 5)),
        ("release", if id.is_multiple_of(2) { "v1".to_owned() } else { "v2".to_owned() }),
        ("outcome", if id < 10 { "success".to_owned() } else { "client_error".to_owned() }),
        ("id", at.to_owned()),
        ("timing", timing.to_owned()),
    ]
}

fn seconds(counts: &Counts) -> f64 {
    counts.iter().map(|(bucket, count)| bucket.mid().0 as f64 / 1e6 * count as f64).sum()
}

fn classic(series: &[(String, Counts)], times: u64) -> String {
    let mut text = "# TYPE request_duration_seconds histogram\n".to_owned();
    for (name, counts) in series {
        let labels = labels(name).map(|(label, value)| format!("{label}=\"{value}\"")).join(",");
        for bound in CLASSIC {
            let below = counts.iter().filter(|(bucket, _)| bucket.mid().0 as f64 / 1e6 <= bound);
            let count: u64 = below.map(|(_, count)| count).sum();
            let bound = if bound.is_finite() { bound.to_string() } else { "+Inf".to_owned() };
            // Writing to a string does not fail.
            let _ = writeln!(text, "request_duration_seconds_bucket{{{labels},le=\"{bound}\"}} {}", count * times);
        }
        let sum = seconds(counts) * times as f64;
        let _ = writeln!(text, "request_duration_seconds_sum{{{labels}}} {sum}");
        let _ = writeln!(text, "request_duration_seconds_count{{{labels}}} {}", counts.total() * times);
    }
    text
}

fn native(series: &[(String, Counts)], times: u64) -> Vec<u8> {
    let metric = |(name, counts): &(String, Counts)| {
        let mut buckets: BTreeMap<i32, i64> = BTreeMap::new();
        for (bucket, count) in counts.iter() {
            let index = ((bucket.mid().0 as f64 / 1e6).log2() * PER_OCTAVE).ceil() as i32;
            *buckets.entry(index).or_default() += (count * times) as i64;
        }
        let (mut positive_span, mut positive_delta): (Vec<model::BucketSpan>, _) = (Vec::new(), Vec::new());
        let (mut next, mut before) = (0, 0);
        for (index, count) in buckets {
            match positive_span.last_mut() {
                Some(span) if index == next => span.length += 1,
                _ => positive_span.push(model::BucketSpan { offset: index - next, length: 1 }),
            }
            positive_delta.push(count - before);
            (next, before) = (index + 1, count);
        }
        let histogram = model::Histogram {
            sample_count: counts.total() * times,
            sample_sum: seconds(counts) * times as f64,
            schema: 5,
            zero_threshold: 1e-9,
            positive_span,
            positive_delta,
            ..model::Histogram::default()
        };
        let label = labels(name).map(|(name, value)| model::LabelPair { name: name.to_owned(), value }).to_vec();
        model::Metric { label, histogram: Some(histogram), ..model::Metric::default() }
    };
    let family = model::MetricFamily {
        name: "request_duration_seconds".to_owned(),
        r#type: model::MetricType::Histogram.into(),
        metric: series.iter().map(metric).collect(),
        ..model::MetricFamily::default()
    };
    family.encode_length_delimited_to_vec()
}

async fn serve(listener: TcpListener, exposed: Arc<Exposed>) -> Result<()> {
    let mut connections = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await?;
        let exposed = Arc::clone(&exposed);
        let answer = service_fn(move |request: Request<Incoming>| {
            let exposed = Arc::clone(&exposed);
            async move {
                let path = request.uri().path().to_owned();
                let content = if path.starts_with("/native") {
                    "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited"
                } else {
                    "text/plain; version=0.0.4"
                };
                let body = exposed.answer(&path).unwrap_or_default();
                Response::builder().header("content-type", content).body(Full::new(Bytes::from(body)))
            }
        });
        connections.spawn(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), answer));
        while connections.try_join_next().is_some() {}
    }
}

/// For `target/bench/ingest.json`.
pub(crate) fn ratios(cost: &Cost) -> Result<(f64, f64)> {
    let positive = (cost.serin > 0.0).then_some(cost.serin).context("serin took no time")?;
    Ok((cost.classic / positive, cost.native / positive))
}
