//! The only file that makes hostcalls.
//!
//! The SDK's functions panic on statuses they do not list, so each one here was checked against what Envoy
//! 1.40 can return; the rest become `None` or `false`.

use std::time::{Duration, UNIX_EPOCH};

use proxy_wasm::{
    hostcalls,
    types::{BufferType, LogLevel, MapType},
};

/// Writes a line to Envoy's log.
pub(crate) fn log(level: LogLevel, message: &str) {
    let _ = hostcalls::log(level, message);
}

/// The wall clock: nanoseconds since 1970.
pub(crate) fn now_ns() -> u64 {
    let since = hostcalls::get_current_time().ok().and_then(|now| now.duration_since(UNIX_EPOCH).ok());
    since.map_or(0, |since| u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
}

/// The wall clock: microseconds since 1970.
pub(crate) fn now_us() -> u64 {
    now_ns() / 1_000
}

/// An attribute's bytes.
pub(crate) fn property(path: &[&str]) -> Option<Vec<u8>> {
    hostcalls::get_property(path.to_vec()).ok().flatten()
}

/// A text attribute.
pub(crate) fn text(path: &[&str]) -> Option<String> {
    property(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
}

/// A number: eight bytes, little endian.
pub(crate) fn number(path: &[&str]) -> Option<u64> {
    property(path)?.try_into().ok().map(u64::from_le_bytes)
}

/// A duration in nanoseconds.
pub(crate) fn duration_ns(path: &[&str]) -> Option<i64> {
    number(path).map(u64::cast_signed)
}

/// A header of the request.
pub(crate) fn request_header(name: &str) -> Option<Vec<u8>> {
    hostcalls::get_map_value_bytes(MapType::HttpRequestHeaders, name).ok().flatten()
}

/// The plugin configuration.
pub(crate) fn configuration(size: usize) -> Vec<u8> {
    hostcalls::get_buffer(BufferType::PluginConfiguration, 0, size).ok().flatten().unwrap_or_default()
}

/// The gRPC message that is being received.
pub(crate) fn grpc_message(size: usize) -> Vec<u8> {
    hostcalls::get_buffer(BufferType::GrpcReceiveBuffer, 0, size).ok().flatten().unwrap_or_default()
}

/// Asks for a tick in this many milliseconds, and from then on with this period.
pub(crate) fn tick_in(ms: u64) {
    let _ = hostcalls::set_tick_period(Duration::from_millis(ms.clamp(1, u64::from(u32::MAX))));
}

/// Opens a stream; `None` where Envoy does not know the cluster. `Some` does not mean that it is connected.
pub(crate) fn open_stream(target: &[u8], service: &str, method: &str) -> Option<u32> {
    let target = std::str::from_utf8(target).ok()?;
    hostcalls::open_grpc_stream(target, service, method, Vec::new()).ok()
}

/// Sends a message. `true` does not mean that it arrives.
pub(crate) fn send(token: u32, message: &[u8]) -> bool {
    hostcalls::send_grpc_stream_message(token, Some(message), false).is_ok()
}

/// Resets a stream.
pub(crate) fn cancel(token: u32) {
    let _ = hostcalls::cancel_grpc_stream(token);
}

/// Lets Envoy delete this context. Only after its `on_done` returned false, only once, and only in a tick:
/// otherwise the SDK panics.
pub(crate) fn done() {
    let _ = hostcalls::done();
}

/// A number that no other VM with this `vm_id` in this process has got: a counter in shared data.
///
/// The host treats the first write of a key as unconditional, so two VMs could both create it; but the first VM of
/// all starts alone, before any worker's.
pub(crate) fn process_counter() -> u64 {
    const KEY: &str = "serin.vm_counter";
    // Each failed round means that another VM succeeded; there are fewer than 6,500 VMs in a process.
    for _ in 0..6_500 {
        let Ok((bytes, cas)) = hostcalls::get_shared_data(KEY) else { break };
        let count = bytes.and_then(|b| b.try_into().ok()).map_or(0, u64::from_le_bytes).wrapping_add(1);
        if hostcalls::set_shared_data(KEY, Some(&count.to_le_bytes()), cas).is_ok() {
            return count;
        }
    }
    0
}
