//! How long a request takes at an upstream: the latency model of the judge's simulation.

use std::time::Duration;

use rand::{Rng, RngExt};

/// Median of the body, in milliseconds.
const MEDIAN_MS: f64 = 40.0;
/// Standard deviation of the logarithm of the body.
const SIGMA: f64 = 0.5;
/// Where the tail begins: the 95% quantile of the standard normal distribution puts it at 91 ms.
const Z95: f64 = 1.644_853_626_951_472_6;
/// Shape of the Pareto tail.
const ALPHA: f64 = 3.0;

/// Draws latencies: lognormal (median 40 ms, sigma 0.5) up to p95 = 91 ms, Pareto (alpha 3) above, so p99 is
/// 156 ms and p99.9 335 ms.
#[derive(Clone, Copy, Debug)]
pub struct Latency {
    /// All latencies are multiplied by this: 1.0 for the model as it is, 0.1 for a quick test.
    pub scale: f64,
    /// What latencies above p97 are multiplied by; between p95 and p97 the factor rises from 1 to this.
    pub tail: f64,
}

impl Latency {
    /// One latency.
    pub fn draw(&self, rng: &mut impl Rng) -> Duration {
        let u: f64 = rng.random();
        let ms = if u < 0.95 { body(rng) } else { tail(u) * self.tail_factor(u) };
        Duration::from_secs_f64(ms * self.scale / 1_000.0)
    }

    fn tail_factor(&self, u: f64) -> f64 {
        1.0 + (self.tail - 1.0) * ((u - 0.95) / 0.02).clamp(0.0, 1.0)
    }
}

/// A lognormal latency in milliseconds, given that it is below p95: the normal variate is drawn (Box-Muller)
/// until it is.
fn body(rng: &mut impl Rng) -> f64 {
    loop {
        let (u, v): (f64, f64) = (1.0 - rng.random::<f64>(), rng.random());
        let z = (-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * v).cos();
        if z < Z95 {
            return MEDIAN_MS * (SIGMA * z).exp();
        }
    }
}

/// The Pareto latency in milliseconds at quantile `u`, from 0.95 up to and not including 1.
fn tail(u: f64) -> f64 {
    MEDIAN_MS * (SIGMA * Z95).exp() * (0.05 / (1.0 - u)).powf(1.0 / ALPHA)
}
