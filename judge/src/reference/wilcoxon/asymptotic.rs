//! The normal approximation of the Mann-Whitney statistic, and the interval that inverts it.

use super::zeroin::zeroin;

/// The statistic of x, lowered by a shift, against y.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Ranks {
    /// Pairs in which x is larger; ties count half.
    pub(super) u: f64,
    /// Sum of t^3 - t over the groups of t tied values.
    pub(super) ties: f64,
    m: f64,
    n: f64,
}

impl Ranks {
    /// Both samples sorted and finite. It merges them instead of ranking them, in time linear in their sizes.
    pub(super) fn new(x: &[f64], y: &[f64], shift: f64) -> Self {
        let (mut x_left, mut y_left) = (x, y);
        let (mut u, mut ties, mut y_below) = (0.0, 0.0, 0.0);
        loop {
            let value = match (x_left.first(), y_left.first()) {
                (Some(x), Some(y)) => (x - shift).min(*y),
                (Some(x), None) => x - shift,
                (None, Some(y)) => *y,
                (None, None) => break,
            };
            let x_tied = x_left.iter().take_while(|x| **x - shift == value).count();
            let y_tied = y_left.iter().take_while(|y| **y == value).count();
            (x_left, y_left) = (&x_left[x_tied..], &y_left[y_tied..]);
            let (x_tied, y_tied) = (x_tied as f64, y_tied as f64);
            u += x_tied * (y_below + 0.5 * y_tied);
            let tied = x_tied + y_tied;
            ties += tied * tied * tied - tied;
            y_below += y_tied;
        }
        Ranks { u, ties, m: x.len() as f64, n: y.len() as f64 }
    }

    /// U minus its mean m n / 2.
    fn excess(&self) -> f64 {
        self.u - 0.5 * self.m * self.n
    }

    /// (excess - `correction`) / sigma, with sigma^2 = m n / 12 (N + 1 - sum (t^3 - t) / (N (N - 1))), N = m + n
    /// (Lehmann 1975, Nonparametrics, chapter 1; `SIGMA.CI` in R). Without spread, when all values are tied, it is 0.
    pub(super) fn z(&self, correction: f64) -> f64 {
        let all = self.m + self.n;
        let variance = self.m * self.n / 12.0 * (all + 1.0 - self.ties / (all * (all - 1.0)));
        if variance > 0.0 { (self.excess() - correction) / variance.sqrt() } else { 0.0 }
    }

    /// z, half a step towards 0: the continuity correction of a two-sided test.
    fn corrected(&self) -> f64 {
        let excess = self.excess();
        if excess == 0.0 { 0.0 } else { self.z(0.5f64.copysign(excess)) }
    }
}

/// Lower end, estimate and upper end of the shift of x against y, both sorted and finite, at the normal quantile
/// `z` >= 0: where the corrected statistic crosses z, 0 and -z. The search is on [min x - max y, max x - min y], whose
/// ends stand in where the statistic does not get so far.
///
/// R leaves the continuity correction out for the estimate; Kayenta, which is derived from an older R, does not.
pub(in crate::reference) fn interval(x: &[f64], y: &[f64], z: f64, estimate_corrected: bool) -> Option<[f64; 3]> {
    let (lo, hi) = (x.first()? - y.last()?, x.last()? - y.first()?);
    if lo == hi {
        return Some([lo; 3]);
    }
    let crossing = |z: f64| zeroin(|d| Ranks::new(x, y, d).corrected() - z, lo, hi);
    let estimate = if estimate_corrected { crossing(0.0) } else { zeroin(|d| Ranks::new(x, y, d).z(0.0), lo, hi) };
    Some([crossing(z), estimate, crossing(-z)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_are_counted_as_by_hand() {
        let ranks = Ranks::new(&[1.0, 2.0, 2.0, 5.0], &[0.0, 2.0, 2.0], 0.0);
        assert_eq!((ranks.u, ranks.ties), (1.0 + 2.0 * 2.0 + 3.0, 60.0));
        let shifted = Ranks::new(&[1.0, 2.0, 2.0, 5.0], &[0.0, 2.0, 2.0], 1.0);
        assert_eq!((shifted.u, shifted.ties), (0.5 + 2.0 + 3.0, 6.0 + 6.0 + 6.0));
    }

    #[test]
    fn no_spread_is_no_evidence() {
        assert_eq!(Ranks::new(&[3.0; 4], &[3.0; 5], 0.0).corrected(), 0.0);
        assert_eq!(interval(&[3.0; 4], &[1.0; 5], 2.0, true), Some([2.0; 3]));
        assert_eq!(interval(&[], &[1.0], 2.0, true), None);
    }
}
