//! An API server that knows one object, which it serves and patches as a real one does, and Leases: over plain HTTP.

use std::{
    convert::Infallible,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use anyhow::{Context, Result};
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::{net::TcpListener, task::JoinSet};

use crate::{leases::Leases, served::Served};

/// What it has.
#[derive(Debug)]
struct Stored {
    path: String,
    object: Value,
    patches: Vec<String>,
    forbids: bool,
    /// Of the object, as it was given last.
    version: u64,
    leases: Leases,
}

impl Stored {
    fn next_version(&mut self) -> u64 {
        self.version += 1;
        self.version
    }

    /// A list of routes has one owner: who wrote it last.
    fn own(object: &mut Value, manager: &str, version: u64) {
        // A second for each version, so that the latest is the latest.
        let time = format!("2026-01-01T{:02}:{:02}:{:02}Z", version / 3_600 % 24, version / 60 % 60, version % 60);
        let entry = json!({ "manager": manager, "operation": "Update", "time": time, "fieldsV1": { "f:spec": { "f:http": {} } } });
        object["metadata"]["managedFields"] = json!([entry]);
        object["metadata"]["resourceVersion"] = json!(version.to_string());
    }
}

type Shared = Arc<Mutex<Stored>>;

/// A running one. Dropping it ends it.
#[derive(Debug)]
pub struct ApiServer {
    address: SocketAddr,
    stored: Shared,
    _tasks: JoinSet<()>,
}

impl ApiServer {
    /// With an object at a path. With `forbids`, patches are answered with 403.
    ///
    /// # Errors
    /// When it cannot listen.
    pub async fn start(path: &str, object: Value, forbids: bool) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await.context("cannot listen on loopback")?;
        let address = listener.local_addr()?;
        let (path, patches, leases) = (path.to_owned(), Vec::new(), Leases::default());
        let stored = Shared::new(Mutex::new(Stored { path, object, patches, forbids, version: 1_000_000, leases }));
        let served = Arc::clone(&stored);
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let served = Arc::clone(&served);
                connections.spawn(async move {
                    let service = service_fn(move |request| answer(request, Arc::clone(&served)));
                    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
        Ok(ApiServer { address, stored, _tasks: tasks })
    }

    /// Writes a kubeconfig for it.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn kubeconfig(&self, dir: &Path) -> Result<PathBuf> {
        kubeconfig(self.address, dir)
    }

    /// The object now.
    pub fn object(&self) -> Value {
        self.lock().object.clone()
    }

    /// Another field manager writes the object.
    pub fn write(&self, manager: &str, change: impl FnOnce(&mut Value)) {
        let mut stored = self.lock();
        let version = stored.next_version();
        change(&mut stored.object);
        Stored::own(&mut stored.object, manager, version);
    }

    /// The patches that came, each as `query body`.
    pub fn patches(&self) -> Vec<String> {
        self.lock().patches.clone()
    }

    /// Who holds the Lease.
    pub fn holder(&self) -> Option<String> {
        self.lock().leases.holder()
    }

    /// The annotations of the Lease.
    pub fn annotations(&self) -> Value {
        self.lock().leases.annotations()
    }

    /// Changes an annotation of the Lease, as `kubectl annotate` does; `null` removes it.
    pub fn annotate(&self, key: &str, value: Value) {
        self.lock().leases.annotate(key, value);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Stored> {
        self.stored.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Writes a kubeconfig for a server without TLS.
pub(crate) fn kubeconfig(address: SocketAddr, dir: &Path) -> Result<PathBuf> {
    let config = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "test",
        "clusters": [{ "name": "test", "cluster": { "server": format!("http://{address}") } }],
        "users": [{ "name": "test", "user": {} }],
        "contexts": [{ "name": "test", "context": { "cluster": "test", "user": "test" } }],
    });
    let file = dir.join("kubeconfig");
    std::fs::write(&file, config.to_string())?;
    Ok(file)
}

async fn answer(request: Request<Incoming>, stored: Shared) -> Result<Response<Full<Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    let mut stored = stored.lock().unwrap_or_else(PoisonError::into_inner);
    let lease = stored.leases.answer(&head.method, head.uri.path(), &body);
    let (status, answer) = match (lease, head.method) {
        (Some(answer), _) => answer.unwrap_or_else(|(status, reason)| refused(status, reason)),
        _ if let Some(Ok(said)) = Served::default().said(head.uri.path()) => (StatusCode::OK, said),
        _ if head.uri.path() != stored.path => refused(StatusCode::NOT_FOUND, "NotFound"),
        (_, Method::GET) => (StatusCode::OK, stored.object.clone()),
        (_, Method::PATCH) => patch(&mut stored, head.uri.query().unwrap_or_default(), &body),
        _ => refused(StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowed"),
    };
    let mut response = Response::new(Full::from(answer.to_string()));
    *response.status_mut() = status;
    Ok(response)
}

fn patch(stored: &mut Stored, query: &str, body: &[u8]) -> (StatusCode, Value) {
    stored.patches.push(format!("{query} {}", String::from_utf8_lossy(body)));
    if stored.forbids {
        return refused(StatusCode::FORBIDDEN, "Forbidden");
    }
    let mut patched = stored.object.clone();
    let applied = serde_json::from_slice(body).map(|patch: json_patch::Patch| json_patch::patch(&mut patched, &patch));
    if !matches!(applied, Ok(Ok(()))) {
        return refused(StatusCode::UNPROCESSABLE_ENTITY, "Invalid");
    }
    Stored::own(&mut patched, "serin", stored.next_version());
    if !query.contains("dryRun") {
        stored.object = patched.clone();
    }
    (StatusCode::OK, patched)
}

fn refused(status: StatusCode, reason: &str) -> (StatusCode, Value) {
    let code = status.as_u16();
    let body = json!({ "kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": reason, "message": reason, "code": code });
    (status, body)
}
