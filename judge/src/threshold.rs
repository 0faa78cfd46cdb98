//! The latencies that requests are held against, chosen from past slices only: that makes them predictable,
//! which is what every e-process here rests on.

use std::collections::VecDeque;

use serin_sketch::{Bucket, Counts, Micros};

use crate::metric::QUANTILES;

/// The baseline window is this many cells of [`CELL_S`]: its last 50 to 60 s.
const CELLS: usize = 6;
const CELL_S: u64 = 10;
/// How long thresholds stay before they are chosen anew.
const ANCHOR_S: u64 = 30;
/// The fewest requests that a quantile is taken from. Any predictable threshold is valid; fewer would make it a
/// poor quantile. p99.9 needs [`PER_TAIL`] / 0.001.
const REQUESTS_MIN: u64 = 100;
/// Requests beyond a quantile that choosing it takes, on average.
const PER_TAIL: f64 = 2.0;

/// The first bucket whose durations are all at least `ratio` times the lower edge of `bucket`.
pub(crate) fn at_least(bucket: Bucket, ratio: f64) -> Bucket {
    Bucket::at_or_above(Micros((bucket.lower().0 as f64 * ratio).ceil() as u64))
}

/// The last bucket that still holds the durations of `ratio` times the lower edge of `bucket`.
pub(crate) fn at_most(bucket: Bucket, ratio: f64) -> Bucket {
    Bucket::of(Micros((bucket.lower().0 as f64 * ratio).floor() as u64))
}

/// The baseline's quantiles, re-anchored every 30 s, and whenever the window has twice the requests of the
/// last choice (so the first choices, from few requests, do not stay).
#[derive(Clone, Debug, Default)]
pub(crate) struct Thresholds {
    window: VecDeque<(u64, Counts)>,
    chosen: [Option<Bucket>; QUANTILES.len()],
    chosen_at: u64,
    chosen_from: u64,
}

impl Thresholds {
    /// The thresholds for the next slice.
    pub(crate) fn chosen(&self) -> [Option<Bucket>; QUANTILES.len()] {
        self.chosen
    }

    /// How many more baseline requests a first threshold takes; 0 once there is one.
    pub(crate) fn missing(&self) -> u64 {
        if self.chosen.iter().any(Option::is_some) { 0 } else { REQUESTS_MIN.saturating_sub(self.requests()) }
    }

    fn requests(&self) -> u64 {
        self.window.iter().fold(0, |sum, (_, counts)| sum.saturating_add(counts.total()))
    }

    /// Takes in the baseline's second, after the slice was judged.
    pub(crate) fn observe(&mut self, second: u64, baseline: &Counts) {
        let cell = second / CELL_S;
        match self.window.back_mut() {
            Some((at, counts)) if *at == cell => counts.merge(baseline),
            _ => self.window.push_back((cell, baseline.clone())),
        }
        while self.window.front().is_some_and(|(at, _)| cell - at >= CELLS as u64) {
            self.window.pop_front();
        }
        let requests = self.requests();
        if second.saturating_sub(self.chosen_at) >= ANCHOR_S || requests >= self.chosen_from.saturating_mul(2) {
            self.choose(second, requests);
        }
    }

    fn choose(&mut self, second: u64, requests: u64) {
        if requests < REQUESTS_MIN {
            return;
        }
        let mut all = Counts::new();
        for (_, counts) in &self.window {
            all.merge(counts);
        }
        for (chosen, (_, q)) in self.chosen.iter_mut().zip(QUANTILES) {
            if requests as f64 * (1.0 - q) >= PER_TAIL {
                *chosen = all.quantile(q);
            }
        }
        (self.chosen_at, self.chosen_from) = (second, requests);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uniform(n: u64, scale: u64) -> Counts {
        (1..=n).map(|i| (Bucket::of(Micros(i * scale)), 1)).collect()
    }

    #[test]
    fn thresholds_come_from_past_seconds_and_stay_for_thirty() {
        let mut thresholds = Thresholds::default();
        thresholds.observe(1_000, &uniform(99, 1_000));
        assert_eq!((thresholds.chosen()[0], thresholds.missing()), (None, 1));
        thresholds.observe(1_001, &uniform(1_000, 100));
        let first = thresholds.chosen();
        assert!(first[2].is_some() && first[3].is_none(), "1,099 requests give a p99 but no p99.9");
        for s in 1_002..1_006 {
            thresholds.observe(s, &uniform(200, 400));
        }
        assert_eq!(thresholds.chosen(), first, "neither 30 s nor twice the requests yet");
        for s in 1_006..1_100 {
            thresholds.observe(s, &uniform(1_000, 400));
        }
        let p99 = thresholds.chosen()[2].unwrap();
        assert_eq!(p99, Bucket::of(Micros(396_000)), "only the last 60 s count");
    }

    #[test]
    fn the_tested_ratio_is_never_below_the_asked_one() {
        for us in [0, 1, 39, 40, 200, 255, 300, 40_000, 156_000, 599_000_000] {
            let x = Bucket::of(Micros(us));
            for ratio in [0.5, 1.0, 1.024, 1.1, 2.5] {
                let asked = x.lower().0 as f64 * ratio;
                assert!(at_least(x, ratio).lower().0 as f64 >= asked || at_least(x, ratio) == Bucket::LAST);
                assert!(at_most(x, ratio).lower().0 as f64 <= asked);
            }
        }
    }
}
