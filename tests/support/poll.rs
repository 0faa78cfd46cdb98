//! Waiting for what must become true, and asking over HTTP.

use std::{net::SocketAddr, time::Duration};

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use http::{Method, Request};
use http_body_util::{BodyExt, Empty};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use tokio::time::{Instant, sleep, timeout};

/// How long one attempt rests before the next.
const PAUSE: Duration = Duration::from_millis(20);
/// How long one HTTP question may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// Attempts until there is a result.
///
/// # Errors
/// When there is none `within` the time given (naming `what` was waited for), or as soon as an attempt fails.
pub async fn until<T>(what: &str, within: Duration, mut attempt: impl AsyncFnMut() -> Result<Option<T>>) -> Result<T> {
    let deadline = Instant::now() + within;
    loop {
        match attempt().await {
            Ok(Some(value)) => return Ok(value),
            Ok(None) if Instant::now() < deadline => sleep(PAUSE).await,
            Ok(None) => bail!("waited {within:?} in vain for {what}"),
            Err(error) => return Err(error).with_context(|| format!("while waiting for {what}")),
        }
    }
}

/// The body of a plain `GET`, or `None` when nobody answers or the status is not 200.
pub async fn get(address: SocketAddr, path: &str) -> Option<String> {
    ask(Method::GET, address, path).await
}

/// The same for a `POST` without a body.
pub async fn post(address: SocketAddr, path: &str) -> Option<String> {
    ask(Method::POST, address, path).await
}

async fn ask(method: Method, address: SocketAddr, path: &str) -> Option<String> {
    let client: Client<HttpConnector, Empty<Bytes>> = Client::builder(TokioExecutor::new()).build_http();
    let uri = format!("http://{address}{path}");
    let request = Request::builder().method(method).uri(uri).body(Empty::new()).ok()?;
    let answer = async {
        let response = client.request(request).await.ok()?;
        let ok = response.status() == http::StatusCode::OK;
        let body = response.into_body().collect().await.ok()?.to_bytes();
        ok.then(|| String::from_utf8_lossy(&body).into_owned())
    };
    timeout(ANSWER_WITHIN, answer).await.ok().flatten()
}
