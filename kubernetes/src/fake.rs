//! A fake API server for tests: it answers what a closure says, without a socket.

mod rbac;
mod serves;

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use http::{Request, Response};
use kube::{Client, client::Body};
use serde_json::{Value, json};
use tower_test::mock;

pub(crate) use serves::{Served, Serves};

/// A request as it came.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) query: String,
    pub(crate) content_type: String,
    pub(crate) body: Value,
}

/// What the server does about a request.
pub(crate) enum Answer {
    Json(u16, Value),
    Text(u16, &'static str),
    /// The same as `Json`, after a time.
    Late(Duration, u16, Value),
    /// The connection breaks.
    Broken,
    /// It never answers.
    Never,
}

pub(crate) type Log = Arc<Mutex<Vec<Asked>>>;

/// A client of a server that answers so, and what it was asked.
pub(crate) fn server(answer: impl FnMut(&Asked) -> Answer + Send + 'static) -> (Client, Log) {
    server_that(&Serves::v1(), answer)
}

/// The same of a server that serves this. What is asked about that, and what is not served, is answered by itself and not logged.
pub(crate) fn server_that(served: &Served, mut answer: impl FnMut(&Asked) -> Answer + Send + 'static) -> (Client, Log) {
    let served = Arc::clone(served);
    let (service, mut handle) = mock::pair::<Request<Body>, Response<Body>>();
    let log = Log::default();
    let seen = Arc::clone(&log);
    tokio::spawn(async move {
        let mut unanswered = Vec::new();
        while let Some((request, send)) = handle.next_request().await {
            let (parts, body) = request.into_parts();
            let body = body.collect_bytes().await.unwrap();
            let asked = Asked {
                method: parts.method.to_string(),
                path: parts.uri.path().to_owned(),
                query: parts.uri.query().unwrap_or_default().to_owned(),
                content_type: parts.headers.get("content-type").map_or("", |kind| kind.to_str().unwrap()).to_owned(),
                body: serde_json::from_slice(&body).unwrap_or_default(),
            };
            let access = rbac::Access::of(&asked);
            assert!(
                access.as_ref().is_none_or(rbac::Access::is_allowed),
                "the RBAC that is shipped forbids {access:?}"
            );
            let by_itself = served.lock().unwrap().answer(&asked);
            let answer = by_itself.unwrap_or_else(|| {
                let answer = answer(&asked);
                seen.lock().unwrap().push(asked);
                answer
            });
            match answer {
                Answer::Json(code, value) => send.send_response(respond(code, value.to_string())),
                Answer::Text(code, text) => send.send_response(respond(code, text.to_owned())),
                Answer::Late(time, code, value) => {
                    tokio::spawn(async move {
                        tokio::time::sleep(time).await;
                        send.send_response(respond(code, value.to_string()));
                    });
                }
                Answer::Broken => send.send_error("connection refused"),
                Answer::Never => unanswered.push(send),
            }
        }
    });
    (Client::new(service, "default"), log)
}

fn respond(code: u16, text: String) -> Response<Body> {
    Response::builder().status(code).body(Body::from(text.into_bytes())).unwrap()
}

/// An error as the API server says it.
pub(crate) fn status(code: u16, reason: &str, message: &str, details: &Value) -> Answer {
    let status = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": message, "reason": reason, "details": details, "code": code,
    });
    Answer::Json(code, status)
}
