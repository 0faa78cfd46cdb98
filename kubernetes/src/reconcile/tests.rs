//! Every bad input that a ReleaseGuard can meet, and what is said of it.

use serde_json::{Value, json};

use super::*;
use crate::{plan::MAX_OBJECT_BYTES, pods::Set};

mod courses;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

const NOW: i64 = 10_000;

fn guard(change: impl FnOnce(&mut Value)) -> ReleaseGuard {
    let mut guard = json!({
        "apiVersion": "serin.dev/v1alpha1", "kind": "ReleaseGuard",
        "metadata": { "name": "shop", "namespace": "prod", "creationTimestamp": "2026-01-01T00:00:00Z" },
        "spec": { "service": "shop", "vantage": "gateway", "targets": [{ "kind": "VirtualService", "name": "shop", "host": "shop" }] },
    });
    change(&mut guard);
    serde_json::from_value(guard).unwrap()
}

fn split(weights: &[(&str, u32)]) -> Value {
    let to = |(subset, weight): &(&str, u32)| json!({ "destination": { "host": "shop", "subset": subset }, "weight": weight });
    json!({
        "apiVersion": "networking.istio.io/v1", "kind": "VirtualService",
        "metadata": { "name": "shop", "namespace": "prod", "uid": "u", "resourceVersion": "1" },
        "spec": { "http": [{ "route": weights.iter().map(to).collect::<Vec<_>>() }] },
    })
}

fn canary() -> Value {
    split(&[("v1", 90), ("v2", 10)])
}

fn with(mut object: Value, pointer: &str, value: Value) -> Value {
    object.pointer_mut(pointer).unwrap().as_object_mut().unwrap().extend(value.as_object().unwrap().clone());
    object
}

fn pod(app: &str, release: &str, created: i64) -> Seen {
    Seen {
        name: format!("{app}-{release}-{created}"),
        ip: String::new(),
        node: "n1".to_owned(),
        app: Some(app.to_owned()),
        release: Some(release.to_owned()),
        created: at(created),
        started: Some(at(created + 1)),
        is_ready: true,
        is_leaving: false,
        has_ended: false,
        owner: None,
        set: None,
    }
}

fn pods() -> Vec<Seen> {
    // The pods of another application have the same releases, the other way round.
    vec![pod("shop", "v1", 1_000), pod("shop", "v2", 2_000), pod("cart", "v2", 100), pod("cart", "v1", 3_000)]
}

fn v1_v2() -> Pair {
    Pair { baseline: "v1".to_owned(), candidate: "v2".to_owned() }
}

fn reconciled(guard: &ReleaseGuard, target: Target, pods: &[Seen], before: Option<&Pair>) -> Outcome {
    let targets = vec![target; guard.spec.targets.len()];
    let mut clocks = Clocks::default();
    clocks.look(pods.iter(), at(NOW));
    let around = Around {
        targets: &targets,
        pods: Ok(pods),
        before,
        promoted: false,
        taken: None,
        clocks: &clocks,
        now: at(NOW),
    };
    reconcile(guard, &around)
}

#[track_caller]
fn said(outcome: &Outcome) -> (&'static str, String) {
    match outcome {
        Outcome::Guard { note, .. } => {
            note.as_ref().map_or(("", String::new()), |note| (note.reason(), note.to_string()))
        }
        Outcome::Wait { why, .. } => (why.reason(), why.to_string()),
    }
}

#[test]
fn a_pair_that_is_found_or_named_is_guarded() {
    let ready = Outcome::Guard { pair: v1_v2(), note: None, promoted: false };
    let found = |guard: &ReleaseGuard| reconciled(guard, Target::Found(Family::alone(canary())), &pods(), None);
    assert_eq!(found(&guard(|_| ())), ready);
    let both = json!({ "baseline": "v1", "candidate": "v2" });
    assert_eq!(found(&guard(|guard| *guard = with(guard.clone(), "/spec", both.clone()))), ready);
    assert_eq!(found(&guard(|guard| *guard = with(guard.clone(), "/spec", json!({ "candidate": "v2" })))), ready);
    // Ages say otherwise, but one is named.
    let young = [pod("shop", "v1", 5_000), pod("shop", "v2", 2_000)];
    let one = guard(|guard| guard["spec"]["candidate"] = "v2".into());
    assert_eq!(reconciled(&one, Target::Found(Family::alone(canary())), &young, None), ready);
    // Named ones need no pods, and nobody to tell of them.
    let named = guard(|guard| *guard = with(guard.clone(), "/spec", both));
    let targets = [Target::Found(Family::alone(canary()))];
    let blind = Around {
        targets: &targets,
        pods: Err("forbidden"),
        before: None,
        promoted: false,
        taken: None,
        clocks: &Clocks::default(),
        now: at(NOW),
    };
    assert_eq!(reconcile(&named, &blind), ready);
    // Without a target nothing is changed, and the newest release is on trial.
    let notify = guard(|guard| {
        guard["spec"]["targets"] = json!([]);
        guard["spec"]["action"] = "notify".into();
    });
    assert_eq!(reconciled(&notify, Target::Missing, &pods(), None), ready);
}

/// The bad inputs: what the object and the pods are, and what is said. Nothing is acted on, and what was guarded before
/// is judged on.
#[test]
fn bad_input_is_said_and_not_acted_on() {
    let owner = json!([{ "apiVersion": "flagger.app/v1beta1", "kind": "Canary", "name": "shop", "uid": "c", "controller": true }]);
    let written = |manager: &str| {
        let fields = json!({ "f:spec": { "f:http": {} } });
        json!({ "managedFields": [{ "manager": manager, "operation": "Update", "time": "2026-01-01T00:00:00Z", "fieldsV1": fields }] })
    };
    let large = "x".repeat(MAX_OBJECT_BYTES);
    let found = |object: Value| Target::Found(Family::alone(object));
    let mut unready = pods();
    unready[0].is_ready = false;
    let mut relabelled = pods();
    relabelled[0].release = Some("stable".to_owned());
    let renamed = [pod("shop", "v1", 1_000), pod("shop", "v2", 2_000)];
    let cases: Vec<(&str, Target, Vec<Seen>, &str, &str)> = vec![
        (
            "it does not exist",
            Target::Missing,
            pods(),
            "TargetNotFound",
            "VirtualService prod/shop does not exist: create it",
        ),
        ("nobody knows", Target::NotWatched("403 Forbidden".into()), pods(), "NotWatched", "check serin's Role"),
        (
            "three releases",
            found(split(&[("v1", 60), ("v2", 20), ("v3", 20)])),
            pods(),
            "ManyReleases",
            "give all but two weight 0",
        ),
        (
            "owned",
            found(with(canary(), "/metadata", json!({ "ownerReferences": owner }))),
            pods(),
            "OwnedByController",
            "roll back there",
        ),
        (
            "Flagger writes",
            found(with(canary(), "/metadata", written("flagger"))),
            pods(),
            "DrivenByAnother",
            "Flagger writes the weights",
        ),
        (
            "Rollouts writes",
            found(with(canary(), "/metadata", written("rollouts-controller"))),
            pods(),
            "DrivenByAnother",
            "Argo Rollouts",
        ),
        ("no weight", found(split(&[("v1", 0), ("v2", 0)])), pods(), "OneRelease", "no release is on trial"),
        (
            "weight of -5",
            found(json!({
                "apiVersion": "networking.istio.io/v1", "kind": "VirtualService", "metadata": { "namespace": "prod", "uid": "u", "resourceVersion": "1" },
                "spec": { "http": [{ "route": [
                    { "destination": { "host": "shop", "subset": "v1" }, "weight": 105 },
                    { "destination": { "host": "shop", "subset": "v2" }, "weight": -5 } ] }] },
            })),
            pods(),
            "WeightInvalid",
            "write a whole number",
        ),
        ("labels changed", found(canary()), relabelled, "NoPods", "v1 has a share but no pods"),
        ("baseline down", found(canary()), unready, "BaselineNotReady", "wait until it is ready"),
        ("renamed", found(split(&[("v1", 90), ("v2b", 10)])), renamed.to_vec(), "NoPods", "label the pods"),
        (
            "1 MB",
            found(with(canary(), "/metadata", json!({ "annotations": { "a": large } }))),
            pods(),
            "TooLarge",
            "split it",
        ),
        (
            "being deleted",
            found(with(canary(), "/metadata", json!({ "deletionTimestamp": "2026-01-01T00:00:00Z" }))),
            pods(),
            "BeingDeleted",
            "wait until it is gone",
        ),
        (
            "no such object",
            found(json!({ "kind": "Deployment", "apiVersion": "apps/v1" })),
            pods(),
            "UnknownKind",
            "name a VirtualService",
        ),
        (
            "no version",
            found(
                json!({ "apiVersion": "networking.istio.io/v1", "kind": "VirtualService", "metadata": { "namespace": "prod" }, "spec": canary()["spec"] }),
            ),
            pods(),
            "NotFromServer",
            "plan on what the API server returned",
        ),
    ];
    for (case, target, pods, reason, remedy) in cases {
        for before in [None, Some(v1_v2())] {
            let outcome = reconciled(&guard(|_| ()), target.clone(), &pods, before.as_ref());
            let (told, message) = said(&outcome);
            assert!(told == reason && message.contains(remedy), "{case}: {told}: {message}");
            assert!(matches!(&outcome, Outcome::Wait { judged, .. } if *judged == before), "{case}: {outcome:?}");
        }
    }
}

/// Between two trials.
#[test]
fn without_a_candidate_nothing_is_guarded() {
    let check = |weights: &[(&str, u32)], before: Option<Pair>| {
        reconciled(&guard(|_| ()), Target::Found(Family::alone(split(weights))), &pods(), before.as_ref())
    };
    let outcome = check(&[("v1", 100), ("v2", 0)], None);
    assert_eq!(said(&outcome), ("OneRelease", "no release is on trial: v1 takes all requests".to_owned()));
    assert!(matches!(outcome, Outcome::Wait { judged: None, .. }));
    // After its rollback the candidate is kept in sight: it must not come back. So is one that has got everything.
    for weights in [[("v1", 100), ("v2", 0)], [("v1", 0), ("v2", 100)]] {
        let outcome = check(&weights, Some(v1_v2()));
        assert!(matches!(&outcome, Outcome::Guard { pair, .. } if *pair == v1_v2()), "{outcome:?}");
    }
    // Until something else comes.
    let next = [pod("shop", "v2", 2_000), pod("shop", "v3", 5_000)];
    let outcome = reconciled(
        &guard(|_| ()),
        Target::Found(Family::alone(split(&[("v2", 90), ("v3", 10)]))),
        &next,
        Some(&v1_v2()),
    );
    assert!(matches!(&outcome, Outcome::Guard { pair, note: None, .. } if pair.candidate == "v3"), "{outcome:?}");
}

/// Every pod of the stable release was made again, on other nodes, before anybody looked: half of the requests each tells nothing.
#[test]
fn pods_that_were_made_again_do_not_turn_the_trial_round() {
    let set =
        |release: &str, second| Set { created: at(second), uid: release.into(), name: release.into(), made_by: None };
    let of = |release, created, second: i64| Seen { set: Some(set(release, second)), ..pod("shop", release, created) };
    let pods = [of("v1", 5_000, 1_000), of("v2", 2_000, 2_000)];
    let outcome =
        reconciled(&guard(|_| ()), Target::Found(Family::alone(split(&[("v1", 50), ("v2", 50)]))), &pods, None);
    assert_eq!(outcome, Outcome::Guard { pair: v1_v2(), note: None, promoted: false });
}

/// The releases are named, but the object does not have them so.
#[test]
fn named_releases_that_the_object_does_not_have() {
    let named = |candidate: &str| {
        guard(|guard| {
            guard["spec"]["baseline"] = "v1".into();
            guard["spec"]["candidate"] = candidate.into();
        })
    };
    let check = |candidate: &str, weights: &[(&str, u32)], reason: &str| {
        let outcome =
            reconciled(&named(candidate), Target::Found(Family::alone(split(weights))), &pods(), Some(&v1_v2()));
        assert!(matches!(outcome, Outcome::Wait { .. }), "{outcome:?}");
        assert_eq!(said(&outcome).0, reason, "{}", said(&outcome).1);
    };
    check("v9", &[("v1", 90), ("v2", 10)], "NoCandidate");
    check("v2", &[("v1", 60), ("v2", 20), ("v3", 20)], "ThirdRelease");
    check("v2", &[("v2", 100)], "OnlyCandidate");
    // Its pods are there and down: the candidate's are the only ones left.
    let down = pods().into_iter().map(|pod| Seen { is_ready: pod.release.as_deref() != Some("v1"), ..pod });
    let outcome = reconciled(&named("v2"), Target::Found(Family::alone(canary())), &down.collect::<Vec<_>>(), None);
    assert_eq!((said(&outcome).0, matches!(outcome, Outcome::Wait { .. })), ("BaselineNotReady", true));
    // One is named, and is not there.
    let other = guard(|guard| guard["spec"]["candidate"] = "v9".into());
    let outcome = reconciled(&other, Target::Found(Family::alone(canary())), &pods(), None);
    assert_eq!(said(&outcome).0, "NotAsNamed");
}

/// What should be mended and is no obstacle: 100/0 is what it is, whatever the weights add up to, and ages are told by the API
/// server's clock.
#[test]
fn what_should_be_mended_is_said_while_the_guard_acts() {
    let outcome =
        reconciled(&guard(|_| ()), Target::Found(Family::alone(split(&[("v1", 80), ("v2", 30)]))), &pods(), None);
    assert!(matches!(&outcome, Outcome::Guard { pair, .. } if *pair == v1_v2()), "{outcome:?}");
    let (reason, message) = said(&outcome);
    assert_eq!(reason, "WeightsNotHundred");
    assert_eq!(message.matches("VirtualService").count(), 1, "the object is named once: {message}");
    let mut skewed = pods();
    skewed[1].started = Some(at(NOW + 90));
    let outcome = reconciled(&guard(|_| ()), Target::Found(Family::alone(canary())), &skewed, None);
    assert!(matches!(&outcome, Outcome::Guard { pair, .. } if *pair == v1_v2()), "{outcome:?}");
    let (reason, message) = said(&outcome);
    assert_eq!(reason, "ClockSkew");
    assert!(message.starts_with("the clock of node n1 is off by 90 s: mend its NTP"), "{message}");
    skewed[0] = Seen { node: "n2".to_owned(), started: Some(at(NOW + 91)), ..skewed[0].clone() };
    let (_, message) = said(&reconciled(&guard(|_| ()), Target::Found(Family::alone(canary())), &skewed, None));
    assert!(
        message.contains("2 nodes are ahead of serin's own by up to 91 s (n2): theirs are wrong, or serin's own is"),
        "{message}"
    );
}

#[test]
fn two_targets_that_differ() {
    let two = guard(|guard| {
        let other = json!({ "kind": "VirtualService", "name": "other", "host": "shop" });
        guard["spec"]["targets"].as_array_mut().unwrap().push(other);
    });
    let mut pods = pods();
    pods.push(pod("shop", "v3", 5_000));
    let check = |other: Value| {
        let targets = [Target::Found(Family::alone(canary())), Target::Found(Family::alone(other))];
        let around = Around {
            targets: &targets,
            pods: Ok(&pods),
            before: None,
            promoted: false,
            taken: None,
            clocks: &Clocks::default(),
            now: at(NOW),
        };
        reconcile(&two, &around)
    };
    assert_eq!(said(&check(split(&[("v2", 90), ("v3", 10)]))).0, "TargetsDisagree");
    assert_eq!(check(split(&[("v1", 50), ("v2", 50)])), Outcome::Guard { pair: v1_v2(), note: None, promoted: false });
    let out = check(split(&[("v1", 100), ("v2", 0)]));
    assert_eq!(
        out,
        Outcome::Guard { pair: v1_v2(), note: None, promoted: false },
        "out of traffic in one of them already"
    );
}

/// Where another controller drives the weights, `notify` is what is advised: then it is no obstacle.
#[test]
fn notify_changes_nothing_and_so_minds_no_owner() {
    let notify = guard(|guard| guard["spec"]["action"] = "notify".into());
    let object = with(canary(), "/metadata", json!({ "annotations": { "flagger.app/x": "y" } }));
    assert_eq!(
        reconciled(&notify, Target::Found(Family::alone(object)), &pods(), None),
        Outcome::Guard { pair: v1_v2(), note: None, promoted: false }
    );
}

#[test]
fn of_two_guards_the_older_one_wins() {
    let named = |name: &str, created: &str| {
        guard(|guard| {
            guard["metadata"]["name"] = name.into();
            guard["metadata"]["creationTimestamp"] = created.into();
        })
    };
    let guards =
        [named("b", "2026-01-02T00:00:00Z"), named("c", "2026-01-01T00:00:00Z"), named("a", "2026-01-02T00:00:00Z")];
    assert_eq!(owners(guards.iter()).get("shop").map(String::as_str), Some("prod/c"));
    assert_eq!(owners(guards[..1].iter().chain(&guards[2..])).get("shop").map(String::as_str), Some("prod/a"));
    let targets = [Target::Found(Family::alone(canary()))];
    let before = v1_v2();
    let around = Around {
        targets: &targets,
        pods: Ok(&[]),
        before: Some(&before),
        promoted: false,
        taken: Some("prod/c"),
        clocks: &Clocks::default(),
        now: at(NOW),
    };
    let outcome = reconcile(&guards[0], &around);
    assert_eq!(said(&outcome), ("ServiceTaken", "shop is guarded by prod/c already: delete one of the two".to_owned()));
    assert!(matches!(outcome, Outcome::Wait { judged: None, .. }), "the other one judges it");
}

/// A root and two delegates in another namespace, one of which splits the service.
fn family() -> Family {
    let in_team = |mut object: Value, name: &str| {
        object["metadata"]["name"] = name.into();
        object["metadata"]["namespace"] = "team".into();
        (
            TargetRef { name: name.to_owned(), ..guard(|_| ()).spec.targets[0].clone() }.object("team").unwrap(),
            Some(object),
        )
    };
    let mut root = split(&[]);
    root["spec"] = json!({ "hosts": ["shop"], "http": [{ "delegate": { "name": "cart", "namespace": "team" } }, { "delegate": { "name": "shop", "namespace": "team" } }] });
    let mut cart = canary();
    cart["spec"]["http"][0]["route"] = json!([{ "destination": { "host": "cart" } }]);
    Family { root, delegates: vec![in_team(cart, "cart"), in_team(canary(), "shop")] }
}

#[test]
fn the_delegate_that_splits_the_service_is_guarded() {
    let guard = guard(|guard| guard["spec"]["targets"][0]["host"] = "shop.team".into());
    let reconciled = |family: Family| reconciled(&guard, Target::Found(family), &pods(), Some(&v1_v2()));
    assert_eq!(reconciled(family()), Outcome::Guard { pair: v1_v2(), note: None, promoted: false });
    // What is wrong with it is said of it.
    let mut owned = family();
    let owner = json!({ "ownerReferences": [{ "apiVersion": "flagger.app/v1beta1", "kind": "Canary", "name": "shop", "uid": "c", "controller": true }] });
    owned.delegates[1].1 = Some(with(canary(), "/metadata", owner));
    owned.delegates[1].1.as_mut().unwrap()["metadata"]["namespace"] = "team".into();
    let (reason, message) = said(&reconciled(owned));
    assert_eq!(
        (reason, message.split(':').next()),
        ("OwnedByController", Some("VirtualService team/shop")),
        "{message}"
    );
    // Between two trials the one release that takes all is that of the delegate.
    let mut between = family();
    between.delegates[1].1.as_mut().unwrap()["spec"] = split(&[("v1", 100), ("v2", 0)])["spec"].take();
    assert_eq!(said(&reconciled(between)).0, "OneRelease");
    let mut several = family();
    several.delegates[0].1.as_mut().unwrap()["spec"] = canary()["spec"].take();
    let (reason, message) = said(&reconciled(several));
    assert_eq!(reason, "SeveralDelegatesSplit");
    assert!(
        message.starts_with("VirtualService prod/shop: its routes are delegated: VirtualService team/cart and"),
        "{message}"
    );
    let mut none = family();
    none.delegates[1].1 = None;
    let (reason, message) = said(&reconciled(none));
    assert_eq!(reason, "NoDelegateSplits");
    assert!(
        message.ends_with("VirtualService team/shop does not exist: create it, or delegate to another"),
        "{message}"
    );
}
