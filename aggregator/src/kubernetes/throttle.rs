//! How often the status of a ReleaseGuard is written: pure.

use std::{collections::BTreeMap, time::Duration};

use crate::time::UnixMicros;

/// A reader of `kubectl get -w` needs no more, and 1,000 guards are 200 writes a second at the most.
const EVERY: Duration = Duration::from_secs(5);

/// What was written last of each, and when.
#[derive(Debug, Default)]
pub(super) struct Throttle(BTreeMap<String, (UnixMicros, Option<String>)>);

impl Throttle {
    /// Whether this is to be written now: it differs from what was written last, which was a while ago. If so it counts as written.
    pub(super) fn is_due(&mut self, guard: &str, text: String, now: UnixMicros) -> bool {
        let known = self.0.get(guard);
        if known.is_some_and(|(at, last)| last.as_ref() == Some(&text) || now.since(*at) < EVERY) {
            return false;
        }
        self.0.insert(guard.to_owned(), (now, Some(text)));
        true
    }

    /// It was not written after all: it is due again after a while.
    pub(super) fn failed(&mut self, guard: &str) {
        if let Some((_, last)) = self.0.get_mut(guard) {
            *last = None;
        }
    }

    /// Forgets all but these.
    pub(super) fn retain(&mut self, is_there: impl Fn(&str) -> bool) {
        self.0.retain(|guard, _| is_there(guard));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ten seconds, in tenths: at which of them was something written?
    fn written(text: impl Fn(u64) -> String, fails: impl Fn(u64) -> bool) -> Vec<u64> {
        let mut throttle = Throttle::default();
        let mut written = Vec::new();
        for tenth in 0..100 {
            if throttle.is_due("shop/shop", text(tenth), UnixMicros(1_000_000 + tenth * 100_000)) {
                written.push(tenth);
                if fails(tenth) {
                    throttle.failed("shop/shop");
                }
            }
        }
        written
    }

    #[test]
    fn only_what_changed_and_not_often() {
        assert_eq!(written(|_| "same".to_owned(), |_| false), [0]);
        assert_eq!(written(|tenth| tenth.to_string(), |_| false), [0, 50]);
        assert_eq!(written(|tenth| (tenth >= 70).to_string(), |_| false), [0, 70]);
        assert_eq!(written(|tenth| (tenth >= 3).to_string(), |_| false), [0, 50], "what comes too soon comes later");
        assert_eq!(written(|tenth| (tenth == 3).to_string(), |_| false), [0], "what went again does not come");
        assert_eq!(written(|_| "same".to_owned(), |tenth| tenth == 0), [0, 50], "what failed is written later");
    }

    #[test]
    fn each_guard_has_its_own() {
        let mut throttle = Throttle::default();
        let mut due = |guard: &str| throttle.is_due(guard, "x".to_owned(), UnixMicros(1));
        assert!(due("a") && due("b") && !due("a"));
        throttle.retain(|guard| guard == "b");
        assert!(throttle.is_due("a", "x".to_owned(), UnixMicros(1)));
    }
}
