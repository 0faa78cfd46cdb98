//! The host functions.

use anyhow::{Context, Result};
use prost::Message;
use serin_proto::v1::ReportRequest;
use wasmi::{AsContext, AsContextMut, Caller, Error, Extern, Linker, Memory};

use super::Around;

type Host<'a> = Caller<'a, Around>;

const OK: u32 = 0;
const NOT_FOUND: u32 = 1;
const BAD_ARGUMENT: u32 = 2;
const CAS_MISMATCH: u32 = 5;
const INTERNAL_FAILURE: u32 = 10;

pub(super) fn link(linker: &mut Linker<Around>) -> Result<()> {
    linker.func_wrap("env", "proxy_log", |mut host: Host<'_>, _level: u32, at: u32, size: u32| {
        let line = String::from_utf8_lossy(&read(&host, at, size)).into_owned();
        count(&mut host, "proxy_log").logs.push(line);
        OK
    })?;
    linker.func_wrap("env", "proxy_get_current_time_nanoseconds", |mut host: Host<'_>, at: u32| {
        let now = count(&mut host, "proxy_get_current_time_nanoseconds").now_ns;
        write(&mut host, at, &now.to_le_bytes())
    })?;
    linker.func_wrap("env", "proxy_set_tick_period_milliseconds", |mut host: Host<'_>, ms: u32| {
        count(&mut host, "proxy_set_tick_period_milliseconds").tick_ms = ms;
        OK
    })?;
    reads(linker)?;
    shared(linker)?;
    streams(linker)?;
    wasi(linker)
}

fn reads(linker: &mut Linker<Around>) -> Result<()> {
    let property = |mut host: Host<'_>, at: u32, size: u32, value: u32, length: u32| -> Result<u32, Error> {
        let path = String::from_utf8_lossy(&read(&host, at, size)).replace('\0', ".");
        let found = count(&mut host, "proxy_get_property").request.attributes.get(&path).cloned();
        hand(&mut host, found, value, length)
    };
    linker.func_wrap("env", "proxy_get_property", property)?;
    let header = |mut host: Host<'_>, map: u32, at: u32, size: u32, value: u32, length: u32| -> Result<u32, Error> {
        let name = String::from_utf8_lossy(&read(&host, at, size)).into_owned();
        let request = &count(&mut host, "proxy_get_header_map_value").request;
        let headers = if map == 0 { &request.request_headers } else { &request.response_headers };
        let found = headers.get(&name).map(|value| value.clone().into_bytes());
        hand(&mut host, found, value, length)
    };
    linker.func_wrap("env", "proxy_get_header_map_value", header)?;
    let buffer = |mut host: Host<'_>, which: u32, _at: u32, size: u32, value: u32, length: u32| -> Result<u32, Error> {
        let around = count(&mut host, "proxy_get_buffer_bytes");
        let mut bytes = if which == 7 { around.configuration.clone() } else { around.message.clone() };
        bytes.truncate(size as usize);
        hand(&mut host, Some(bytes), value, length)
    };
    linker.func_wrap("env", "proxy_get_buffer_bytes", buffer)?;
    Ok(())
}

fn shared(linker: &mut Linker<Around>) -> Result<()> {
    let get = |mut host: Host<'_>, at: u32, size: u32, value: u32, length: u32, version: u32| -> Result<u32, Error> {
        let found = host.data().shared.get(&read(&host, at, size)).cloned();
        write(&mut host, version, &found.as_ref().map_or(0, |(_, version)| *version).to_le_bytes());
        hand(&mut host, found.map(|(value, _)| value), value, length)
    };
    linker.func_wrap("env", "proxy_get_shared_data", get)?;
    let set = |mut host: Host<'_>, at: u32, size: u32, value: u32, length: u32, version: u32| {
        let (key, value) = (read(&host, at, size), read(&host, value, length));
        let known = host.data().shared.get(&key).map_or(0, |(_, version)| *version);
        if version != 0 && version != known {
            return CAS_MISMATCH;
        }
        host.data_mut().shared.insert(key, (value, known + 1));
        OK
    };
    linker.func_wrap("env", "proxy_set_shared_data", set)?;
    Ok(())
}

fn streams(linker: &mut Linker<Around>) -> Result<()> {
    #[allow(clippy::too_many_arguments, reason = "the ABI's")]
    fn open(mut host: Host<'_>, _: u32, _: u32, _: u32, _: u32, _: u32, _: u32, _: u32, _: u32, token: u32) -> u32 {
        let around = count(&mut host, "proxy_grpc_stream");
        if around.refuses_streams {
            return INTERNAL_FAILURE;
        }
        around.tokens += 1;
        let fresh = around.tokens;
        around.open.push(fresh);
        write(&mut host, token, &fresh.to_le_bytes())
    }
    linker.func_wrap("env", "proxy_grpc_stream", open)?;
    linker.func_wrap("env", "proxy_grpc_send", |mut host: Host<'_>, token: u32, at: u32, size: u32, _end: u32| {
        let Ok(report) = ReportRequest::decode(&*read(&host, at, size)) else { return BAD_ARGUMENT };
        // As in Envoy, a send on a closed stream is no error and goes nowhere.
        let around = count(&mut host, "proxy_grpc_send");
        if around.open.contains(&token) {
            around.sent.push((token, report));
        }
        OK
    })?;
    linker.func_wrap("env", "proxy_set_effective_context", |mut host: Host<'_>, _context: u32| {
        count(&mut host, "proxy_set_effective_context");
        OK
    })?;
    linker.func_wrap("env", "proxy_grpc_cancel", |mut host: Host<'_>, token: u32| {
        count(&mut host, "proxy_grpc_cancel").open.retain(|open| *open != token);
        OK
    })?;
    Ok(())
}

/// What Rust's standard library imports to panic with: no environment, and no way to write.
fn wasi(linker: &mut Linker<Around>) -> Result<()> {
    const MODULE: &str = "wasi_snapshot_preview1";
    linker.func_wrap(MODULE, "environ_get", |_: u32, _: u32| OK)?;
    linker.func_wrap(MODULE, "environ_sizes_get", |mut host: Host<'_>, entries: u32, bytes: u32| {
        write(&mut host, entries, &[0; 4]);
        write(&mut host, bytes, &[0; 4])
    })?;
    linker.func_wrap(MODULE, "fd_write", |_: u32, _: u32, _: u32, _: u32| 8u32)?;
    linker.func_wrap(MODULE, "proc_exit", |_: u32| ())?;
    Ok(())
}

fn count<'a>(host: &'a mut Host<'_>, call: &'static str) -> &'a mut Around {
    let around = host.data_mut();
    *around.calls.entry(call).or_default() += 1;
    around
}

fn memory(host: &Host<'_>) -> Option<Memory> {
    host.get_export("memory").and_then(Extern::into_memory)
}

fn read(host: &Host<'_>, at: u32, size: u32) -> Vec<u8> {
    let bytes = memory(host).and_then(|memory| {
        let (at, size) = (at as usize, size as usize);
        memory.data(host.as_context()).get(at..at + size).map(<[u8]>::to_vec)
    });
    bytes.unwrap_or_default()
}

fn write(host: &mut Host<'_>, at: u32, bytes: &[u8]) -> u32 {
    let written = memory(host).map(|memory| memory.write(host.as_context_mut(), at as usize, bytes));
    if matches!(written, Some(Ok(()))) { OK } else { BAD_ARGUMENT }
}

/// Hands bytes over as Envoy does: the module's own allocator says where.
fn hand(host: &mut Host<'_>, found: Option<Vec<u8>>, value: u32, length: u32) -> Result<u32, Error> {
    let Some(bytes) = found else { return Ok(NOT_FOUND) };
    let mut at = 0;
    if !bytes.is_empty() {
        let allocate = host.get_export("proxy_on_memory_allocate").and_then(Extern::into_func);
        let allocate = allocate.context("no allocator").map_err(|error| Error::new(error.to_string()))?;
        at = allocate.typed::<u32, u32>(host.as_context())?.call(host.as_context_mut(), bytes.len() as u32)?;
        if at == 0 {
            return Ok(BAD_ARGUMENT);
        }
    }
    write(host, at, &bytes);
    write(host, value, &at.to_le_bytes());
    Ok(write(host, length, &(bytes.len() as u32).to_le_bytes()))
}
