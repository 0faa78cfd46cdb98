//! One sick pod is not a bad release: is it named where it costs the release its place?

use serin_judge::{PodId, Policy, State, Trial, Verdict};
use sim::{
    generator::{EPOCH, Generator},
    world::{Change, Noise, World},
};

/// Ten pods in each arm; the verdict of the regression, if there is one within half an hour.
fn regressed(change: Change, seed: u64) -> Option<Verdict> {
    let mut generator = Generator::new(World::new(0.5, Noise::Iid, change), seed);
    let mut trial = Trial::new(Policy::default(), EPOCH);
    for second in 0..1_860 {
        trial.observe(&generator.second(second, second as i64 - 60));
        if let Some(verdict) = trial.regressed() {
            return Some(verdict.clone());
        }
    }
    None
}

#[test]
fn a_sick_pod_is_named() {
    for seed in 0..4 {
        // The last of 20 pods: a tenth of the candidate's requests take six times as long, so its p99 is slower.
        let verdict = regressed(Change::SickPod(6.0), seed).unwrap();
        let worst = verdict.driving_pod().unwrap();
        assert_eq!((worst.pod, worst.pods), (PodId(19), 10), "{verdict}");
        assert!(verdict.to_string().contains("one of its 10 pods drives this, with"), "{verdict}");
        // Half as slow again it only scatters.
        assert_eq!(regressed(Change::SickPod(1.5), seed), None);
    }
}

#[test]
fn a_bad_release_is_nobodys_pod() {
    for seed in 0..4 {
        let verdict = regressed(Change::Tail(1.5), seed).unwrap();
        assert_eq!(verdict.state, State::Regressed);
        assert_eq!(verdict.driving_pod(), None, "{verdict}");
        assert!(verdict.worst_pod.is_some_and(|worst| worst.log_evidence_without > Some(3.0)), "{verdict}");
    }
}
