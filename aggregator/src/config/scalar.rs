//! Values that are one word: each from the text it has in the file, or what to write instead. Pure.

use std::{net::SocketAddr, ops::RangeInclusive, path::PathBuf, time::Duration};

use axum::http::Uri;
use serin_judge::Metric;
use serin_proto::v1::Vantage;

use super::{
    Template, Timing,
    problem::Fault,
    yaml::{Node, Value},
};

/// What a series' strings may be (`serin.v1.Series`): others never match a report.
pub(super) const LABEL: &str = "text of 1 to 256 bytes (in quotes if it looks like a number)";
pub(super) const VANTAGE: &str = "`inbound`, `outbound` or `gateway`";
pub(super) const FRACTION: &str = "a fraction, such as 0.1";
pub(super) const METRIC: &str = "`p50`, `p95`, `p99` or `p99.9`";
pub(crate) const NATS: &str = "NATS servers, such as nats://10.0.0.1:4222,nats://10.0.0.2:4222";
pub(super) const ENDPOINT: &str =
    "an address such as http://127.0.0.1:4317; for one with https, a collector on this machine that sends on by TLS";
pub(super) const PATH: &str = "a path";
pub(super) const URL: &str = "a URL, such as https://example.com/hook";
const ADDRESS: &str = "an IP address and a port, such as 127.0.0.1:9400 or \"[::1]:9400\"";
const DURATION: &str = "a duration with its unit, such as 30s, 5m or 1h30m";
const PERCENT: &str = "a percentage, such as 10% or 0.1%";
const TEMPLATE: &str = "text with {release} in it once, in quotes, such as \"shop-{release}\"";

pub(super) fn label(node: &Node) -> Result<String, Fault> {
    let fits = text(node).filter(|text| (1..=256).contains(&text.len()));
    fits.map(str::to_owned).ok_or_else(|| Fault::not(&node.value, LABEL))
}

pub(super) fn path(node: &Node) -> Result<PathBuf, Fault> {
    let path = text(node).filter(|text| !text.is_empty());
    path.map(PathBuf::from).ok_or_else(|| Fault::not(&node.value, PATH))
}

pub(super) fn url(node: &Node) -> Result<String, Fault> {
    let is_url = |text: &&str| {
        let uri = text.parse::<axum::http::Uri>();
        uri.is_ok_and(|uri| matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some())
    };
    text(node).filter(is_url).map(str::to_owned).ok_or_else(|| Fault::not(&node.value, URL))
}

/// Of a gRPC server without TLS.
pub(super) fn endpoint(node: &Node) -> Result<String, Fault> {
    let is_plain = |text: &&str| {
        text.parse::<Uri>()
            .is_ok_and(|uri| uri.scheme_str() == Some("http") && uri.host().is_some_and(|h| !h.is_empty()))
    };
    text(node).filter(is_plain).map(str::to_owned).ok_or_else(|| Fault::not(&node.value, ENDPOINT))
}

/// The servers of one NATS, each with its scheme, separated by commas.
pub(super) fn nats(node: &Node) -> Result<String, Fault> {
    text(node).filter(|text| is_nats(text)).map(str::to_owned).ok_or_else(|| Fault::not(&node.value, NATS))
}

/// Whether all of these are addresses of NATS servers.
pub(crate) fn is_nats(servers: &str) -> bool {
    let is_server = |server: &str| {
        let scheme = ["nats://", "tls://"].iter().any(|scheme| server.starts_with(scheme));
        scheme && server.parse::<async_nats::ServerAddr>().is_ok()
    };
    servers.split(',').all(is_server)
}

pub(super) fn address(node: &Node) -> Result<SocketAddr, Fault> {
    text(node).and_then(|text| text.parse().ok()).ok_or_else(|| Fault::not(&node.value, ADDRESS))
}

pub(super) fn vantage(node: &Node) -> Result<Vantage, Fault> {
    match text(node) {
        Some("inbound") => Ok(Vantage::Inbound),
        Some("outbound") => Ok(Vantage::Outbound),
        Some("gateway") => Ok(Vantage::Gateway),
        _ => Err(Fault::not(&node.value, VANTAGE)),
    }
}

pub(super) fn timing(node: &Node) -> Result<Timing, Fault> {
    match text(node) {
        Some("upstream") => Ok(Timing::Upstream),
        Some("total") => Ok(Timing::Total),
        _ => Err(Fault::not(&node.value, "`upstream` or `total`")),
    }
}

pub(super) fn throughput(node: &Node) -> Result<bool, Fault> {
    match text(node) {
        Some("ignored") => Ok(false),
        Some("judged") => Ok(true),
        _ => Err(Fault::not(&node.value, "`ignored` or `judged`")),
    }
}

pub(super) fn metric(node: &Node) -> Result<Metric, Fault> {
    text(node).and_then(Metric::latency_named).ok_or_else(|| Fault::not(&node.value, METRIC))
}

pub(super) fn switch(node: &Node) -> Result<bool, Fault> {
    match node.value {
        Value::Bool(value) => Ok(value),
        _ => Err(Fault::not(&node.value, "`true` or `false`")),
    }
}

pub(super) fn template(node: &Node) -> Result<Template, Fault> {
    text(node).and_then(Template::parse).ok_or_else(|| Fault::not(&node.value, TEMPLATE))
}

pub(super) fn duration(node: &Node) -> Result<Duration, Fault> {
    let parser = jiff::fmt::friendly::SpanParser::new();
    text(node)
        .and_then(|text| parser.parse_unsigned_duration(text).ok())
        .ok_or_else(|| Fault::not(&node.value, DURATION))
}

/// A duration within a range that `expected` states.
pub(super) fn duration_within(
    range: RangeInclusive<Duration>,
    expected: &'static str,
) -> impl FnOnce(&Node) -> Result<Duration, Fault> {
    move |node| {
        let duration = duration(node)?;
        range.contains(&duration).then_some(duration).ok_or_else(|| Fault::not(&node.value, expected))
    }
}

/// A duration of whole seconds; longer than `u32::MAX` of them counts as that.
pub(super) fn whole_seconds(node: &Node) -> Result<u32, Fault> {
    let duration = duration(node)?;
    if duration.subsec_nanos() != 0 {
        return Err(Fault::not(&node.value, "a duration in whole seconds"));
    }
    Ok(u32::try_from(duration.as_secs()).unwrap_or(u32::MAX))
}

/// A fraction as Kayenta writes it: 0.1 is 10%.
pub(super) fn fraction(node: &Node) -> Result<f64, Fault> {
    match node.value {
        Value::Number(value) if value.is_finite() => Ok(value),
        _ => Err(Fault::not(&node.value, FRACTION)),
    }
}

/// A percentage as a fraction: `10%` is 0.1.
pub(super) fn percent(node: &Node) -> Result<f64, Fault> {
    let digits = text(node).and_then(|text| text.strip_suffix('%')).map(str::trim_end);
    digits
        .filter(|digits| digits.bytes().all(|b| b.is_ascii_digit() || b == b'.'))
        // Moving the point in the text gives the fraction exactly as if it had been written; dividing may not.
        .and_then(|digits| format!("{digits}e-2").parse().ok())
        .ok_or_else(|| Fault::not(&node.value, PERCENT))
}

fn text(node: &Node) -> Option<&str> {
    match &node.value {
        Value::Text(text) => Some(text),
        _ => None,
    }
}
