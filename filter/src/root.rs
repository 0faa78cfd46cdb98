//! The root context: configuration, ticks, the stream, and requests where the filter is an access logger.

use std::{
    cell::{OnceCell, RefCell},
    rc::Rc,
};

use proxy_wasm::{
    traits::{Context, HttpContext, RootContext},
    types::{ContextType, LogLevel},
};
use serin_proto::v1;

use crate::{
    config::Config,
    host,
    http::Http,
    report,
    reporter::{Action, Reporter},
    worker::Worker,
};

const SERVICE: &str = "serin.v1.Ingest";
const METHOD: &str = "Report";
/// How long a context that Envoy wants to delete goes on delivering: 1 h. What it holds is bounded and nothing is added,
/// but each change of the configuration leaves such a context behind while the aggregator is away.
const DRAIN_US: u64 = 3_600_000_000;

proxy_wasm::main! {{
    proxy_wasm::set_root_context(|context_id| Box::new(Root::new(context_id)));
}}

thread_local! {
    /// One VM is one thread: this tells it from every other VM on this node.
    static BOOT_NONCE: OnceCell<u64> = const { OnceCell::new() };
}

/// The start time, a counter within the process, and the `vm_id` (each has its own counter), mixed.
fn boot_nonce() -> u64 {
    let make = || {
        let vm_id = host::property(&["plugin_vm_id"]).unwrap_or_default();
        let vm_id = vm_id.iter().fold(0u64, |hash, byte| hash.wrapping_mul(31).wrapping_add(u64::from(*byte)));
        // Odd factors, so that a change of one of the three alone always changes the sum.
        let counter = host::process_counter().wrapping_mul(0x9e37_79b9_7f4a_7c15);
        host::now_ns().wrapping_add(counter).wrapping_add(vm_id.wrapping_mul(0xbf58_476d_1ce4_e5b9))
    };
    BOOT_NONCE.with(|nonce| *nonce.get_or_init(make))
}

struct Root {
    context_id: u32,
    worker: Option<Rc<RefCell<Worker>>>,
    cluster: String,
    stream: Option<u32>,
    /// Envoy wants this context gone; it stays until everything is delivered, or until this time in microseconds.
    drains_until_us: Option<u64>,
    was_refused: bool,
}

impl Root {
    fn new(context_id: u32) -> Self {
        Root {
            context_id,
            worker: None,
            cluster: String::new(),
            stream: None,
            drains_until_us: None,
            was_refused: false,
        }
    }

    fn start(&mut self, config: Config) {
        let node_id = host::text(&["xds", "node", "id"]).filter(|id| !id.is_empty() && id.len() <= 256);
        let node_id = node_id.unwrap_or_else(|| "unknown".to_owned());
        let identity = v1::Reporter {
            node_id: node_id.clone(),
            boot_nonce: boot_nonce(),
            context_id: self.context_id,
            vantage: config.vantage as i32,
            attachment: config.attachment as i32,
            filter_version: env!("CARGO_PKG_VERSION").to_owned(),
            first_sequence: 0,
        };
        let label = |key: &str| host::text(&["xds", "node", "metadata", "LABELS", key]);
        let sources = config.sources.settle(&node_id, label);
        let now_us = host::now_us();
        let reporter = Reporter::new(identity, config.interval_ms, now_us);
        host::tick_in(reporter.next_tick_ms(now_us));
        self.cluster = config.cluster;
        self.worker = Some(Rc::new(RefCell::new(Worker::new(config.attachment, sources, reporter))));
    }

    /// What `event` returns for the reporter. `None` while there is none; nothing here is ever borrowed twice.
    fn with<T>(&self, event: impl FnOnce(&mut Reporter) -> T) -> Option<T> {
        self.worker.as_ref()?.try_borrow_mut().ok().map(|mut worker| event(worker.reporter()))
    }

    fn act(&mut self, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::Cancel => {
                    if let Some(token) = self.stream.take() {
                        host::cancel(token);
                    }
                }
                Action::Open => {
                    self.stream = host::open_stream(&report::target(&self.cluster), SERVICE, METHOD);
                    if self.stream.is_none() {
                        self.open_failed();
                        return;
                    }
                }
                Action::Send(message) => {
                    if !self.stream.is_some_and(|token| host::send(token, &message)) {
                        self.stream = None;
                        self.with(Reporter::closed);
                        return;
                    }
                }
            }
        }
    }

    fn drain(&mut self, until_us: u64, now_us: u64) {
        let undelivered = self.with(|reporter| (!reporter.is_delivered()).then(|| reporter.undelivered())).flatten();
        match undelivered {
            Some(_) if now_us < until_us => return,
            Some(requests) => {
                let why = "the aggregator took nothing for an hour after this configuration was replaced";
                host::log(LogLevel::Error, &format!("serin: {requests} requests are not delivered and lost: {why}"));
            }
            None => {}
        }
        self.drains_until_us = None;
        host::done();
    }

    fn open_failed(&mut self) {
        if !std::mem::replace(&mut self.was_refused, true) {
            let remedy = "define it in Envoy, or see why no host of it is up; requests are counted and delivered then";
            let what = "Envoy opens no stream to the cluster";
            host::log(LogLevel::Error, &format!("serin: cluster: {what} {:?}: {remedy}", self.cluster));
        }
        self.with(Reporter::closed);
    }
}

impl Context for Root {
    fn on_grpc_stream_message(&mut self, token: u32, size: usize) {
        if self.stream == Some(token) {
            self.was_refused = false;
            let actions = self.with(|reporter| reporter.message(&host::grpc_message(size)));
            self.act(actions.unwrap_or_default());
        }
    }

    /// Marks the stream as dead, which no status of a later send would show. Opening another one here would spin.
    fn on_grpc_stream_close(&mut self, token: u32, _status: u32) {
        if self.stream == Some(token) {
            self.stream = None;
            self.with(Reporter::closed);
        }
    }

    fn on_done(&mut self) -> bool {
        let now_us = host::now_us();
        let actions = self.with(|reporter| {
            reporter.hurry();
            reporter.tick(now_us)
        });
        self.act(actions.unwrap_or_default());
        let delivered = self.with(|reporter| reporter.is_delivered()).unwrap_or(true);
        self.drains_until_us = (!delivered).then(|| now_us.saturating_add(DRAIN_US));
        delivered
    }
}

impl RootContext for Root {
    /// Always true: false would keep Envoy from starting, or from taking its next configuration.
    fn on_configure(&mut self, size: usize) -> bool {
        match Config::parse(&host::configuration(size)) {
            Ok(config) => self.start(config),
            Err(problems) => {
                for problem in problems {
                    host::log(LogLevel::Error, &format!("serin: {problem}"));
                }
                host::log(
                    LogLevel::Error,
                    "serin: this configuration is not used: traffic passes and nothing is counted",
                );
            }
        }
        true
    }

    fn on_tick(&mut self) {
        let now_us = host::now_us();
        let actions = self.with(|reporter| reporter.tick(now_us));
        self.act(actions.unwrap_or_default());
        if let Some(ms) = self.with(|reporter| reporter.next_tick_ms(now_us)) {
            host::tick_in(ms);
        }
        if let Some(until) = self.drains_until_us {
            self.drain(until, now_us);
        }
    }

    fn on_log(&mut self) {
        if let Some(Ok(mut worker)) = self.worker.as_ref().map(|worker| worker.try_borrow_mut()) {
            worker.log();
        }
    }

    fn create_http_context(&self, _context_id: u32) -> Option<Box<dyn HttpContext>> {
        Some(Box::new(Http::new(self.worker.clone())))
    }

    fn get_type(&self) -> Option<ContextType> {
        Some(ContextType::HttpContext)
    }
}
