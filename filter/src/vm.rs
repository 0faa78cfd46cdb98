//! One VM, which is one worker thread: what Envoy's callbacks lead to (IO).
//!
//! Each configuration of the filter has a root context. When Envoy replaces a configuration, the old context goes
//! without a word, and what it has not delivered is still here: another root context adopts its reporter.

use std::cell::RefCell;

use serin_proto::v1::{self, Attachment};

use crate::{
    abi::{self, Buffer, Callback, Level},
    active::Active,
    config::{Config, Counting},
    counter::Counter,
    host,
    labels::Labels,
    link::Link,
    report,
    reporter::Surroundings,
};

/// The largest plugin configuration that is read; the arena's size bounds it anyway.
const CONFIGURATION_MAX: usize = 32 << 10;
/// An acknowledgement has a few bytes.
const MESSAGE_MAX: usize = 4 << 10;
/// How often the root context of an exceptions logger shows that it lives.
const EXCEPTIONS_TICK_MS: u32 = 1_000;
/// A root context that missed so many of its ticks while others ticked is gone.
const MISSED_MAX: u64 = 3;
/// Reporters without a context of their own, at most, at 3 MB each in the worst case and commonly 100 kB: each change of the
/// configuration leaves one behind while the aggregator is away.
const ADOPTED_MAX: usize = 2;

struct Root {
    context: u32,
    /// `plugin_name` and `plugin_root_id`.
    name: Vec<u8>,
    place: Place,
    interval_us: u64,
    /// By the VM's own clock.
    last_tick_us: u64,
    /// Its own context is gone: this one ticks for it.
    adopted_by: Option<u32>,
}

enum Place {
    /// Misconfigured: counts nothing.
    Idle,
    /// Notes how requests ended that did not plainly succeed.
    Exceptions,
    Counting(Box<Counter>),
}

#[derive(Default)]
struct Vm {
    nonce: Option<u64>,
    roots: Vec<Root>,
    active: Active,
    /// The VM's own clock: the wall clock, but it never steps by more than the interval of whoever ticks, so that a clock
    /// that is set, or a worker that stood still, does not make anybody seem gone.
    clock_us: u64,
    wall_us: u64,
    /// Whether the exceptions logger was called for the request whose access logs are being written.
    noted: bool,
}

thread_local! {
    static VM: RefCell<Vm> = RefCell::default();
    /// Streams that were closed while the VM was busy.
    static CLOSED: RefCell<Vec<u32>> = RefCell::default();
}

fn with(event: impl FnOnce(&mut Vm)) {
    VM.with(|vm| {
        let Ok(mut vm) = vm.try_borrow_mut() else { return };
        event(&mut vm);
        let closed = CLOSED.with(|closed| closed.try_borrow_mut().map(|mut c| std::mem::take(&mut *c)));
        closed.unwrap_or_default().into_iter().for_each(|token| vm.closed(token));
    });
}

pub(crate) fn configure(callback: &Callback, context: u32, size: usize) {
    with(|vm| vm.configure(callback, context, size));
}

pub(crate) fn tick(callback: &Callback, context: u32) {
    #[cfg(feature = "trap")]
    crate::trap::tick();
    with(|vm| vm.tick(callback, context, abi::now_ns()));
}

pub(crate) fn log(callback: &Callback, context: u32) {
    #[cfg(feature = "trap")]
    crate::trap::asked(callback, "log");
    with(|vm| vm.log(callback, context));
}

pub(crate) fn request_headers(_callback: &Callback, context: u32) {
    #[cfg(feature = "trap")]
    crate::trap::asked(_callback, "headers");
    with(|vm| vm.active.begin(context, abi::now_ns()));
}

pub(crate) fn response_headers(context: u32) {
    with(|vm| vm.active.answered(context, abi::now_ns()));
}

pub(crate) fn message(callback: &Callback, token: u32, size: usize) {
    let Some(message) = callback.buffer(Buffer::GrpcMessage, size.min(MESSAGE_MAX)) else { return };
    with(|vm| vm.counters().filter(|c| c.link.has(token)).for_each(|c| c.link.message(message)));
}

/// May come while a stream is being opened or written to.
pub(crate) fn closed(token: u32) {
    let _ = CLOSED.with(|closed| closed.try_borrow_mut().map(|mut closed| closed.push(token)));
    with(|_| ());
}

impl Root {
    fn counter(&mut self) -> Option<&mut Counter> {
        if let Place::Counting(counter) = &mut self.place { Some(counter) } else { None }
    }

    fn is_silent(&self, at_us: u64) -> bool {
        self.last_tick_us.saturating_add(MISSED_MAX * self.interval_us) < at_us
    }
}

impl Vm {
    fn counters(&mut self) -> impl Iterator<Item = &mut Counter> {
        self.roots.iter_mut().filter_map(Root::counter)
    }

    fn closed(&mut self, token: u32) {
        self.counters().filter(|c| c.link.has(token)).for_each(|c| c.link.closed());
    }

    fn configure(&mut self, callback: &Callback, context: u32, size: usize) {
        let text = callback.buffer(Buffer::PluginConfiguration, size.min(CONFIGURATION_MAX)).unwrap_or_default();
        let (place, interval_us) = match Config::parse(text) {
            Ok(Config::Exceptions) => {
                abi::tick_in(EXCEPTIONS_TICK_MS);
                (Place::Exceptions, u64::from(EXCEPTIONS_TICK_MS) * 1_000)
            }
            Ok(Config::Counting(config)) => {
                let interval_us = config.interval_ms * 1_000;
                (Place::Counting(Box::new(self.counter(callback, context, *config))), interval_us)
            }
            Err(problems) => {
                for problem in problems {
                    abi::log(Level::Error, &format!("serin: {problem}"));
                }
                let what = "this configuration is not used: traffic passes and nothing is counted";
                abi::log(Level::Error, &format!("serin: {what}"));
                (Place::Idle, 0)
            }
        };
        let last_tick_us = self.clock_us;
        self.roots.push(Root { context, name: plugin(callback), place, interval_us, last_tick_us, adopted_by: None });
    }

    fn counter(&mut self, callback: &Callback, context: u32, config: Counting) -> Counter {
        let node_id = host::node_id(callback);
        let identity = v1::Reporter {
            node_id: node_id.clone(),
            boot_nonce: *self.nonce.get_or_insert_with(|| host::boot_nonce(callback)),
            context_id: context,
            vantage: config.vantage as i32,
            attachment: config.attachment as i32,
            filter_version: env!("CARGO_PKG_VERSION").to_owned(),
            first_sequence: 0,
            workload: host::workload(callback),
        };
        let metadata = |path: &[String]| host::node_metadata(callback, path);
        let labels = Labels::new(config.sources.clone(), &node_id, metadata);
        let now_us = abi::now_ns() / 1_000;
        let link = Link::new(identity, config.cluster.clone(), config.interval_ms, now_us);
        abi::tick_in(link.reporter.next_tick_ms(now_us));
        Counter::new(&config, labels, link)
    }

    fn log(&mut self, callback: &Callback, context: u32) {
        let Some(at) = self.roots.iter().position(|root| root.context == context) else {
            return self.log_stamped(callback, context);
        };
        let noted = self.has_exceptions().then_some(std::mem::take(&mut self.noted));
        match self.roots.get_mut(at).map(|root| &mut root.place) {
            Some(Place::Exceptions) => self.except(callback),
            Some(Place::Counting(counter)) if counter.attachment == Attachment::AccessLog => {
                counter.log(callback, noted);
            }
            Some(Place::Counting(counter)) => counter.warn("an access logger"),
            Some(Place::Idle) | None => {}
        }
    }

    fn has_exceptions(&self) -> bool {
        self.roots.iter().any(|root| matches!(root.place, Place::Exceptions))
    }

    /// Envoy runs HTTP filters first, then access loggers in their order.
    fn except(&mut self, callback: &Callback) {
        self.noted = true;
        if let Some(counter) = self.counters().find(|counter| counter.holds())
            // A request whose headers never came whole has no method, and never came to an HTTP filter.
            && host::has_method(callback)
        {
            counter.except(callback);
        }
    }

    /// A request's own context: the filter is attached as HTTP filter.
    fn log_stamped(&mut self, callback: &Callback, context: u32) {
        let stamps = self.active.end(context);
        let is_there = self.has_exceptions();
        self.counters().for_each(Counter::settle);
        let is_filter =
            |root: &Root| matches!(&root.place, Place::Counting(c) if c.attachment == Attachment::HttpFilter);
        // More than one when one configuration replaces another, or several filters share the VM: the newest of this name.
        let name = (self.roots.iter().filter(|root| is_filter(root)).count() > 1).then(|| plugin(callback));
        let fits = |root: &Root| (name.as_ref().is_none_or(|name| root.name == *name), root.adopted_by.is_none());
        let filters = self.roots.iter_mut().filter(|root| is_filter(root));
        match filters.max_by_key(|root| fits(root)).and_then(Root::counter) {
            Some(counter) => counter.log_stamped(callback, stamps, is_there),
            None => self.counters().for_each(|counter| counter.warn("an HTTP filter")),
        }
    }

    fn tick(&mut self, callback: &Callback, context: u32, begun_ns: u64) {
        let now_us = begun_ns / 1_000;
        let Some(me) = self.roots.iter_mut().find(|root| root.context == context) else { return };
        let passed_us = now_us.saturating_sub(std::mem::replace(&mut self.wall_us, now_us));
        self.clock_us = self.clock_us.saturating_add(passed_us.min(me.interval_us));
        let before_us = std::mem::replace(&mut me.last_tick_us, self.clock_us);
        if me.counter().is_none() {
            return;
        }
        if me.adopted_by.take().is_some() {
            // It only seemed to be gone.
            me.counter().into_iter().for_each(|counter| counter.link.closed());
        }
        self.adopt(context, before_us);
        let (active, oldest_active_ms) = self.active.oldest(begun_ns);
        for root in self.roots.iter_mut().filter(|r| r.context == context || r.adopted_by == Some(context)) {
            let Place::Counting(counter) = &mut root.place else { continue };
            let of_filter = counter.attachment == Attachment::HttpFilter && root.context == context;
            let surroundings = Surroundings {
                memory_bytes: abi::memory_bytes(),
                active_requests: if of_filter { active as u32 } else { 0 },
                oldest_active_ms: if of_filter { oldest_active_ms } else { 0 },
                in_flight: of_filter.then(|| waiting(&mut self.active, callback, counter, begun_ns)),
            };
            abi::speak_for(context);
            counter.settle();
            let actions = counter.link.reporter.tick(now_us, surroundings);
            counter.link.act(actions);
        }
        self.roots.retain_mut(|root| root.adopted_by.is_none() || root.counter().is_some_and(|c| !c.link.is_over()));
        self.end_tick(context, begun_ns);
    }

    /// Takes over what other root contexts left behind, and forgets exceptions loggers that are gone.
    fn adopt(&mut self, context: u32, before_us: u64) {
        // Those that had their chance, before others get it.
        while self.roots.iter().filter(|root| root.adopted_by.is_some()).count() > ADOPTED_MAX {
            let Some(at) = self.roots.iter().position(|root| root.adopted_by.is_some()) else { return };
            let mut root = self.roots.remove(at);
            let lost = root.counter().map_or(0, |counter| counter.link.reporter.undelivered());
            let why = "the aggregator took nothing while the configuration was replaced several times";
            abi::log(Level::Error, &format!("serin: {lost} requests are not delivered and lost: {why}"));
        }
        let alive = self.roots.iter().filter(|root| !root.is_silent(before_us)).map(|root| root.context);
        let alive: Vec<u32> = alive.collect();
        for root in self.roots.iter_mut().filter(|root| !alive.contains(&root.context)) {
            let is_free = root.adopted_by.is_none_or(|by| !alive.contains(&by));
            if let (true, Some(counter)) = (is_free, root.counter()) {
                counter.link.closed();
                counter.link.reporter.hurry();
                root.adopted_by = Some(context);
            } else if matches!(root.place, Place::Exceptions) {
                root.place = Place::Idle;
            }
        }
    }

    fn end_tick(&mut self, context: u32, begun_ns: u64) {
        let now_ns = abi::now_ns();
        let Some(me) = self.roots.iter_mut().find(|root| root.context == context) else { return };
        let Place::Counting(counter) = &mut me.place else { return };
        let took_us = now_ns.saturating_sub(begun_ns) / 1_000;
        if let Some(interval_ms) = counter.link.reporter.took(took_us) {
            me.interval_us = interval_ms * 1_000;
            let what = format!("a report takes {took_us} us of this worker's time: from now on every {interval_ms} ms");
            abi::log(Level::Warn, &format!("serin: {what}"));
        }
        abi::tick_in(counter.link.reporter.next_tick_ms(now_ns / 1_000));
    }
}

/// What waits for a response, with its labels as they are known by now.
fn waiting(active: &mut Active, callback: &Callback, counter: &mut Counter, now_ns: u64) -> Vec<v1::InFlight> {
    let label = |request| abi::speak_for(request).then(|| counter.key_of_waiting(callback)).flatten();
    report::in_flight(active.waiting(now_ns, label))
}

/// What tells plugins of one VM apart.
fn plugin(callback: &Callback) -> Vec<u8> {
    let part = |path: &[u8]| callback.property(path).unwrap_or_default().to_vec();
    [part(b"plugin_name"), part(b"plugin_root_id")].join(&0)
}
