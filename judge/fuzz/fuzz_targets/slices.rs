//! Any sequence of slices: empty arms, one pod, counts near 2^64, clocks that jump, weights that are no weights, pods that vanish. A trial
//! must not panic, must say something that can be read, and must keep to a regression that it has decided.

#![no_main]

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use serin_judge::{Arm, History, Metric, PodId, PodSlice, Policy, Slice, State, Stratum, Trial};
use serin_sketch::{Bucket, Counts, Micros};

#[derive(Arbitrary, Debug)]
struct Pod {
    is_candidate: bool,
    pod: u8,
    stratum: u8,
    latency: Vec<(u16, u64)>,
    in_flight: Vec<(u16, u64)>,
    requests: u64,
    errors: u64,
}

#[derive(Arbitrary, Debug)]
struct Second {
    /// From the one before.
    step: i8,
    pods: Vec<Pod>,
    pods_known: bool,
    weight: Option<f64>,
}

#[derive(Arbitrary, Debug)]
struct Input {
    first: u16,
    windows: Vec<Vec<(u16, u64)>>,
    has_limit: bool,
    /// Each is fed so many times, a second apart.
    seconds: Vec<(Second, u8)>,
}

fn counts(pairs: Vec<(u16, u64)>) -> Counts {
    pairs.into_iter().filter_map(|(bucket, n)| Some((Bucket::from_index(bucket.into())?, n))).collect()
}

fn pod(pod: Pod) -> PodSlice {
    let arm = if pod.is_candidate { Arm::Candidate } else { Arm::Baseline };
    PodSlice {
        latency: counts(pod.latency),
        in_flight: counts(pod.in_flight),
        requests: pod.requests,
        errors: pod.errors,
        ..PodSlice::new(arm, PodId(pod.pod.into()), Stratum(pod.stratum.into()))
    }
}

fuzz_target!(|input: Input| {
    let policy = Policy::default();
    let limited = policy.with_limit(Metric::P99, Micros(500_000)).unwrap();
    let policy = if input.has_limit { limited } else { policy };
    let windows = input.windows.into_iter().map(counts).collect();
    let history = History { windows, ..History::default() };
    let mut trial = Trial::knowing(&history, policy, input.first.into());
    let mut second = u64::from(input.first);
    let mut decided = None;
    for (slice, times) in input.seconds {
        let Second { step, pods, pods_known, weight } = slice;
        second = second.saturating_add_signed(step.into());
        let mut slice = Slice { second, pods: pods.into_iter().map(pod).collect(), pods_known, weight };
        for _ in 0..=times {
            trial.observe(&slice);
            second += 1;
            slice.second = second;
        }
        let verdict = trial.verdict();
        assert!(!verdict.to_string().is_empty());
        assert!(verdict.findings.iter().all(|f| f.dispersion >= 1.0 && !f.log_evidence.is_nan()), "{verdict:?}");
        assert!(verdict.past.iter().all(|p| !p.log_evidence.is_nan() && p.ratio >= 0.0), "{verdict:?}");
        assert_eq!(verdict.state == State::Regressed, trial.regressed().is_some());
        if let Some(decided) = &decided {
            assert_eq!(decided, &verdict, "a regression is final");
        }
        decided = trial.regressed().cloned();
    }
});
