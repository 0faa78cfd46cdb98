//! Attempts, and the pauses between them: IO.

use std::time::Duration;

use super::{Options, answer::Setback};

/// How often something was tried.
pub(crate) struct Tries<'a> {
    options: &'a Options,
    pub(crate) made: u32,
}

impl<'a> Tries<'a> {
    /// The first one is under way.
    pub(crate) fn new(options: &'a Options) -> Self {
        Tries { options, made: 1 }
    }

    /// Waits until the next one is due; whether there is one.
    pub(crate) async fn again(&mut self, setback: &Setback) -> bool {
        if self.made >= self.options.attempts {
            return false;
        }
        tokio::time::sleep(self.pause().max(setback.wait()).min(self.options.longest_pause)).await;
        self.made += 1;
        true
    }

    fn pause(&self) -> Duration {
        self.options.pause.saturating_mul(2_u32.saturating_pow(self.made.saturating_sub(1)))
    }
}
