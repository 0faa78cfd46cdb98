//! The latency of a healthy request: lognormal (median 40 ms, sigma 0.5) up to p95 = 91 ms, Pareto with exponent 3 above
//! (p99 156 ms, p99.9 335 ms).

use rand::{RngExt, rngs::StdRng};

/// Quantiles in the table of the body.
const STRATA: usize = 4_096;
/// Where the body ends and the tail begins.
pub const TAIL_FROM: f64 = 0.95;
const MEDIAN_US: f64 = 40_000.0;
const SIGMA: f64 = 0.5;
/// The tail's exponent.
pub const PARETO: f64 = 3.0;

/// What is done to the latencies of a release.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Shape {
    /// Factor above p95, which grows to its full size at p97.
    pub tail: f64,
    /// Factor below p80, which tapers off to 1 at p95.
    pub body: f64,
    /// This share of requests takes so many microseconds more.
    pub added: (f64, f64),
}

impl Shape {
    /// As it is.
    pub const PLAIN: Shape = Shape { tail: 1.0, body: 1.0, added: (0.0, 0.0) };
}

/// Draws latencies.
#[derive(Clone, Debug)]
pub struct Latency {
    body: Vec<f64>,
    p95: f64,
}

impl Default for Latency {
    fn default() -> Self {
        let at = |u: f64| MEDIAN_US * (SIGMA * normal_quantile(u)).exp();
        let body = (0..STRATA).map(|i| at((i as f64 + 0.5) / STRATA as f64 * TAIL_FROM)).collect();
        Latency { body, p95: at(TAIL_FROM) }
    }
}

impl Latency {
    /// The latency, in microseconds, that this share of requests does not exceed.
    pub fn quantile(&self, q: f64) -> f64 {
        if q < TAIL_FROM {
            MEDIAN_US * (SIGMA * normal_quantile(q)).exp()
        } else {
            self.p95 * ((1.0 - q) / (1.0 - TAIL_FROM)).powf(-1.0 / PARETO)
        }
    }

    /// The share of requests that take longer than this.
    pub fn beyond(&self, us: f64) -> f64 {
        if us >= self.p95 {
            return (1.0 - TAIL_FROM) * (us / self.p95).powf(-PARETO);
        }
        1.0 - self.body.partition_point(|known| *known <= us) as f64 / STRATA as f64 * TAIL_FROM
    }

    /// One latency in microseconds.
    pub fn draw(&self, rng: &mut StdRng, shape: &Shape) -> f64 {
        let u: f64 = rng.random();
        let us = if u < TAIL_FROM {
            let at = (u / TAIL_FROM * STRATA as f64) as usize;
            let us = self.body.get(at).or(self.body.last()).copied().unwrap_or(MEDIAN_US);
            if shape.body == 1.0 { us } else { us * (1.0 + (shape.body - 1.0) * ((TAIL_FROM - u) / 0.15).min(1.0)) }
        } else {
            let pareto = self.p95 * ((1.0 - u) / (1.0 - TAIL_FROM)).powf(-1.0 / PARETO);
            pareto * (1.0 + (shape.tail - 1.0) * ((u - TAIL_FROM) / 0.02).min(1.0))
        };
        let (share, more) = shape.added;
        if share > 0.0 && rng.random::<f64>() < share { us + more } else { us }
    }
}

/// Acklam's rational approximation of the normal distribution's quantile, relative error 1.2e-9.
fn normal_quantile(p: f64) -> f64 {
    const A: [f64; 6] = [
        -39.69683028665376,
        220.9460984245205,
        -275.9285104469687,
        138.357751867269,
        -30.66479806614716,
        2.506628277459239,
    ];
    const B: [f64; 5] =
        [-54.47609879822406, 161.5858368580409, -155.6989798598866, 66.80131188771972, -13.28068155288572];
    const C: [f64; 6] = [
        -0.007784894002430293,
        -0.3223964580411365,
        -2.400758277161838,
        -2.549732539343734,
        4.374664141464968,
        2.938163982698783,
    ];
    const D: [f64; 4] = [0.007784695709041462, 0.3224671290700398, 2.445134137142996, 3.754408661907416];
    let poly = |c: &[f64], x: f64| c.iter().fold(0.0, |sum, c| sum * x + c);
    if p < 0.02425 {
        let q = (-2.0 * p.ln()).sqrt();
        return poly(&C, q) / (poly(&D, q) * q + 1.0);
    }
    if p > 1.0 - 0.02425 {
        return -normal_quantile(1.0 - p);
    }
    let q = p - 0.5;
    poly(&A, q * q) * q / (poly(&B, q * q) * q * q + 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use serin_sketch::{Counts, Micros};

    fn quantiles(shape: &Shape) -> [f64; 4] {
        let (latency, mut rng) = (Latency::default(), StdRng::seed_from_u64(1));
        let mut all = Counts::new();
        (0..400_000).for_each(|_| all.record(Micros(latency.draw(&mut rng, shape) as u64)));
        [0.5, 0.95, 0.99, 0.999].map(|q| all.quantile(q).map_or(0.0, |b| b.mid().as_millis_f64()))
    }

    /// JUDGE.md's figures.
    #[test]
    fn the_distribution_is_the_designs() {
        for (got, want) in quantiles(&Shape::PLAIN).into_iter().zip([40.0, 91.0, 156.0, 335.0]) {
            assert!((got / want - 1.0).abs() < 0.04, "{got} ms, wanted {want}");
        }
    }

    #[test]
    fn quantiles_and_shares_are_each_others() {
        let latency = Latency::default();
        for q in [0.1, 0.5, 0.9, 0.96, 0.99, 0.999] {
            assert!((latency.beyond(latency.quantile(q)) - (1.0 - q)).abs() < 3e-4, "{q}");
        }
    }

    #[test]
    fn shapes_change_what_they_say() {
        let [p50, p95, p99, _] = quantiles(&Shape::PLAIN);
        let tail = quantiles(&Shape { tail: 1.5, ..Shape::PLAIN });
        assert!((tail[0] / p50 - 1.0).abs() < 0.01 && (tail[2] / p99 - 1.5).abs() < 0.06, "{tail:?}");
        let body = quantiles(&Shape { body: 1.2, ..Shape::PLAIN });
        assert!((body[0] / p50 - 1.2).abs() < 0.02 && (body[1] / p95 - 1.0).abs() < 0.03, "{body:?}");
        let added = quantiles(&Shape { added: (1.0, 300_000.0), ..Shape::PLAIN });
        assert!((added[0] - p50 - 300.0).abs() < 4.0, "{added:?}");
    }
}
