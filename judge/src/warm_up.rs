//! When a candidate pod is warm: its cohort's latency relative to the baseline has stopped falling.
//!
//! A pod's age counts from its first traffic in the trial. Pods first seen within the same 10 s are a cohort. The
//! choice is predictable: a cohort found warm at the end of a block is judged from the next block on.

use std::collections::BTreeMap;

use crate::slice::{PODS_MAX, Pair, PodId, counted_as};

/// Length of an age block.
const BLOCK_S: u64 = 10;
/// The first age block (counted from 0) that can end a warm-up: 40 s.
const FIRST_BLOCK: u64 = 3;
/// A cohort this old is judged, warm or not.
const WARM_UP_MAX_S: u64 = 180;
/// How far, in standard errors, the log ratio may still fall over one block and over two.
const FALL_1: f64 = 1.0;
const FALL_2: f64 = 1.5;

/// Exceedances of p50 and p95 in one age block.
#[derive(Clone, Copy, Debug, Default)]
struct AgeBlock {
    n_a: f64,
    n_b: f64,
    a: [f64; 2],
    b: [f64; 2],
}

impl AgeBlock {
    /// The log ratio of the arms' exceedance rates and its variance (half a count added: Gart & Zweifel 1967).
    fn log_ratio(&self, p: usize) -> (f64, f64) {
        let (a, b) = (self.a.get(p).copied().unwrap_or(0.0) + 0.5, self.b.get(p).copied().unwrap_or(0.0) + 0.5);
        let (rate_a, rate_b) = (a / (self.n_a + 1.0), b / (self.n_b + 1.0));
        (rate_b.ln() - rate_a.ln(), ((1.0 - rate_b) / b + (1.0 - rate_a) / a).max(0.0))
    }
}

#[derive(Clone, Debug)]
struct Cohort {
    since: u64,
    /// The current age block and the two before it, newest first.
    blocks: [AgeBlock; 3],
    block: u64,
    /// Age in seconds from which the cohort is judged.
    warm_at: Option<u64>,
}

impl Cohort {
    fn age(&self, second: u64) -> u64 {
        second.saturating_sub(self.since)
    }

    /// Closes the age blocks that ended before `second`.
    fn advance(&mut self, second: u64) {
        let block = (self.age(second) / BLOCK_S).min(WARM_UP_MAX_S / BLOCK_S);
        while self.block < block {
            if self.warm_at.is_none() && self.block >= FIRST_BLOCK && self.has_stopped_falling() {
                self.warm_at = Some((self.block + 1) * BLOCK_S);
            }
            let [now, before, _] = self.blocks;
            self.blocks = [AgeBlock::default(), now, before];
            self.block += 1;
        }
    }

    fn has_stopped_falling(&self) -> bool {
        let [now, before, earlier] = &self.blocks;
        (0..2).all(|p| {
            let ((r0, v0), (r1, v1), (r2, v2)) = (now.log_ratio(p), before.log_ratio(p), earlier.log_ratio(p));
            r1 - r0 <= FALL_1 * (v0 + v1).sqrt() && r2 - r0 <= FALL_2 * (v0 + v2).sqrt()
        })
    }

    fn is_judged(&self, second: u64) -> bool {
        self.age(second) >= self.warm_at.unwrap_or(WARM_UP_MAX_S)
    }
}

/// The warm-up of every candidate pod.
#[derive(Clone, Debug, Default)]
pub(crate) struct WarmUp {
    cohorts: Vec<Cohort>,
    of: BTreeMap<PodId, usize>,
}

impl WarmUp {
    /// Takes in who has traffic in this second. To be called before [`WarmUp::is_judged`].
    pub(crate) fn admit(&mut self, second: u64, candidates: impl Iterator<Item = PodId>) {
        for pod in candidates {
            let pod = counted_as(pod, self.of.contains_key(&pod), self.of.len());
            if self.of.contains_key(&pod) {
                continue;
            }
            if self.cohorts.last().is_none_or(|c| c.age(second) >= BLOCK_S) && self.cohorts.len() <= PODS_MAX {
                let blocks = [AgeBlock::default(); 3];
                self.cohorts.push(Cohort { since: second, blocks, block: 0, warm_at: None });
            }
            self.of.insert(pod, self.cohorts.len().saturating_sub(1));
        }
        for cohort in &mut self.cohorts {
            cohort.advance(second);
        }
    }

    fn cohort(&self, pod: PodId) -> Option<&Cohort> {
        let pod = counted_as(pod, self.of.contains_key(&pod), self.of.len());
        self.of.get(&pod).and_then(|at| self.cohorts.get(*at))
    }

    /// Whether a candidate pod's slices count in this second.
    pub(crate) fn is_judged(&self, pod: PodId, second: u64) -> bool {
        self.cohort(pod).is_some_and(|c| c.is_judged(second))
    }

    /// Whether a cohort is judged only because it was not warm in time.
    pub(crate) fn still_warming(&self, second: u64) -> bool {
        self.cohorts.iter().any(|c| c.warm_at.is_none() && c.is_judged(second))
    }

    /// Age in seconds of the youngest cohort that is not judged yet.
    pub(crate) fn warming_for(&self, second: u64) -> Option<u64> {
        self.cohorts.iter().filter(|c| !c.is_judged(second)).map(|c| c.age(second)).min()
    }

    /// Takes in a second's exceedances; `beyond` holds the counts beyond p50 and p95.
    pub(crate) fn observe(&mut self, Pair { baseline, candidate, .. }: &Pair, p50: Edges, p95: Edges) {
        let a = [baseline.tail.at_or_above(p50), baseline.tail.at_or_above(p95)];
        for (at, cohort) in self.cohorts.iter_mut().enumerate().filter(|(_, c)| c.warm_at.is_none()) {
            let [block, ..] = &mut cohort.blocks;
            block.n_a += baseline.tail.known(p50);
            for (sum, a) in block.a.iter_mut().zip(a) {
                *sum += a;
            }
            for pod in candidate.pods.iter().filter(|p| self.of.get(&p.id) == Some(&at)) {
                block.n_b += pod.tail.known(p50);
                for (sum, x) in block.b.iter_mut().zip([p50, p95]) {
                    *sum += pod.tail.at_or_above(x);
                }
            }
        }
    }
}

/// The threshold buckets.
type Edges = serin_sketch::Bucket;

#[cfg(test)]
mod tests {
    use super::*;

    /// A cohort whose exceedance rate is `rate(age)` times the baseline's, 2,000 requests a second in each arm.
    fn warm_at(rate: impl Fn(u64) -> f64) -> u64 {
        let mut warm_up = WarmUp::default();
        for age in 0..300 {
            warm_up.admit(1_000 + age, [PodId(7)].into_iter());
            if warm_up.is_judged(PodId(7), 1_000 + age) {
                return age;
            }
            let [block, ..] = &mut warm_up.cohorts[0].blocks;
            block.n_a += 2_000.0;
            block.n_b += 2_000.0;
            for (p, base) in [(0, 1_000.0), (1, 100.0)] {
                block.a[p] += base;
                block.b[p] += (base * rate(age)).min(1_900.0);
            }
        }
        unreachable!("judged at 180 s at the latest")
    }

    #[test]
    fn ends_when_the_ratio_stops_falling() {
        assert_eq!(warm_at(|_| 1.0), 40);
        assert_eq!(warm_at(|_| 3.0), 40, "slower from the start is not warm-up");
        let cooling = warm_at(|age| 1.0 + 4.0 * (-(age as f64) / 20.0).exp());
        assert!((70..150).contains(&cooling), "{cooling}");
        assert_eq!(warm_at(|age| 10.0 * (-(age as f64) / 100.0).exp()), 180, "never, so the limit");
    }

    #[test]
    fn pods_that_come_later_are_a_cohort_of_their_own() {
        let mut warm_up = WarmUp::default();
        warm_up.admit(0, [PodId(1)].into_iter());
        warm_up.admit(30, [PodId(1), PodId(2)].into_iter());
        warm_up.admit(60, [PodId(1), PodId(2)].into_iter());
        assert!(warm_up.is_judged(PodId(1), 60) && !warm_up.is_judged(PodId(2), 60));
        assert_eq!(warm_up.warming_for(60), Some(30));
    }
}
