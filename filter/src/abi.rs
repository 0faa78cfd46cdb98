//! The proxy-wasm ABI 0.2.1 as Envoy speaks it (IO): the only file with `unsafe`, and why it may be there is in ADR 9.
//!
//! Only callbacks that the filter uses are exported, since each exported one costs a call into the VM per request. What the
//! host hands over goes into a fixed arena that is emptied when the next callback begins, so that no request
//! touches the heap.
//!
//! What makes the `unsafe` sound: a VM has one thread; the arena is handed out front to back and never twice within a
//! callback; what is lent out of it lives no longer than the [`Callback`], and the arena is emptied only while there is
//! none.

#![allow(unsafe_code)]

use std::cell::{Cell, UnsafeCell};

use crate::vm;

/// Room for all that the host hands over in one callback: a request's headers are below 60 KiB in Envoy by default, and
/// what finds no room counts as absent.
const ARENA_BYTES: usize = 64 << 10;

#[link(wasm_import_module = "env")]
unsafe extern "C" {
    fn proxy_log(level: u32, message: *const u8, size: usize) -> u32;
    fn proxy_get_current_time_nanoseconds(time: *mut u64) -> u32;
    fn proxy_set_tick_period_milliseconds(ms: u32) -> u32;
    fn proxy_get_property(path: *const u8, size: usize, value: *mut *const u8, value_size: *mut usize) -> u32;
    fn proxy_get_header_map_value(
        map: u32,
        key: *const u8,
        size: usize,
        value: *mut *const u8,
        value_size: *mut usize,
    ) -> u32;
    fn proxy_get_buffer_bytes(
        buffer: u32,
        start: usize,
        length: usize,
        value: *mut *const u8,
        value_size: *mut usize,
    ) -> u32;
    fn proxy_get_shared_data(
        key: *const u8,
        size: usize,
        value: *mut *const u8,
        value_size: *mut usize,
        cas: *mut u32,
    ) -> u32;
    fn proxy_set_shared_data(key: *const u8, size: usize, value: *const u8, value_size: usize, cas: u32) -> u32;
    fn proxy_grpc_stream(
        target: *const u8,
        target_size: usize,
        service: *const u8,
        service_size: usize,
        method: *const u8,
        method_size: usize,
        metadata: *const u8,
        metadata_size: usize,
        token: *mut u32,
    ) -> u32;
    fn proxy_grpc_send(token: u32, message: *const u8, size: usize, end_stream: u32) -> u32;
    fn proxy_grpc_cancel(token: u32) -> u32;
    fn proxy_set_effective_context(context: u32) -> u32;
}

/// `WasmResult::Ok`.
const OK: u32 = 0;

struct Arena {
    bytes: UnsafeCell<[u8; ARENA_BYTES]>,
    used: Cell<usize>,
    callbacks: Cell<u32>,
}

// SAFETY: a Wasm VM has one thread.
unsafe impl Sync for Arena {}

static ARENA: Arena = Arena { bytes: UnsafeCell::new([0; ARENA_BYTES]), used: Cell::new(0), callbacks: Cell::new(0) };

/// A callback of the host that is running. What the host hands over is lent until it ends.
pub(crate) struct Callback(());

impl Callback {
    /// Callbacks can come within callbacks: a stream that cannot be opened is closed at once.
    fn begin() -> Self {
        if ARENA.callbacks.get() == 0 {
            ARENA.used.set(0);
        }
        ARENA.callbacks.set(ARENA.callbacks.get() + 1);
        Callback(())
    }

    /// What a host call handed over: `call` fills in where it is.
    fn lent(&self, call: impl FnOnce(*mut *const u8, *mut usize) -> u32) -> Option<&[u8]> {
        let (mut at, mut size) = (std::ptr::null(), 0);
        if call(&raw mut at, &raw mut size) != OK {
            return None;
        }
        if size == 0 {
            return Some(&[]);
        }
        let offset = (at as usize).checked_sub(ARENA.bytes.get() as usize)?;
        let inside = offset.checked_add(size).is_some_and(|end| end <= ARENA.used.get());
        // SAFETY: within what was handed out of the arena, written by the host before it returned, and not handed out again
        // before this callback ends.
        inside.then(|| unsafe { std::slice::from_raw_parts(at, size) })
    }

    /// An attribute, by its path joined with NUL.
    pub(crate) fn property(&self, path: &[u8]) -> Option<&[u8]> {
        // SAFETY: the host reads `path` and writes the two words.
        self.lent(|at, size| unsafe { proxy_get_property(path.as_ptr(), path.len(), at, size) })
    }

    /// A header, by its name in lower case.
    pub(crate) fn header(&self, map: Headers, name: &str) -> Option<&[u8]> {
        // SAFETY: as above.
        self.lent(|at, size| unsafe { proxy_get_header_map_value(map as u32, name.as_ptr(), name.len(), at, size) })
    }

    /// The first `size` bytes of a buffer.
    pub(crate) fn buffer(&self, buffer: Buffer, size: usize) -> Option<&[u8]> {
        // SAFETY: as above.
        self.lent(|at, length| unsafe { proxy_get_buffer_bytes(buffer as u32, 0, size, at, length) })
    }

    /// A value shared by the VMs with this `vm_id`, and its version; version 0 where there is none.
    pub(crate) fn shared(&self, key: &str) -> (Option<&[u8]>, u32) {
        let mut version = 0;
        // SAFETY: as above, and `version` is written.
        let value =
            self.lent(|at, size| unsafe { proxy_get_shared_data(key.as_ptr(), key.len(), at, size, &raw mut version) });
        (value, version)
    }
}

impl Drop for Callback {
    fn drop(&mut self) {
        ARENA.callbacks.set(ARENA.callbacks.get() - 1);
    }
}

/// `WasmHeaderMapType`.
#[derive(Clone, Copy)]
pub(crate) enum Headers {
    Request = 0,
    Response = 2,
}

/// `WasmBufferType`.
#[derive(Clone, Copy)]
pub(crate) enum Buffer {
    GrpcMessage = 5,
    PluginConfiguration = 7,
}

/// `LogLevel`.
#[derive(Clone, Copy)]
pub(crate) enum Level {
    Warn = 3,
    Error = 4,
}

/// Writes a line to Envoy's log.
pub(crate) fn log(level: Level, message: &str) {
    // SAFETY: the host reads `message`.
    unsafe { proxy_log(level as u32, message.as_ptr(), message.len()) };
}

/// The wall clock: nanoseconds since 1970.
pub(crate) fn now_ns() -> u64 {
    let mut now = 0;
    // SAFETY: the host writes `now`.
    unsafe { proxy_get_current_time_nanoseconds(&raw mut now) };
    now
}

/// Asks for a tick of the current root context in this many milliseconds, and from then on with this period.
pub(crate) fn tick_in(ms: u32) {
    // SAFETY: no pointers.
    unsafe { proxy_set_tick_period_milliseconds(ms) };
}

/// The size of the module's memory, in bytes.
pub(crate) fn memory_bytes() -> u64 {
    core::arch::wasm32::memory_size(0) as u64 * 65_536
}

/// Shares a value, unless it has another version by now; says whether it did.
pub(crate) fn share(key: &str, value: &[u8], version: u32) -> bool {
    // SAFETY: the host reads both.
    unsafe { proxy_set_shared_data(key.as_ptr(), key.len(), value.as_ptr(), value.len(), version) == OK }
}

/// Opens a stream; `None` where Envoy does not know the cluster. `Some` does not mean that it is connected.
pub(crate) fn open_stream(target: &[u8], service: &str, method: &str) -> Option<u32> {
    let (mut token, none) = (0, std::ptr::null());
    let (t, s, m) = (target, service, method);
    // SAFETY: the host reads the texts and writes `token`; no metadata of length 0 is not read.
    let result = unsafe {
        proxy_grpc_stream(t.as_ptr(), t.len(), s.as_ptr(), s.len(), m.as_ptr(), m.len(), none, 0, &raw mut token)
    };
    (result == OK).then_some(token)
}

/// Sends a message. `true` does not mean that it arrives.
pub(crate) fn send(token: u32, message: &[u8]) -> bool {
    // SAFETY: the host reads `message`.
    unsafe { proxy_grpc_send(token, message.as_ptr(), message.len(), 0) == OK }
}

/// Resets a stream.
pub(crate) fn cancel(token: u32) {
    // SAFETY: no pointers.
    unsafe { proxy_grpc_cancel(token) };
}

/// Has the host take what is asked next as asked in this context; says whether there is one.
pub(crate) fn speak_for(context: u32) -> bool {
    // SAFETY: no pointers.
    unsafe { proxy_set_effective_context(context) == OK }
}

/// Says which ABI this is.
#[unsafe(no_mangle)]
extern "C" fn proxy_abi_version_0_2_1() {}

/// Room for what the host hands over; null, which the host takes for an error, where there is none.
#[unsafe(no_mangle)]
extern "C" fn proxy_on_memory_allocate(size: usize) -> *mut u8 {
    let at = ARENA.used.get();
    // Aligned for the next one.
    let end = at.checked_add(size).and_then(|end| end.checked_next_multiple_of(8));
    match end.filter(|end| *end <= ARENA_BYTES) {
        Some(end) => {
            ARENA.used.set(end);
            // SAFETY: `at` is within the arena.
            unsafe { ARENA.bytes.get().cast::<u8>().add(at) }
        }
        None => std::ptr::null_mut(),
    }
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_configure(context: u32, size: usize) -> u32 {
    vm::configure(&Callback::begin(), context, size);
    // Anything else would keep Envoy from starting, or from taking its next configuration.
    1
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_tick(context: u32) {
    vm::tick(&Callback::begin(), context);
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_log(context: u32) {
    vm::log(&Callback::begin(), context);
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_request_headers(context: u32, _headers: u32, _end_of_stream: u32) -> u32 {
    vm::request_headers(&Callback::begin(), context);
    CONTINUE
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_response_headers(context: u32, _headers: u32, _end_of_stream: u32) -> u32 {
    vm::response_headers(context);
    CONTINUE
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_grpc_receive(_context: u32, token: u32, size: usize) {
    vm::message(&Callback::begin(), token, size);
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_grpc_close(_context: u32, token: u32, _status: u32) {
    vm::closed(token);
}

/// `FilterHeadersStatus::Continue`.
const CONTINUE: u32 = 0;
