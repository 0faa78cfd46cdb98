//! Whether a candidate's tail comes and goes with a period, as collecting garbage does: by epoch folding.
//!
//! Of each candidate pod's second there is one residual: how many more requests were beyond the baseline's p95 than in the same second of
//! the baseline, in standard deviations. For each period, residuals are added up by phase; without one the sum of squares of the phases'
//! sums, each over its count, has chi-square's mean and variance (Leahy et al. 1983, Astrophysical Journal 266, 160). Pods
//! have phases of their own, so their statistics are added and not their residuals. Bursts make all periods' statistics larger, so one has to
//! stand out from the others, not from chi-square.

use serin_sketch::Bucket;

use crate::slice::{Pair, PodId};

/// Seconds that are kept of each pod.
const RING_S: usize = 512;
/// Pods that are watched: those seen first.
const PODS_MAX: usize = 8;
/// The shortest period: two seconds up, two down.
const PERIOD_MIN_S: usize = 4;
/// A period must come round so many times.
const TIMES_MIN: usize = 4;
/// Residuals are cut here, so that one bad second makes no period.
const RESIDUAL_MAX: f32 = 6.0;
/// By how many of their usual deviations a period must stand out. In 100 simulated regressions without a period the most was 4.0; in 20 of garbage
/// collection every 30 s, decided on after 145 to 360 s, 16 had more than 6.
const STANDS_OUT: f64 = 6.0;

/// The residuals of some pods.
#[derive(Clone, Debug, Default)]
pub(super) struct Residuals {
    /// NaN where a pod had no request.
    pods: Vec<(PodId, Vec<f32>)>,
    seconds: usize,
}

impl Residuals {
    pub(super) fn observe(&mut self, pair: &Pair, threshold: Bucket) {
        let (a, n_a) = (pair.baseline.tail.at_or_above(threshold), pair.baseline.tail.known(threshold));
        if n_a <= 0.0 {
            return;
        }
        let rate = (a + 0.5) / (n_a + 1.0);
        let at = self.seconds % RING_S;
        self.seconds += 1;
        self.pods.iter_mut().filter_map(|(_, ring)| ring.get_mut(at)).for_each(|slot| *slot = f32::NAN);
        for (pod, beyond, n) in pair.candidate.parts(threshold).filter(|(_, _, n)| *n > 0.0) {
            let expected = n * rate;
            let residual = ((beyond - expected) / (expected * (1.0 - rate) + 0.5).sqrt()) as f32;
            if self.pods.len() < PODS_MAX && self.pods.iter().all(|(known, _)| *known != pod) {
                self.pods.push((pod, vec![f32::NAN; RING_S]));
            }
            let ring = self.pods.iter_mut().find(|(known, _)| *known == pod);
            if let Some(slot) = ring.and_then(|(_, ring)| ring.get_mut(at)) {
                *slot = residual.clamp(-RESIDUAL_MAX, RESIDUAL_MAX);
            }
        }
    }

    /// The period that stands out, if one does.
    pub(super) fn period_s(&self) -> Option<u64> {
        let longest = self.seconds.min(RING_S) / TIMES_MIN;
        let scores: Vec<(usize, f64)> = (PERIOD_MIN_S..=longest).map(|period| (period, self.score(period))).collect();
        let (period, best) = scores.iter().copied().max_by(|x, y| x.1.total_cmp(&y.1))?;
        let median = |mut values: Vec<f64>| {
            values.sort_by(f64::total_cmp);
            values.get(values.len() / 2).copied().unwrap_or(0.0)
        };
        let usual = median(scores.iter().map(|(_, score)| *score).collect());
        // 1.4826 median absolute deviations are a normal distribution's standard deviation.
        let deviation = 1.4826 * median(scores.iter().map(|(_, score)| (score - usual).abs()).collect());
        (best - usual >= STANDS_OUT * deviation.max(1.0)).then_some(period as u64)
    }

    /// How far the folded residuals of all pods are from what no period would make of them, in standard deviations.
    fn score(&self, period: usize) -> f64 {
        let (mut chi, mut phases_in_all) = (0.0, 0.0);
        let first = self.seconds.saturating_sub(RING_S);
        for (_, ring) in &self.pods {
            let mut phases = vec![(0.0f64, 0.0f64); period];
            let values = || ring.iter().copied().filter(|value| !value.is_nan());
            let count = values().count().max(1) as f64;
            let mean = values().map(f64::from).sum::<f64>() / count;
            let variance = values().map(|value| (f64::from(value) - mean).powi(2)).sum::<f64>() / count;
            for second in first..self.seconds {
                let value = ring.get(second % RING_S).copied().unwrap_or(f32::NAN);
                if let Some(phase) = phases.get_mut(second % period).filter(|_| !value.is_nan()) {
                    *phase = (phase.0 + f64::from(value) - mean, phase.1 + 1.0);
                }
            }
            let variance = variance.max(1e-6);
            chi += phases.iter().filter(|(_, n)| *n > 0.0).map(|(sum, n)| sum * sum / n / variance).sum::<f64>();
            phases_in_all += period as f64 - 1.0;
        }
        if phases_in_all > 0.0 { (chi - phases_in_all) / (2.0 * phases_in_all).sqrt() } else { 0.0 }
    }
}
