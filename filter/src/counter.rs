//! One place where the filter is attached and counts: reads what Envoy knows about a request that ended, and records it.

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
/// Responses shorter than this are not looked at for server-sent events.
const EVENT_STREAM_NS: i64 = 1_000_000_000;

/// What one place on one worker thread measures with.
pub(crate) struct Counter {
    pub(crate) attachment: Attachment,
    pub(crate) link: Link,
    labels: Labels,
    streams: Templates,
    sorted: bool,
    seen: u64,
    key: Vec<u8>,
    was_warned: bool,
}

impl Counter {
    pub(crate) fn new(config: &Counting, labels: Labels, link: Link) -> Self {
        let Counting { attachment, streams, sorted, .. } = config.clone();
        Counter { attachment, link, labels, streams, sorted, seen: 0, key: Vec::new(), was_warned: false }
    }

    /// Records the request whose access log is being written. `noted` is what the exceptions logger saw; it `is_there` where
    /// Envoy has called it since it was configured.
    pub(crate) fn log(&mut self, callback: &Callback, noted: Option<Ended>, is_there: bool) {
        let (duration, backend) = (host::duration_ns(callback), host::backend_latency_ns(callback));
        // Without a complete response of an upstream it is no plain success, whoever noted it.
        let ended = match noted {
            Some(ended) => ended,
            None if self.sorted && is_there && backend.is_some() => self.plain(callback),
            None => host::ending(callback),
        };
        let (outcome, is_stream) = self.stream(callback, ended, duration);
        let mut timings = of_access_log(outcome, duration, backend, || host::had_upstream(callback));
        timings.upstream = timings.upstream.filter(|_| !is_stream);
        let values = host::read(callback, self.labels.attributes());
        self.labels.write_key(outcome, &values, &mut self.key);
        self.record(timings);
    }

    /// Records a request that passed the HTTP filter.
    pub(crate) fn log_stamped(&mut self, callback: &Callback, stamps: Stamps) {
        let end = abi::now_ns();
        let age = stamps.request.map(|begun| end.saturating_sub(begun).cast_signed());
        let (outcome, is_stream) = self.stream(callback, host::ending(callback), age);
        let values = host::read(callback, self.labels.attributes());
        let had_upstream = || match outcome {
            // Filters that answer by themselves come before this one, so the router did: to a cluster, or directly.
            Outcome::Success | Outcome::ClientError | Outcome::ServerError => {
                let cluster = self.labels.cluster().map(|at| values.get(at).is_some_and(Option::is_some));
                cluster.unwrap_or_else(|| host::had_upstream(callback))
            }
            _ => host::had_upstream(callback),
        };
        let mut timings = of_stamps(outcome, stamps, end, || host::duration_ns(callback), had_upstream);
        timings.upstream = timings.upstream.filter(|_| !is_stream);
        self.labels.write_key(outcome, &values, &mut self.key);
        self.record(timings);
    }

    fn record(&mut self, timings: Timings) {
        self.link.reporter.record(&self.key, timings, || abi::now_ns() / 1_000);
    }

    /// Now and then looks whether what was not noted as an exception is a plain success.
    fn plain(&mut self, callback: &Callback) -> Ended {
        self.seen = self.seen.wrapping_add(1);
        if self.seen % CHECK_EVERY != 1 {
            return PLAIN;
        }
        let ended = host::ending(callback);
        if ended.0 != Outcome::Success {
            self.sorted = false;
            let remedy = "give it the `filter` of envoy-configs; until then every outcome is read, which costs more";
            let what = "the access logger for exceptions was not called for a request with code";
            abi::log(Level::Error, &format!("serin: outcomes: {what} {:?}: {remedy}", ended.1));
        }
        ended
    }

    /// Whether it was a long-lived stream, and its outcome then.
    fn stream(&self, callback: &Callback, (outcome, code): Ended, duration_ns: Option<i64>) -> (Outcome, bool) {
        let is_declared =
            !self.streams.is_empty() && host::path(callback).is_some_and(|path| self.streams.fit(path).is_some());
        let is_stream = is_declared
            || (matches!(outcome, Outcome::Success | Outcome::Aborted | Outcome::Reset | Outcome::Timeout)
                && duration_ns.is_some_and(|ns| ns >= EVENT_STREAM_NS)
                && host::is_event_stream(callback));
        (if is_stream { of_stream(outcome, code) } else { outcome }, is_stream)
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
