use std::collections::{BTreeMap, VecDeque};

use super::{Increments, Mixture};
use crate::slice::{Pair, PodId, Stratum};

/// Error rates of the candidate that are looked for.
const TILTS: [f64; 5] = [0.1, 0.2, 0.35, 0.6, 0.95];
/// Seconds of the baseline that its error rate is taken from.
const WINDOW_S: u64 = 60;

/// Seconds that [`Errors::recent`] spans.
const RECENT_S: u64 = 10;

/// Errors, and of how many requests.
type Part = (f64, f64);

/// One stratum of one second: the baseline's part, and each candidate pod's.
#[derive(Clone, Debug)]
struct Table {
    stratum: Stratum,
    a: Part,
    pods: Vec<(PodId, f64, f64)>,
}

impl Table {
    fn of(pair: &Pair) -> Self {
        let a = (pair.baseline.errors, pair.baseline.requests);
        let pods = pair.candidate.pods.iter().filter(|pod| pod.requests > 0.0);
        Table { stratum: pair.stratum, a, pods: pods.map(|pod| (pod.id, pod.errors, pod.requests)).collect() }
    }

    fn b(&self) -> Part {
        self.pods.iter().fold((0.0, 0.0), |sum, (_, errors, n)| add(sum, (*errors, *n)))
    }
}

/// Both arms' parts in one second.
#[derive(Clone, Debug)]
struct Second {
    second: u64,
    a: Vec<(Stratum, Part)>,
    b: Part,
}

/// The largest candidate error rate that is no reason for a rollback, given the baseline's.
#[derive(Clone, Copy, Debug)]
enum Bound {
    /// Five points more.
    Plus,
    /// Three times as much.
    Times,
}

impl Bound {
    fn of(self, base: f64) -> f64 {
        match self {
            Bound::Plus => base + 0.05,
            Bound::Times => 3.0 * base,
        }
    }

    fn inverse(self, rate: f64) -> f64 {
        match self {
            Bound::Plus => rate - 0.05,
            Bound::Times => rate / 3.0,
        }
    }

    fn slope(self) -> f64 {
        match self {
            Bound::Plus => 1.0,
            Bound::Times => 3.0,
        }
    }
}

/// The baseline error rate u of the null hypothesis that is nearest, in Kullback-Leibler divergence, to the
/// alternative (theta_a, theta_b): the projection on a convex set, so that the likelihood ratio against it is an
/// e-variable (Turner, Ly & Grunwald, arXiv 2106.02693). Bisection on the derivative.
fn nearest_null(n_a: f64, n_b: f64, theta_a: f64, theta_b: f64, bound: Bound) -> f64 {
    let (mut lo, mut hi) = (theta_a, bound.inverse(theta_b));
    // 30 halvings leave an error of 1e-9 at most.
    for _ in 0..30 {
        let u = 0.5 * (lo + hi);
        let g = bound.of(u);
        let slope = n_a * (u - theta_a) / (u * (1.0 - u)) + n_b * bound.slope() * (g - theta_b) / (g * (1.0 - g));
        if slope < 0.0 { lo = u } else { hi = u }
    }
    0.5 * (lo + hi)
}

/// Whether the candidate fails far more requests than the baseline: both "at most five points more" and "at most
/// three times as much" must be refuted.
#[derive(Clone, Debug)]
pub(crate) struct Errors {
    plus: Mixture<{ TILTS.len() }>,
    times: Mixture<{ TILTS.len() }>,
    window: VecDeque<Second>,
    /// The baseline's part in each stratum over the whole trial.
    long_run: BTreeMap<Stratum, Part>,
    /// Over the whole trial: baseline errors and requests, candidate errors and requests, expected errors.
    pub(crate) a: Part,
    pub(crate) b: Part,
    pub(crate) expected_b: f64,
}

impl Errors {
    pub(crate) fn new(alpha: f64, trial_s: u32) -> Self {
        let spare = 5f64.ln();
        Errors {
            plus: Mixture::new(alpha, spare, trial_s),
            times: Mixture::new(alpha, spare, trial_s),
            window: VecDeque::new(),
            long_run: BTreeMap::new(),
            a: (0.0, 0.0),
            b: (0.0, 0.0),
            expected_b: 0.0,
        }
    }

    /// ln of the smaller evidence: only refuting both counts.
    pub(crate) fn ln_e(&self) -> f64 {
        self.plus.ln_e().min(self.times.ln_e())
    }

    /// Error rates of baseline and candidate over the last 10 s.
    pub(crate) fn recent(&self) -> (f64, f64) {
        let last = self.window.back().map_or(0, |s| s.second);
        let recent = self.window.iter().filter(|s| last - s.second < RECENT_S);
        let all = |s: &Second| s.a.iter().fold((0.0, 0.0), |sum, (_, part)| add(sum, *part));
        let (a, b) = recent.fold(((0.0, 0.0), (0.0, 0.0)), |(a, b), s| (add(a, all(s)), add(b, s.b)));
        let rate = |(errors, n): Part| if n > 0.0 { errors / n } else { 0.0 };
        (rate(a), rate(b))
    }

    /// The baseline's error rate before this second: its last minute, with two requests of its long-run rate and a
    /// little more so that it is never 0.
    fn base(&self, stratum: Stratum) -> f64 {
        let parts = self.window.iter().flat_map(|s| &s.a).filter(|(of, _)| *of == stratum);
        let (errors, n) = parts.fold((0.0, 0.0), |sum, (_, part)| add(sum, *part));
        let all = self.long_run.get(&stratum).copied().unwrap_or_default();
        let long_run = if all.1 > 0.0 { all.0 / all.1 } else { 0.0 };
        ((errors + 2.0 * long_run + 0.02) / (n + 22.0)).clamp(0.0005, 0.6)
    }

    /// One second, each stratum by itself.
    pub(crate) fn observe(&mut self, second: u64, strata: &[Pair]) {
        self.count(second, &strata.iter().map(Table::of).collect::<Vec<_>>());
    }

    fn count(&mut self, second: u64, tables: &[Table]) {
        let comparable = || tables.iter().filter(|table| table.a.1 > 0.0 && table.b().1 > 0.0);
        if comparable().next().is_some() {
            let bases: Vec<f64> = comparable().map(|table| self.base(table.stratum)).collect();
            let based = || comparable().zip(&bases);
            self.plus.observe(Increments::of(based().map(|(table, base)| increments(Bound::Plus, *base, table))));
            self.times.observe(Increments::of(based().map(|(table, base)| increments(Bound::Times, *base, table))));
        }
        let mut now = Second { second, a: Vec::with_capacity(tables.len()), b: (0.0, 0.0) };
        for table in tables {
            let (a, b) = (table.a, table.b());
            if a.1 > 0.0 && b.1 > 0.0 {
                self.b = add(self.b, b);
                self.expected_b += (a.0 + b.0) * b.1 / (a.1 + b.1);
            }
            self.a = add(self.a, a);
            let long_run = self.long_run.entry(table.stratum).or_default();
            *long_run = add(*long_run, a);
            now.a.push((table.stratum, a));
            now.b = add(now.b, b);
        }
        self.window.push_back(now);
        while self.window.front().is_some_and(|s| second - s.second >= WINDOW_S) {
            self.window.pop_front();
        }
    }
}

fn add(x: Part, y: Part) -> Part {
    (x.0 + y.0, x.1 + y.1)
}

/// x ln(y), 0 when x is 0 whatever y.
fn times_ln(x: f64, y: f64) -> f64 {
    if x > 0.0 { x * y.ln() } else { 0.0 }
}

/// Every candidate pod's increments against one null hypothesis.
fn increments(bound: Bound, theta_a: f64, table: &Table) -> impl Iterator<Item = (PodId, [f64; TILTS.len()])> {
    let ((errors_a, n_a), (_, n_b)) = (table.a, table.b());
    let nulls = TILTS.map(|theta_b| {
        (theta_b > 1.05 * bound.of(theta_a)).then(|| {
            let u = nearest_null(n_a, n_b, theta_a, theta_b, bound);
            let g = bound.of(u);
            let baseline = times_ln(errors_a, theta_a / u) + times_ln(n_a - errors_a, (1.0 - theta_a) / (1.0 - u));
            (baseline, (theta_b / g).ln(), ((1.0 - theta_b) / (1.0 - g)).ln())
        })
    });
    table.pods.iter().map(move |(pod, errors, n)| {
        let inc = nulls.map(|null| match null {
            Some((baseline, failed, served)) => errors * failed + (n - errors) * served + n / n_b * baseline,
            None => 0.0,
        });
        (*pod, inc)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fast_lane::threshold;
    use crate::slice::PodId;
    use proptest::prelude::*;

    fn table(a: Part, (errors, n): Part) -> Table {
        Table { stratum: Stratum(0), a, pods: vec![(PodId(1), errors, n)] }
    }

    /// Seconds until the lane fires with these error rates, 100 requests a second in each arm, at most 300.
    fn fires(rate_a: f64, rate_b: f64) -> Option<u64> {
        let mut lane = Errors::new(1e-3, 1_800);
        (1..=300).find(|s| {
            lane.count(*s, &[table((100.0 * rate_a, 100.0), (100.0 * rate_b, 100.0))]);
            lane.ln_e() >= threshold(1e-3)
        })
    }

    #[test]
    fn fires_on_many_errors_only() {
        assert_eq!(fires(0.0, 1.0), Some(8));
        assert_eq!(fires(0.0, 0.5), Some(8));
        assert!(fires(0.0, 0.2).is_some_and(|s| s <= 10), "{:?}", fires(0.0, 0.2));
        assert_eq!(fires(0.0, 0.04), None, "less than five points more");
        assert_eq!(fires(0.1, 0.28), None, "less than three times as much");
        assert_eq!(fires(0.5, 0.5), None, "both arms fail");
    }

    proptest! {
        /// E over Bernoulli outcomes of one request in each arm, at the null point itself and elsewhere in the null:
        /// the expectation of the factor is at most 1.
        #[test]
        fn expectation_under_the_null_is_at_most_one(p_a in 0.001f64..0.6, part in 0.0f64..=1.0, theta_a in 0.0005f64..0.6, tilt in 0usize..5) {
            for bound in [Bound::Plus, Bound::Times] {
                let p_b = (bound.of(p_a) * part).min(1.0);
                let mut mean = 0.0;
                for (a, pa) in [(1.0, p_a), (0.0, 1.0 - p_a)] {
                    for (b, pb) in [(1.0, p_b), (0.0, 1.0 - p_b)] {
                        let inc = increments(bound, theta_a, &table((a, 1.0), (b, 1.0))).next().unwrap().1[tilt];
                        mean += pa * pb * inc.exp();
                    }
                }
                prop_assert!(mean <= 1.0 + 1e-9, "{bound:?} {mean}");
            }
        }
    }
}
