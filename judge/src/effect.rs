//! The estimated ratio of the arms' quantiles, over the whole judged time and over its last minute.
//!
//! The baseline is reweighted by n_B/n_A in each slice, so that a step of the split cannot look like a change of
//! latency (Simpson's paradox).

use std::collections::VecDeque;

use serin_sketch::{BUCKETS, Bucket, Counts};

/// Marks are this far apart, and the recent window spans this many of them: 50 to 60 s.
const MARKS: usize = 6;

#[derive(Clone, Debug)]
struct Mass(Vec<f64>);

impl Mass {
    fn add(&mut self, counts: &Counts, weight: f64) {
        for (bucket, n) in counts.iter() {
            if let Some(sum) = self.0.get_mut(bucket.index()) {
                *sum += n as f64 * weight;
            }
        }
    }

    fn since(&self, mark: &Mass) -> Mass {
        Mass(self.0.iter().zip(&mark.0).map(|(now, then)| (now - then).max(0.0)).collect())
    }

    /// The middle, in microseconds, of the bucket of the q-quantile.
    fn quantile(&self, q: f64) -> Option<f64> {
        let total: f64 = self.0.iter().sum();
        if total <= 0.0 {
            return None;
        }
        let mut below = 0.0;
        let at = self.0.iter().position(|n| {
            below += n;
            *n > 0.0 && below >= q * total * (1.0 - 1e-12)
        })?;
        Bucket::from_index(u32::try_from(at).ok()?).map(|b| b.mid().0 as f64)
    }
}

/// Reweighted latencies of both arms.
#[derive(Clone, Debug)]
pub(crate) struct Effect {
    a: Mass,
    b: Mass,
    marks: VecDeque<(Mass, Mass)>,
}

/// Quantile ratios, candidate over baseline.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Ratios {
    pub(crate) whole: Option<f64>,
    pub(crate) recent: Option<f64>,
}

impl Effect {
    pub(crate) fn new() -> Self {
        Effect { a: Mass(vec![0.0; BUCKETS]), b: Mass(vec![0.0; BUCKETS]), marks: VecDeque::new() }
    }

    pub(crate) fn observe(&mut self, baseline: &Counts, candidate: &Counts) {
        let (n_a, n_b) = (baseline.total() as f64, candidate.total() as f64);
        if n_a > 0.0 && n_b > 0.0 {
            self.a.add(baseline, n_b / n_a);
            self.b.add(candidate, 1.0);
        }
    }

    /// Ends a 10 s block.
    pub(crate) fn close_block(&mut self) {
        self.marks.push_back((self.a.clone(), self.b.clone()));
        if self.marks.len() > MARKS {
            self.marks.pop_front();
        }
    }

    pub(crate) fn ratios<const N: usize>(&self, quantiles: [f64; N]) -> [Ratios; N] {
        let recent = match self.marks.front() {
            Some((a, b)) if self.marks.len() == MARKS => Some((self.a.since(a), self.b.since(b))),
            _ => None,
        };
        let ratio = |a: &Mass, b: &Mass, q| match (a.quantile(q), b.quantile(q)) {
            (Some(a), Some(b)) if a > 0.0 => Some(b / a),
            _ => None,
        };
        quantiles.map(|q| {
            let whole = ratio(&self.a, &self.b, q);
            Ratios { whole, recent: recent.as_ref().map_or(whole, |(a, b)| ratio(a, b, q)) }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serin_sketch::Micros;

    fn at(ms: u64, n: u64) -> Counts {
        Counts::from_iter([(Bucket::of(Micros(ms * 1_000)), n)])
    }

    /// Slow minutes with little candidate traffic, fast ones with much: both arms are always equal, though the
    /// pooled baseline is slower than the pooled candidate.
    #[test]
    fn a_share_step_is_no_effect() {
        let mut effect = Effect::new();
        for _ in 0..100 {
            effect.observe(&at(200, 90), &at(200, 10));
            effect.observe(&at(40, 50), &at(40, 50));
        }
        assert_eq!(effect.ratios([0.5, 0.99]).map(|r| r.whole), [Some(1.0), Some(1.0)]);
    }

    #[test]
    fn a_late_change_shows_in_the_last_minute() {
        let mut effect = Effect::new();
        for block in 0..40 {
            for _ in 0..10 {
                effect.observe(&at(40, 50), &at(if block < 33 { 40 } else { 80 }, 50));
            }
            effect.close_block();
        }
        let [r] = effect.ratios([0.5]);
        assert_eq!(r.whole, Some(1.0));
        assert!(r.recent.is_some_and(|x| (x - 2.0).abs() < 0.02), "{r:?}");
    }
}
