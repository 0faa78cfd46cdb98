//! The client that posts to others, with or without TLS (IO).

use std::io;

use axum::body::Bytes;
use http_body_util::Full;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{client::legacy, client::legacy::connect::HttpConnector, rt::TokioExecutor};

/// Speaks HTTP/1.1.
pub(crate) type Client = legacy::Client<HttpsConnector<HttpConnector>, Full<Bytes>>;

/// One that trusts whom the system trusts.
///
/// # Errors
/// When the system has no certificate authorities.
pub(crate) fn client() -> io::Result<Client> {
    let connector = HttpsConnectorBuilder::new().with_native_roots()?.https_or_http().enable_http1().build();
    Ok(legacy::Client::builder(TokioExecutor::new()).build(connector))
}
