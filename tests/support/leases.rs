//! The Leases of an API server: made once, and written only by those who know their version, or in part.

use std::collections::BTreeMap;

use http::{Method, StatusCode};
use serde_json::{Value, json};

/// What follows the namespace in a path.
const LEASES: &str = "/leases";

/// An answer, or what is wrong as the status and the reason.
type Answer = Result<(StatusCode, Value), (StatusCode, &'static str)>;

/// Each by its path.
#[derive(Debug, Default)]
pub(crate) struct Leases {
    stored: BTreeMap<String, Value>,
    version: u64,
}

impl Leases {
    /// `None`: it is not about a Lease.
    pub(crate) fn answer(&mut self, method: &Method, path: &str, body: &[u8]) -> Option<Answer> {
        let list = path.strip_prefix("/apis/coordination.k8s.io/v1/namespaces/")?;
        list.contains(LEASES).then(|| self.lease(method, path, serde_json::from_slice(body).unwrap_or_default()))
    }

    /// Who holds the only one.
    pub(crate) fn holder(&self) -> Option<String> {
        self.stored.values().find_map(|lease| lease["spec"]["holderIdentity"].as_str().map(str::to_owned))
    }

    /// The annotations of the only one.
    pub(crate) fn annotations(&self) -> Value {
        self.stored.values().next().map(|lease| lease["metadata"]["annotations"].clone()).unwrap_or_default()
    }

    /// Changes an annotation of the only one, as `kubectl annotate` does; `null` removes it.
    pub(crate) fn annotate(&mut self, key: &str, value: Value) {
        if let Some(path) = self.stored.keys().next().cloned() {
            // It is there, and is a patch.
            let _ = self.lease(&Method::PATCH, &path, json!({ "metadata": { "annotations": { key: value } } }));
        }
    }

    fn lease(&mut self, method: &Method, path: &str, sent: Value) -> Answer {
        match *method {
            Method::GET => {
                let lease = self.stored.get(path).ok_or((StatusCode::NOT_FOUND, "NotFound"))?;
                Ok((StatusCode::OK, lease.clone()))
            }
            Method::POST => {
                let name = sent["metadata"]["name"].as_str().unwrap_or_default();
                let path = format!("{path}/{name}");
                if self.stored.contains_key(&path) {
                    return Err((StatusCode::CONFLICT, "AlreadyExists"));
                }
                Ok((StatusCode::CREATED, self.keep(path, sent)))
            }
            Method::PUT => {
                let version = |lease: &Value| lease["metadata"]["resourceVersion"].clone();
                let Some(stored) = self.stored.get(path) else { return Err((StatusCode::NOT_FOUND, "NotFound")) };
                if version(stored) != version(&sent) {
                    return Err((StatusCode::CONFLICT, "Conflict"));
                }
                Ok((StatusCode::OK, self.keep(path.to_owned(), sent)))
            }
            // A JSON merge patch, whatever the version.
            Method::PATCH => {
                let mut lease = self.stored.get(path).ok_or((StatusCode::NOT_FOUND, "NotFound"))?.clone();
                json_patch::merge(&mut lease, &sent);
                Ok((StatusCode::OK, self.keep(path.to_owned(), lease)))
            }
            _ => Err((StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowed")),
        }
    }

    fn keep(&mut self, path: String, mut lease: Value) -> Value {
        self.version += 1;
        lease["metadata"]["resourceVersion"] = json!(self.version.to_string());
        self.stored.insert(path, lease.clone());
        lease
    }
}
