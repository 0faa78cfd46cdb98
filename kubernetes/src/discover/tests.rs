use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::{
    intent::Intent,
    plan::{Plan, plan},
    release_guard::TargetKind,
};

fn target(host: &str, subset: Option<&str>) -> TargetRef {
    let subset = subset.map(str::to_owned);
    TargetRef { kind: TargetKind::VirtualService, name: "shop".to_owned(), host: host.to_owned(), subset }
}

/// A VirtualService with routes of (subset, weight).
fn routes(routes: &[&[(&str, u32)]]) -> Value {
    let route = |destinations: &&[(&str, u32)]| {
        let destination = |(subset, weight): &(&str, u32)| json!({ "destination": { "host": "shop", "subset": subset }, "weight": weight });
        json!({ "route": destinations.iter().map(destination).collect::<Vec<_>>() })
    };
    json!({
        "apiVersion": "networking.istio.io/v1", "kind": "VirtualService",
        "metadata": { "name": "shop", "namespace": "prod", "uid": "u", "resourceVersion": "1" },
        "spec": { "http": routes.iter().map(route).collect::<Vec<_>>() },
    })
}

fn pod(release: &str, since: i64) -> Pod {
    Pod { release: release.to_owned(), since: Timestamp::from_second(since).unwrap(), ready: true }
}

fn pods() -> Vec<Pod> {
    vec![pod("v2", 2_000), pod("v1", 1_000), pod("v1", 9_000)]
}

fn pair(baseline: &str, candidate: &str) -> Pair {
    Pair { baseline: baseline.to_owned(), candidate: candidate.to_owned() }
}

fn found(object: &Value, pods: &[Pod], before: Option<&Pair>) -> Result<Pair, NoTrial> {
    discover(object, &target("shop", None), "prod", pods, before)
}

#[test]
fn the_newer_with_the_smaller_share_is_on_trial() {
    let v1_v2 = Ok(pair("v1", "v2"));
    assert_eq!(found(&routes(&[&[("v1", 90), ("v2", 10)]]), &pods(), None), v1_v2);
    assert_eq!(found(&routes(&[&[("v2", 50), ("v1", 50)]]), &pods(), None), v1_v2);
    // Testers, and a release that has no share any more.
    let object = routes(&[&[("v2", 100)], &[("v1", 90), ("v2", 10), ("v0", 0)]]);
    assert_eq!(found(&object, &pods(), None), v1_v2);
    // Two routes count alike, whatever their weights add up to.
    assert_eq!(found(&routes(&[&[("v1", 9), ("v2", 1)], &[("v1", 450), ("v2", 550)]]), &pods(), None), v1_v2);
}

#[test]
fn nothing_is_guessed() {
    let check = |object: &Value, pods: &[Pod], expected: NoTrial| {
        assert_eq!(found(object, pods, None), Err(expected));
    };
    let half = routes(&[&[("v1", 90), ("v2", 10)]]);
    let release = |release: &str| release.to_owned();
    check(&routes(&[&[("v1", 100), ("v2", 0)]]), &pods(), NoTrial::OneRelease { release: Some(release("v1")) });
    check(&routes(&[&[("v1", 0), ("v2", 0)]]), &pods(), NoTrial::OneRelease { release: None });
    check(&routes(&[&[("v1", 100)]]), &pods(), NoTrial::OneRelease { release: Some(release("v1")) });
    check(&routes(&[]), &pods(), NoTrial::OneRelease { release: None });
    let three = routes(&[&[("v1", 60), ("v2", 20), ("v3", 20)]]);
    check(&three, &pods(), NoTrial::ManyReleases(vec![release("v1"), release("v2"), release("v3")]));
    check(&half, &pods()[..1], NoTrial::NoPods { release: release("v1") });
    check(&half, &[pod("v1", 5), pod("v2", 5)], NoTrial::SameAge(pair("v1", "v2")));
    check(&routes(&[&[("v1", 10), ("v2", 90)]]), &pods(), NoTrial::AgeAgainstWeight(pair("v1", "v2")));
    let mut cold = pods();
    cold.iter_mut().filter(|pod| pod.release == "v1").for_each(|pod| pod.ready = false);
    check(&half, &cold, NoTrial::BaselineNotReady { release: release("v1") });
    check(&json!({ "kind": "Deployment", "apiVersion": "apps/v1" }), &pods(), NoTrial::UnknownKind);
    let mut odd = half;
    odd["spec"]["http"][0]["route"][0]["weight"] = (-5).into();
    let place = "VirtualService prod/shop http[0]".to_owned();
    check(&odd, &pods(), NoTrial::WeightInvalid { place, written: "-5".to_owned() });
}

/// While the candidate gets more and more, and while pods come and go.
#[test]
fn a_pair_stays_as_long_as_both_are_there() {
    let before = pair("v1", "v2");
    let young = [pod("v1", 5_000), pod("v2", 2_000)];
    for weight in [1, 50, 99] {
        let object = routes(&[&[("v1", 100 - weight), ("v2", weight)]]);
        assert_eq!(found(&object, &young, Some(&before)), Ok(before.clone()));
    }
    // The next trial.
    let pods = [pod("v2", 2_000), pod("v3", 3_000)];
    let object = routes(&[&[("v2", 90), ("v3", 10)]]);
    assert_eq!(found(&object, &pods, Some(&before)), Ok(pair("v2", "v3")));
}

#[test]
fn names_by_template() {
    let object = routes(&[&[("r-v1", 90), ("r-v2", 10), ("other", 50)]]);
    let by = |target: &TargetRef, object: &Value| discover(object, target, "prod", &pods(), None);
    assert_eq!(by(&target("shop", Some("r-{release}")), &object), Ok(pair("v1", "v2")));
    assert_eq!(by(&target("shop.prod", Some("r-{release}")), &object), Ok(pair("v1", "v2")));
    assert_eq!(by(&target("cart", Some("r-{release}")), &object), Err(NoTrial::OneRelease { release: None }));
    let route = json!({
        "apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute",
        "metadata": { "name": "shop", "namespace": "prod" },
        "spec": { "rules": [{ "backendRefs": [{ "name": "shop-v1", "weight": 9 }, { "name": "shop-v2" }, { "name": "shop-" }] }] },
    });
    assert_eq!(by(&target("shop-{release}", None), &route), Ok(pair("v1", "v2")));
    assert_eq!(by(&target("shop-{release}.prod.svc", None), &route), Ok(pair("v1", "v2")));
    assert_eq!(by(&target("shop-{release}.test", None), &route), Err(NoTrial::OneRelease { release: None }));
}

#[test]
fn releases_of_pods() {
    let check = |labels: &[(&str, &str)], expected| {
        let labels = labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        assert_eq!(release_of(&labels), expected);
    };
    check(&[("version", "v1"), ("release", "r1")], Some("v1"));
    check(&[("version", ""), ("release", "r1")], Some("r1"));
    check(&[("app", "shop")], None);
}

proptest! {
    /// What is found can be rolled back: the plan for it finds the candidate, and afterwards there is no trial.
    #[test]
    fn a_trial_that_is_found_can_be_rolled_back(weights in prop::collection::vec((0..=100u32, 0..=100u32), 1..4)) {
        let all: Vec<[(&str, u32); 2]> = weights.iter().map(|(v1, v2)| [("v1", *v1), ("v2", *v2)]).collect();
        let object = routes(&all.iter().map(|route| &route[..]).collect::<Vec<_>>());
        if let Ok(pair) = found(&object, &pods(), None) {
            prop_assert_eq!(&pair, &Pair { baseline: "v1".to_owned(), candidate: "v2".to_owned() });
            let Plan::Change(change) = plan(&object, &Intent::subsets("shop", "prod", "v1", "v2")) else { panic!() };
            let mut after = object.clone();
            json_patch::patch(&mut after, &change.patch).unwrap();
            prop_assert_eq!(
                found(&after, &pods(), None),
                Err(NoTrial::OneRelease { release: Some("v1".to_owned()) })
            );
        }
    }
}
