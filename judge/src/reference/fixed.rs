//! The fixed threshold: "page me when p99 is more than 10% above the stable release's over five minutes".
//!
//! It is what canary alerts in PromQL, and the metric checks of progressive-delivery controllers, come down to:
//! two quantiles over one window and a ratio. It knows nothing of how uncertain the quantiles are, and looking at
//! it every second gives chance as many tries.

use std::collections::VecDeque;

use serin_sketch::{Bucket, Counts};

use super::dense::Dense;

/// One arm's last seconds: their sum, and what to take away again when they leave the window.
#[derive(Clone, Debug)]
struct Window {
    sum: Dense,
    /// The buckets of all seconds in the window, oldest first, and how many of them each second has. One queue
    /// for all seconds, so that a second costs no allocation once the queue has grown.
    buckets: VecDeque<(Bucket, u64)>,
    seconds: VecDeque<usize>,
}

impl Window {
    fn new() -> Self {
        Window { sum: Dense::new(), buckets: VecDeque::new(), seconds: VecDeque::new() }
    }

    fn push(&mut self, second: &Counts, window_s: usize) {
        for (bucket, n) in second.iter() {
            self.sum.add(bucket, n);
            self.buckets.push_back((bucket, n));
        }
        self.seconds.push_back(second.iter().len());
        if self.seconds.len() > window_s {
            let oldest = self.seconds.pop_front().unwrap_or(0);
            for (bucket, n) in self.buckets.drain(..oldest) {
                self.sum.subtract(bucket, n);
            }
        }
    }
}

/// Compares one quantile of the two arms over a sliding window, every second.
#[derive(Clone, Debug)]
pub struct FixedThreshold {
    quantile: f64,
    increase: f64,
    window_s: usize,
    min_candidate_requests: u64,
    baseline: Window,
    candidate: Window,
    /// Seconds since the first candidate request, that one included.
    candidate_s: usize,
}

impl FixedThreshold {
    /// Alarms when the candidate's `quantile` (0.99 is p99) over the last `window_s` seconds exceeds the baseline's by
    /// more than the fraction `increase` (0.1 is 10%). A window of 0 counts as 1 s. With fewer candidate requests
    /// in the window than `min_candidate_requests` there is no alarm.
    pub fn new(quantile: f64, increase: f64, window_s: usize, min_candidate_requests: u64) -> Self {
        FixedThreshold {
            quantile,
            increase,
            window_s: window_s.max(1),
            min_candidate_requests,
            baseline: Window::new(),
            candidate: Window::new(),
            candidate_s: 0,
        }
    }

    /// Takes in one second of both arms, and says whether it alarms now. Never before a full window has passed
    /// since the first candidate request. Its cost is the second's buckets plus those past the quantile.
    pub fn observe(&mut self, baseline: &Counts, candidate: &Counts) -> bool {
        self.baseline.push(baseline, self.window_s);
        self.candidate.push(candidate, self.window_s);
        if self.candidate_s > 0 || !candidate.is_empty() {
            self.candidate_s = self.candidate_s.saturating_add(1);
        }
        if self.candidate_s < self.window_s || self.candidate.sum.total() < u128::from(self.min_candidate_requests) {
            return false;
        }
        match (self.baseline.sum.quantile(self.quantile), self.candidate.sum.quantile(self.quantile)) {
            (Some(baseline), Some(candidate)) => middle(candidate) > middle(baseline) * (1.0 + self.increase),
            _ => false,
        }
    }
}

/// The middle of a bucket, microseconds.
fn middle(bucket: Bucket) -> f64 {
    bucket.mid().0 as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serin_sketch::Micros;

    fn second(ms: u64, n: u64) -> Counts {
        Counts::from_iter([(Bucket::of(Micros(ms * 1_000)), n)])
    }

    #[test]
    fn alarms_after_a_full_window_with_candidate_requests() {
        let mut rule = FixedThreshold::new(0.99, 0.1, 5, 0);
        for _ in 0..20 {
            assert!(!rule.observe(&second(100, 10), &Counts::new()), "no candidate yet");
        }
        let alarms: Vec<bool> = (0..6).map(|_| rule.observe(&second(100, 10), &second(120, 1))).collect();
        assert_eq!(alarms, [false, false, false, false, true, true]);
    }

    #[test]
    fn forgets_what_left_the_window() {
        let mut rule = FixedThreshold::new(0.5, 0.1, 3, 0);
        let mut last = |ms| rule.observe(&second(100, 10), &second(ms, 10));
        assert_eq!([last(200), last(200), last(200)], [false, false, true]);
        assert_eq!([last(100), last(100), last(100)], [true, false, false]);
    }

    #[test]
    fn the_increase_and_the_fewest_requests_are_respected() {
        for (ms, increase, fewest, alarm) in [
            (105, 0.1, 0, false),
            (115, 0.1, 0, true),
            (115, 0.2, 0, false),
            (115, 0.1, 20, true),
            (115, 0.1, 21, false),
        ] {
            let mut rule = FixedThreshold::new(0.99, increase, 2, fewest);
            rule.observe(&second(100, 10), &second(ms, 10));
            assert_eq!(rule.observe(&second(100, 10), &second(ms, 10)), alarm, "{ms} ms, {increase}, {fewest}");
        }
    }

    #[test]
    fn nothing_and_nonsense_do_not_alarm() {
        for (quantile, increase) in [(0.99, 0.1), (f64::NAN, 0.1), (0.99, f64::NAN), (7.0, f64::INFINITY)] {
            let mut rule = FixedThreshold::new(quantile, increase, 0, 0);
            assert!(!rule.observe(&Counts::new(), &Counts::new()));
            assert!(!rule.observe(&Counts::new(), &second(1, 1)));
            assert!(!rule.observe(&second(1, u64::MAX), &second(1, u64::MAX)));
        }
    }

    proptest! {
        /// The oracle: the window's seconds merged anew each time.
        #[test]
        fn running_sums_are_the_merged_window(
            seconds in prop::collection::vec((1u64..400, 1u64..400, 0u64..5, 0u64..5), 1..40), window_s in 1usize..6
        ) {
            let mut rule = FixedThreshold::new(0.9, 0.1, window_s, 0);
            let arms: Vec<_> = seconds.iter().map(|(a, b, n, m)| (second(*a, *n), second(*b, *m))).collect();
            let first = arms.iter().position(|(_, b)| !b.is_empty()).unwrap_or(usize::MAX - window_s);
            for (at, (a, b)) in arms.iter().enumerate() {
                let alarm = rule.observe(a, b);
                let from = (at + 1).saturating_sub(window_s);
                let (mut sum_a, mut sum_b) = (Counts::new(), Counts::new());
                for (a, b) in &arms[from..=at] {
                    sum_a.merge(a);
                    sum_b.merge(b);
                }
                let over = match (sum_a.quantile(0.9), sum_b.quantile(0.9)) {
                    (Some(a), Some(b)) => middle(b) > middle(a) * 1.1,
                    _ => false,
                };
                prop_assert_eq!(alarm, over && at + 1 >= first + window_s);
            }
        }
    }
}
