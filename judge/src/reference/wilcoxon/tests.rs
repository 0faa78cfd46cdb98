use super::*;
use proptest::prelude::*;

fn near(got: f64, want: f64, tolerance: f64) {
    assert!((got - want).abs() <= tolerance, "{got} is not within {tolerance} of {want}");
}

/// Permeability constants of the human chorioamnion: Hollander & Wolfe 1973, page 69f, the example of R's documentation.
const TERM: [f64; 10] = [0.80, 0.83, 1.89, 1.04, 1.45, 1.38, 1.91, 1.64, 0.73, 1.46];
const EARLY: [f64; 5] = [1.15, 0.88, 0.90, 0.74, 1.21];

/// R prints W = 35 and p-value = 0.1272 for it with the alternative "greater". R's `tests/reg-tests-1.R` (PR 1150) quotes Hollander &
/// Wolfe 1999, pages 111 and 126, with the samples exchanged: p 0.2544, interval -0.76 to 0.15, estimate -0.305.
#[test]
fn the_exact_example_of_hollander_and_wolfe() {
    let got = shift(&TERM, &EARLY, 0.95).unwrap();
    assert!(got.exact);
    assert_eq!(got.w, 35.0);
    near(got.p_greater, 0.1272, 5e-5);
    near(got.p_two_sided(), 0.2544, 5e-5);
    near(got.low, -0.15, 1e-9);
    near(got.high, 0.76, 1e-9);
    near(got.estimate, 0.305, 1e-9);
    let back = shift(&EARLY, &TERM, 0.95).unwrap();
    assert_eq!((back.low, back.estimate, back.high, back.p_less), (-got.high, -got.estimate, -got.low, got.p_greater));
}

/// R's values that Kayenta's MannWhitneyRSuite and MannWhitneySuite hold: p 0.02857, interval 6 to 39, estimate 22.5.
#[test]
fn the_exact_example_of_kayenta() {
    let got = shift(&[10.0, 20.0, 30.0, 40.0], &[1.0, 2.0, 3.0, 4.0], 0.95).unwrap();
    assert_eq!((got.low, got.high, got.estimate), (6.0, 39.0, 22.5));
    near(got.p_two_sided(), 0.028_571_428_571_428_57, 1e-15);
}

/// R's data set `mtcars` (Henderson & Velleman 1981), miles per gallon by transmission, and what R prints for
/// `wilcox.test(mpg ~ am, data = mtcars, conf.int = TRUE)`: W = 42, p-value = 0.001871, -11.699942 to -2.900042,
/// -6.799963. R-Tutor, "Mann-Whitney-Wilcoxon Test", has W and the p-value, too. All six decimals of the ends agree
/// only if Brent's method takes R's steps.
#[test]
fn the_tied_example_of_mtcars() {
    let automatic = [
        21.4, 18.7, 18.1, 14.3, 24.4, 22.8, 19.2, 17.8, 16.4, 17.3, 15.2, 10.4, 10.4, 14.7, 21.5, 15.5, 15.2, 13.3,
        19.2,
    ];
    let manual = [21.0, 21.0, 22.8, 32.4, 30.4, 33.9, 27.3, 26.0, 30.4, 15.8, 19.7, 15.0, 21.4];
    let got = shift(&automatic, &manual, 0.95).unwrap();
    assert!(!got.exact);
    assert_eq!(got.w, 42.0);
    near(got.p_two_sided(), 0.001871, 5e-7);
    near(got.low, -11.699942, 1e-6);
    near(got.high, -2.900042, 1e-6);
    near(got.estimate, -6.799963, 1e-6);
}

fn repeated(values: &[(f64, usize)]) -> Vec<f64> {
    values.iter().flat_map(|(v, n)| std::iter::repeat_n(*v, *n)).collect()
}

/// Kayenta's MannWhitneySuite, "Tie out with R Version" and the large one: samples of 90 and of 180 values, multiples of a
/// half, and what R gave for them. Each value here with how often it occurs.
#[test]
fn large_tied_samples_as_r_gave_them_to_kayenta() {
    #[rustfmt::skip]
    let control = repeated(&[
        (1.5, 2), (2.0, 16), (2.5, 18), (3.0, 16), (3.5, 10), (4.0, 8), (4.5, 4), (5.0, 6), (5.5, 2), (6.0, 5), (8.0, 1),
        (15.5, 1), (54.5, 1),
    ]);
    #[rustfmt::skip]
    let experiment = repeated(&[
        (1.5, 9), (2.0, 16), (2.5, 22), (3.0, 17), (3.5, 9), (4.0, 5), (4.5, 1), (5.0, 3), (5.5, 1), (6.0, 2), (6.5, 2),
        (7.0, 1), (7.5, 1), (16.5, 1),
    ]);
    let got = shift(&experiment, &control, 0.95).unwrap();
    near(got.low, -0.500002521696696, 1e-9);
    near(got.high, -3.486287505871302e-5, 1e-9);
    near(got.estimate, -0.4999393907180323, 1e-9);

    #[rustfmt::skip]
    let control = repeated(&[
        (0.0, 1), (0.5, 7), (1.0, 32), (1.5, 70), (2.0, 33), (2.5, 22), (3.0, 6), (3.5, 2), (4.0, 3), (4.5, 1), (5.5, 1),
        (7.0, 1), (7.5, 1),
    ]);
    #[rustfmt::skip]
    let experiment = repeated(&[
        (0.5, 20), (1.0, 41), (1.5, 67), (2.0, 37), (2.5, 3), (3.0, 2), (3.5, 3), (4.0, 1), (5.0, 1), (5.5, 3), (8.5, 1),
        (19.0, 1),
    ]);
    let got = shift(&experiment, &control, 0.98).unwrap();
    near(got.low, -0.4999173250549087, 1e-9);
    near(got.high, -6.912685789769486e-6, 1e-9);
    near(got.estimate, -3.45044082729315e-5, 1e-9);
}

#[test]
fn nothing_constants_and_infinities() {
    assert_eq!(shift(&[], &[1.0], 0.95), None);
    assert_eq!(shift(&[1.0], &[f64::NAN, f64::INFINITY], 0.95), None);
    for confidence in [0.0, 1.0, -1.0, 2.0, f64::NAN] {
        assert_eq!(shift(&[1.0], &[2.0], confidence), None, "{confidence}");
    }
    let same = shift(&[2.0; 5], &[2.0; 7], 0.98).unwrap();
    assert_eq!((same.low, same.estimate, same.high, same.p_two_sided()), (0.0, 0.0, 0.0, 1.0));
    let apart = shift(&[5.0; 5], &[2.0; 7], 0.98).unwrap();
    assert_eq!((apart.low, apart.estimate, apart.high), (3.0, 3.0, 3.0));
    assert!(apart.p_greater < 0.001 && apart.p_less > 0.99);
    let with = shift(&[1.0, 5.0, f64::INFINITY, f64::NAN], &[2.0, f64::NEG_INFINITY, 4.5], 0.9).unwrap();
    assert_eq!(Some(with), shift(&[1.0, 5.0], &[2.0, 4.5], 0.9));
    let one = shift(&[3.0], &[1.0], 0.95).unwrap();
    assert_eq!((one.low, one.estimate, one.high, one.p_two_sided()), (2.0, 2.0, 2.0, 1.0));
}

/// Eighths: sums and differences of them are exact, so that a shift makes and breaks no ties.
fn sample(max: usize) -> impl Strategy<Value = Vec<f64>> {
    prop::collection::vec((-400i32..400).prop_map(|v| f64::from(v) / 8.0), 1..max)
}

fn any_value() -> impl Strategy<Value = f64> {
    prop_oneof![any::<f64>(), -3.0f64..3.0, Just(0.0), Just(1.0), Just(f64::NAN), Just(f64::INFINITY), Just(1e300)]
}

proptest! {
    #[test]
    fn the_interval_contains_the_estimate(x in sample(70), y in sample(70), confidence in 0.01f64..0.999) {
        let got = shift(&x, &y, confidence).unwrap();
        let slack = if got.exact { 0.0 } else { 2.0 * zeroin::TOLERANCE };
        prop_assert!(got.low <= got.estimate + slack && got.estimate <= got.high + slack, "{got:?}");
    }

    #[test]
    fn shifting_x_shifts_everything(x in sample(70), y in sample(70), by in -200i32..200) {
        let by = f64::from(by) / 8.0;
        let from = shift(&x, &y, 0.95).unwrap();
        let moved: Vec<f64> = x.iter().map(|v| v + by).collect();
        let to = shift(&moved, &y, 0.95).unwrap();
        // With ties at one place and none at the other, one is exact and the other not.
        prop_assume!(from.exact == to.exact);
        let slack = if from.exact { 0.0 } else { 2.0 * zeroin::TOLERANCE };
        for (from, to) in [(from.low, to.low), (from.estimate, to.estimate), (from.high, to.high)] {
            prop_assert!((from + by - to).abs() <= slack, "{from} + {by} is not {to}");
        }
    }

    #[test]
    fn exchanging_the_samples_exchanges_the_sides(x in sample(40), y in sample(40)) {
        let (one, other) = (shift(&x, &y, 0.9).unwrap(), shift(&y, &x, 0.9).unwrap());
        prop_assert!((one.p_greater - other.p_less).abs() < 1e-12);
        prop_assert_eq!(one.w + other.w, (x.len() * y.len()) as f64);
    }

    #[test]
    fn never_panics_and_gives_numbers(
        x in prop::collection::vec(any_value(), 0..60), y in prop::collection::vec(any_value(), 0..60), c in any_value()
    ) {
        for confidence in [c, 0.98] {
            if let Some(got) = shift(&x, &y, confidence) {
                for v in [got.w, got.estimate, got.low, got.high, got.p_greater, got.p_less] {
                    prop_assert!(v.is_finite(), "{got:?}");
                }
                prop_assert!((0.0..=1.0).contains(&got.p_greater) && (0.0..=1.0).contains(&got.p_less));
            }
        }
    }
}
