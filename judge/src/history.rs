//! What earlier days and earlier releases tell, as values: whoever keeps them hands them to a trial.

use serin_sketch::Counts;

use crate::metric::QUANTILES;

/// What a trial may know beforehand. The default is nothing.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct History {
    /// How much pods of one release differ.
    pub pods: PodSpread,
    /// Latencies of the baseline in windows of equal length while it had the traffic alone: its last minutes, or the same time of day on
    /// earlier days. With at least [`History::WINDOWS_MIN`] of them a candidate is held against these while the baseline has no requests.
    pub windows: Vec<Counts>,
}

impl History {
    /// With fewer windows there is no telling how much the service changes by itself.
    pub const WINDOWS_MIN: usize = 5;
}

/// The standard deviation of pods' log exceedance rates at p50, p95, p99 and p99.9: `None` where it was not measured.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct PodSpread([Option<f64>; QUANTILES.len()]);

/// A pod's day with fewer requests expected beyond a quantile says nothing of that pod: the Poisson part of its log rate would have a
/// standard deviation of 0.3 and more.
const BEYOND_MIN: f64 = 10.0;

impl PodSpread {
    /// As many days of single pods a spread is taken from, at least: with fewer its own error is above 16% (1/sqrt(2 * 19)).
    pub const POD_DAYS_MIN: usize = 20;

    /// From earlier days on which nothing was wrong: what each pod of the baseline served on each. Of the variance of the log rates
    /// within a day that of independent requests, (1 - rate)/beyond, is taken off.
    pub fn measured(days: &[Vec<Counts>]) -> Self {
        PodSpread(QUANTILES.map(|(_, q)| {
            let (mut off, mut noise, mut nu, mut pod_days) = (0.0, 0.0, 0.0, 0);
            for day in days {
                let rates = log_rates(day, q);
                let mean = rates.iter().map(|(rate, _)| rate).sum::<f64>() / rates.len().max(1) as f64;
                off += rates.iter().map(|(rate, _)| (rate - mean).powi(2)).sum::<f64>();
                noise += rates.iter().map(|(_, variance)| variance).sum::<f64>();
                nu += rates.len().saturating_sub(1) as f64;
                pod_days += rates.len();
            }
            let is_enough = pod_days >= Self::POD_DAYS_MIN && nu >= 1.0;
            is_enough.then(|| (off / nu - noise / pod_days as f64).max(0.0).sqrt())
        }))
    }

    /// As it was measured before, at p50, p95, p99 and p99.9.
    pub fn known(spread: [Option<f64>; QUANTILES.len()]) -> Self {
        PodSpread(spread)
    }

    /// At p50, p95, p99 and p99.9.
    pub fn measured_at(&self) -> [Option<f64>; QUANTILES.len()] {
        self.0
    }

    /// At one of the quantiles.
    pub(crate) fn at(&self, quantile: usize) -> Option<f64> {
        self.0.get(quantile).copied().flatten()
    }
}

/// Each pod's log rate beyond the day's quantile, and the variance that independent requests give it.
fn log_rates(day: &[Counts], q: f64) -> Vec<(f64, f64)> {
    let mut all = Counts::new();
    day.iter().for_each(|pod| all.merge(pod));
    let Some(threshold) = all.quantile(q) else { return Vec::new() };
    let rate = all.at_or_above(threshold) as f64 / all.total() as f64;
    let enough = day.iter().filter(|pod| pod.total() as f64 * rate >= BEYOND_MIN);
    enough.map(|pod| log_rate(pod.at_or_above(threshold) as f64, pod.total() as f64)).collect()
}

/// The logarithm of a rate and its variance (half a count added: Gart & Zweifel 1967).
pub(crate) fn log_rate(beyond: f64, n: f64) -> (f64, f64) {
    let rate = (beyond + 0.5) / (n + 1.0);
    (rate.ln(), ((1.0 - rate) / (beyond + 0.5)).max(0.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serin_sketch::{Bucket, Micros};

    /// 10,000 requests with a Pareto tail of exponent 3, scaled: exceedance rates go with the third power of the scale.
    fn pod(scale: f64) -> Counts {
        let us = |i: u32| scale * 40_000.0 * ((f64::from(i) + 0.5) / 10_000.0).powf(-1.0 / 3.0);
        (0..10_000).map(|i| (Bucket::of(Micros(us(i) as u64)), 1)).collect()
    }

    #[test]
    fn the_spread_of_pods_is_measured() {
        // Half of the pods 4% slower and half 4% faster: log rates 0.12 up and down at p95.
        let days = vec![(0..10).map(|i| pod(if i % 2 == 0 { 1.04 } else { 1.0 / 1.04 })).collect::<Vec<_>>(); 3];
        let p95 = PodSpread::measured(&days).at(1).unwrap();
        assert!((p95 - 0.12).abs() < 0.02, "{p95}");
        let equal = vec![vec![pod(1.0); 10]; 3];
        assert_eq!(PodSpread::measured(&equal).at(1), Some(0.0));
    }

    #[test]
    fn too_little_is_no_measurement() {
        let few = vec![vec![pod(1.0); 9]; 2];
        assert_eq!(PodSpread::measured(&few), PodSpread::default(), "18 pod-days");
        let days = vec![vec![pod(1.0); 10]; 3];
        assert_eq!(PodSpread::measured(&days).at(3), Some(0.0), "10 of 10,000 requests are beyond p99.9");
        assert_eq!(PodSpread::measured(&[Vec::new(), vec![Counts::new()]]), PodSpread::default());
    }
}
