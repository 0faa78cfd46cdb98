//! One place where the filter is attached and counts: reads what Envoy knows about a request that ended, and records it.

use std::rc::Rc;

use serin_proto::v1::{Attachment, Outcome};

use crate::{
    abi::{self, Callback, Level},
    config::Counting,
    host,
    labels::{Labels, Templates},
    link::Link,
    measure::{Stamps, Timings, of_access_log, of_stamps},
    outcome::of_stream,
};

/// How a request ended, and `response.code`.
pub(crate) type Ended = (Outcome, Option<u64>);

/// A plain success, as a request is that no access logger for exceptions was called for.
const PLAIN: Ended = (Outcome::Success, Some(200));
/// One in so many requests that were not noted as exceptions is read all the same, to see whether the native filter of
/// the exceptions logger is the right one: 1/1,024 of the reads that it saves.
const CHECK_EVERY: u64 = 1_024;
/// Responses that ended well sooner than this are not looked at for server-sent events.
const EVENT_STREAM_NS: i64 = 1_000_000_000;

/// A request that passed the HTTP filter and plainly succeeded, unless the exceptions logger, which Envoy calls after the
/// filter, says otherwise before anything else happens.
struct Held {
    stamps: Stamps,
    end: u64,
    had_cluster: bool,
    retries: u64,
    /// What was read of it all the same.
    checked: Ended,
}

/// What one place on one worker thread measures with.
pub(crate) struct Counter {
    pub(crate) attachment: Attachment,
    pub(crate) link: Link,
    labels: Labels,
    streams: Templates,
    sorted: bool,
    retries: bool,
    seen: u64,
    /// The key of the request that is being recorded.
    key: Vec<u8>,
    held: Option<Held>,
    was_warned: bool,
}

impl Held {
    fn age(&self) -> Option<i64> {
        self.stamps.request.map(|begun| self.end.saturating_sub(begun).cast_signed())
    }
}

impl Counter {
    pub(crate) fn new(config: &Counting, labels: Labels, link: Link) -> Self {
        let Counting { attachment, streams, sorted, retries, .. } = config.clone();
        let (key, held, was_warned) = (Vec::new(), None, false);
        Counter { attachment, link, labels, streams, sorted, retries, seen: 0, key, held, was_warned }
    }

    /// Records the request whose access log is being written. `noted` where the exceptions logger was called for it, `None`
    /// where there is none.
    pub(crate) fn log(&mut self, callback: &Callback, noted: Option<bool>) {
        let (duration, backend) = (host::duration_ns(callback), host::backend_latency_ns(callback));
        // Without a complete response of an upstream it is no plain success, whoever noted it.
        let ended = if self.sorted && noted == Some(false) && backend.is_some() {
            let checked = self.check(callback);
            self.believe(checked)
        } else {
            host::ending(callback, backend.is_none())
        };
        let (outcome, is_stream) = self.stream(callback, ended, duration);
        let timings = of_access_log(outcome, duration, backend, || host::had_upstream(callback));
        let values = host::read(callback, self.labels.attributes());
        self.labels.write_key(outcome, &values, &mut self.key);
        self.record(timings, is_stream, self.retries(callback));
    }

    /// Records a request that passed the HTTP filter. Where an exceptions logger `is_there`, it has the next word.
    pub(crate) fn log_stamped(&mut self, callback: &Callback, stamps: Stamps, is_there: bool) {
        let end = abi::now_ns();
        let values = host::read(callback, self.labels.attributes());
        let had_cluster = match self.labels.cluster() {
            Some(at) => values.get(at).is_some_and(Option::is_some),
            None => host::had_upstream(callback),
        };
        self.labels.write_key(Outcome::Success, &values, &mut self.key);
        let held = Held { stamps, end, had_cluster, retries: self.retries(callback), checked: PLAIN };
        let is_whole = stamps.request.is_some() && stamps.response.is_some();
        if self.sorted && is_there && is_whole && !is_long(held.age()) && !self.is_declared(callback) {
            self.held = Some(Held { checked: self.check(callback), ..held });
        } else {
            self.settle_as(callback, &held);
        }
    }

    /// The key of a request under way, but for its outcome; `None` where it is one that may last.
    pub(crate) fn key_of_waiting(&mut self, callback: &Callback) -> Option<Rc<[u8]>> {
        let values = host::read(callback, self.labels.attributes());
        self.labels.write_key(Outcome::Unspecified, &values, &mut self.key);
        (!self.is_declared(callback)).then(|| Rc::from(self.key.as_slice()))
    }

    /// Whether a request is held for the exceptions logger.
    pub(crate) fn holds(&self) -> bool {
        self.held.is_some()
    }

    /// The exceptions logger is called for the request that is held.
    pub(crate) fn except(&mut self, callback: &Callback) {
        if let Some(held) = self.held.take() {
            self.settle_as(callback, &held);
        }
    }

    /// The exceptions logger was not called for the request that is held.
    pub(crate) fn settle(&mut self) {
        let Some(held) = self.held.take() else { return };
        let (outcome, _) = self.believe(held.checked);
        let timings = of_stamps(outcome, held.stamps, held.end, || None, || held.had_cluster);
        self.set_outcome(outcome);
        self.record(timings, false, held.retries);
    }

    fn settle_as(&mut self, callback: &Callback, held: &Held) {
        // Only Envoy knows whether a response was whole, and asking costs as much as all the rest: those that took less than
        // a second are taken to be, so a `max_stream_duration` below that goes unseen here.
        let ended = host::ending(callback, is_long(held.age()));
        let (outcome, is_stream) = self.stream(callback, ended, held.age());
        let had_upstream = || match outcome {
            // Filters that answer by themselves come before this one, so the router did: to a cluster, or directly.
            Outcome::Success | Outcome::ClientError | Outcome::ServerError => held.had_cluster,
            _ => host::had_upstream(callback),
        };
        let duration = || host::duration_ns(callback);
        let timings = of_stamps(outcome, held.stamps, held.end, duration, had_upstream);
        self.set_outcome(outcome);
        self.record(timings, is_stream, held.retries);
    }

    fn set_outcome(&mut self, outcome: Outcome) {
        if let Some(first) = self.key.first_mut() {
            *first = outcome as u8;
        }
    }

    fn retries(&self, callback: &Callback) -> u64 {
        if self.retries { host::retries(callback) } else { 0 }
    }

    fn record(&mut self, timings: Timings, is_stream: bool, retries: u64) {
        let timings = Timings { upstream: timings.upstream.filter(|_| !is_stream), ..timings };
        self.link.reporter.record(&self.key, timings, retries, || abi::now_ns() / 1_000);
    }

    /// What is taken for a plain success, unless it is one of those that are looked at.
    fn check(&mut self, callback: &Callback) -> Ended {
        self.seen = self.seen.wrapping_add(1);
        if self.seen % CHECK_EVERY == 1 { host::ending(callback, false) } else { PLAIN }
    }

    /// Takes what the exceptions logger was not called for. Where it should have been, it is not relied on any more.
    fn believe(&mut self, checked: Ended) -> Ended {
        if checked.0 != Outcome::Success && std::mem::take(&mut self.sorted) {
            let remedy = "give it the `filter` and the place of envoy-configs; until then every outcome is read";
            let what = "the access logger for exceptions was not called for a request with code";
            abi::log(Level::Error, &format!("serin: outcomes: {what} {:?}: {remedy}", checked.1));
        }
        checked
    }

    /// Whether it was a long-lived stream, and its outcome then.
    fn stream(&self, callback: &Callback, (outcome, code): Ended, duration_ns: Option<i64>) -> (Outcome, bool) {
        let was_broken_off = matches!(outcome, Outcome::Aborted | Outcome::Reset | Outcome::Timeout);
        let is_stream = self.is_declared(callback)
            || (was_broken_off || outcome == Outcome::Success && is_long(duration_ns))
                && host::is_event_stream(callback);
        (if is_stream { of_stream(outcome, code) } else { outcome }, is_stream)
    }

    fn is_declared(&self, callback: &Callback) -> bool {
        !self.streams.is_empty() && host::path(callback).is_some_and(|path| self.streams.fit(path).is_some())
    }

    /// Says once that it is attached in another way than configured. Counting both ways would count twice where one
    /// configuration is attached twice.
    pub(crate) fn warn(&mut self, attached_as: &str) {
        if !std::mem::replace(&mut self.was_warned, true) {
            let configured = if self.attachment == Attachment::HttpFilter { "http_filter" } else { "access_log" };
            let message = format!(
                "serin: attachment: {configured:?} does not agree with being attached as {attached_as}: traffic passes and \
                 nothing is counted here; correct one of the two"
            );
            abi::log(Level::Error, &message);
        }
    }
}

fn is_long(duration_ns: Option<i64>) -> bool {
    duration_ns.is_some_and(|ns| ns >= EVENT_STREAM_NS)
}
