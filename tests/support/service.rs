//! A small upstream service: HTTP/1.1, HTTP/2 (prior knowledge) and unary gRPC on one port, with a realistic
//! latency and behaviour that is switched while it runs.

mod odd;

use std::{
    convert::Infallible,
    future::pending,
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, Result};
use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode,
    header::{CONTENT_TYPE, LOCATION},
};
use http_body_util::{BodyExt, Full, combinators::BoxBody};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinSet,
    time::sleep,
};

use crate::latency::Latency;
use odd::Odd;

/// A request may ask for its answer: `404` (any HTTP status; 3xx lead to [`LANDING`]), `grpc-5` (any gRPC status), `hang`
/// (none), or one of the words of [`odd`].
pub const WANTED: HeaderName = HeaderName::from_static("x-answer");

/// Where redirects lead: what is asked for is not done here.
pub const LANDING: &str = "/shop/landing";
const LANDING_URL: &str = "http://shop/shop/landing";

/// An empty gRPC message: not compressed, length 0.
pub const GRPC_EMPTY: &[u8] = &[0, 0, 0, 0, 0];

/// What the instances of a release do.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Behaviour {
    /// The latency of the model, and no errors.
    Healthy,
    /// Latencies above p95 to p97 are multiplied by this, so p99 is, and p50 stays.
    TailSlow(f64),
    /// All latencies are multiplied by this.
    AllSlow(f64),
    /// This share of requests, 0 to 1, is answered with 503, or gRPC status 14 (unavailable).
    Errors(f64),
    /// This share of requests, 0 to 1, is never answered.
    Hang(f64),
}

enum Answer {
    Http(StatusCode),
    Grpc(u8),
    Odd(Odd),
    Never,
}

/// The instances of one release, each on a port of its own. Dropping it stops them.
#[derive(Debug)]
pub struct Release {
    /// Where the instances listen.
    pub addresses: Vec<SocketAddr>,
    behaviour: watch::Sender<Behaviour>,
    served: Arc<Served>,
    _tasks: JoinSet<()>,
}

impl Release {
    /// Starts `instances` of them, healthy; `scale` multiplies all latencies.
    ///
    /// # Errors
    /// When no port can be had.
    pub async fn start(instances: usize, scale: f64) -> Result<Self> {
        let (behaviour, watched) = watch::channel(Behaviour::Healthy);
        let served = Arc::new(Served::default());
        let mut addresses = Vec::with_capacity(instances);
        let mut tasks = JoinSet::new();
        for seed in 0..instances {
            let listener = TcpListener::bind("127.0.0.1:0").await.context("cannot listen on loopback")?;
            addresses.push(listener.local_addr()?);
            let rng = Arc::new(Mutex::new(StdRng::seed_from_u64(seed as u64)));
            let instance = Instance { scale, rng, behaviour: watched.clone(), served: served.clone() };
            tasks.spawn(instance.accept(listener));
        }
        Ok(Release { addresses, behaviour, served, _tasks: tasks })
    }

    /// What all instances do from now on.
    pub fn behave(&self, behaviour: Behaviour) {
        self.behaviour.send_replace(behaviour);
    }

    /// Requests that arrived at all instances since the start.
    pub fn served(&self) -> u64 {
        self.served.requests.load(Ordering::Relaxed)
    }

    /// When the last request arrived at any of them, in microseconds since 1970; 0 when none did.
    pub fn last_served_unix_us(&self) -> u64 {
        self.served.last_unix_us.load(Ordering::Relaxed)
    }
}

#[derive(Clone)]
struct Instance {
    scale: f64,
    rng: Arc<Mutex<StdRng>>,
    behaviour: watch::Receiver<Behaviour>,
    served: Arc<Served>,
}

#[derive(Debug, Default)]
struct Served {
    requests: AtomicU64,
    last_unix_us: AtomicU64,
}

impl Instance {
    async fn accept(self, listener: TcpListener) {
        // Connections end with the instance: dropping the set aborts them.
        let mut connections = JoinSet::new();
        loop {
            // An accept fails when descriptors run out, or the peer is gone again: the next one may succeed.
            if let Ok((stream, _)) = listener.accept().await {
                connections.spawn(self.clone().serve(stream));
            }
            while connections.try_join_next().is_some() {}
        }
    }

    async fn serve(self, stream: TcpStream) {
        let _ = stream.set_nodelay(true);
        let service = service_fn(move |request| {
            let instance = self.clone();
            async move { instance.answer(request).await }
        });
        // A connection that breaks is the caller's business.
        let _ = auto::Builder::new(TokioExecutor::new())
            .serve_connection_with_upgrades(TokioIo::new(stream), service)
            .await;
    }

    async fn answer(&self, request: Request<Incoming>) -> Result<Response<BoxBody<Bytes, odd::Broken>>, odd::Broken> {
        self.served.requests.fetch_add(1, Ordering::Relaxed);
        self.served.last_unix_us.fetch_max(unix_us(), Ordering::Relaxed);
        let behaviour = *self.behaviour.borrow();
        let grpc = request.headers().get(CONTENT_TYPE).is_some_and(|t| t.as_bytes().starts_with(b"application/grpc"));
        let (latency, answer) = {
            let mut rng = self.rng.lock().unwrap_or_else(PoisonError::into_inner);
            (self.latency(behaviour).draw(&mut *rng), decide(&request, behaviour, rng.random(), grpc))
        };
        match answer {
            Answer::Never => pending().await,
            Answer::Http(status) => {
                sleep(latency).await;
                Ok(http_response(status))
            }
            Answer::Grpc(status) => {
                sleep(latency).await;
                Ok(grpc_response(status))
            }
            Answer::Odd(odd) => {
                sleep(latency).await;
                odd.answer(request).await
            }
        }
    }

    fn latency(&self, behaviour: Behaviour) -> Latency {
        match behaviour {
            Behaviour::TailSlow(tail) => Latency { scale: self.scale, tail },
            Behaviour::AllSlow(all) => Latency { scale: self.scale * all, tail: 1.0 },
            Behaviour::Healthy | Behaviour::Errors(_) | Behaviour::Hang(_) => Latency { scale: self.scale, tail: 1.0 },
        }
    }
}

/// The wall clock, in microseconds since 1970.
pub fn unix_us() -> u64 {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since_1970.as_micros()).unwrap_or(u64::MAX)
}

fn decide(request: &Request<Incoming>, behaviour: Behaviour, luck: f64, grpc: bool) -> Answer {
    let wanted = request.headers().get(WANTED).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if wanted == "hang" {
        return Answer::Never;
    }
    if let Some(odd) = Odd::named(wanted) {
        return Answer::Odd(odd);
    }
    if let Some(status) = wanted.strip_prefix("grpc-").and_then(|status| status.parse().ok()) {
        return Answer::Grpc(status);
    }
    if let Ok(status) = wanted.parse()
        && request.uri().path() != LANDING
    {
        return Answer::Http(status);
    }
    match behaviour {
        Behaviour::Hang(share) if luck < share => Answer::Never,
        Behaviour::Errors(share) if luck < share && grpc => Answer::Grpc(14),
        Behaviour::Errors(share) if luck < share => Answer::Http(StatusCode::SERVICE_UNAVAILABLE),
        _ if grpc => Answer::Grpc(0),
        _ => Answer::Http(StatusCode::OK),
    }
}

fn http_response(status: StatusCode) -> Response<BoxBody<Bytes, odd::Broken>> {
    let body = Full::from("{\"item\":\"finch\",\"price\":4}\n").map_err(|never| match never {});
    let mut response = Response::new(body.boxed());
    *response.status_mut() = status;
    response.headers_mut().insert("x-release", HeaderValue::from_static("r7"));
    if status.is_redirection() {
        response.headers_mut().insert(LOCATION, HeaderValue::from_static(LANDING_URL));
    }
    response
}

/// HTTP 200, with the real status in the trailers.
fn grpc_response(status: u8) -> Response<BoxBody<Bytes, odd::Broken>> {
    let message = if status == 0 { Bytes::from_static(GRPC_EMPTY) } else { Bytes::new() };
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from(u16::from(status)));
    let body = Full::new(message).with_trailers(std::future::ready(Some(Ok(trailers))));
    let mut response = Response::new(body.map_err(|never: Infallible| match never {}).boxed());
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    response
}
