//! Posts JSON (IO).

use std::{io, path::PathBuf, time::Duration};

use axum::http::Uri;
use backon::{ExponentialBuilder, Retryable as _};
use http_body_util::Full;
use hyper::{Request, StatusCode};
use hyper_util::client::legacy;

use crate::{
    causes::with_causes,
    config::{Address, Receiver},
    https,
};

/// How long one attempt may take.
const WITHIN: Duration = Duration::from_secs(5);
/// Pauses of 0.5, 1, 2, 4, 8 and 16 s: with 5 s for each of 7 attempts 66.5 s at the most.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const PAUSES: usize = 6;

/// Why notifications cannot be sent at all.
#[derive(Debug, thiserror::Error)]
#[error("notify: no certificate authorities were found ({0}): install ca-certificates, or set SSL_CERT_FILE")]
pub struct NotifyError(io::Error);

/// Why one was not sent. The address is not said: Slack's is a secret.
#[derive(Debug, thiserror::Error)]
pub(super) enum SendError {
    #[error("cannot read {}: {source}; it holds the receiver's URL", path.display())]
    Secret { path: PathBuf, source: io::Error },
    #[error("the receiver's URL is not one: it is http:// or https://, and a host")]
    NotAUrl,
    #[error("the receiver answered {0}")]
    Refused(StatusCode),
    #[error("the receiver did not answer within {} s", WITHIN.as_secs())]
    Slow,
    #[error("the receiver cannot be reached: {}", with_causes(.0))]
    Unreachable(legacy::Error),
}

pub(super) struct Client(https::Client);

impl Client {
    pub(super) fn new() -> Result<Self, NotifyError> {
        https::client().map(Client).map_err(NotifyError)
    }

    /// Until it is taken, refused for good, or given up.
    pub(super) async fn send(&self, receiver: &Receiver, body: String) -> Result<(), SendError> {
        let pauses = ExponentialBuilder::new().with_min_delay(FIRST_PAUSE).with_max_times(PAUSES);
        let attempt = || self.attempt(receiver, body.clone());
        attempt.retry(pauses).when(SendError::may_pass).await
    }

    async fn attempt(&self, receiver: &Receiver, body: String) -> Result<(), SendError> {
        let uri = uri(receiver)?;
        let request = Request::post(uri).header("content-type", "application/json").body(Full::from(body));
        let request = request.map_err(|_| SendError::NotAUrl)?;
        let answer = tokio::time::timeout(WITHIN, self.0.request(request)).await.map_err(|_| SendError::Slow)?;
        let status = answer.map_err(SendError::Unreachable)?.status();
        if status.is_success() { Ok(()) } else { Err(SendError::Refused(status)) }
    }
}

/// Read each time: a secret may be replaced.
fn uri(receiver: &Receiver) -> Result<Uri, SendError> {
    let text = match &receiver.address {
        Address::Url(url) => url.clone(),
        Address::File(path) => std::fs::read_to_string(path)
            .map_err(|source| SendError::Secret { path: path.clone(), source })?
            .trim()
            .to_owned(),
    };
    let text = format!("{}{}", text.trim_end_matches('/'), receiver.kind.path());
    let uri: Uri = text.parse().map_err(|_| SendError::NotAUrl)?;
    let is_url = matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some();
    if is_url { Ok(uri) } else { Err(SendError::NotAUrl) }
}

impl SendError {
    /// Whether the same may be taken later.
    fn may_pass(&self) -> bool {
        match self {
            SendError::Slow | SendError::Unreachable(_) => true,
            SendError::Refused(status) => {
                status.is_server_error()
                    || matches!(*status, StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT)
            }
            SendError::Secret { .. } | SendError::NotAUrl => false,
        }
    }
}
