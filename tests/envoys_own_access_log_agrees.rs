//! Is what the filter counts what Envoy itself logs? Beside the filter runs Envoy's gRPC access log, and every request in it
//! is held against the filter's series: how many of each route, release and outcome, and every histogram bucket.

use std::{collections::BTreeMap, convert::Infallible, fs, net::SocketAddr, time::Duration};

use anyhow::{Context, Result};
use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use serde_json::json;
use serin_proto::v1::{Outcome, Series};
use serin_sketch::{Counts, Micros};
use support::{
    access_log::{self, AccessLog, Common, Entry, Flags},
    collector::{Collector, Timings},
    envoy::Envoy,
    gateway::{ACCESS_LOG, HTTP_FILTER, Shop},
    load::{self, Load, Plan, Protocol},
    poll,
    service::{GRPC_EMPTY, WANTED},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    sync::mpsc,
    time::timeout,
};
use tokio_stream::wrappers::ReceiverStream;

const SOON: Duration = Duration::from_secs(30);
/// `core.v3.RequestMethod`.
const CONNECT: i32 = 6;
/// Declared in the filter's configuration: its calls are streams, whatever they last.
const WATCH: &str = "/shop.v1.Shop/Watch";

/// Route, release, outcome.
type Key = (String, String, Outcome);

/// How the entry's request ended, from the words of `ingest.proto` alone.
fn outcome(entry: &Entry) -> Outcome {
    let Entry { common, request, response } = entry;
    let flags = common.clone().and_then(|common| common.response_flags).unwrap_or_default();
    let (request, response) = (request.clone().unwrap_or_default(), response.clone().unwrap_or_default());
    let code = response.response_code.map_or(0, |code| code.value);
    let header = |name: &str| response.response_headers.get(name).map(String::as_str);
    if code == 101 || (request.request_method == CONNECT && code == 200) {
        return Outcome::Upgrade;
    }
    if response.response_code_details == "internal_redirect" {
        return Outcome::Redirected;
    }
    let is_stream = request.path == WATCH || header("content-type") == Some("text/event-stream");
    let was_left = flags.downstream_connection_termination || flags.downstream_remote_reset;
    let timed_out = flags.upstream_request_timeout
        || flags.stream_idle_timeout
        || flags.upstream_max_stream_duration_reached
        || flags.duration_timeout
        || response.response_code_details == "max_duration_timeout";
    if timed_out {
        return Outcome::Timeout;
    }
    // Envoy sets the overflow flag for retries that found no room, too: what the upstream said stands then.
    if is_reset(&flags) || (flags.upstream_overflow && response.response_code_details != "via_upstream") {
        return Outcome::Reset;
    }
    if was_left || code == 0 {
        return if is_stream && code == 200 { Outcome::Upgrade } else { Outcome::Aborted };
    }
    let is_grpc = request.request_headers.get("content-type").is_some_and(|t| t.starts_with("application/grpc"));
    let status = response.response_trailers.get("grpc-status").map(String::as_str).or(header("grpc-status"));
    match (code, is_grpc, status) {
        (200, true, Some("0")) | (200..400, false, _) if is_stream => Outcome::Upgrade,
        (200, true, Some("0")) | (200..400, false, _) => Outcome::Success,
        (200, true, Some("1")) => Outcome::Aborted,
        (200, true, Some("4")) => Outcome::Timeout,
        (200, true, Some("3" | "5")) | (400..500, ..) => Outcome::ClientError,
        _ => Outcome::ServerError,
    }
}

fn is_reset(flags: &Flags) -> bool {
    flags.upstream_connection_failure
        || flags.upstream_connection_termination
        || flags.upstream_remote_reset
        || flags.upstream_protocol_error
        || flags.local_reset
        || flags.no_healthy_upstream
}

/// When a request goes on elsewhere Envoy has put the next route in the place of its own, and tells the two logs of it apart.
fn unnamed() -> Key {
    ("redirected".to_owned(), String::new(), Outcome::Redirected)
}

fn key(entry: &Entry) -> Key {
    if outcome(entry) == Outcome::Redirected {
        return unnamed();
    }
    let common = entry.common.clone().unwrap_or_default();
    let known = |text: &str| if text.is_empty() { "unknown".to_owned() } else { text.to_owned() };
    let release = common.upstream_cluster.strip_prefix("shop-").unwrap_or_default();
    (known(&common.route_name), known(release), outcome(entry))
}

/// What the access logger must have: Envoy's own durations, to the nanosecond the same.
fn timings(entry: &Entry, sum: &mut Timings) {
    let common = entry.common.clone().unwrap_or_default();
    let micros = |duration: access_log::Duration| Micros::from_nanos(duration.nanoseconds());
    let total = micros(common.duration.unwrap_or_default());
    sum.total.record(total);
    sum.retries += u64::from(common.upstream_request_attempt_count.saturating_sub(1));
    if let Some(upstream) = upstream(entry, &common) {
        sum.upstream.record(upstream.unwrap_or(total));
    }
}

/// `None`: no upstream timing. `Some(None)`: the elapsed time, as a lower bound.
fn upstream(entry: &Entry, common: &Common) -> Option<Option<Micros>> {
    let is_stream = entry.request.as_ref().is_some_and(|request| request.path == WATCH);
    let (first, last) = (common.time_to_first_upstream_tx_byte, common.time_to_last_upstream_rx_byte);
    let whole = first.zip(last).map(|(first, last)| Micros::from_nanos(last.nanoseconds() - first.nanoseconds()));
    match outcome(entry) {
        Outcome::Upgrade => None,
        _ if is_stream => None,
        Outcome::Timeout | Outcome::Reset | Outcome::Aborted if whole.is_none() => {
            common.upstream_remote_address.as_ref().map(|_| None)
        }
        _ => whole.map(Some),
    }
}

fn truth(entries: &[Entry]) -> BTreeMap<Key, Timings> {
    let mut all = BTreeMap::new();
    for entry in entries {
        timings(entry, all.entry(key(entry)).or_default());
    }
    all
}

/// The filter's series, all pods of a release together.
fn counted<'a>(series: impl Iterator<Item = &'a (Series, Timings)>) -> BTreeMap<Key, Timings> {
    let mut all: BTreeMap<Key, Timings> = BTreeMap::new();
    for (series, timings) in series {
        let key = (series.route.clone(), series.release.clone(), series.outcome());
        let sum = all.entry(if key.2 == Outcome::Redirected { unnamed() } else { key }).or_default();
        sum.merge(timings);
    }
    all
}

/// Writes to Envoy what no well-behaved client would, and reads until it has seen `until`, or the end.
async fn raw(envoy: SocketAddr, text: &str, until: &str) -> Result<String> {
    let mut stream = TcpStream::connect(envoy).await?;
    stream.write_all(text.as_bytes()).await?;
    let (mut seen, mut bytes) = (String::new(), [0; 4_096]);
    while !until.is_empty() && !seen.contains(until) {
        let read = timeout(SOON, stream.read(&mut bytes)).await.context("no answer")??;
        if read == 0 {
            break;
        }
        seen.push_str(&String::from_utf8_lossy(&bytes[..read]));
    }
    Ok(seen)
}

/// A call whose messages go both ways in turn.
async fn talk(envoy: SocketAddr) -> Result<()> {
    let (messages, receiver) = mpsc::channel::<Result<Frame<Bytes>, Infallible>>(1);
    let request = Request::post(format!("http://{envoy}/shop.v1.Shop/Talk")).header(WANTED, "echo");
    let request = request.header("content-type", "application/grpc").header("te", "trailers");
    let client = Client::builder(TokioExecutor::new()).http2_only(true).build_http();
    let message = || Ok(Frame::data(Bytes::from_static(GRPC_EMPTY)));
    messages.send(message()).await?;
    let mut answers = client.request(request.body(StreamBody::new(ReceiverStream::new(receiver)))?).await?.into_body();
    for _ in 0..4 {
        let answer = timeout(SOON, answers.frame()).await?.context("the answers ended")??;
        assert!(answer.is_data(), "{answer:?}");
        messages.send(message()).await?;
    }
    drop(messages);
    answers.collect().await?;
    Ok(())
}

/// Every kind of request, 10 of most over HTTP; how many there were.
async fn drive(envoy: &Envoy) -> Result<u64> {
    let admin = envoy.admin;
    let envoy = envoy.address;
    let mut sent = 0;
    let ten = |protocol, path, answer| Plan { path, answer, requests: 10, ..Plan::new(envoy, protocol) };
    let mut run = async |plan| -> Result<()> {
        let tally = load::run(plan).await?;
        assert_eq!(tally.ended(), 10, "{tally:?}");
        sent += 10;
        Ok(())
    };
    let (h1, h2, grpc) = (Protocol::Http1, Protocol::Http2, Protocol::Grpc);
    for protocol in [h1, h2] {
        for answer in ["", "204", "304", "404", "500", "503", "break", "cut", "chunks", "302"] {
            run(ten(protocol, "/shop/items", answer)).await?;
        }
        for path in ["/direct", "/nowhere", "/dead/items"] {
            run(ten(protocol, path, "")).await?;
        }
        for path in ["/idle/items", "/limited/items"] {
            for answer in ["hang", "pause"] {
                run(ten(protocol, path, answer)).await?;
            }
        }
        for (path, answer) in [("/retry/items", "503"), ("/redirect/items", "302"), ("/shop/items", "events")] {
            run(ten(protocol, path, answer)).await?;
        }
        run(Plan { timeout: Duration::from_millis(50), ..ten(protocol, "/shop/items", "hang") }).await?;
        run(Plan { timeout: Duration::from_millis(300), ..ten(protocol, "/shop/items", "events") }).await?;
    }
    run(ten(h1, "/shop/items", "hang")).await?;
    for answer in
        ["", "grpc-1", "grpc-3", "grpc-4", "grpc-5", "grpc-13", "grpc-14", "trailers-only", "messages", "break", "cut"]
    {
        run(ten(grpc, "/shop.v1.Shop/Get", answer)).await?;
    }
    for answer in ["messages", "grpc-13"] {
        run(ten(grpc, WATCH, answer)).await?;
    }
    // A client's stream, with one answer and with several.
    for answer in ["", "messages"] {
        run(Plan { messages: 5, ..ten(grpc, "/shop.v1.Shop/Put", answer) }).await?;
    }
    talk(envoy).await?;
    let get = "GET /shop/items HTTP/1.1\r\nhost: shop\r\n";
    let head = raw(envoy, "HEAD /shop/items HTTP/1.1\r\nhost: shop\r\nconnection: close\r\n\r\n", "\r\n\r\n").await?;
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    let post = "POST /shop/items HTTP/1.1\r\nhost: shop\r\nexpect: 100-continue\r\ncontent-length: 5\r\n\r\nhello";
    let post = raw(envoy, post, "finch").await?;
    assert!(post.starts_with("HTTP/1.1 100") && post.contains("HTTP/1.1 200"), "{post}");
    let upgrade = format!("{get}x-answer: upgrade\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n");
    assert!(raw(envoy, &upgrade, "\r\n\r\n").await?.starts_with("HTTP/1.1 101"));
    // Through the tunnel, to the service itself.
    let tunnel = format!("CONNECT shop:80 HTTP/1.1\r\nhost: shop:80\r\n\r\n{get}\r\n");
    let tunnel = raw(envoy, &tunnel, "finch").await?;
    assert!(tunnel.starts_with("HTTP/1.1 200"), "{tunnel}");
    assert!(raw(envoy, "GARBAGE\r\n\r\n", "\r\n\r\n").await?.starts_with("HTTP/1.1 400"));
    raw(envoy, "GET /shop/items HTTP/1.1\r\nhos", "").await?;
    raw(envoy, &format!("{get}x-answer: events\r\n\r\n"), "tick").await?;
    // Still under way when the proxy is told to drain.
    let last = Load::start(ten(h1, "/shop/items", "chunks"))?;
    poll::until("the last requests to be sent", SOON, async || Ok((last.tally().sent == 10).then_some(()))).await?;
    poll::post(admin, "/drain_listeners?graceful&skip_exit").await.context("Envoy does not drain")?;
    let tally = last.finish().await;
    assert_eq!(tally.ok, 10, "{tally:?}");
    Ok(sent + ONE_OF_A_KIND + 10)
}

/// Those that `drive` sends one by one.
const ONE_OF_A_KIND: u64 = 8;

/// Those that Envoy sends on elsewhere, by both protocols.
const REDIRECTED: u64 = 20;

/// Besides the shipped routes: one for each kind of ending that needs a route of its own.
const ROUTES: &str = r#"    routes:
    - { name: direct, match: { path: /direct }, direct_response: { status: 200 } }
    - { name: dead, match: { prefix: /dead }, route: { cluster: shop-dead } }
    - { name: landing, match: { path: /shop/landing }, route: { cluster: shop-v1 } }
    - { name: tunnel, match: { connect_matcher: {} }, route: { cluster: shop-v1, upgrade_configs: [{ upgrade_type: CONNECT, connect_config: {} }] } }
    - { name: idle, match: { prefix: /idle }, route: { cluster: shop-v1, timeout: 0s, idle_timeout: 0.2s } }
    - name: limited
      match: { prefix: /limited }
      route: { cluster: shop-v1, timeout: 0s, max_stream_duration: { max_stream_duration: 1.2s } }
    - name: retry
      match: { prefix: /retry }
      route: { cluster: shop-v1, timeout: 3s, retry_policy: { retry_on: 5xx, num_retries: 2 } }
    - name: redirect
      match: { prefix: /redirect }
      route: { cluster: shop-v1, timeout: 3s, internal_redirect_policy: { redirect_response_codes: [302] } }
"#;

/// All of it through an Envoy with the filter attached as `file` does; what Envoy logged and what the filter counted.
async fn run(file: &str) -> Result<(Vec<Entry>, BTreeMap<Key, Timings>)> {
    // 1 to 40 ms: some ten microseconds between two clock readings are then less than a bucket.
    let shop = Shop::open(2, 0.1).await?;
    let shipped = fs::read_to_string(&shop.routes)?;
    let routes = shipped.replacen("    routes:\n", ROUTES, 1).replacen("{ prefix: / }", "{ prefix: /shop }", 1);
    assert!(routes.contains(ROUTES) && routes.contains("prefix: /shop"), "{routes}");
    fs::write(&shop.routes, routes)?;
    let (log, collector) = (AccessLog::start().await?, Collector::start().await?);
    let bootstrap = shop.bootstrap(file, collector.address)?;
    let bootstrap = bootstrap.another_cluster("serin", "truth", &[log.address])?;
    // Bound and not listening: nobody else can come to listen there.
    let dead = TcpSocket::new_v4()?;
    dead.bind("127.0.0.1:0".parse()?)?;
    let bootstrap = bootstrap.another_cluster("shop-v1", "shop-dead", &[dead.local_addr()?])?;
    let bootstrap = bootstrap.connection_manager(|manager| {
        manager["access_log"].as_array_mut().into_iter().for_each(|logs| logs.push(access_log::logger("truth")));
        manager["upgrade_configs"] = json!([{ "upgrade_type": "websocket" }, { "upgrade_type": "CONNECT" }]);
    })?;
    let bootstrap = bootstrap.plugin_key("streams", &json!([WATCH]))?.plugin_key("retries", &json!("counted"))?;
    let envoy = Envoy::start(&bootstrap, 2, shop.dir()).await?;
    let sent = drive(&envoy).await?;
    let ended = envoy.idle(SOON).await?;
    // Each redirect that Envoy follows begins another request.
    assert_eq!(ended, sent + REDIRECTED);
    let logged = async || Ok((log.entries().len() as u64 == ended).then_some(()));
    poll::until("Envoy to have logged all requests", SOON, logged).await?;
    // The one whose headers were cut never came to an HTTP filter.
    let seen = ended - u64::from(file == HTTP_FILTER);
    let arrived = async || {
        let requests = collector.look(support::collector::Collected::requests);
        assert!(requests <= seen, "{requests} counted, {seen} logged");
        Ok((requests == seen).then_some(()))
    };
    poll::until("the filter to have counted all requests", SOON, arrived).await?;
    let complaints: Vec<String> =
        envoy.process.log().lines().filter(|line| line.contains("serin: ")).map(str::to_owned).collect();
    assert_eq!(complaints, [""; 0]);
    Ok((log.entries(), collector.look(|collected| counted(collected.series()))))
}

/// Every bucket the same: the access logger reads the very durations that Envoy logs.
#[tokio::test(flavor = "multi_thread")]
async fn with_the_access_logger() -> Result<()> {
    let (entries, counted) = run(ACCESS_LOG).await?;
    let truth = truth(&entries);
    let kinds: Vec<_> = truth.keys().map(|(_, _, outcome)| *outcome).collect();
    for outcome in 1..=8 {
        let outcome = Outcome::try_from(outcome)?;
        assert!(kinds.contains(&outcome), "nothing ended as {outcome:?}");
    }
    for key in truth.keys().chain(counted.keys()) {
        assert_eq!(counted.get(key), truth.get(key), "{key:?}");
    }
    Ok(())
}

/// The filter takes stamps of its own, some microseconds after Envoy's at the start and at the end. So the numbers are the same, and
/// taken together, totals and times to the response's headers are within a tenth and a millisecond a request of Envoy's: the
/// machine may take the worker off its core between two stamps, so that single buckets prove nothing.
#[tokio::test(flavor = "multi_thread")]
async fn with_the_http_filter() -> Result<()> {
    let (entries, counted) = run(HTTP_FILTER).await?;
    let cut = |entry: &&Entry| {
        entry.request.as_ref().is_none_or(|request| request.path.is_empty()) && key(entry).2 == Outcome::Aborted
    };
    assert_eq!(entries.iter().filter(cut).count(), 1);
    let whole: Vec<Entry> = entries.iter().filter(|entry| !cut(entry)).cloned().collect();
    let truth = truth(&whole);
    let first_bytes = first_bytes(&whole);
    assert_eq!(counted.keys().collect::<Vec<_>>(), truth.keys().collect::<Vec<_>>());
    for (key, mine) in &counted {
        let theirs = &truth[key];
        assert_eq!((mine.total.total(), mine.retries), (theirs.total.total(), theirs.retries), "{key:?}");
        // Where Envoy followed a redirect, its duration has the first leg in it, which was a request of its own to the filter.
        if key.0 == "landing" {
            continue;
        }
        assert!(is_near(&mine.total, &theirs.total), "{key:?}: totals {mine:?}, {theirs:?} in Envoy");
        if [Outcome::Success, Outcome::ClientError, Outcome::ServerError].contains(&key.2) {
            assert_eq!(mine.upstream.total(), theirs.upstream.total(), "{key:?}");
        }
        // Not with retries, of which Envoy logs the last try and the filter sees all.
        if key.0 == "all" && key.2 == Outcome::Success {
            let theirs = first_bytes.get(key).cloned().unwrap_or_default();
            assert!(is_near(&mine.upstream, &theirs), "{key:?}: upstream {mine:?}, {theirs:?} in Envoy");
        }
    }
    Ok(())
}

fn is_near(mine: &Counts, theirs: &Counts) -> bool {
    (sum_us(mine) - sum_us(theirs)).abs() <= 0.1 * sum_us(theirs) + 1_000.0 * mine.total() as f64
}

fn sum_us(counts: &Counts) -> f64 {
    counts.iter().map(|(bucket, count)| bucket.mid().0 as f64 * count as f64).sum()
}

/// From the first byte sent to the upstream to the first one received.
fn first_bytes(entries: &[Entry]) -> BTreeMap<Key, Counts> {
    let mut all: BTreeMap<Key, Counts> = BTreeMap::new();
    for entry in entries {
        let common = entry.common.clone().unwrap_or_default();
        if let Some((sent, got)) = common.time_to_first_upstream_tx_byte.zip(common.time_to_first_upstream_rx_byte) {
            let took = Micros::from_nanos(got.nanoseconds() - sent.nanoseconds());
            all.entry(key(entry)).or_default().record(took);
        }
    }
    all
}
