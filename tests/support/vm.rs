//! A small host for the filter as it is shipped: the proxy-wasm ABI 0.2.1 as far as the filter uses it, with a clock
//! that the test sets. What Envoy really does is tried on Envoy; this is for what needs many requests or hours.

mod imports;

use std::{collections::BTreeMap, fs};

use anyhow::{Context, Result};
use prost::Message;
use serin_proto::v1::{ReportRequest, ReportResponse};
use wasmi::{Engine, Instance, Linker, Memory, Module, Store, WasmParams};

use crate::artifacts;

/// A request as the module sees it at its end.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// Attributes by their paths, joined with dots.
    pub attributes: BTreeMap<String, Vec<u8>>,
    /// Headers of the request.
    pub request_headers: BTreeMap<String, String>,
    /// Headers of the response.
    pub response_headers: BTreeMap<String, String>,
}

impl Request {
    /// A success with these durations, in microseconds.
    pub fn success(route: &str, cluster: &str, total_us: u64, upstream_us: u64) -> Self {
        let mut request = Request::default();
        request.number("response.code", 200).number("response.flags", 0);
        request.number("request.duration", total_us * 1_000).number("response.backend_latency", upstream_us * 1_000);
        request.text("xds.route_name", route).text("xds.cluster_name", cluster);
        request.text("upstream.address", "10.0.0.7:80");
        request
    }

    /// With an attribute that is a number.
    pub fn number(&mut self, path: &str, value: u64) -> &mut Self {
        self.attributes.insert(path.to_owned(), value.to_le_bytes().to_vec());
        self
    }

    /// With an attribute that is a text.
    pub fn text(&mut self, path: &str, value: &str) -> &mut Self {
        self.attributes.insert(path.to_owned(), value.as_bytes().to_vec());
        self
    }
}

/// What the module finds around it, and what it did.
#[derive(Debug, Default)]
pub struct Around {
    /// Nanoseconds since 1970.
    pub now_ns: u64,
    /// The request whose callback runs.
    pub request: Request,
    /// What it logged.
    pub logs: Vec<String>,
    /// Streams that are open, by token.
    pub open: Vec<u32>,
    /// Whether it opens no streams.
    pub refuses_streams: bool,
    /// What was sent, with the token of its stream.
    pub sent: Vec<(u32, ReportRequest)>,
    /// How often it made each host call.
    pub calls: BTreeMap<&'static str, u64>,
    /// What it asked for last, in milliseconds.
    pub tick_ms: u32,
    configuration: Vec<u8>,
    message: Vec<u8>,
    shared: BTreeMap<Vec<u8>, (Vec<u8>, u32)>,
    tokens: u32,
}

/// One VM.
#[derive(Debug)]
pub struct Vm {
    store: Store<Around>,
    instance: Instance,
    memory: Memory,
}

impl Vm {
    /// Loads the filter.
    ///
    /// # Errors
    /// When it was not built, or imports what there is not.
    pub fn load() -> Result<Self> {
        let engine = Engine::default();
        let module = Module::new(&engine, fs::read(artifacts::filter()?)?)?;
        let mut store = Store::new(&engine, Around { now_ns: 1_000_000_000_000, ..Around::default() });
        let mut linker = Linker::new(&engine);
        imports::link(&mut linker)?;
        let instance = linker.instantiate_and_start(&mut store, &module)?;
        let memory = instance.get_memory(&store, "memory").context("the module exports no memory")?;
        Ok(Vm { store, instance, memory })
    }

    /// What is around it.
    pub fn around(&mut self) -> &mut Around {
        self.store.data_mut()
    }

    /// The size of its memory.
    pub fn memory_bytes(&self) -> usize {
        self.memory.data_size(&self.store)
    }

    /// A new root context with this plugin configuration.
    ///
    /// # Errors
    /// When it traps, as all that follow.
    pub fn configure(&mut self, context: u32, configuration: &str) -> Result<()> {
        self.around().configuration = configuration.as_bytes().to_vec();
        let size = configuration.len() as u32;
        self.call("proxy_on_configure", (context, size))
    }

    /// The tick of a root context.
    ///
    /// # Errors
    /// When it traps.
    pub fn tick(&mut self, context: u32) -> Result<()> {
        self.call("proxy_on_tick", (context,))
    }

    /// An access log is written on a root context, or a request's own context ends.
    ///
    /// # Errors
    /// When it traps.
    pub fn log(&mut self, context: u32, request: &Request) -> Result<()> {
        self.around().request.clone_from(request);
        self.call("proxy_on_log", (context,))
    }

    /// Headers pass a request's own context.
    ///
    /// # Errors
    /// When it traps.
    pub fn headers(&mut self, context: u32, of: &str, request: &Request) -> Result<()> {
        self.around().request.clone_from(request);
        self.call(
            if of == "request" { "proxy_on_request_headers" } else { "proxy_on_response_headers" },
            (context, 0, 0),
        )
    }

    /// An acknowledgement comes.
    ///
    /// # Errors
    /// When it traps.
    pub fn acknowledge(&mut self, token: u32, acked_sequence: u64) -> Result<()> {
        let message = ReportResponse { acked_sequence }.encode_to_vec();
        let size = message.len() as u32;
        self.around().message = message;
        self.call("proxy_on_grpc_receive", (1, token, size))
    }

    /// A stream is closed by its peer.
    ///
    /// # Errors
    /// When it traps.
    pub fn close(&mut self, token: u32) -> Result<()> {
        self.around().open.retain(|open| *open != token);
        self.call("proxy_on_grpc_close", (1, token, 14))
    }

    /// Calls what the module exports, as Envoy does; what it does not export is left out.
    fn call<P: WasmParams>(&mut self, name: &str, parameters: P) -> Result<()> {
        let Some(function) = self.instance.get_func(&self.store, name) else { return Ok(()) };
        if let Ok(function) = function.typed::<P, u32>(&self.store) {
            function.call(&mut self.store, parameters).with_context(|| format!("in {name}"))?;
            return Ok(());
        }
        let function = function.typed::<P, ()>(&self.store)?;
        function.call(&mut self.store, parameters).with_context(|| format!("in {name}"))
    }
}
