//! An API server with many objects, which it lists, watches and patches as a real one does: over plain HTTP, with faults on
//! command.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use anyhow::{Context, Result};
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, request::Parts};
use http_body_util::{BodyExt, Full, StreamBody, combinators::BoxBody};
use hyper::{
    body::{Frame, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::{net::TcpListener, sync::mpsc, task::JoinSet};
use tokio_stream::{StreamExt as _, wrappers::UnboundedReceiverStream};

use crate::{leases::Leases, served::Served};

/// What it has.
#[derive(Debug, Default)]
struct Stored {
    version: u64,
    /// By path.
    objects: BTreeMap<String, Value>,
    /// What happened: the version, the collection and the event.
    history: Vec<(u64, String, Value)>,
    /// Watches that begin before this version are too old.
    compacted: u64,
    /// By collection.
    watchers: Vec<(String, mpsc::UnboundedSender<Value>)>,
    leases: Leases,
    served: Served,
    /// Each as `METHOD path?query`.
    asked: Vec<String>,
    is_down: bool,
    /// Patches of paths that end like this are refused.
    forbidden: Option<String>,
}

type Shared = Arc<Mutex<Stored>>;
type Answer = Response<BoxBody<Bytes, Infallible>>;

/// A running one. Dropping it ends it.
#[derive(Debug)]
pub struct Cluster {
    address: SocketAddr,
    stored: Shared,
    _tasks: JoinSet<()>,
}

impl Cluster {
    /// Without any object.
    ///
    /// # Errors
    /// When it cannot listen.
    pub async fn start() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await.context("cannot listen on loopback")?;
        let (address, stored) = (listener.local_addr()?, Shared::default());
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
        Ok(Cluster { address, stored, _tasks: tasks })
    }

    /// Writes a kubeconfig for it.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn kubeconfig(&self, dir: &Path) -> Result<PathBuf> {
        crate::api_server::kubeconfig(self.address, dir)
    }

    /// Creates or replaces the object at a path.
    pub fn put(&self, path: &str, object: Value) {
        self.lock().put(path, object);
    }

    /// Changes the object at a path.
    ///
    /// # Errors
    /// When there is none.
    pub fn change(&self, path: &str, change: impl FnOnce(&mut Value)) -> Result<()> {
        let mut stored = self.lock();
        let mut object = stored.objects.get(path).cloned().with_context(|| format!("no {path}"))?;
        change(&mut object);
        stored.put(path, object);
        Ok(())
    }

    /// Deletes the object at a path, if it is there.
    pub fn delete(&self, path: &str) {
        let mut stored = self.lock();
        if let Some(object) = stored.objects.remove(path) {
            stored.tell(path, "DELETED", object);
        }
    }

    /// The object at a path.
    pub fn object(&self, path: &str) -> Option<Value> {
        self.lock().objects.get(path).cloned()
    }

    /// The objects directly below a path.
    pub fn list(&self, collection: &str) -> Vec<Value> {
        self.lock().of(collection)
    }

    /// Ends every watch, as a server does from time to time.
    pub fn cut(&self) {
        self.lock().watchers.clear();
    }

    /// Ends every watch and forgets what happened, so that none can be resumed.
    pub fn compact(&self) {
        let mut stored = self.lock();
        stored.watchers.clear();
        stored.history.clear();
        stored.version += 1;
        stored.compacted = stored.version;
    }

    /// Answers nothing but 503, or as usual again. Watches are cut.
    pub fn set_down(&self, is_down: bool) {
        let mut stored = self.lock();
        stored.is_down = is_down;
        stored.watchers.clear();
    }

    /// Serves these of the kinds that have weights, each as a version and the name of a resource, such as `("v1", "virtualservices")`. It keeps
    /// them in v1. Watches are cut.
    pub fn serve(&self, resources: &[(&str, &str)]) {
        let mut stored = self.lock();
        stored.served = Served::of(resources);
        stored.watchers.clear();
    }

    /// Refuses patches of paths that end like this, or of none again.
    pub fn forbid(&self, ending: Option<&str>) {
        self.lock().forbidden = ending.map(str::to_owned);
    }

    /// What it was asked, each as `METHOD path?query`.
    pub fn asked(&self) -> Vec<String> {
        self.lock().asked.clone()
    }

    fn lock(&self) -> MutexGuard<'_, Stored> {
        lock(&self.stored)
    }
}

impl Stored {
    fn put(&mut self, path: &str, mut object: Value) {
        let kind = if self.objects.contains_key(path) { "MODIFIED" } else { "ADDED" };
        object["metadata"]["resourceVersion"] = Value::from((self.version + 1).to_string());
        self.objects.insert(path.to_owned(), object.clone());
        self.tell(path, kind, object);
    }

    fn tell(&mut self, path: &str, kind: &str, mut object: Value) {
        self.version += 1;
        object["metadata"]["resourceVersion"] = Value::from(self.version.to_string());
        let collection = path.rsplit_once('/').map_or(path, |(collection, _)| collection).to_owned();
        let event = json!({ "type": kind, "object": object });
        self.watchers.retain(|(watched, to)| *watched != collection || to.send(event.clone()).is_ok());
        self.history.push((self.version, collection, event));
    }

    fn of(&self, collection: &str) -> Vec<Value> {
        let is_in = |path: &String| path.rsplit_once('/').is_some_and(|(of, _)| of == collection);
        self.objects.iter().filter(|(path, _)| is_in(path)).map(|(_, object)| object.clone()).collect()
    }

    /// Items of a list do not say their kind.
    fn listed(&self, collection: &str) -> Value {
        let mut items = self.of(collection);
        for item in items.iter_mut().filter_map(Value::as_object_mut) {
            item.retain(|key, _| key != "kind" && key != "apiVersion");
        }
        let version = self.version.to_string();
        json!({ "kind": "List", "apiVersion": "v1", "metadata": { "resourceVersion": version }, "items": items })
    }

    /// As JSON lines, from a version on.
    fn watch(&mut self, collection: &str, since: u64) -> Answer {
        let (to, events) = mpsc::unbounded_channel();
        if since < self.compacted {
            let status = json!({ "kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "Expired", "message": "too old", "code": 410 });
            let _ = to.send(json!({ "type": "ERROR", "object": status }));
        } else {
            let later = self.history.iter().filter(|(version, of, _)| *version > since && of == collection);
            later.for_each(|(_, _, event)| drop(to.send(event.clone())));
            self.watchers.push((collection.to_owned(), to));
        }
        let lines =
            UnboundedReceiverStream::new(events).map(|event| Ok(Frame::data(Bytes::from(format!("{event}\n")))));
        Response::new(BodyExt::boxed(StreamBody::new(lines)))
    }

    fn patch(&mut self, head: &Parts, path: &str, body: &[u8]) -> (StatusCode, Value) {
        let of = path.strip_suffix("/status").unwrap_or(path);
        let Some(mut object) = self.objects.get(of).cloned() else {
            return not_found(of);
        };
        let kind = head.headers.get("content-type").and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        let query = head.uri.query().unwrap_or_default();
        match (of == path, kind) {
            (_, "application/json-patch+json") => {
                let patch = serde_json::from_slice::<json_patch::Patch>(body);
                if !patch.is_ok_and(|patch| json_patch::patch(&mut object, &patch).is_ok()) {
                    return refused(StatusCode::UNPROCESSABLE_ENTITY, "Invalid");
                }
            }
            (is_whole, "application/merge-patch+json") => {
                let Ok(patch) = serde_json::from_slice::<Value>(body) else {
                    return refused(StatusCode::BAD_REQUEST, "BadRequest");
                };
                // Through the subresource nothing else is written.
                let patch = if is_whole { patch } else { json!({ "status": patch["status"] }) };
                json_patch::merge(&mut object, &patch);
            }
            (false, "application/apply-patch+yaml") if query.contains("fieldManager=serin") => {
                let Ok(mut apply) = serde_json::from_slice::<Value>(body) else {
                    return refused(StatusCode::BAD_REQUEST, "BadRequest");
                };
                if apply.pointer("/metadata/uid").is_some_and(|uid| *uid != object["metadata"]["uid"]) {
                    return refused(StatusCode::CONFLICT, "Conflict");
                }
                object["status"] = apply["status"].take();
            }
            _ => return refused(StatusCode::UNSUPPORTED_MEDIA_TYPE, "UnsupportedMediaType"),
        }
        if !query.contains("dryRun") {
            self.put(of, object.clone());
        }
        (StatusCode::OK, object)
    }
}

async fn answer(request: Request<Incoming>, stored: Shared) -> Result<Answer, Infallible> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    let (path, query) = (head.uri.path(), head.uri.query().unwrap_or_default());
    let mut stored = lock(&stored);
    stored.asked.push(format!("{} {path}?{query}", head.method));
    let is_watch = query.contains("watch=true");
    let lease = stored.leases.answer(&head.method, path, &body);
    let (said, kept) = (stored.served.said(path), stored.served.kept(path));
    let path = kept.as_deref().unwrap_or_default();
    let (status, mut answer) = match head.method {
        _ if stored.is_down => refused(StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailable"),
        _ if let Some(answer) = lease => answer.unwrap_or_else(|(status, reason)| refused(status, reason)),
        _ if let Some(said) = said => {
            said.map_or_else(|()| refused(StatusCode::NOT_FOUND, "NotFound"), |said| (StatusCode::OK, said))
        }
        _ if path.is_empty() => refused(StatusCode::NOT_FOUND, "NotFound"),
        Method::GET if is_watch => {
            let version = query.split('&').find_map(|pair| pair.strip_prefix("resourceVersion=")?.parse().ok());
            return Ok(stored.watch(path, version.unwrap_or(0)));
        }
        Method::GET => match stored.objects.get(path) {
            Some(object) => (StatusCode::OK, object.clone()),
            // `…/namespaces/NAMESPACE/KIND`, and with a name behind it an object.
            None if path.rsplit('/').nth(2) != Some("namespaces") => not_found(path),
            None => (StatusCode::OK, stored.listed(path)),
        },
        Method::POST => match serde_json::from_slice::<Value>(&body) {
            Ok(mut object) => {
                object["metadata"]["uid"] = Value::from(format!("uid-{}", stored.version));
                object["metadata"]["creationTimestamp"] = now();
                object["metadata"]["generation"] = 1.into();
                if let Some((_, within)) = path.split_once("/namespaces/") {
                    object["metadata"]["namespace"] = within.split('/').next().into();
                }
                let name = object["metadata"]["name"].as_str().unwrap_or_default();
                stored.put(&format!("{path}/{name}"), object.clone());
                (StatusCode::CREATED, object)
            }
            Err(_) => refused(StatusCode::BAD_REQUEST, "BadRequest"),
        },
        Method::PATCH if stored.forbidden.as_ref().is_some_and(|ending| path.ends_with(ending.as_str())) => {
            refused(StatusCode::FORBIDDEN, "Forbidden")
        }
        Method::PATCH => stored.patch(&head, path, &body),
        Method::DELETE => match stored.objects.remove(path) {
            Some(object) => {
                stored.tell(path, "DELETED", object.clone());
                (StatusCode::OK, object)
            }
            None => not_found(path),
        },
        _ => refused(StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowed"),
    };
    Served::retold(head.uri.path(), &mut answer);
    let mut response = Response::new(Full::from(answer.to_string()).boxed());
    *response.status_mut() = status;
    Ok(response)
}

/// In whole seconds, as the API has times.
fn now() -> Value {
    Timestamp::from_second(Timestamp::now().as_second()).unwrap_or_default().to_string().into()
}

fn lock(stored: &Mutex<Stored>) -> MutexGuard<'_, Stored> {
    stored.lock().unwrap_or_else(PoisonError::into_inner)
}

fn refused(status: StatusCode, reason: &str) -> (StatusCode, Value) {
    let code = status.as_u16();
    let body = json!({ "kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": reason, "message": reason, "code": code });
    (status, body)
}

/// With the name of the object: without one there is no such kind.
fn not_found(path: &str) -> (StatusCode, Value) {
    let (status, mut body) = refused(StatusCode::NOT_FOUND, "NotFound");
    body["details"] = json!({ "name": path.rsplit('/').next() });
    (status, body)
}
