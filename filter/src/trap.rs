//! For tests: traps where a request's header `x-serin-trap` asks for it, as a defect would.

use std::cell::Cell;

use crate::abi::{Callback, Headers};

thread_local! {
    static NEXT_TICK: Cell<bool> = const { Cell::new(false) };
}

/// Traps when the request asks for a trap in its `log` or `headers` callback; remembers that it asks for one in the next
/// `tick`.
pub(crate) fn asked(callback: &Callback, place: &str) {
    let wanted = callback.header(Headers::Request, "x-serin-trap");
    if wanted == Some(b"tick") {
        NEXT_TICK.with(|next| next.set(true));
    }
    if wanted == Some(place.as_bytes()) {
        core::arch::wasm32::unreachable();
    }
}

/// Traps when a request asked for it.
pub(crate) fn tick() {
    if NEXT_TICK.with(Cell::get) {
        core::arch::wasm32::unreachable();
    }
}
