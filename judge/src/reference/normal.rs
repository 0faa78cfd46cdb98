//! The standard normal distribution, to the precision of a double: the judge's own quantiles come from Student's t,
//! which is coarser than the values published by R.

/// The density at `z`.
fn density(z: f64) -> f64 {
    0.398_942_280_401_432_7 * (-0.5 * z * z).exp()
}

/// P(Z > `z`): the series of Abramowitz & Stegun 26.2.11 below 3, the continued fraction 26.2.14 above.
/// Relative error below 1e-12 for z <= 30.
pub(super) fn upper_tail(z: f64) -> f64 {
    if z < 0.0 {
        return 1.0 - upper_tail(-z);
    }
    if z < 3.0 {
        let (mut term, mut sum, mut odd) = (z, z, 1.0);
        while term > 1e-18 * sum {
            odd += 2.0;
            term *= z * z / odd;
            sum += term;
        }
        return 0.5 - density(z) * sum;
    }
    // From the inside out; at z = 3, where it converges slowest, 100 terms are far more than enough.
    let fraction = (1..=100).rev().fold(z, |inner, k| z + f64::from(k) / inner);
    density(z) / fraction
}

/// The z with P(Z > z) = `p`, for 0 < `p` <= 0.5, by Newton's method from 0. The tail is convex there, so the steps
/// never overshoot; 1e-300 takes about 700 of them and p = 0.01 takes 7.
pub(super) fn upper_quantile(p: f64) -> f64 {
    let mut z = 0.0;
    for _ in 0..1_000 {
        let step = (upper_tail(z) - p) / density(z);
        z += step;
        if step.abs() <= 1e-15 * z {
            break;
        }
    }
    z
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Abramowitz & Stegun, tables 26.1 and 26.2, and R's `qnorm`, as Kayenta's MannWhitneySuite quotes it.
    #[test]
    fn values_are_those_of_the_tables() {
        for (z, p, tolerance) in [
            (0.0, 0.5, 1e-15),
            (1.0, 0.158_655_253_931_457, 1e-14),
            (2.0, 0.022_750_131_948_179, 1e-14),
            (3.0, 0.001_349_898_031_630, 1e-14),
            (5.0, 2.866_515_719e-7, 1e-15),
            (-1.0, 0.841_344_746_068_543, 1e-14),
        ] {
            assert!((upper_tail(z) - p).abs() <= tolerance, "{z}: {} is not {p}", upper_tail(z));
        }
        for (p, z) in [(0.025, 1.959_963_984_540_053_6), (0.01, 2.326_347_874_040_841), (0.5, 0.0)] {
            assert!((upper_quantile(p) - z).abs() < 1e-13, "{p}: {} is not {z}", upper_quantile(p));
        }
    }

    #[test]
    fn the_two_methods_agree_and_the_quantile_inverts() {
        assert!((upper_tail(3.0 - 1e-12) / upper_tail(3.0) - 1.0).abs() < 1e-11);
        for p in [0.4, 0.1, 1e-3, 1e-6, 1e-12, 1e-100] {
            assert!((upper_tail(upper_quantile(p)) / p - 1.0).abs() < 1e-11, "{p}");
        }
    }
}
