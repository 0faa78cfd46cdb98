//! The context of one request, where the filter is attached as an HTTP filter.

use std::{cell::RefCell, rc::Rc};

use proxy_wasm::{
    traits::{Context, HttpContext},
    types::Action,
};

use crate::{host, measure::Stamps, worker::Worker};

/// One request's stamps. Without a worker it counts nothing.
pub(crate) struct Http {
    worker: Option<Rc<RefCell<Worker>>>,
    stamps: Stamps,
}

impl Http {
    pub(crate) fn new(worker: Option<Rc<RefCell<Worker>>>) -> Self {
        Http { worker, stamps: Stamps::default() }
    }
}

impl Context for Http {}

impl HttpContext for Http {
    fn on_http_request_headers(&mut self, _num_headers: usize, _end_of_stream: bool) -> Action {
        self.stamps.request = Some(host::now_ns());
        Action::Continue
    }

    fn on_http_response_headers(&mut self, _num_headers: usize, _end_of_stream: bool) -> Action {
        self.stamps.response = Some(host::now_ns());
        Action::Continue
    }

    fn on_log(&mut self) {
        if let Some(Ok(mut worker)) = self.worker.as_ref().map(|worker| worker.try_borrow_mut()) {
            worker.log_stamped(self.stamps);
        }
    }
}
