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

#[cfg(test)]
mod tests {
    use tokio::{io::AsyncWriteExt as _, net::TcpListener};

    use super::*;
    use crate::causes::with_causes;

    /// Who looks for the cause is told of it, above all of one that is not trusted.
    #[tokio::test]
    async fn why_is_the_cause() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let get = || client().unwrap().get(format!("https://{address}/").parse().unwrap());
        let plain = async { listener.accept().await.unwrap().0.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await };
        let (answer, _) = tokio::join!(get(), plain);
        let said = with_causes(&answer.unwrap_err());
        assert!(said.contains("corrupt message"), "{said}");
        drop(listener);
        let said = with_causes(&get().await.unwrap_err());
        assert!(said.contains("refused"), "{said}");
    }
}
