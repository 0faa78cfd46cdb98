//! Answers that are not one plain response.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, BodyStream, Empty, Full, StreamBody, combinators::BoxBody};
use hyper::body::{Frame, Incoming};
use hyper_util::rt::TokioIo;
use tokio::io::AsyncReadExt;
use tokio_stream::{StreamExt, iter};

use super::GRPC_EMPTY;

/// Ends a connection (HTTP/1.1) or a stream (HTTP/2) in the middle.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("broken off as asked for")]
pub(super) struct Broken;

/// How.
#[derive(Clone, Copy, Debug)]
pub(super) enum Odd {
    /// `break`: no response.
    Break,
    /// `cut`: half of a body.
    Cut,
    /// `chunks`: a body in 50 pieces over 50 ms.
    Chunks,
    /// `pause`: a piece of the body, and the next one two seconds later.
    Pause,
    /// `events`: server-sent events for 1.2 s.
    Events,
    /// `trailers-only`: gRPC status 5 without a body.
    TrailersOnly,
    /// `messages`: reads all gRPC messages, and answers with three over 30 ms.
    Messages,
    /// `echo`: answers each piece of the request with a gRPC message, as it comes.
    Echo,
    /// `upgrade`: 101, and reads until the caller closes.
    Upgrade,
}

type Answer = Result<Response<BoxBody<Bytes, Broken>>, Broken>;

impl Odd {
    pub(super) fn named(name: &str) -> Option<Self> {
        Some(match name {
            "break" => Odd::Break,
            "cut" => Odd::Cut,
            "chunks" => Odd::Chunks,
            "pause" => Odd::Pause,
            "events" => Odd::Events,
            "trailers-only" => Odd::TrailersOnly,
            "messages" => Odd::Messages,
            "echo" => Odd::Echo,
            "upgrade" => Odd::Upgrade,
            _ => return None,
        })
    }

    pub(super) async fn answer(self, request: Request<Incoming>) -> Answer {
        match self {
            Odd::Break => Err(Broken),
            Odd::Cut => {
                let pieces = iter([Ok(Frame::data(Bytes::from_static(b"half"))), Err(Broken)]);
                Ok(Response::new(StreamBody::new(pieces.throttle(Duration::from_millis(20))).boxed()))
            }
            Odd::Chunks => Ok(Response::new(pieces(50, b"piece", Duration::from_millis(1), None))),
            Odd::Pause => {
                let pieces =
                    iter([Ok(Frame::data(Bytes::from_static(b"half"))), Ok(Frame::data(Bytes::from_static(b"half")))]);
                Ok(Response::new(StreamBody::new(pieces.throttle(Duration::from_secs(2))).boxed()))
            }
            Odd::Events => {
                let body = pieces(12, b"data: tick\n\n", Duration::from_millis(100), None);
                Ok(with_type(Response::new(body), "text/event-stream"))
            }
            Odd::TrailersOnly => {
                let mut response = Response::new(Empty::new().map_err(|never| match never {}).boxed());
                response.headers_mut().insert("grpc-status", HeaderValue::from_static("5"));
                Ok(with_type(response, "application/grpc"))
            }
            Odd::Messages => {
                // What was sent is of no interest, but it must be over.
                let _ = request.into_body().collect().await;
                let body = pieces(3, GRPC_EMPTY, Duration::from_millis(10), Some(grpc_ok()));
                Ok(with_type(Response::new(body), "application/grpc"))
            }
            Odd::Echo => {
                let pieces = BodyStream::new(request.into_body()).take_while(Result::is_ok);
                let answers = pieces.map(|_| Frame::data(Bytes::from_static(GRPC_EMPTY)));
                let body = StreamBody::new(answers.chain(iter([Frame::trailers(grpc_ok())])).map(Ok)).boxed();
                Ok(with_type(Response::new(body), "application/grpc"))
            }
            Odd::Upgrade => Ok(upgrade(request)),
        }
    }
}

fn grpc_ok() -> HeaderMap {
    HeaderMap::from_iter([(http::HeaderName::from_static("grpc-status"), HeaderValue::from_static("0"))])
}

/// The same piece so many times, with a rest before each.
fn pieces(count: usize, piece: &'static [u8], rest: Duration, trailers: Option<HeaderMap>) -> BoxBody<Bytes, Broken> {
    let data = iter((0..count).map(move |_| Frame::data(Bytes::from_static(piece))));
    let frames = data.chain(iter(trailers.map(Frame::trailers))).map(Ok).throttle(rest);
    StreamBody::new(frames).boxed()
}

fn with_type(
    mut response: Response<BoxBody<Bytes, Broken>>,
    content_type: &'static str,
) -> Response<BoxBody<Bytes, Broken>> {
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

fn upgrade(request: Request<Incoming>) -> Response<BoxBody<Bytes, Broken>> {
    tokio::spawn(async move {
        let Ok(upgraded) = hyper::upgrade::on(request).await else { return };
        let mut nothing = Vec::new();
        let _ = TokioIo::new(upgraded).read_to_end(&mut nothing).await;
    });
    let mut response = Response::new(Full::default().map_err(|never| match never {}).boxed());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    response.headers_mut().insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    response
}
