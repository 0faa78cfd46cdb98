//! What form a slowdown has, for a person to read: it decides nothing, and is asked once, when a regression of latency has been decided.

mod form;
mod periodic;

use serin_sketch::{Bucket, Micros};

use crate::effect::Effect;
use crate::slice::Pair;

use periodic::Residuals;

/// Which latencies are slower.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Form {
    /// All of them.
    Whole,
    /// Those of most requests, and not the slowest.
    Body,
    /// The slowest, and not those of most requests.
    Tail,
    /// Some requests take about as long as hardly any of the baseline's do.
    NewMode {
        /// The share of the candidate's requests.
        share: f64,
        /// About how long they take.
        latency: Micros,
    },
    /// Too few requests to tell.
    Unclear,
}

/// The form of a slowdown.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Shape {
    /// Which latencies.
    pub form: Form,
    /// Where it comes and goes: after how many seconds it comes again.
    pub period_s: Option<u64>,
}

/// What the shape is told from, beside what [`Effect`] keeps.
#[derive(Clone, Debug, Default)]
pub(crate) struct Watch(Residuals);

impl Watch {
    /// One second, against the baseline's p95.
    pub(crate) fn observe(&mut self, pair: &Pair, threshold: Bucket) {
        self.0.observe(pair, threshold);
    }

    /// What it looks like now. `dispersion`: by how much requests scatter more than independent ones.
    pub(crate) fn describe(&self, effect: &Effect, dispersion: f64) -> Shape {
        Shape { form: form::form(effect, dispersion), period_s: self.0.period_s() }
    }
}
