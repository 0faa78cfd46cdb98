//! Envoy's own gRPC access log, taken in and kept: what really happened, as Envoy says it.
//!
//! The messages are those of `envoy.service.accesslog.v3` and `envoy.data.accesslog.v3`, with the fields that are used.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
};

use anyhow::{Context, Result};
use bytes::{Buf, Bytes, BytesMut};
use http::{Request, Response, header::CONTENT_TYPE};
use http_body_util::{BodyExt, Empty};
use hyper::{body::Incoming, server::conn::http2, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message;
use serde_json::{Value, json};
use tokio::{net::TcpListener, task::JoinSet};

/// `StreamAccessLogsMessage`.
#[derive(Clone, PartialEq, Message)]
struct Logged {
    #[prost(message, optional, tag = "2")]
    http_logs: Option<HttpLogs>,
}

#[derive(Clone, PartialEq, Message)]
struct HttpLogs {
    #[prost(message, repeated, tag = "1")]
    log_entry: Vec<Entry>,
}

/// `HTTPAccessLogEntry`.
#[derive(Clone, PartialEq, Message)]
#[allow(missing_docs)] // As in `accesslog.proto`.
pub struct Entry {
    #[prost(message, optional, tag = "1")]
    pub common: Option<Common>,
    #[prost(message, optional, tag = "3")]
    pub request: Option<RequestProperties>,
    #[prost(message, optional, tag = "4")]
    pub response: Option<ResponseProperties>,
}

/// `AccessLogCommon`.
#[derive(Clone, PartialEq, Message)]
#[allow(missing_docs)]
pub struct Common {
    #[prost(message, optional, tag = "7")]
    pub time_to_first_upstream_tx_byte: Option<Duration>,
    #[prost(message, optional, tag = "9")]
    pub time_to_first_upstream_rx_byte: Option<Duration>,
    #[prost(message, optional, tag = "10")]
    pub time_to_last_upstream_rx_byte: Option<Duration>,
    #[prost(message, optional, tag = "13")]
    pub upstream_remote_address: Option<Nothing>,
    #[prost(string, tag = "15")]
    pub upstream_cluster: String,
    #[prost(message, optional, tag = "16")]
    pub response_flags: Option<Flags>,
    #[prost(string, tag = "19")]
    pub route_name: String,
    #[prost(message, optional, tag = "23")]
    pub duration: Option<Duration>,
    #[prost(uint32, tag = "24")]
    pub upstream_request_attempt_count: u32,
}

/// A message of which only the presence matters.
#[derive(Clone, PartialEq, Message)]
pub struct Nothing {}

/// `google.protobuf.Duration`.
#[derive(Clone, Copy, PartialEq, Message)]
#[allow(missing_docs)]
pub struct Duration {
    #[prost(int64, tag = "1")]
    pub seconds: i64,
    #[prost(int32, tag = "2")]
    pub nanos: i32,
}

/// `ResponseFlags`.
#[derive(Clone, PartialEq, Message)]
#[allow(missing_docs)]
pub struct Flags {
    #[prost(bool, tag = "2")]
    pub no_healthy_upstream: bool,
    #[prost(bool, tag = "3")]
    pub upstream_request_timeout: bool,
    #[prost(bool, tag = "4")]
    pub local_reset: bool,
    #[prost(bool, tag = "5")]
    pub upstream_remote_reset: bool,
    #[prost(bool, tag = "6")]
    pub upstream_connection_failure: bool,
    #[prost(bool, tag = "7")]
    pub upstream_connection_termination: bool,
    #[prost(bool, tag = "8")]
    pub upstream_overflow: bool,
    #[prost(bool, tag = "15")]
    pub downstream_connection_termination: bool,
    #[prost(bool, tag = "17")]
    pub stream_idle_timeout: bool,
    #[prost(bool, tag = "20")]
    pub upstream_max_stream_duration_reached: bool,
    #[prost(bool, tag = "23")]
    pub duration_timeout: bool,
    #[prost(bool, tag = "24")]
    pub upstream_protocol_error: bool,
    #[prost(bool, tag = "28")]
    pub downstream_remote_reset: bool,
}

/// `HTTPRequestProperties`.
#[derive(Clone, PartialEq, Message)]
#[allow(missing_docs)]
pub struct RequestProperties {
    /// 6 is CONNECT (`core.v3.RequestMethod`).
    #[prost(int32, tag = "1")]
    pub request_method: i32,
    #[prost(string, tag = "5")]
    pub path: String,
    #[prost(btree_map = "string, string", tag = "13")]
    pub request_headers: BTreeMap<String, String>,
}

/// `HTTPResponseProperties`.
#[derive(Clone, PartialEq, Message)]
#[allow(missing_docs)]
pub struct ResponseProperties {
    #[prost(message, optional, tag = "1")]
    pub response_code: Option<UInt32>,
    #[prost(btree_map = "string, string", tag = "4")]
    pub response_headers: BTreeMap<String, String>,
    #[prost(btree_map = "string, string", tag = "5")]
    pub response_trailers: BTreeMap<String, String>,
    #[prost(string, tag = "6")]
    pub response_code_details: String,
}

/// `google.protobuf.UInt32Value`.
#[derive(Clone, Copy, PartialEq, Message)]
#[allow(missing_docs)]
pub struct UInt32 {
    #[prost(uint32, tag = "1")]
    pub value: u32,
}

impl Duration {
    /// In nanoseconds.
    pub fn nanoseconds(self) -> i64 {
        self.seconds * 1_000_000_000 + i64::from(self.nanos)
    }
}

/// The access logger for a connection manager's `access_log`: sends to `cluster`, every entry at once.
pub fn logger(cluster: &str) -> Value {
    let service = json!({ "envoy_grpc": { "cluster_name": cluster } });
    let common = json!({ "log_name": "truth", "transport_api_version": "V3", "grpc_service": service,
        "buffer_flush_interval": "0.1s", "buffer_size_bytes": 1 });
    json!({ "name": "envoy.access_loggers.http_grpc", "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.access_loggers.grpc.v3.HttpGrpcAccessLogConfig",
        "common_config": common,
        "additional_request_headers_to_log": ["content-type"],
        "additional_response_headers_to_log": ["grpc-status", "content-type"],
        "additional_response_trailers_to_log": ["grpc-status"] } })
}

type Shared = Arc<Mutex<Vec<Entry>>>;

/// A running access log service. Dropping it ends it.
#[derive(Debug)]
pub struct AccessLog {
    /// Where it listens.
    pub address: SocketAddr,
    entries: Shared,
    _tasks: JoinSet<()>,
}

impl AccessLog {
    /// Starts it on a port of its own.
    ///
    /// # Errors
    /// When no port can be had.
    pub async fn start() -> Result<Self> {
        Self::serve(true).await
    }

    /// Starts one that reads everything and forgets it.
    ///
    /// # Errors
    /// When no port can be had.
    pub async fn sink() -> Result<Self> {
        Self::serve(false).await
    }

    async fn serve(keeps: bool) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await.context("cannot listen on loopback")?;
        let address = listener.local_addr()?;
        let entries = Shared::default();
        let taken = entries.clone();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let taken = taken.clone();
                connections.spawn(async move {
                    let service = service_fn(move |request| take(request, keeps.then(|| taken.clone())));
                    let connection = http2::Builder::new(TokioExecutor::new());
                    let _ = connection.serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
        Ok(AccessLog { address, entries, _tasks: tasks })
    }

    /// All that was logged so far.
    pub fn entries(&self) -> Vec<Entry> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// One stream: gRPC messages, each after a byte and its length (gRPC over HTTP/2, "Length-Prefixed-Message").
async fn take(request: Request<Incoming>, entries: Option<Shared>) -> Result<Response<Empty<Bytes>>, Infallible> {
    let mut body = request.into_body();
    let mut bytes = BytesMut::new();
    while let Some(Ok(frame)) = body.frame().await {
        let Some(entries) = &entries else { continue };
        bytes.extend_from_slice(frame.data_ref().map_or(&[], |data| &data[..]));
        while let Some(message) = next(&mut bytes) {
            let logs = Logged::decode(message).ok().and_then(|logged| logged.http_logs).unwrap_or_default();
            entries.lock().unwrap_or_else(PoisonError::into_inner).extend(logs.log_entry);
        }
    }
    let mut response = Response::new(Empty::new());
    response.headers_mut().insert(CONTENT_TYPE, http::HeaderValue::from_static("application/grpc"));
    Ok(response)
}

fn next(bytes: &mut BytesMut) -> Option<BytesMut> {
    let length = bytes.get(1..5)?.try_into().ok().map(u32::from_be_bytes)? as usize;
    if bytes.len() < 5 + length {
        return None;
    }
    bytes.advance(5);
    Some(bytes.split_to(length))
}
