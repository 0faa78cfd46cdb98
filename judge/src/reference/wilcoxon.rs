//! The two-sample Wilcoxon rank-sum test, or Mann-Whitney test, with the shift between the samples and its interval.
//!
//! It gives what R's `wilcox.test(x, y, conf.int = TRUE, conf.level = confidence)` gives (`wilcox.test.R` of R 3 and 4.0
//! to 4.5; later versions are exact with ties, too; the method is in Hollander & Wolfe 1973, Nonparametric Statistical
//! Methods, pages 68-79, and Bauer 1972, JASA 67, 687-690):
//!
//! - Both sizes below 50 and no ties: exact. The estimate is the median of all differences x - y (Hodges & Lehmann 1963);
//!   with d the sorted differences and q = max(1, the alpha/2-quantile of U), the interval is from d(q) to
//!   d(m n + 1 - q).
//! - Else: the normal approximation with continuity correction and the variance for ties; estimate and ends are found by
//!   Brent's method, each to 1e-4 in the units of the samples. So the estimate may lie outside its interval by 2e-4.
//!
//! R refuses to give an interval when each sample is constant. Here it is then the one difference that there is.

mod asymptotic;
mod exact;
mod zeroin;

use super::normal;
use asymptotic::Ranks;
pub(super) use asymptotic::interval;
use exact::Exact;

/// R's largest size for the exact distribution, plus one.
const EXACT_BELOW: usize = 50;
/// Larger values could not be subtracted without overflow.
const LARGEST: f64 = 1e300;

/// By how much the first sample is larger than the second.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Shift {
    /// The statistic, R's W: pairs in which x is larger than y; ties count half.
    pub w: f64,
    /// The Hodges-Lehmann estimate of the shift, in the units of the samples.
    pub estimate: f64,
    /// Lower end of its two-sided interval.
    pub low: f64,
    /// Upper end of its two-sided interval.
    pub high: f64,
    /// The one-sided p-value against "x is not larger": R's `alternative = "greater"`.
    pub p_greater: f64,
    /// The one-sided p-value against "x is not smaller": R's `alternative = "less"`.
    pub p_less: f64,
    /// Whether the exact distribution was used.
    pub exact: bool,
}

impl Shift {
    /// The two-sided p-value: twice the smaller one-sided one.
    pub fn p_two_sided(&self) -> f64 {
        (2.0 * self.p_greater.min(self.p_less)).min(1.0)
    }
}

/// The shift of `x` against `y`, with an interval at `confidence` (0.95 is 95%).
///
/// Values that are not finite, or beyond 1e300, are left out, as R leaves out those that are not finite. `None`
/// when a sample has no values left or `confidence` is not between 0 and 1.
pub fn shift(x: &[f64], y: &[f64], confidence: f64) -> Option<Shift> {
    let alpha = 1.0 - confidence;
    // Not the negated comparison of NaN: it has to be refused, too.
    if !(alpha > 0.0 && alpha < 1.0) {
        return None;
    }
    let (x, y) = (sorted(x), sorted(y));
    let ranks = Ranks::new(&x, &y, 0.0);
    if x.is_empty() || y.is_empty() {
        return None;
    }
    if x.len() < EXACT_BELOW && y.len() < EXACT_BELOW && ranks.ties == 0.0 {
        return exact(&x, &y, ranks.u, alpha);
    }
    let [low, estimate, high] = interval(&x, &y, normal::upper_quantile(0.5 * alpha), false)?;
    let (p_greater, p_less) = (normal::upper_tail(ranks.z(0.5)), normal::upper_tail(-ranks.z(-0.5)));
    Some(Shift { w: ranks.u, estimate, low, high, p_greater, p_less, exact: false })
}

fn exact(x: &[f64], y: &[f64], w: f64, alpha: f64) -> Option<Shift> {
    let mut differences: Vec<f64> = x.iter().flat_map(|x| y.iter().map(move |y| x - y)).collect();
    differences.sort_by(f64::total_cmp);
    let pairs = differences.len();
    let distribution = Exact::new(x.len(), y.len());
    let q = distribution.quantile(0.5 * alpha).max(1);
    // Without ties w is whole. P(U >= w) = P(U <= pairs - w).
    let w_whole = w as usize;
    Some(Shift {
        w,
        estimate: 0.5 * (differences.get((pairs - 1) / 2)? + differences.get(pairs / 2)?),
        low: *differences.get(q - 1)?,
        high: *differences.get(pairs.checked_sub(q)?)?,
        p_greater: distribution.at_most(pairs.saturating_sub(w_whole)),
        p_less: distribution.at_most(w_whole),
        exact: true,
    })
}

/// The usable values, in ascending order.
pub(super) fn sorted(values: &[f64]) -> Vec<f64> {
    let mut values: Vec<f64> = values.iter().copied().filter(|v| v.abs() <= LARGEST).collect();
    values.sort_by(f64::total_cmp);
    values
}

#[cfg(test)]
mod tests;
