//! Distribution functions that the judge needs, each with its source and tested against published tables.

/// ln(e^a + e^b).
pub(crate) fn ln_add(a: f64, b: f64) -> f64 {
    let (hi, lo) = if a >= b { (a, b) } else { (b, a) };
    if lo == f64::NEG_INFINITY { hi } else { hi + (lo - hi).exp().ln_1p() }
}

/// ln of the mean of e^x; of nothing it is 0, the evidence one starts from.
pub(crate) fn ln_mean_exp(xs: &[f64]) -> f64 {
    let hi = xs.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    if xs.is_empty() || hi == f64::NEG_INFINITY {
        return if xs.is_empty() { 0.0 } else { hi };
    }
    hi + (xs.iter().map(|x| (x - hi).exp()).sum::<f64>() / xs.len() as f64).ln()
}

/// ln gamma(x) for x > 0: Stirling's series (DLMF 5.11.1) after shifting x above 12. Relative error below 1e-14.
pub(crate) fn ln_gamma(x: f64) -> f64 {
    let mut shift = 1.0;
    let mut z = x;
    while z < 12.0 {
        shift *= z;
        z += 1.0;
    }
    let r = 1.0 / z;
    let r2 = r * r;
    let series = r
        * (1.0 / 12.0
            - r2 * (1.0 / 360.0
                - r2 * (1.0 / 1_260.0 - r2 * (1.0 / 1_680.0 - r2 * (1.0 / 1_188.0 - r2 * 691.0 / 360_360.0)))));
    (z - 0.5) * z.ln() - z + 0.918_938_533_204_672_8 + series - shift.ln()
}

/// ln of the binomial coefficient "n over k", 0 <= k <= n.
pub(crate) fn ln_choose(n: f64, k: f64) -> f64 {
    ln_gamma(n + 1.0) - ln_gamma(k + 1.0) - ln_gamma(n - k + 1.0)
}

/// The regularised incomplete beta function I_x(a, b), by its continued fraction (DLMF 8.17.22) with Lentz's
/// method.
fn beta_inc(a: f64, b: f64, x: f64) -> f64 {
    if x <= 0.0 || x >= 1.0 {
        return if x <= 0.0 { 0.0 } else { 1.0 };
    }
    if x > (a + 1.0) / (a + b + 2.0) {
        return 1.0 - beta_inc(b, a, 1.0 - x);
    }
    let front = (a * x.ln() + b * (-x).ln_1p() - ln_gamma(a) - ln_gamma(b) + ln_gamma(a + b)).exp() / a;
    const TINY: f64 = 1e-300;
    let (mut c, mut d) = (1.0, 1.0 / (1.0 - (a + b) * x / (a + 1.0)).max(TINY));
    let mut f = d;
    for m in 1..300 {
        let m = f64::from(m);
        for num in [
            m * (b - m) * x / ((a + 2.0 * m - 1.0) * (a + 2.0 * m)),
            -(a + m) * (a + b + m) * x / ((a + 2.0 * m) * (a + 2.0 * m + 1.0)),
        ] {
            d = 1.0 / (1.0 + num * d).max(TINY);
            c = (1.0 + num / c).max(TINY);
            f *= c * d;
        }
        if (c * d - 1.0).abs() < 1e-15 {
            break;
        }
    }
    front * f
}

/// P(T > t) of Student's t with `nu` degrees of freedom, t >= 0: I_{nu/(nu+t^2)}(nu/2, 1/2)/2.
fn student_t_sf(t: f64, nu: f64) -> f64 {
    0.5 * beta_inc(nu / 2.0, 0.5, nu / (nu + t * t))
}

/// The t with P(T > t) = `p`, 0 < p < 0.5, by bisection on ln t to a relative 1e-12. `nu` = infinity is the
/// normal distribution, taken as nu = 1e7 (relative error below 1e-6 for p >= 1e-12).
pub(crate) fn student_t_upper(p: f64, nu: f64) -> f64 {
    let nu = nu.min(1e7);
    let (mut lo, mut hi) = ((1e-9f64).ln(), (1e150f64).ln());
    while hi - lo > 1e-12 * (1.0 + lo.abs()) {
        let mid = 0.5 * (lo + hi);
        if mid <= lo || mid >= hi {
            break;
        }
        if student_t_sf(mid.exp(), nu) > p {
            lo = mid;
        } else {
            hi = mid;
        }
    }
    (0.5 * (lo + hi)).exp()
}

/// By how much an estimated variance with `nu` degrees of freedom must be inflated so that a normal bound at
/// tail probability `p` holds: (t_nu / z)^2.
pub(crate) fn small_sample_inflation(p: f64, nu: f64) -> f64 {
    let p = p.clamp(1e-12, 0.4);
    (student_t_upper(p, nu) / student_t_upper(p, f64::INFINITY)).powi(2)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(got: f64, want: f64, tolerance: f64) {
        assert!((got - want).abs() <= tolerance, "{got} is not within {tolerance} of {want}");
    }

    #[test]
    fn gamma() {
        let factorial = |n: u32| (2..=n).map(|k| f64::from(k).ln()).sum::<f64>();
        for n in [0, 1, 2, 5, 10, 11, 12, 50, 170] {
            near(ln_gamma(f64::from(n) + 1.0), factorial(n), 1e-12 * (1.0 + factorial(n)));
        }
        near(ln_gamma(0.5), std::f64::consts::PI.sqrt().ln(), 1e-13);
        near(ln_choose(52.0, 5.0), 2_598_960f64.ln(), 1e-12);
    }

    /// Abramowitz & Stegun tables 26.10 (t) and 26.5 (normal).
    #[test]
    fn quantiles_are_those_of_the_tables() {
        for (nu, p, want) in [
            (1.0, 0.025, 12.706),
            (1.0, 0.005, 63.657),
            (2.0, 0.01, 6.965),
            (4.0, 0.005, 4.604),
            (4.0, 0.0005, 8.610),
            (10.0, 0.05, 1.812),
            (18.0, 0.005, 2.878),
            (30.0, 0.0005, 3.646),
            (f64::INFINITY, 0.025, 1.960),
            (f64::INFINITY, 0.001, 3.090),
        ] {
            near(student_t_upper(p, nu), want, 6e-4);
        }
    }

    /// The design's own figures, at alpha/40 with alpha = 1e-3.
    #[test]
    fn inflation() {
        for (nu, want) in [(18.0, 1.70), (9.0, 3.17), (4.0, 20.9)] {
            near(small_sample_inflation(1e-3 / 40.0, nu), want, want * 0.005);
        }
        near(small_sample_inflation(1e-3 / 40.0, 1e6), 1.0, 1e-4);
    }

    #[test]
    fn sums_of_exponentials() {
        near(ln_add(2f64.ln(), 3f64.ln()), 5f64.ln(), 1e-14);
        near(ln_add(f64::NEG_INFINITY, 1.5), 1.5, 0.0);
        near(ln_mean_exp(&[2f64.ln(), 6f64.ln()]), 4f64.ln(), 1e-14);
        near(ln_mean_exp(&[800.0, 800.0]), 800.0, 1e-12);
        near(ln_mean_exp(&[]), 0.0, 0.0);
    }
}
