//! Posts a remote write (IO).

use std::io;

use http_body_util::{BodyExt, Full, Limited};
use hyper::Request;

use super::ANSWER_WITHIN;
use crate::{causes::with_causes, https};

/// Of an answer that says why not.
const ANSWER_BYTES_MAX: usize = 1_024;

/// Nobody can be trusted.
#[derive(Debug, thiserror::Error)]
#[error(
    "export.remote_write: no certificate authorities were found ({0}): install ca-certificates, or set SSL_CERT_FILE"
)]
pub struct NoAuthorities(io::Error);

pub(super) struct Post {
    url: String,
    client: https::Client,
}

impl Post {
    pub(super) fn new(url: String) -> Result<Self, NoAuthorities> {
        Ok(Post { url, client: https::client().map_err(NoAuthorities)? })
    }

    pub(super) async fn send(&self, body: Vec<u8>) -> Result<(), String> {
        let request = Request::post(&self.url)
            .header("content-type", "application/x-protobuf")
            .header("content-encoding", "snappy")
            .header("x-prometheus-remote-write-version", "0.1.0")
            .header("user-agent", concat!("serin/", env!("CARGO_PKG_VERSION")))
            .body(Full::from(body))
            .map_err(|error| error.to_string())?;
        let answer = tokio::time::timeout(ANSWER_WITHIN, async {
            let answer = self.client.request(request).await.map_err(|error| with_causes(&error))?;
            let status = answer.status();
            if status.is_success() {
                return Ok(());
            }
            let why = Limited::new(answer.into_body(), ANSWER_BYTES_MAX).collect().await;
            let why = why.map(|why| String::from_utf8_lossy(&why.to_bytes()).trim().to_owned()).unwrap_or_default();
            Err(format!("it answered {status} {why}"))
        });
        answer.await.unwrap_or_else(|_| Err(format!("it did not answer within {} s", ANSWER_WITHIN.as_secs())))
    }
}
