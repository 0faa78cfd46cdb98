//! What Envoy is asked about a request, and what it is told (IO).

use crate::{
    abi::{self, Callback, Headers},
    labels::{ATTRIBUTES_MAX, Attribute},
    outcome::{Ending, INTERNAL_REDIRECT, Kind, MAX_DURATION, OVERFLOW, is_grpc, kind_matters, outcome},
};
use serin_proto::v1::Outcome;

/// The aggregator refuses longer ones.
const NAME_BYTES_MAX: usize = 256;

/// `request.duration`: first byte received until the end, in nanoseconds.
pub(crate) fn duration_ns(callback: &Callback) -> Option<i64> {
    number(callback, b"request\0duration").map(u64::cast_signed)
}

/// `response.backend_latency`: first byte sent to the upstream until its last byte, in nanoseconds; absent unless the
/// response was complete.
pub(crate) fn backend_latency_ns(callback: &Callback) -> Option<i64> {
    number(callback, b"response\0backend_latency").map(u64::cast_signed)
}

/// Whether a host of an upstream was chosen.
pub(crate) fn had_upstream(callback: &Callback) -> bool {
    callback.property(b"upstream\0address").is_some()
}

/// Attempts beyond the first.
pub(crate) fn retries(callback: &Callback) -> u64 {
    number(callback, b"upstream\0request_attempt_count").map_or(0, |attempts| attempts.saturating_sub(1))
}

/// The values of these attributes, in their order.
pub(crate) fn read<'a>(callback: &'a Callback, attributes: &[Attribute]) -> [Option<&'a [u8]>; ATTRIBUTES_MAX] {
    let mut values = [None; ATTRIBUTES_MAX];
    for (value, attribute) in values.iter_mut().zip(attributes) {
        *value = match attribute {
            Attribute::Property(path) => callback.property(path),
            Attribute::RequestHeader(name) => callback.header(Headers::Request, name),
            Attribute::ResponseHeader(name) => callback.header(Headers::Response, name),
        };
    }
    values
}

/// How the request ended, and `response.code`. A response below 300 that `may_be_cut` is asked whether it was in time.
pub(crate) fn ending(callback: &Callback, may_be_cut: bool) -> (Outcome, Option<u64>) {
    let code = number(callback, b"response\0code");
    let flags = number(callback, b"response\0flags").unwrap_or(0);
    let answered = flags & OVERFLOW != 0 && backend_latency_ns(callback).is_some();
    let kind = if kind_matters(code) { kind(callback, code, may_be_cut) } else { Kind::Plain };
    (outcome(&Ending { code, flags, kind, answered }), code)
}

/// `response.grpc_status` is there for plain HTTP too, so the request has to say what it is.
fn kind(callback: &Callback, code: Option<u64>, may_be_cut: bool) -> Kind {
    let is_odd = code.is_some_and(|code| code >= 300);
    if is_odd || may_be_cut {
        match callback.property(b"response\0code_details") {
            Some(INTERNAL_REDIRECT) => return Kind::InternalRedirect,
            Some(MAX_DURATION) => return Kind::Overdue,
            _ if is_odd => return Kind::Plain,
            _ => {}
        }
    }
    match callback.header(Headers::Request, "content-type") {
        Some(content) if is_grpc(content) => Kind::Grpc(number(callback, b"response\0grpc_status")),
        Some(_) => Kind::Plain,
        // A CONNECT request has no content type.
        None if callback.header(Headers::Request, ":method") == Some(b"CONNECT") => Kind::Connect,
        None => Kind::Plain,
    }
}

/// The path of the request.
pub(crate) fn path(callback: &Callback) -> Option<&[u8]> {
    callback.header(Headers::Request, ":path")
}

/// Whether the request's headers came whole.
pub(crate) fn has_method(callback: &Callback) -> bool {
    callback.header(Headers::Request, ":method").is_some()
}

/// Whether the response is a stream of server-sent events.
pub(crate) fn is_event_stream(callback: &Callback) -> bool {
    callback.header(Headers::Response, "content-type").is_some_and(|t| t.starts_with(b"text/event-stream"))
}

/// A value of this Envoy's node metadata.
pub(crate) fn node_metadata(callback: &Callback, path: &[String]) -> Option<Vec<u8>> {
    let parts = ["xds", "node", "metadata"].into_iter().chain(path.iter().map(String::as_str));
    callback.property(parts.collect::<Vec<_>>().join("\0").as_bytes()).map(<[u8]>::to_vec)
}

/// This Envoy's node id, as the wire takes it.
pub(crate) fn node_id(callback: &Callback) -> String {
    name(callback.property(b"xds\0node\0id")).unwrap_or_else(|| "unknown".to_owned())
}

/// The workload that this Envoy is of, as the wire takes it: Istio says it, else the node's cluster does.
pub(crate) fn workload(callback: &Callback) -> String {
    let of_istio = |key: &str| name(callback.property(format!("xds\0node\0metadata\0{key}").as_bytes()));
    let full =
        of_istio("NAMESPACE").zip(of_istio("WORKLOAD_NAME")).map(|(namespace, name)| format!("{namespace}/{name}"));
    let fitting = full.filter(|full| full.len() <= NAME_BYTES_MAX);
    fitting.or_else(|| name(callback.property(b"xds\0node\0cluster"))).unwrap_or_default()
}

/// A name, where there is one that the wire takes.
fn name(bytes: Option<&[u8]>) -> Option<String> {
    let name = String::from_utf8_lossy(bytes?);
    (1..=NAME_BYTES_MAX).contains(&name.len()).then(|| name.into_owned())
}

/// A number: eight bytes, little endian.
fn number(callback: &Callback, path: &[u8]) -> Option<u64> {
    callback.property(path)?.try_into().ok().map(u64::from_le_bytes)
}

/// A number that no other VM on this node has: the start time, a counter within the process, and the `vm_id` (each has a
/// counter of its own), mixed.
pub(crate) fn boot_nonce(callback: &Callback) -> u64 {
    let vm_id = callback.property(b"plugin_vm_id").unwrap_or_default();
    let vm_id = vm_id.iter().fold(0u64, |hash, byte| hash.wrapping_mul(31).wrapping_add(u64::from(*byte)));
    // Odd factors, so that a change of one of the three alone always changes the sum.
    let counter = process_counter(callback).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    abi::now_ns().wrapping_add(counter).wrapping_add(vm_id.wrapping_mul(0xbf58_476d_1ce4_e5b9))
}

/// A number that no other VM with this `vm_id` in this process has got: a counter in shared data.
///
/// The host treats the first write of a key as unconditional, so two VMs could both create it; but the first VM of
/// all starts alone, before any worker's.
fn process_counter(callback: &Callback) -> u64 {
    const KEY: &str = "serin.vm_counter";
    // Each failed round means that another VM succeeded; there are fewer than 6,500 VMs in a process.
    for _ in 0..6_500 {
        let (bytes, version) = callback.shared(KEY);
        let count = bytes.and_then(|b| b.try_into().ok()).map_or(0, u64::from_le_bytes).wrapping_add(1);
        if abi::share(KEY, &count.to_le_bytes(), version) {
            return count;
        }
    }
    0
}
