use super::*;
use proptest::prelude::*;
use serin_sketch::Bucket;

const LOW: [f64; 5] = [1.0, 2.2, 1.1, 2.5, 3.0];
const HIGH: [f64; 5] = [20.0, 22.0, 21.0, 25.0, 30.0];
const ZEROS: [f64; 5] = [0.0; 5];
const FIFTIES: [f64; 5] = [54.9, 54.5, 55.1, 55.6, 57.4];

/// The small cases of Kayenta's own ClassifierSuite, with its tolerance of 0.10 and confidence of 0.95.
#[test]
fn classes_are_those_of_kayentas_suite() {
    let rule = Rule { tolerance: 0.10, confidence: 0.95, ..Rule::default() };
    let sized = Rule { allowed_decrease: 0.8, allowed_increase: 1.2, ..rule };
    for (name, rule, candidate, baseline, class) in [
        ("mean ratio effect size: high", sized, &HIGH[..], &LOW[..], Class::High),
        (
            "mean ratio effect size: pass",
            Rule { allowed_decrease: 0.5, allowed_increase: 1.0, ..rule },
            &[10.0, 12.2, 10.1, 12.5, 23.0],
            &HIGH,
            Class::Pass,
        ),
        ("critical effect size: pass", Rule { allowed_increase: 13.0, ..rule }, &HIGH, &LOW, Class::Pass),
        ("identical", rule, &[2.0, 1.0, 3.0], &[1.0, 2.0, 3.0], Class::Pass),
        ("missing experiment data", rule, &[], &LOW, Class::NoData),
        ("majority tied", rule, &[1.0, 1.0, 1.0, 1.0, 10.0], &[1.0; 5], Class::Pass),
        ("tied ranks", rule, &[10.0; 5], &[1.0; 5], Class::High),
        ("tied ranks with zeros", rule, &[10.0; 5], &ZEROS, Class::High),
        ("zero mean: high", sized, &FIFTIES, &ZEROS, Class::High),
        ("zero mean: low", sized, &ZEROS, &FIFTIES, Class::Low),
        ("zero mean: pass", sized, &ZEROS, &ZEROS, Class::Pass),
    ] {
        assert_eq!(rule.classify(baseline, candidate).class, class, "{name}");
    }
}

/// ClassifierSuite, "Critical Effect Size": the ratio of means is 12.04.
#[test]
fn only_a_large_effect_on_a_critical_metric_is_critical() {
    let rule = Rule { tolerance: 0.10, confidence: 0.95, ..Rule::default() };
    for (critical_increase, critical) in [(None, false), (Some(1.0), true), (Some(1.2), true), (Some(13.0), false)] {
        let got = Rule { critical_increase, ..rule }.classify(&LOW, &HIGH);
        assert_eq!((got.class, got.critical), (Class::High, critical), "{critical_increase:?}");
        assert!((got.ratio.unwrap() - 118.0 / 9.8).abs() < 1e-12);
    }
    let zero = Rule { critical_increase: Some(1.2), ..rule }.classify(&ZEROS, &FIFTIES);
    assert_eq!((zero.critical, zero.ratio), (true, None), "without a ratio the limit is not looked at");
    assert!(Rule { critical_increase: Some(1.0), ..rule }.classify(&[], &LOW).critical);
}

/// Kayenta's MannWhitneySuite, "Confidence Interval & Estimate": 6 to 39 and 22.5, without an exact distribution.
#[test]
fn the_interval_is_kayentas() {
    let z = normal::upper_quantile(0.025);
    let got = wilcoxon::interval(&[10.0, 20.0, 30.0, 40.0], &[1.0, 2.0, 3.0, 4.0], z, true).unwrap();
    for (got, want) in got.into_iter().zip([6.0, 22.5, 39.0]) {
        assert!((got - want).abs() < 1e-6, "{got} is not {want}");
    }
}

/// With a tolerance, an interval that merely excludes 0 is no failure.
#[test]
fn the_interval_has_to_clear_the_tolerance() {
    let baseline: Vec<f64> = (0..30).map(f64::from).collect();
    let candidate: Vec<f64> = baseline.iter().map(|v| v + 8.0).collect();
    let strict = Rule { tolerance: 0.0, ..Rule::default() };
    assert_eq!(strict.classify(&baseline, &candidate).class, Class::High);
    assert_eq!(Rule { tolerance: 0.9, ..strict }.classify(&baseline, &candidate).class, Class::Pass);
}

/// `n` requests around `ms`, each second a little different so that points differ.
fn second(ms: u64, at: u64) -> Counts {
    (0..20).map(|i| (Bucket::of(Micros(ms * 1_000 + 97 * i + 13 * (at / 60))), 1)).collect()
}

#[test]
fn alarms_at_the_fifth_point_at_the_earliest() {
    let mut slower = Kayenta::new(None);
    let first = (0..600).find(|at| slower.observe(&second(40, *at), &second(60, *at)));
    assert_eq!(first, Some(299));
    let mut same = Kayenta::new(None);
    assert!(!(0..600).any(|at| same.observe(&second(40, at), &second(40, at))));
    let mut faster = Kayenta::new(None);
    assert!(!(0..600).any(|at| faster.observe(&second(40, at), &second(30, at))));
}

#[test]
fn an_allowed_increase_is_allowed() {
    let alarms = |allowed| {
        let mut kayenta = Kayenta::new(allowed);
        (0..600).any(|at| kayenta.observe(&second(40, at), &second(43, at)))
    };
    assert_eq!([alarms(None), alarms(Some(1.1)), alarms(Some(1.05))], [true, false, true]);
}

#[test]
fn minutes_without_requests_are_no_points() {
    let mut kayenta = Kayenta::new(None);
    for at in 0..600 {
        assert!(!kayenta.observe(&second(40, at), &Counts::new()));
    }
    let first = (0..600).find(|at| kayenta.observe(&second(40, *at), &second(60, *at)));
    assert_eq!(first, Some(299));
}

fn any_value() -> impl Strategy<Value = f64> {
    prop_oneof![any::<f64>(), -3.0f64..3.0, Just(0.0), Just(1.0), Just(f64::NAN), Just(f64::INFINITY), Just(1e300)]
}

proptest! {
    #[test]
    fn any_points_have_a_class(
        baseline in prop::collection::vec(any_value(), 0..30),
        candidate in prop::collection::vec(any_value(), 0..30),
        limit in any_value()
    ) {
        for rule in [Rule::default(), Rule { tolerance: limit, confidence: limit, allowed_increase: limit, ..Rule::default() }] {
            let got = rule.classify(&baseline, &candidate);
            prop_assert!(got.ratio.is_none_or(f64::is_finite));
            prop_assert_eq!(rule.classify(&baseline, &baseline).class == Class::High, false);
        }
    }
}
