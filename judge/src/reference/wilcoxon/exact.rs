//! The distribution of the Mann-Whitney statistic U when the two samples are alike and have no ties.

/// How many of the (m + n choose m) orders of two samples give each U, from 0 to m n.
#[derive(Clone, Debug)]
pub(super) struct Exact {
    counts: Vec<u128>,
    total: u128,
}

impl Exact {
    /// By the counting recursion c(u; m, n) = c(u - n; m - 1, n) + c(u; m, n - 1): the largest value is either one of
    /// the m, and beats all n, or one of the n (Mann & Whitney 1947, Annals of Mathematical Statistics 18, 50-60).
    /// Sizes below 50: (98 choose 49) is 2.5e28 and fits in 128 bits.
    pub(super) fn new(m: usize, n: usize) -> Self {
        // rows[i] is c(.; i, j); row i is made from its older self (j - 1) and the newer row before it (i - 1).
        let mut rows: Vec<Vec<u128>> = (0..=m).map(|i| vec![0; i * n + 1]).collect();
        for row in &mut rows {
            row[0] = 1;
        }
        for j in 1..=n {
            for i in 1..=m {
                let (before, rest) = rows.split_at_mut(i);
                for (u, count) in rest[0].iter_mut().enumerate().take(i * j + 1).skip(j) {
                    *count += before[i - 1].get(u - j).copied().unwrap_or(0);
                }
            }
        }
        let counts = rows.pop().unwrap_or_default();
        Exact { total: counts.iter().sum(), counts }
    }

    /// P(U <= u).
    pub(super) fn at_most(&self, u: usize) -> f64 {
        self.counts.iter().take(u + 1).sum::<u128>() as f64 / self.total as f64
    }

    /// The smallest u with P(U <= u) >= `p`, 0 < p < 1. Like R's `qwilcox` it forgives 10 units of rounding.
    pub(super) fn quantile(&self, p: f64) -> usize {
        let p = p - 10.0 * f64::EPSILON;
        let mut below = 0;
        let at = self.counts.iter().position(|n| {
            below += n;
            below as f64 / self.total as f64 >= p
        });
        at.unwrap_or(self.counts.len().saturating_sub(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The critical values of U at p = 0.05, two-tailed, of the tables in textbooks (docstoc.com/docs/53225816): the
    /// largest u with P(U <= u) <= 0.025.
    #[test]
    fn critical_values_are_those_of_the_tables() {
        for (m, n, critical) in [
            (5, 5, 2),
            (5, 6, 3),
            (5, 7, 5),
            (5, 10, 8),
            (5, 20, 20),
            (6, 9, 10),
            (8, 8, 13),
            (10, 10, 23),
            (10, 20, 55),
            (13, 13, 45),
        ] {
            let exact = Exact::new(m, n);
            assert!(exact.at_most(critical) <= 0.025 && exact.at_most(critical + 1) > 0.025, "{m} {n}");
            assert_eq!(exact.quantile(0.025), critical + 1, "{m} {n}");
        }
    }

    #[test]
    fn all_orders_are_counted_once_and_alike_from_both_ends() {
        for (m, n, orders) in [(1, 1, 2), (2, 3, 10), (5, 10, 3_003), (10, 10, 184_756)] {
            let exact = Exact::new(m, n);
            assert_eq!((exact.total, exact.counts.len()), (orders, m * n + 1));
            assert!(exact.counts.iter().eq(exact.counts.iter().rev()), "symmetric");
            assert_eq!(exact.counts, Exact::new(n, m).counts);
        }
        assert_eq!(Exact::new(49, 49).total, 25_477_612_258_980_856_902_730_428_600, "98 choose 49");
    }

    #[test]
    fn quantiles_invert() {
        let exact = Exact::new(4, 4);
        for (p, u) in [(0.01, 0), (1.0 / 70.0, 0), (0.025, 1), (0.5, 8), (1.0, 16)] {
            assert_eq!(exact.quantile(p), u, "{p}");
        }
    }
}
