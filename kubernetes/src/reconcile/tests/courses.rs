//! What may come in the middle of a trial, and after it.

use super::*;

/// Blue and green: v2 was promoted, and then there is a new v1. It is on trial, whatever it was before.
#[test]
fn after_a_promotion_the_next_of_that_name_is_on_trial() {
    let (mut before, mut promoted) = (v1_v2(), false);
    let mut step = |weights: &[(&str, u32)], pods: &[Seen]| {
        let targets = [Target::Found(Family::alone(split(weights)))];
        let around = Around {
            targets: &targets,
            pods: Ok(pods),
            before: Some(&before),
            promoted,
            taken: None,
            clocks: &Clocks::default(),
            now: at(NOW),
        };
        let outcome = reconcile(&guard(|_| ()), &around);
        match &outcome {
            Outcome::Guard { pair, promoted: all, .. } => (before, promoted) = (pair.clone(), *all),
            Outcome::Wait { judged, promoted: all, .. } => {
                (before, promoted) = (judged.clone().unwrap_or(before.clone()), *all);
            }
        }
        (said(&outcome).0, before.candidate.clone())
    };
    let told = |reason, candidate: &str| (reason, candidate.to_owned());
    let young = [pod("shop", "v1", 5_000), pod("shop", "v2", 2_000)];
    // As long as v2 was not promoted, and where its rollback is what gave v1 everything, a v1 that was made again is what it was.
    assert_eq!(step(&[("v1", 90), ("v2", 10)], &young), told("", "v2"));
    assert_eq!(step(&[("v1", 100), ("v2", 0)], &young), told("OneRelease", "v2"));
    assert_eq!(step(&[("v1", 90), ("v2", 10)], &young), told("", "v2"));
    assert_eq!(step(&[("v2", 100), ("v1", 0)], &pods()), told("OneRelease", "v2"));
    // The old v1 gets requests again: who means that?
    assert_eq!(step(&[("v2", 90), ("v1", 10)], &pods()), told("AgeAgainstWeight", "v2"));
    assert_eq!(step(&[("v2", 90), ("v1", 10)], &young), told("", "v1"));
    assert_eq!(step(&[("v2", 20), ("v1", 80)], &young), told("", "v1"));
    assert_eq!(step(&[("v1", 100)], &young[..1]), told("OneRelease", "v1"));
    let green = [pod("shop", "v1", 5_000), pod("shop", "v2", 7_000)];
    assert_eq!(step(&[("v1", 100), ("v2", 0)], &green), told("OneRelease", "v1"));
    assert_eq!(step(&[("v1", 90), ("v2", 10)], &green), told("", "v2"));
}

/// One of the two was taken out, or away: that is how it is between two trials, and there is nothing to mend.
#[test]
fn what_is_tidied_after_a_trial_is_no_fault() {
    let all = pods();
    let check = |weights: &[(&str, u32)], pods: &[Seen], is_promoted: bool| {
        let outcome = reconciled(&guard(|_| ()), Target::Found(Family::alone(split(weights))), pods, Some(&v1_v2()));
        let (reason, message) = said(&outcome);
        assert!(reason == "OneRelease" && message.starts_with("no release is on trial"), "{weights:?}: {message}");
        let Outcome::Wait { judged, promoted, .. } = outcome else { panic!("{weights:?}: nothing to roll back") };
        assert_eq!((judged, promoted), (Some(v1_v2()), is_promoted), "{weights:?}");
    };
    // v2 is promoted: v1 goes.
    check(&[("v1", 0), ("v2", 100)], &all[1..], true);
    check(&[("v2", 100)], &all, true);
    check(&[("v2", 100)], &all[1..], true);
    check(&[("v2", 100), ("v3", 0)], &all, true);
    let down = [Seen { is_ready: false, ..all[0].clone() }, all[1].clone()];
    check(&[("v1", 0), ("v2", 100)], &down, true);
    // v2 was rolled back: it goes.
    check(&[("v1", 100)], &all, false);
    check(&[("v1", 100)], &all[..1], false);
    // Who gets all requests has to have pods.
    let outcome =
        reconciled(&guard(|_| ()), Target::Found(Family::alone(split(&[("v1", 100)]))), &all[1..], Some(&v1_v2()));
    assert_eq!(said(&outcome).0, "NoPods");
}

/// The candidate's labels were changed in the middle of its trial, or it never had any.
#[test]
fn a_candidate_without_labelled_pods_is_said() {
    let named = guard(|guard| *guard = with(guard.clone(), "/spec", json!({ "baseline": "v1", "candidate": "v2" })));
    let mut relabelled = pods();
    relabelled[1].release = Some("canary".to_owned());
    let told = |guard: &ReleaseGuard, object: Value, pods: &[Seen]| {
        let outcome = reconciled(guard, Target::Found(Family::alone(object)), pods, Some(&v1_v2()));
        assert!(matches!(&outcome, Outcome::Guard { pair, .. } if *pair == v1_v2()), "{outcome:?}");
        said(&outcome)
    };
    for guard in [guard(|_| ()), named.clone()] {
        let (reason, message) = told(&guard, canary(), &relabelled);
        assert!(reason == "NoPods" && message.contains("v2 has a share but no pods"), "{reason} {message}");
        assert!(message.ends_with("label its pods, or give it weight 0"), "{message}");
        assert_ne!(told(&guard, split(&[("v1", 100), ("v2", 0)]), &relabelled).0, "NoPods", "it has no share");
    }
    let none_says = relabelled.iter().map(|pod| Seen { release: None, ..pod.clone() }).collect::<Vec<_>>();
    assert_eq!(told(&named, canary(), &none_says).0, "", "nobody's pods say their release");
}

/// The gateway has v2, and the mesh not yet: v2 is guarded where it gets requests.
#[test]
fn of_several_targets_one_may_not_have_the_candidate_yet() {
    let check = |names: Value, targets: [Value; 2]| {
        let two = guard(|guard| {
            *guard = with(guard.clone(), "/spec", names);
            let other = json!({ "kind": "VirtualService", "name": "mesh", "host": "shop" });
            guard["spec"]["targets"].as_array_mut().unwrap().push(other);
        });
        let (targets, pods) = (targets.map(|object| Target::Found(Family::alone(object))), pods());
        let around = Around {
            targets: &targets,
            pods: Ok(&pods),
            before: None,
            promoted: false,
            taken: None,
            clocks: &Clocks::default(),
            now: at(NOW),
        };
        let outcome = reconcile(&two, &around);
        let guards = matches!(&outcome, Outcome::Guard { pair, .. } if *pair == v1_v2());
        let (reason, message) = said(&outcome);
        (guards, reason, message)
    };
    let named = json!({ "baseline": "v1", "candidate": "v2" });
    for names in [json!({}), named.clone()] {
        for targets in [[canary(), split(&[("v1", 100)])], [split(&[("v1", 100)]), canary()]] {
            let (guards, reason, message) = check(names.clone(), targets);
            assert!(guards && reason == "NoCandidate" && message.contains("no route sends anything to"), "{message}");
        }
    }
    let (guards, reason, _) = check(named, [split(&[("v1", 100)]), split(&[("v1", 100)])]);
    assert_eq!((guards, reason), (false, "NoCandidate"), "none of them");
}

/// Of two targets one has v2 alone: it is not promoted.
#[test]
fn promoted_in_one_of_two_targets_is_not_promoted() {
    let two = guard(|guard| {
        let other = json!({ "kind": "VirtualService", "name": "other", "host": "shop" });
        guard["spec"]["targets"].as_array_mut().unwrap().push(other);
    });
    let check = |other: [u32; 2], expected: bool| {
        let [v1, v2] = other;
        let targets = [[("v1", 0), ("v2", 100)], [("v1", v1), ("v2", v2)]]
            .map(|weights| Target::Found(Family::alone(split(&weights))));
        let (pods, before) = (pods(), v1_v2());
        let around = Around {
            targets: &targets,
            pods: Ok(&pods),
            before: Some(&before),
            promoted: false,
            taken: None,
            clocks: &Clocks::default(),
            now: at(NOW),
        };
        let outcome = reconcile(&two, &around);
        assert!(matches!(&outcome, Outcome::Guard { promoted, .. } if *promoted == expected), "{other:?}: {outcome:?}");
    };
    check([0, 100], true);
    check([50, 50], false);
    check([100, 0], false);
}
