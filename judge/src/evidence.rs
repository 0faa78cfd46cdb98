//! The evidence that the candidate exceeds the baseline at one quantile: a conditional count e-process over 10 s
//! cells, clipped per (candidate pod, cell) and tempered by the measured dispersion.
//!
//! With dispersion 1 every clipped sum is at most the unclipped one, so the test is exact for independent
//! requests. Tempering by an estimate is an approximation, validated by simulation only.

use std::collections::BTreeMap;

use crate::slice::{PODS_MAX, PodId, counted_as};
use crate::split::Split;
use crate::stat::ln_mean_exp;
use crate::verdict::WorstPod;

/// ln psi of the mixture.
pub(crate) const TILTS: [f64; 12] = [0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.55, 0.75, 1.0, 1.4, 2.0, 3.0];
/// At most this many closed cells are kept; then neighbours are merged and cells are twice as long.
const CELLS_MAX: usize = 180;
/// No restart factor grows past this: far beyond any threshold, far below infinity.
const FACTOR_MAX: f64 = 1e200;

/// One candidate pod in one cell.
#[derive(Clone, Copy, Debug)]
struct PodCell {
    pod: PodId,
    beyond: f64,
    n: f64,
}

/// Consecutive slices: the normaliser's logarithm for each tilt, and the counts of each candidate pod.
#[derive(Clone, Debug, Default)]
struct Cell {
    ln_c: [f64; TILTS.len()],
    n: f64,
    pods: Vec<PodCell>,
    /// Where the next pod is if pods come in the same order every time.
    next: usize,
}

impl Cell {
    fn add(&mut self, pod: PodId, beyond: f64, n: f64) {
        self.n += n;
        let unknown = counted_as(pod, false, self.pods.len().min(PODS_MAX));
        let at = self.find(pod).or_else(|| self.find(unknown));
        self.next = at.unwrap_or(self.pods.len()) + 1;
        match at.and_then(|at| self.pods.get_mut(at)) {
            Some(cell) => {
                cell.beyond += beyond;
                cell.n += n;
            }
            None => self.pods.push(PodCell { pod: unknown, beyond, n }),
        }
    }

    fn find(&self, pod: PodId) -> Option<usize> {
        let is = |at: &usize| self.pods.get(*at).is_some_and(|cell| cell.pod == pod);
        let hints = [self.next, 0].into_iter().find(is);
        hints.or_else(|| self.pods.iter().position(|cell| cell.pod == pod))
    }

    fn merge(&mut self, other: &Cell) {
        for (c, other) in self.ln_c.iter_mut().zip(other.ln_c) {
            *c += other;
        }
        for pod in &other.pods {
            self.add(pod.pod, pod.beyond, pod.n);
        }
    }

    /// What one of its pods adds.
    fn of_pod(&self, pod: &PodCell, factor: f64, cap: f64) -> [f64; TILTS.len()] {
        let share = if self.n > 0.0 { pod.n / self.n } else { 0.0 };
        let mut increments = [0.0; TILTS.len()];
        for ((inc, tilt), ln_c) in increments.iter_mut().zip(TILTS).zip(self.ln_c) {
            *inc = ((pod.beyond * tilt - share * ln_c) / factor).min(cap);
        }
        increments
    }

    /// The cell's clipped and tempered increments.
    fn increments(&self, factor: f64, cap: f64, cell_cap: f64) -> [f64; TILTS.len()] {
        let mut sums = [0.0; TILTS.len()];
        for pod in &self.pods {
            for (sum, inc) in sums.iter_mut().zip(self.of_pod(pod, factor, cap)) {
                *sum += inc;
            }
        }
        sums.map(|sum| sum.min(cell_cap))
    }
}

/// The e-process of one quantile.
#[derive(Clone, Debug)]
pub(crate) struct Evidence {
    closed: Vec<Cell>,
    open: Cell,
    /// How many blocks each closed cell holds, and the one being filled.
    blocks_per_cell: u32,
    blocks_in_open: u32,
    /// No pod adds more than this in one cell; and where scatter is measured.
    cap: f64,
    cap_measured: f64,
    /// Whether the pods' scatter is measured.
    is_measured: bool,
    /// Nor do all of them together.
    cell_cap: f64,
    /// What a restart weighs; there are at most `restarts_max`.
    restart: f64,
    restarts_max: usize,
    /// exp(Z + R) of the first closed cells for each tilt, of how many, and with which factor.
    prefix: [f64; TILTS.len()],
    weighed: usize,
    weighed_with: Option<f64>,
    /// Of the open cell, for [`Evidence::ln_e_at_most`].
    open_beyond: f64,
    /// What evidence is divided by.
    factor: f64,
    /// Candidate exceedances, all exceedances and what the candidate's would be if arms were equal.
    pub(crate) beyond_b: f64,
    pub(crate) beyond: f64,
    pub(crate) expected_b: f64,
}

/// Pod cells that must agree before evidence suffices.
const CLIP: f64 = 6.0;
/// The same where the pods' scatter is measured and not assumed: a tail of +50% is found 1 to 3 s sooner, and 1 of 2,000 rollouts of the main null
/// row was a false one (0 with 6, 3 with 5.6).
const CLIP_MEASURED: f64 = 5.8;

impl Evidence {
    /// `alpha`: the false-rollback probability; `blocks`: how many 10 s blocks the trial lasts.
    pub(crate) fn new(alpha: f64, blocks: u32) -> Self {
        let blocks = blocks.max(1);
        Evidence {
            closed: Vec::new(),
            open: Cell::default(),
            blocks_per_cell: 1,
            blocks_in_open: 0,
            cap: ((4.0 / alpha).ln() + 2.0) / CLIP,
            cap_measured: ((4.0 / alpha).ln() + 2.0) / CLIP_MEASURED,
            is_measured: false,
            cell_cap: f64::INFINITY,
            restart: 0.5 / f64::from(blocks),
            restarts_max: blocks as usize,
            prefix: [0.5; TILTS.len()],
            weighed: 0,
            weighed_with: None,
            open_beyond: 0.0,
            factor: 1.0,
            beyond_b: 0.0,
            beyond: 0.0,
            expected_b: 0.0,
        }
    }

    /// With no more evidence from one cell of all pods than from one pod: where there is no other arm that bad seconds would
    /// show in, they are nobody's fault until there are many.
    pub(crate) fn alone(self) -> Self {
        Evidence { cell_cap: self.cap, ..self }
    }

    /// One slice: the table, and (pod, beyond, n) of each candidate pod.
    pub(crate) fn observe(&mut self, split: Split, pods: impl Iterator<Item = (PodId, f64, f64)>) {
        self.count(split.ln_normalisers(TILTS), split.beyond * split.share(), pods);
        self.beyond += split.beyond;
    }

    /// One slice against another null hypothesis: `ln_normaliser` of each tilt, and how many candidate requests it expects beyond.
    pub(crate) fn observe_against(
        &mut self,
        ln_normaliser: impl Fn(f64) -> f64,
        expected: f64,
        pods: impl Iterator<Item = (PodId, f64, f64)>,
    ) {
        self.count(TILTS.map(ln_normaliser), expected, pods);
    }

    fn count(&mut self, ln_c: [f64; TILTS.len()], expected: f64, pods: impl Iterator<Item = (PodId, f64, f64)>) {
        for (sum, c) in self.open.ln_c.iter_mut().zip(ln_c) {
            *sum += c;
        }
        for (pod, beyond, n) in pods {
            self.open.add(pod, beyond, n);
            self.open_beyond += beyond;
            self.beyond_b += beyond;
        }
        self.expected_b += expected;
    }

    /// The candidate pod with the most evidence, how many pods there are, its
    /// share of what is beyond, and ln E of all the others. `None` where there is one pod.
    pub(crate) fn without_worst(&self, factor: f64) -> Option<WorstPod> {
        let cells = || self.closed.iter().chain([&self.open]);
        let mut by_pod: BTreeMap<PodId, [f64; TILTS.len()]> = BTreeMap::new();
        for cell in cells() {
            for pod in &cell.pods {
                let sums = by_pod.entry(pod.pod).or_default();
                for (sum, inc) in sums.iter_mut().zip(cell.of_pod(pod, factor, self.cap)) {
                    *sum += inc;
                }
            }
        }
        let most = |sums: &[f64; TILTS.len()]| sums.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let (worst, _) = by_pod.iter().max_by(|(_, x), (_, y)| most(x).total_cmp(&most(y)))?;
        let others = |cell: &Cell| Cell {
            pods: cell.pods.iter().filter(|p| p.pod != *worst).copied().collect(),
            ..cell.clone()
        };
        let without =
            Evidence { closed: self.closed.iter().map(others).collect(), open: others(&self.open), ..self.clone() };
        let ln_e = Evidence { weighed_with: None, ..without }.weighed(factor);
        let beyond = cells().flat_map(|cell| &cell.pods).filter(|p| p.pod == *worst).map(|p| p.beyond).sum::<f64>();
        let share = if self.beyond_b > 0.0 { beyond / self.beyond_b } else { 0.0 };
        let log_evidence_without = Some(ln_e);
        (by_pod.len() > 1).then_some(WorstPod { pod: *worst, pods: by_pod.len(), share, log_evidence_without })
    }

    fn weighed(mut self, factor: f64) -> f64 {
        self.weigh(factor);
        self.ln_e()
    }

    /// Ends the current block.
    pub(crate) fn close_block(&mut self) {
        self.blocks_in_open += 1;
        if self.blocks_in_open < self.blocks_per_cell {
            return;
        }
        self.blocks_in_open = 0;
        self.closed.push(std::mem::take(&mut self.open));
        self.open_beyond = 0.0;
        if self.closed.len() >= CELLS_MAX {
            let pairs = self.closed.chunks(2).map(|pair| {
                let mut cells = pair.iter();
                let mut cell = cells.next().cloned().unwrap_or_default();
                cells.for_each(|c| cell.merge(c));
                cell
            });
            self.closed = pairs.collect();
            self.blocks_per_cell = self.blocks_per_cell.saturating_mul(2);
            self.weighed_with = None;
        }
    }

    /// The pods' scatter is measured by now, and not assumed.
    pub(crate) fn scatter_is_measured(&mut self) {
        if !std::mem::replace(&mut self.is_measured, true) {
            self.cap = self.cap_measured;
            self.weighed_with = None;
        }
    }

    /// Weighs closed cells with the present dispersion factor or a little more: those that are new with what the others were weighed with,
    /// as long as that is no less than the present one and not far above it, and all of them anew otherwise. Where scatter is not
    /// measured, what the factor falls by waits for the end of a block: with few pods it comes and goes, and each look at less of it would be one
    /// more chance to be wrong (3 of 200 rollouts on 2 + 1 pods were).
    pub(crate) fn weigh(&mut self, factor: f64) {
        self.factor = factor;
        let may_fall = self.is_measured || self.weighed < self.closed.len();
        let is_near = |used: f64| factor <= used && (factor >= used * 0.95 || !may_fall);
        if !self.weighed_with.is_some_and(is_near) {
            self.prefix = [0.5; TILTS.len()];
            // So that it need not be done again as soon as it rises; without scatter there is nothing to rise.
            self.weighed_with = Some(if factor > 1.0 { factor * 1.02 } else { factor });
            self.weighed = 0;
        }
        let factor = self.weighed_with.unwrap_or(factor);
        for (at, cell) in self.closed.iter().enumerate().skip(self.weighed) {
            let restart = if at < self.restarts_max { self.restart * f64::from(self.blocks_per_cell) } else { 0.0 };
            for (v, inc) in self.prefix.iter_mut().zip(cell.increments(factor, self.cap, self.cell_cap)) {
                *v = (*v * inc.exp()).min(FACTOR_MAX) + restart;
            }
        }
        self.weighed = self.closed.len();
    }

    /// ln E, as of the last weighing.
    pub(crate) fn ln_e(&self) -> f64 {
        let mut ln = self.open.increments(self.factor, self.cap, self.cell_cap);
        for (z, v) in ln.iter_mut().zip(self.prefix) {
            *z += v.ln();
        }
        ln_mean_exp(&ln)
    }

    /// What ln E is at most, for a tenth of what it costs: without the open cell's clipping.
    pub(crate) fn ln_e_at_most(&self) -> f64 {
        let mut ln = self.open.ln_c;
        for ((z, tilt), v) in ln.iter_mut().zip(TILTS).zip(self.prefix) {
            *z = (self.open_beyond * tilt - *z) / self.factor + v.ln();
        }
        ln_mean_exp(&ln)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn slice(evidence: &mut Evidence, b: f64, kappa: f64) {
        let split = Split { n_a: 100.0, n_b: 100.0, beyond: kappa };
        evidence.observe(split, [(PodId(1), b, 100.0)].into_iter());
    }

    /// One slice, one pod, worked out by hand: E = 1/2 of the mean of psi^b / C, the other half waits for restarts.
    #[test]
    fn one_slice_is_the_formula() {
        let mut evidence = Evidence::new(1e-3, 180);
        slice(&mut evidence, 1.0, 1.0);
        evidence.weigh(1.0);
        let mean: f64 = TILTS.iter().map(|t| t.exp() / (0.5 * (1.0 + t.exp()))).sum::<f64>() / 12.0;
        assert!((evidence.ln_e() - (0.5 * mean).ln()).abs() < 1e-12);
    }

    proptest! {
        /// Without dispersion the clipped evidence never exceeds the e-process whose validity is proven: half a mixture
        /// from the start, half spread over restarts.
        #[test]
        fn is_at_most_the_exact_e_process(slices in prop::collection::vec((0u32..=100, 0u32..=100, 0u32..=100), 1..60), every in 1usize..12) {
            let mut evidence = Evidence::new(1e-3, 180);
            let mut sums = [0.0f64; TILTS.len()];
            let mut starts = vec![(0.5, sums)];
            for (at, (a, b1, b2)) in slices.into_iter().enumerate() {
                if at > 0 && at % every == 0 {
                    evidence.close_block();
                    starts.push((0.5 / 180.0, sums));
                }
                let (a, b1, b2) = (f64::from(a), f64::from(b1), f64::from(b2));
                let split = Split { n_a: 200.0, n_b: 200.0, beyond: a + b1 + b2 };
                evidence.observe(split, [(PodId(1), b1, 100.0), (PodId(2), b2, 100.0)].into_iter());
                evidence.weigh(1.0);
                for (sum, tilt) in sums.iter_mut().zip(TILTS) {
                    *sum += (b1 + b2) * tilt - split.ln_normaliser(tilt);
                }
                let exact = starts.iter().flat_map(|(weight, start)| {
                    sums.iter().zip(start).map(move |(sum, start)| f64::ln(*weight) + sum - start)
                });
                let ln_exact = exact.fold(f64::NEG_INFINITY, crate::stat::ln_add) - (TILTS.len() as f64).ln();
                prop_assert!(evidence.ln_e() <= ln_exact + 1e-6, "{} {ln_exact}", evidence.ln_e());
                let most = evidence.ln_e_at_most();
                prop_assert!(evidence.ln_e() <= most + 1e-9, "{} {most}", evidence.ln_e());
            }
        }
    }

    #[test]
    fn one_pod_cannot_decide_within_one_block() {
        let mut evidence = Evidence::new(1e-3, 180);
        for _ in 0..10 {
            slice(&mut evidence, 60.0, 60.0);
        }
        evidence.weigh(1.0);
        assert!(evidence.ln_e() <= evidence.cap);
        for _ in 0..8 {
            evidence.close_block();
            slice(&mut evidence, 60.0, 60.0);
        }
        evidence.weigh(1.0);
        assert!(evidence.ln_e() > (4e3f64).ln(), "{}", evidence.ln_e());
    }

    /// One of three pods has all of the evidence: without it there is none.
    #[test]
    fn the_worst_pod_is_known() {
        let mut evidence = Evidence::new(1e-3, 180);
        assert_eq!(evidence.without_worst(1.0), None);
        for _ in 0..12 {
            let split = Split { n_a: 300.0, n_b: 300.0, beyond: 60.0 + 70.0 };
            let pods = [(PodId(4), 20.0, 100.0), (PodId(5), 30.0, 100.0), (PodId(6), 20.0, 100.0)];
            evidence.observe(split, pods.into_iter());
            evidence.close_block();
        }
        evidence.weigh(1.0);
        let worst = evidence.without_worst(1.0).unwrap();
        assert_eq!((worst.pod, worst.pods, worst.share), (PodId(5), 3, 3.0 / 7.0));
        assert!(worst.log_evidence_without < Some(0.0) && evidence.ln_e() > 3.0, "{worst:?} {}", evidence.ln_e());
    }

    #[test]
    fn a_long_good_past_does_not_hide_a_late_onset() {
        let mut evidence = Evidence::new(1e-3, 180);
        for _ in 0..100 {
            slice(&mut evidence, 50.0, 100.0);
            evidence.close_block();
        }
        for _ in 0..12 {
            slice(&mut evidence, 80.0, 100.0);
            evidence.close_block();
        }
        evidence.weigh(1.0);
        assert!(evidence.ln_e() > (4e3f64).ln(), "{}", evidence.ln_e());
    }

    /// With few pods the dispersion comes and goes; each look at less of it would be one more chance to be wrong.
    #[test]
    fn what_scatter_falls_by_waits_for_the_end_of_a_block_unless_it_is_measured() {
        let mut evidence = Evidence::new(1e-3, 180);
        for _ in 0..4 {
            slice(&mut evidence, 70.0, 100.0);
            evidence.close_block();
        }
        evidence.weigh(4.0);
        let scattered = evidence.ln_e();
        evidence.weigh(2.0);
        assert_eq!(evidence.ln_e(), scattered, "the block has not ended");
        let mut measured = evidence.clone();
        measured.scatter_is_measured();
        measured.weigh(2.0);
        assert!(measured.ln_e() > scattered + 0.1, "{} {scattered}", measured.ln_e());
        evidence.close_block();
        evidence.weigh(2.0);
        assert!(evidence.ln_e() > scattered + 0.1, "{} {scattered}", evidence.ln_e());
        let ended = evidence.ln_e();
        evidence.weigh(4.0);
        assert!(evidence.ln_e() < ended - 0.1, "what it rises by counts at once");
    }

    #[test]
    fn tempering_and_merging_cells_keep_evidence_finite() {
        let mut evidence = Evidence::new(1e-3, 60);
        for i in 0..2_000 {
            slice(&mut evidence, f64::from(i % 100), 100.0);
            evidence.close_block();
            evidence.weigh(1.0 + f64::from(i % 7));
            assert!(evidence.ln_e().is_finite() && evidence.closed.len() < CELLS_MAX);
        }
    }
}
