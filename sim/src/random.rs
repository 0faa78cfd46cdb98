//! Draws from the distributions that a world needs.

use rand::{RngExt, rngs::StdRng};

/// Exponential with this mean.
pub fn exponential(rng: &mut StdRng, mean: f64) -> f64 {
    -mean * (1.0 - rng.random::<f64>()).ln()
}

/// Standard normal, by Box and Muller.
pub fn normal(rng: &mut StdRng) -> f64 {
    (-2.0 * (1.0 - rng.random::<f64>()).ln()).sqrt() * (std::f64::consts::TAU * rng.random::<f64>()).cos()
}

/// Poisson: Knuth's product below 30, the rounded normal distribution above.
pub fn poisson(rng: &mut StdRng, mean: f64) -> u64 {
    if mean > 30.0 {
        return (mean + mean.sqrt() * normal(rng)).round().max(0.0) as u64;
    }
    let limit = (-mean).exp();
    let mut product: f64 = rng.random();
    let mut n = 0;
    while product > limit {
        product *= rng.random::<f64>();
        n += 1;
    }
    n
}

/// On and off for exponential times, from off.
#[derive(Clone, Debug)]
pub struct Episodes {
    on: bool,
    until: f64,
    every: f64,
    lasting: f64,
    longest: f64,
}

impl Episodes {
    /// `every` so many seconds on average, `lasting` so many.
    pub fn new(rng: &mut StdRng, every: f64, lasting: f64) -> Self {
        Episodes { on: false, until: exponential(rng, every), every, lasting, longest: f64::INFINITY }
    }

    /// None lasts longer than this.
    pub fn at_most(self, longest: f64) -> Self {
        Episodes { longest, ..self }
    }

    /// Whether one is on in this second. Seconds must not go back.
    pub fn at(&mut self, rng: &mut StdRng, second: u64) -> bool {
        while self.until <= second as f64 {
            self.on = !self.on;
            let drawn = exponential(rng, if self.on { self.lasting } else { self.every });
            self.until += if self.on { drawn.min(self.longest) } else { drawn };
        }
        self.on
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;

    #[test]
    fn means_are_what_they_should_be() {
        let mut rng = StdRng::seed_from_u64(3);
        let mut mean =
            |draw: &mut dyn FnMut(&mut StdRng) -> f64| (0..20_000).map(|_| draw(&mut rng)).sum::<f64>() / 20_000.0;
        assert!((mean(&mut |rng| exponential(rng, 7.0)) - 7.0).abs() < 0.2);
        assert!(mean(&mut |rng| normal(rng)).abs() < 0.03);
        assert!((mean(&mut |rng| normal(rng).powi(2)) - 1.0).abs() < 0.04);
        for want in [0.5, 20.0, 400.0] {
            assert!((mean(&mut |rng| poisson(rng, want) as f64) / want - 1.0).abs() < 0.03, "{want}");
        }
        // On for 4 s after 60 s off: 4 of 64 s.
        let mut episodes = Episodes::new(&mut rng, 60.0, 4.0);
        let on = (0..200_000).filter(|second| episodes.at(&mut rng, *second)).count();
        assert!((on as f64 / 200_000.0 - 4.0 / 64.0).abs() < 0.005, "{on}");
    }
}
