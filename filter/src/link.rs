//! A reporter and the stream it reports on: carries out what the reporter wants (IO).

use serin_proto::v1;

use crate::{
    abi::{self, Level},
    report,
    reporter::{Action, Reporter},
};

const SERVICE: &str = "serin.v1.Ingest";
const METHOD: &str = "Report";

/// A reporter with its way to the aggregator.
pub(crate) struct Link {
    pub(crate) reporter: Reporter,
    cluster: String,
    token: Option<u32>,
    was_refused: bool,
}

impl Link {
    pub(crate) fn new(identity: v1::Reporter, cluster: String, interval_ms: u64, now_us: u64) -> Self {
        Link { reporter: Reporter::new(identity, interval_ms, now_us), cluster, token: None, was_refused: false }
    }

    pub(crate) fn has(&self, token: u32) -> bool {
        self.token == Some(token)
    }

    /// Takes a message of the aggregator's.
    pub(crate) fn message(&mut self, message: &[u8]) {
        self.was_refused = false;
        let actions = self.reporter.message(message);
        self.act(actions);
    }

    /// Marks the stream as dead, which no status of a later send would show. Opening another one here would spin.
    pub(crate) fn closed(&mut self) {
        self.token = None;
        self.reporter.closed();
    }

    /// Whether everything is delivered; resets the stream then, which nobody else would.
    pub(crate) fn is_over(&mut self) -> bool {
        let is_over = self.reporter.is_delivered();
        if is_over {
            self.token.take().into_iter().for_each(abi::cancel);
        }
        is_over
    }

    pub(crate) fn act(&mut self, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::Cancel => self.token.take().into_iter().for_each(abi::cancel),
                Action::Open => {
                    self.token = abi::open_stream(&report::target(&self.cluster), SERVICE, METHOD);
                    if self.token.is_none() {
                        return self.open_failed();
                    }
                }
                Action::Send(message) => {
                    if !self.token.is_some_and(|token| abi::send(token, &message)) {
                        return self.closed();
                    }
                }
            }
        }
    }

    fn open_failed(&mut self) {
        if !std::mem::replace(&mut self.was_refused, true) {
            let remedy = "define it in Envoy, or see why no host of it is up; requests are counted and delivered then";
            let what = "Envoy opens no stream to the cluster";
            abi::log(Level::Error, &format!("serin: cluster: {what} {:?}: {remedy}", self.cluster));
        }
        self.reporter.closed();
    }
}
