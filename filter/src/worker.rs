//! Reads what Envoy knows about a request that ended, and records it.

use proxy_wasm::types::LogLevel;
use serin_proto::v1::{Attachment, Outcome};

use crate::{
    host,
    labels::{Attributes, Needs, Sources},
    measure::{Stamps, Timings, of_access_log, of_stamps},
    outcome::{Ending, Kind, is_grpc, kind_matters, outcome},
    reporter::Reporter,
};

/// What one worker thread measures with.
pub(crate) struct Worker {
    attachment: Attachment,
    sources: Sources,
    needs: Needs,
    reporter: Reporter,
    key: Vec<u8>,
    was_warned: bool,
}

impl Worker {
    /// `sources` must be settled.
    pub(crate) fn new(attachment: Attachment, sources: Sources, reporter: Reporter) -> Self {
        let needs = sources.needs();
        Worker { attachment, sources, needs, reporter, key: Vec::new(), was_warned: false }
    }

    pub(crate) fn reporter(&mut self) -> &mut Reporter {
        &mut self.reporter
    }

    /// Records the request whose access log is being written.
    pub(crate) fn log(&mut self) {
        if !self.is_attached_as(Attachment::AccessLog, "an access logger") {
            return;
        }
        let (outcome, attributes) = (read_outcome(), self.read_attributes());
        let duration = host::duration_ns(&["request", "duration"]);
        let backend = host::duration_ns(&["response", "backend_latency"]);
        let timings = of_access_log(outcome, duration, backend, || had_upstream(&attributes));
        self.record(outcome, &attributes, timings);
    }

    /// Records a request that passed the HTTP filter.
    pub(crate) fn log_stamped(&mut self, stamps: Stamps) {
        if !self.is_attached_as(Attachment::HttpFilter, "an HTTP filter") {
            return;
        }
        let end = host::now_ns();
        let (outcome, attributes) = (read_outcome(), self.read_attributes());
        let duration = || host::duration_ns(&["request", "duration"]);
        let timings = of_stamps(outcome, stamps, end, duration, || had_upstream(&attributes));
        self.record(outcome, &attributes, timings);
    }

    fn record(&mut self, outcome: Outcome, attributes: &Attributes, timings: Timings) {
        self.sources.write_key(attributes, outcome, &mut self.key);
        self.reporter.record(&self.key, timings, host::now_us);
    }

    fn read_attributes(&self) -> Attributes {
        let read = |needed: bool, path: &[&str]| if needed { host::property(path) } else { None };
        Attributes {
            cluster: read(self.needs.cluster, &["xds", "cluster_name"]),
            route_name: read(self.needs.route_name, &["xds", "route_name"]),
            virtual_host: read(self.needs.virtual_host, &["xds", "virtual_host_name"]),
            upstream_address: read(self.needs.upstream_address, &["upstream", "address"]),
        }
    }

    /// Whether the filter is attached as its configuration says; a line in the log the first time it is not. Counting
    /// both ways would count twice where one configuration is attached twice.
    fn is_attached_as(&mut self, attachment: Attachment, name: &str) -> bool {
        let agrees = self.attachment == attachment;
        if !agrees && !std::mem::replace(&mut self.was_warned, true) {
            let configured = if self.attachment == Attachment::HttpFilter { "http_filter" } else { "access_log" };
            let message = format!(
                "serin: attachment: {configured:?} does not agree with being attached as {name}: traffic passes and \
                 nothing is counted here; correct one of the two"
            );
            host::log(LogLevel::Error, &message);
        }
        agrees
    }
}

fn read_outcome() -> Outcome {
    let code = host::number(&["response", "code"]);
    let flags = host::number(&["response", "flags"]).unwrap_or(0);
    let kind = if kind_matters(code) { read_kind() } else { Kind::Plain };
    outcome(&Ending { code, flags, kind })
}

/// `response.grpc_status` is there for plain HTTP too, so the request has to say what it is.
fn read_kind() -> Kind {
    match host::request_header("content-type") {
        Some(content) if is_grpc(&content) => Kind::Grpc(host::number(&["response", "grpc_status"])),
        Some(_) => Kind::Plain,
        // A CONNECT request has no content type.
        None if host::request_header(":method").is_some_and(|method| method == b"CONNECT") => Kind::Connect,
        None => Kind::Plain,
    }
}

fn had_upstream(attributes: &Attributes) -> bool {
    attributes.upstream_address.is_some() || host::property(&["upstream", "address"]).is_some()
}
