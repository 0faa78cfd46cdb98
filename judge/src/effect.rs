//! The estimated ratio of the arms' quantiles, over the whole judged time and over its last minute.
//!
//! The baseline is reweighted by n_B/n_A in each slice, so that a step of the split cannot look like a change of
//! latency (Simpson's paradox).

use std::collections::VecDeque;

use serin_sketch::{BUCKETS, Bucket, Counts};

/// Marks are this far apart, and the recent window spans this many of them: 50 to 60 s.
const MARKS: usize = 6;

/// Buckets that have a sum of their own, so that a quantile is found in some hundred steps.
const GROUP: usize = 32;

/// Weighted counts by bucket.
#[derive(Clone, Debug)]
struct Mass {
    fine: Vec<f64>,
    groups: Vec<f64>,
}

impl Mass {
    fn new() -> Self {
        Mass { fine: vec![0.0; BUCKETS], groups: vec![0.0; BUCKETS.div_ceil(GROUP)] }
    }

    fn add(&mut self, counts: &Counts, weight: f64) {
        for (bucket, n) in counts.iter() {
            let (at, n) = (bucket.index(), n as f64 * weight);
            if let (Some(fine), Some(group)) = (self.fine.get_mut(at), self.groups.get_mut(at / GROUP)) {
                *fine += n;
                *group += n;
            }
        }
    }

    /// The middle, in microseconds, of the bucket of the q-quantile of what was added since `mark` was taken.
    fn quantile(&self, mark: Option<&Mass>, q: f64) -> Option<f64> {
        let of = |now: &[f64], then: Option<&Vec<f64>>, at: usize| {
            let then = then.and_then(|then| then.get(at)).copied().unwrap_or(0.0);
            (now.get(at).copied().unwrap_or(0.0) - then).max(0.0)
        };
        let group = |at| of(&self.groups, mark.map(|m| &m.groups), at);
        let fine = |at| of(&self.fine, mark.map(|m| &m.fine), at);
        let total: f64 = (0..self.groups.len()).map(group).sum();
        if total <= 0.0 {
            return None;
        }
        let wanted = q * total * (1.0 - 1e-12);
        let mut below = 0.0;
        let within = (0..self.groups.len()).find(|at| {
            let n = group(*at);
            let is_in = n > 0.0 && below + n >= wanted;
            below += if is_in { 0.0 } else { n };
            is_in
        })?;
        let buckets = within * GROUP..((within + 1) * GROUP).min(BUCKETS);
        // Sums of the group and of its buckets may differ in the last digit: then it is the last one that has any.
        let last = buckets.clone().rev().find(|at| fine(*at) > 0.0);
        let at = buckets.into_iter().find(|at| {
            let n = fine(*at);
            below += n;
            n > 0.0 && below >= wanted
        });
        Bucket::from_index(u32::try_from(at.or(last)?).ok()?).map(|b| b.mid().0 as f64)
    }

    /// The share of the weight that took `us` microseconds or longer.
    fn share_from(&self, us: f64) -> f64 {
        let lower =
            |index: usize| u32::try_from(index).ok().and_then(Bucket::from_index).map_or(0.0, |b| b.lower().0 as f64);
        let beyond: f64 =
            (0..BUCKETS).rev().take_while(|index| lower(*index) >= us).filter_map(|at| self.fine.get(at)).sum();
        let total: f64 = self.groups.iter().sum();
        if total > 0.0 { beyond / total } else { 0.0 }
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
        Effect { a: Mass::new(), b: Mass::new(), marks: VecDeque::new() }
    }

    pub(crate) fn observe(&mut self, baseline: &Counts, candidate: &Counts) {
        let (n_a, n_b) = (baseline.total() as f64, candidate.total() as f64);
        if n_a > 0.0 && n_b > 0.0 {
            self.a.add(baseline, n_b / n_a);
            self.b.add(candidate, 1.0);
        }
    }

    /// How many candidate requests were judged.
    pub(crate) fn candidate_total(&self) -> f64 {
        self.b.groups.iter().sum()
    }

    /// A quantile of the baseline and of the candidate, in microseconds.
    pub(crate) fn quantiles(&self, q: f64) -> Option<(f64, f64)> {
        Some((self.a.quantile(None, q)?, self.b.quantile(None, q)?))
    }

    /// The share of the candidate's requests that took `us` microseconds or longer.
    pub(crate) fn candidate_from(&self, us: f64) -> f64 {
        self.b.share_from(us)
    }

    /// The shares of the baseline's and of the candidate's requests in a bucket.
    pub(crate) fn shares(&self, bucket: Bucket) -> (f64, f64) {
        let share = |mass: &Mass, total: f64| mass.fine.get(bucket.index()).map_or(0.0, |n| n / total.max(1e-9));
        // Reweighted, both have the same total.
        (share(&self.a, self.candidate_total()), share(&self.b, self.candidate_total()))
    }

    /// The share of the baseline's requests that took `us` microseconds or longer.
    pub(crate) fn baseline_from(&self, us: f64) -> f64 {
        self.a.share_from(us)
    }

    /// How many times slower the baseline's quantile was in the last minute than over the whole time.
    pub(crate) fn baseline_moved(&self, q: f64) -> Option<f64> {
        let (mark, _) = self.marks.front().filter(|_| self.marks.len() == MARKS)?;
        let (now, all) = (self.a.quantile(Some(mark), q)?, self.a.quantile(None, q)?);
        (all > 0.0).then(|| now / all)
    }

    /// Ends a 10 s block.
    pub(crate) fn close_block(&mut self) {
        self.marks.push_back((self.a.clone(), self.b.clone()));
        if self.marks.len() > MARKS {
            self.marks.pop_front();
        }
    }

    pub(crate) fn ratios<const N: usize>(&self, quantiles: [f64; N]) -> [Ratios; N] {
        let mark = self.marks.front().filter(|_| self.marks.len() == MARKS);
        let ratio = |mark: Option<&(Mass, Mass)>, q| {
            let a = self.a.quantile(mark.map(|(a, _)| a), q)?;
            let b = self.b.quantile(mark.map(|(_, b)| b), q)?;
            (a > 0.0).then(|| b / a)
        };
        quantiles.map(|q| {
            let whole = ratio(None, q);
            Ratios { whole, recent: if mark.is_some() { ratio(mark, q) } else { whole } }
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
