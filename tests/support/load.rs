//! An open-loop load generator: when a request is sent does not depend on how earlier ones fare, and its
//! latency counts from when it should have been sent, so neither a slow service nor a late generator hides
//! waiting (coordinated omission).

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use anyhow::{Context, Result};
use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt, Full};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use serin_sketch::{Counts, Micros};
use tokio::{
    sync::watch,
    task::{JoinHandle, JoinSet},
    time::{Instant, sleep_until, timeout, timeout_at},
};

use crate::service::{GRPC_EMPTY, WANTED};

/// HTTP/2 connections, so that an Envoy with several workers uses them all. HTTP/1.1 has as many as needed.
const HTTP2_CONNECTIONS: usize = 8;

/// What requests are spoken in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// `GET` over HTTP/1.1.
    Http1,
    /// `GET` over HTTP/2 with prior knowledge.
    Http2,
    /// Unary gRPC calls.
    Grpc,
}

/// When requests are sent.
#[derive(Clone, Copy, Debug)]
pub enum Arrivals {
    /// At equal distances.
    Even,
    /// As a Poisson process, the same for the same seed.
    Poisson(u64),
}

/// What to send.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Where to.
    pub target: SocketAddr,
    /// In what.
    pub protocol: Protocol,
    /// The path; gRPC's is `/package.Service/Method`.
    pub path: &'static str,
    /// The answer asked for (`service::WANTED`), empty for none.
    pub answer: &'static str,
    /// How many messages a gRPC call sends: more than one is a client's stream.
    pub messages: usize,
    /// One more header, of any name.
    pub header: Option<(&'static str, &'static str)>,
    /// Requests per second, above 0.
    pub rate_per_s: f64,
    /// Spread evenly or at random.
    pub arrivals: Arrivals,
    /// How many at most; together with the rate this bounds the duration.
    pub requests: u64,
    /// When the caller gives up on a request.
    pub timeout: Duration,
}

impl Plan {
    /// 100 evenly spaced requests at 500/s with a timeout of 10 s.
    pub fn new(target: SocketAddr, protocol: Protocol) -> Self {
        let path = if protocol == Protocol::Grpc { "/shop.v1.Shop/Get" } else { "/shop/items" };
        let timeout = Duration::from_secs(10);
        Plan {
            target,
            protocol,
            path,
            answer: "",
            messages: 1,
            header: None,
            rate_per_s: 500.0,
            arrivals: Arrivals::Even,
            requests: 100,
            timeout,
        }
    }
}

/// What came of the requests so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Sent.
    pub sent: u64,
    /// Status below 400, or gRPC OK.
    pub ok: u64,
    /// Status 4xx, or another gRPC status.
    pub client_errors: u64,
    /// Status 5xx, or a gRPC status that is the server's fault.
    pub server_errors: u64,
    /// Given up on by the caller.
    pub timed_out: u64,
    /// Without a complete response: no connection, or one that broke.
    pub broken: u64,
    /// Latency from the intended send time to the end of the response, or to giving up.
    pub latency: Counts,
}

impl Tally {
    /// Requests that came to an end.
    pub fn ended(&self) -> u64 {
        self.ok + self.client_errors + self.server_errors + self.timed_out + self.broken
    }
}

/// A load that is running.
#[derive(Debug)]
pub struct Load {
    tally: Shared,
    stop: watch::Sender<Option<Instant>>,
    task: JoinHandle<()>,
}

type Shared = Arc<Mutex<Tally>>;
type HttpClient = Client<HttpConnector, Full<Bytes>>;

impl Load {
    /// Starts sending.
    ///
    /// # Errors
    /// When target and path make no URI.
    pub fn start(plan: Plan) -> Result<Self> {
        let uri: Uri = format!("http://{}{}", plan.target, plan.path).parse().context("target and path make no URI")?;
        let tally = Shared::default();
        let (stop, stopped) = watch::channel(None);
        let task = tokio::spawn(send(plan, uri, tally.clone(), stopped));
        Ok(Load { tally, stop, task })
    }

    /// What came of the requests so far.
    pub fn tally(&self) -> Tally {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits until all requests are sent and have ended.
    pub async fn finish(mut self) -> Tally {
        let _ = (&mut self.task).await;
        self.tally()
    }

    /// Sends no more, and breaks off what has not ended `within` the time given.
    pub async fn stop(self, within: Duration) -> Tally {
        self.stop.send_replace(Some(Instant::now() + within));
        self.finish().await
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Sends all of the plan and waits until every request has ended.
///
/// # Errors
/// When target and path make no URI.
pub async fn run(plan: Plan) -> Result<Tally> {
    Ok(Load::start(plan)?.finish().await)
}

async fn send(plan: Plan, uri: Uri, tally: Shared, mut stop: watch::Receiver<Option<Instant>>) {
    let clients = clients(plan.protocol);
    let mut gaps = Gaps::new(plan.arrivals, plan.rate_per_s);
    let mut running = JoinSet::new();
    let mut intended = Instant::now();
    for client in clients.iter().cycle().take(usize::try_from(plan.requests).unwrap_or(usize::MAX)) {
        tokio::select! {
            biased;
            _ = stop.changed() => break,
            () = sleep_until(intended) => {}
        }
        record(&tally, |tally| tally.sent += 1);
        running.spawn(one(client.clone(), request(&plan, uri.clone()), plan.clone(), intended, tally.clone()));
        intended += gaps.next();
        while running.try_join_next().is_some() {}
    }
    let rest = async { while running.join_next().await.is_some() {} };
    tokio::pin!(rest);
    loop {
        let give_up = *stop.borrow_and_update();
        match give_up {
            Some(deadline) => {
                let _ = timeout_at(deadline, rest).await;
                return;
            }
            None => tokio::select! {
                () = &mut rest => return,
                changed = stop.changed() => if changed.is_err() { return },
            },
        }
    }
}

async fn one(client: HttpClient, request: Request<Full<Bytes>>, plan: Plan, intended: Instant, tally: Shared) {
    let answer = async {
        let response = client.request(request).await.ok()?;
        let (head, body) = response.into_parts();
        let body = body.collect().await.ok()?;
        Some((head.status, grpc_status(&head.headers, body.trailers())))
    };
    let answer = timeout(plan.timeout, answer).await;
    let latency = Micros(u64::try_from(intended.elapsed().as_micros()).unwrap_or(u64::MAX));
    record(&tally, |tally| {
        tally.latency.record(latency);
        *match answer {
            Err(_) => &mut tally.timed_out,
            Ok(None) => &mut tally.broken,
            Ok(Some((status, grpc))) => match (status, grpc) {
                (status, _) if status.is_server_error() => &mut tally.server_errors,
                (status, _) if status.is_client_error() => &mut tally.client_errors,
                (StatusCode::OK, Some(0)) => &mut tally.ok,
                // Unknown, deadline exceeded, unimplemented, internal, unavailable, data loss.
                (_, Some(2 | 4 | 12 | 13 | 14 | 15)) => &mut tally.server_errors,
                (_, Some(_)) => &mut tally.client_errors,
                (_, None) if plan.protocol == Protocol::Grpc => &mut tally.broken,
                (_, None) => &mut tally.ok,
            },
        } += 1;
    });
}

fn record(tally: &Shared, change: impl FnOnce(&mut Tally)) {
    change(&mut tally.lock().unwrap_or_else(PoisonError::into_inner));
}

/// From the trailers, or from the headers of a response that has nothing else.
fn grpc_status(headers: &HeaderMap, trailers: Option<&HeaderMap>) -> Option<u16> {
    let status = trailers.and_then(|t| t.get("grpc-status")).or_else(|| headers.get("grpc-status"))?;
    status.to_str().ok()?.parse().ok()
}

fn request(plan: &Plan, uri: Uri) -> Request<Full<Bytes>> {
    let grpc = plan.protocol == Protocol::Grpc;
    let mut request = Request::new(Full::from(if grpc { GRPC_EMPTY.repeat(plan.messages) } else { Vec::new() }));
    *request.uri_mut() = uri;
    let headers = request.headers_mut();
    if !plan.answer.is_empty() {
        headers.insert(WANTED, http::HeaderValue::from_static(plan.answer));
    }
    if let Some((name, value)) = plan.header {
        headers.insert(name, http::HeaderValue::from_static(value));
    }
    if grpc {
        headers.insert(header::CONTENT_TYPE, http::HeaderValue::from_static("application/grpc"));
        headers.insert(header::TE, http::HeaderValue::from_static("trailers"));
        *request.method_mut() = Method::POST;
    }
    request
}

fn clients(protocol: Protocol) -> Vec<HttpClient> {
    let many = if protocol == Protocol::Http1 { 1 } else { HTTP2_CONNECTIONS };
    let client = || {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        let mut builder = Client::builder(TokioExecutor::new());
        // A request that is sent twice would be counted twice.
        builder.retry_canceled_requests(false).http2_only(protocol != Protocol::Http1);
        builder.build(connector)
    };
    std::iter::repeat_with(client).take(many).collect()
}

/// The times between requests.
struct Gaps {
    mean_s: f64,
    random: Option<StdRng>,
}

impl Gaps {
    fn new(arrivals: Arrivals, rate_per_s: f64) -> Self {
        let random = match arrivals {
            Arrivals::Even => None,
            Arrivals::Poisson(seed) => Some(StdRng::seed_from_u64(seed)),
        };
        Gaps { mean_s: 1.0 / rate_per_s, random }
    }

    fn next(&mut self) -> Duration {
        let factor = self.random.as_mut().map_or(1.0, |rng| -(1.0 - rng.random::<f64>()).ln());
        Duration::from_secs_f64(self.mean_s * factor)
    }
}
