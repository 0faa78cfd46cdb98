/// How near a root is to the true crossing: the `tol.root` of R's `wilcox.test` and the tolerance of Kayenta's solver, in
/// the units of the samples.
pub(super) const TOLERANCE: f64 = 1e-4;
/// Bisection alone needs log2(range / [`TOLERANCE`]) steps, at most 1,100 for any doubles.
const STEPS_MAX: usize = 2_000;

/// Where a falling `f` crosses zero between `lo` and `hi`, within [`TOLERANCE`]: Brent's root finder (R. P. Brent 1973,
/// Algorithms for Minimization without Derivatives, chapter 4), which R's `uniroot` and Kayenta use, too.
///
/// `f` is a step function here. Any bracketing method finds the step, but on a step that is exactly zero each stops
/// at another point, so it has to be theirs. An end of the range where `f` has no sign to change stands for the root.
pub(super) fn zeroin(f: impl Fn(f64) -> f64, lo: f64, hi: f64) -> f64 {
    // `b` is the best guess, `a` the one before it, and the root lies between `b` and `c`.
    let (mut a, mut b) = (lo, hi);
    let (mut fa, mut fb) = (f(lo), f(hi));
    if fa <= 0.0 {
        return lo;
    }
    if fb >= 0.0 {
        return hi;
    }
    let (mut c, mut fc) = (a, fa);
    for _ in 0..STEPS_MAX {
        let last = b - a;
        if fc.abs() < fb.abs() {
            (a, b, c) = (b, c, b);
            (fa, fb, fc) = (fb, fc, fb);
        }
        let near = 2.0 * f64::EPSILON * b.abs() + 0.5 * TOLERANCE;
        let half = 0.5 * (c - b);
        if half.abs() <= near || fb == 0.0 {
            return b;
        }
        let mut step = half;
        if last.abs() >= near && fa.abs() > fb.abs() {
            let (p, q) = interpolated(a, b, c, fa, fb, fc);
            if p < 1.5 * half * q - 0.5 * (near * q).abs() && p < 0.5 * (last * q).abs() {
                step = p / q;
            }
        }
        if step.abs() < near {
            step = if step > 0.0 { near } else { -near };
        }
        (a, fa) = (b, fb);
        b += step;
        fb = f(b);
        if (fb > 0.0 && fc > 0.0) || (fb < 0.0 && fc < 0.0) {
            (c, fc) = (a, fa);
        }
    }
    b
}

/// The step from `b` to the root as a fraction with p >= 0: on the line through two points, or on the inverse parabola
/// through three.
fn interpolated(a: f64, b: f64, c: f64, fa: f64, fb: f64, fc: f64) -> (f64, f64) {
    let wide = c - b;
    let s = fb / fa;
    let (p, q) = if a == c {
        (wide * s, 1.0 - s)
    } else {
        let (r, t) = (fa / fc, fb / fc);
        (s * (wide * r * (r - t) - (b - a) * (t - 1.0)), (r - 1.0) * (t - 1.0) * (s - 1.0))
    };
    if p > 0.0 { (p, -q) } else { (-p, q) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_smooth_roots_and_steps() {
        assert!((zeroin(|x| 2.0 - x * x, 0.0, 2.0) - 2f64.sqrt()).abs() < TOLERANCE);
        for step in [-3.0, 0.1, 0.7, 1_234.5] {
            let got = zeroin(|x| if x < step { 5.0 } else { -0.2 }, -10.0, 2_000.0);
            assert!((got - step).abs() <= TOLERANCE, "{got} is not {step}");
        }
    }

    #[test]
    fn an_end_stands_for_a_root_that_is_not_there() {
        assert_eq!(zeroin(|_| -1.0, 3.0, 4.0), 3.0);
        assert_eq!(zeroin(|_| 1.0, 3.0, 4.0), 4.0);
        assert!(zeroin(|x| -x, -1e300, 2e300).is_finite());
    }
}
