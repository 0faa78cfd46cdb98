//! Whatever a caller feeds it, a trial does not panic, and says something that can be read.

use proptest::prelude::*;
use serin_judge::{Arm, Metric, PodId, PodSlice, Policy, Slice, State, Stratum, Trial};
use serin_sketch::{BUCKETS, Bucket, Counts, Micros};

fn number() -> impl Strategy<Value = u64> {
    prop_oneof![4 => 0u64..300, 1 => any::<u64>(), 1 => Just(u64::MAX)]
}

fn counts() -> impl Strategy<Value = Counts> {
    let bucket = (0..BUCKETS as u32).prop_filter_map("in range", Bucket::from_index);
    prop::collection::vec((bucket, number()), 0..6).prop_map(Counts::from_iter)
}

fn pod() -> impl Strategy<Value = PodSlice> {
    let stratum = prop_oneof![4 => Just(0u16), 2 => 0u16..3, 1 => any::<u16>()];
    let in_flight = prop_oneof![2 => Just(Counts::new()), 1 => counts()];
    (any::<bool>(), prop_oneof![0u32..4, any::<u32>()], stratum, counts(), in_flight, number(), number()).prop_map(
        |(candidate, pod, stratum, latency, in_flight, requests, errors)| {
            let arm = if candidate { Arm::Candidate } else { Arm::Baseline };
            PodSlice { latency, in_flight, requests, errors, ..PodSlice::new(arm, PodId(pod), Stratum(stratum)) }
        },
    )
}

fn slice() -> impl Strategy<Value = Slice> {
    let weight = prop_oneof![Just(None), (0.0f64..=1.0).prop_map(Some), Just(Some(f64::NAN)), Just(Some(-3.0))];
    (prop_oneof![10 => 0u64..400, 1 => any::<u64>()], prop::collection::vec(pod(), 0..8), any::<bool>(), weight)
        .prop_map(|(second, pods, pods_known, weight)| Slice { second, pods, pods_known, weight })
}

proptest! {
    #[test]
    fn never_panics(mut slices in prop::collection::vec(slice(), 0..60), sorted in any::<bool>(), first in 0u64..100) {
        if sorted {
            slices.sort_by_key(|s| s.second);
        }
        let policy = Policy::default().with_limit(Metric::P99, Micros(500_000)).unwrap();
        let mut trial = Trial::new(policy, first);
        let mut regressed = None;
        for slice in &slices {
            trial.observe(slice);
            let verdict = trial.verdict();
            prop_assert!(!verdict.to_string().is_empty());
            prop_assert!(verdict.findings.iter().all(|f| f.dispersion >= 1.0 && !f.log_evidence.is_nan()));
            prop_assert!(verdict.limits.iter().all(|l| !l.log_evidence.is_nan() && l.candidate_beyond <= 1.0));
            prop_assert_eq!(verdict.state == State::Regressed, trial.regressed().is_some());
            let latched = regressed.get_or_insert_with(|| verdict.clone());
            if latched.state != State::Regressed {
                regressed = None;
            } else {
                prop_assert_eq!(&*latched, &verdict);
            }
        }
    }
}

#[test]
fn slices_out_of_order_are_ignored() {
    let pod = PodSlice { requests: 5, ..PodSlice::new(Arm::Candidate, PodId(0), Stratum(0)) };
    let slice = |second| Slice { pods: vec![pod.clone()], ..Slice::new(second) };
    let mut trial = Trial::new(Policy::default(), 100);
    for second in [99, 100, 100, 101, 100, 103] {
        trial.observe(&slice(second));
    }
    let verdict = trial.verdict();
    assert_eq!((verdict.candidate_requests, verdict.trial_s), (15, 4));
}
