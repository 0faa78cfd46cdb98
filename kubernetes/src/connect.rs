//! The client that the rest of this crate is given: IO.

use kube::{Client, Config};

/// A client that tries each request once.
///
/// By default `kube` itself tries again after 429, 503 and 504, up to 15 times, and waits for as long as the server asks: up
/// to [`apply`](mod@crate::apply) and [`lease`](crate::lease) none of this would be seen, only that no answer came in time.
///
/// # Errors
/// When the configuration has certificates or credentials that cannot be read, or asks for TLS and this crate was built
/// without the feature `tls`.
pub fn client(mut config: Config) -> kube::Result<Client> {
    config.default_retry = false;
    Client::try_from(config)
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpListener,
    };

    use super::*;
    use crate::{
        apply::{ApplyError, Options, apply},
        cluster::Cluster,
        intent::Intent,
        object::ObjectRef,
        release_guard::TargetKind,
    };

    /// A server that asks for a minute's wait: the request comes back at once.
    #[tokio::test]
    async fn a_request_is_tried_once() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let _ = stream.read(&mut [0; 4_096]).await.unwrap();
                let busy = "HTTP/1.1 503 Service Unavailable\r\nretry-after: 60\r\ncontent-length: 4\r\n\r\nbusy";
                stream.write_all(busy.as_bytes()).await.unwrap();
            }
        });
        let client = client(Config::new(format!("http://{address}").parse().unwrap())).unwrap();
        let object = ObjectRef::new(TargetKind::HttpRoute, "default", "shop").unwrap();
        let options = Options { attempts: 1, ..Options::default() };
        let error =
            apply(&Cluster::new(client), &object, &Intent::hosts("default", "v1", "v2"), &options).await.unwrap_err();
        assert!(matches!(error, ApplyError::Busy { attempts: 1, code: 503, .. }), "{error:?}");
    }
}
