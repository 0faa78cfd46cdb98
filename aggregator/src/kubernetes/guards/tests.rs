use proptest::prelude::*;
use serde_json::{Value, json};
use serin_kubernetes::delegates::Family;

use super::*;

fn guard(name: &str, change: impl FnOnce(&mut Value)) -> Arc<ReleaseGuard> {
    let mut guard = json!({
        "apiVersion": "serin.dev/v1alpha1", "kind": "ReleaseGuard",
        "metadata": { "name": name, "namespace": "prod", "creationTimestamp": "2026-01-01T00:00:00Z" },
        "spec": {
            "service": "shop", "vantage": "gateway", "baseline": "v1", "candidate": "v2",
            "targets": [{ "kind": "VirtualService", "name": "shop", "host": "shop" }],
        },
    });
    change(&mut guard);
    Arc::new(serde_json::from_value(guard).unwrap())
}

fn split(weights: [u32; 3]) -> Target {
    let [v1, v2, v3] = weights;
    let to =
        |subset: &str, weight: u32| json!({ "destination": { "host": "shop", "subset": subset }, "weight": weight });
    Target::Found(Family::alone(json!({
        "apiVersion": "networking.istio.io/v1", "kind": "VirtualService",
        "metadata": { "name": "shop", "namespace": "prod", "uid": "u", "resourceVersion": "1" },
        "spec": { "http": [{ "route": [to("v1", v1), to("v2", v2), to("v3", v3)] }] },
    })))
}

/// What the engine is told when this is seen.
fn seen(guards: &mut Guards, seen: &[Arc<ReleaseGuard>], target: Option<Target>) -> Vec<String> {
    seen_with(guards, seen, target, &[])
}

fn seen_with(
    guards: &mut Guards,
    seen: &[Arc<ReleaseGuard>],
    target: Option<Target>,
    pods: &[pods::Seen],
) -> Vec<String> {
    seen_at(10_000, guards, seen, target, pods)
}

fn seen_at(
    now: i64,
    guards: &mut Guards,
    seen: &[Arc<ReleaseGuard>],
    target: Option<Target>,
    pods: &[pods::Seen],
) -> Vec<String> {
    let target = |_: &str, _: &TargetRef| target.clone();
    let now = Timestamp::from_second(now).unwrap();
    let world = World {
        guards: seen.to_vec(),
        unread: BTreeSet::new(),
        target: &target,
        pods: &|_| Some(Ok(pods)),
        is_current: &|_| true,
        now,
    };
    let told = |event: Event| match event {
        Event::Guard(service) => {
            let acts = if service.rollback.has_targets() { "acting" } else { "held" };
            format!("guard {} {} {acts}", service.name, service.candidate)
        }
        Event::Unguard { service } => format!("unguard {service}"),
        other => format!("{other:?}"),
    };
    guards.reconcile(&world).into_iter().map(told).collect()
}

fn canary() -> Target {
    split([90, 10, 0])
}

fn ready(guards: &Guards, name: &str) -> String {
    let ready = &guards.kept[name].ready;
    format!("{} {}", ready.is_ready, ready.reason)
}

const NONE: [&str; 0] = [];

#[test]
fn a_guard_comes_changes_and_goes() {
    let mut guards = Guards::default();
    let shop = guard("shop", |_| ());
    assert_eq!(seen(&mut guards, &[], None), NONE);
    assert_eq!(seen(&mut guards, &[Arc::clone(&shop)], None), NONE, "its target is not listed yet");
    assert_eq!(seen(&mut guards, &[Arc::clone(&shop)], Some(canary())), ["guard shop v2 acting"]);
    assert_eq!(ready(&guards, "prod/shop"), "true Guarding");
    assert_eq!(seen(&mut guards, &[Arc::clone(&shop)], Some(canary())), NONE, "nothing new");
    let next = guard("shop", |guard| guard["spec"]["candidate"] = "v3".into());
    let next = [next];
    assert_eq!(
        seen(&mut guards, &next, Some(split([70, 10, 20]))),
        ["unguard shop"],
        "v2 has a share, and is not named"
    );
    assert_eq!(seen(&mut guards, &next, Some(split([80, 0, 20]))), ["guard shop v3 acting"]);
    assert_eq!(seen(&mut guards, &[], Some(canary())), ["unguard shop"]);
}

/// What goes wrong in the middle of a trial: it is judged on, and not acted on until it is well again.
#[test]
fn trouble_in_the_middle_of_a_trial() {
    let shop = guard("shop", |_| ());
    let troubles = [
        (Target::Missing, "false TargetNotFound"),
        (split([70, 10, 20]), "false ThirdRelease"),
        (Target::NotWatched("403".to_owned()), "false NotWatched"),
    ];
    for (trouble, said) in troubles {
        let mut guards = Guards::default();
        assert_eq!(seen(&mut guards, &[Arc::clone(&shop)], Some(trouble.clone())), NONE, "never begun");
        assert_eq!(ready(&guards, "prod/shop"), said);
        assert_eq!(seen(&mut guards, &[Arc::clone(&shop)], Some(canary())), ["guard shop v2 acting"]);
        assert_eq!(seen(&mut guards, &[Arc::clone(&shop)], Some(trouble)), ["guard shop v2 held"]);
        assert_eq!(ready(&guards, "prod/shop"), said);
        assert_eq!(seen(&mut guards, &[Arc::clone(&shop)], Some(canary())), ["guard shop v2 acting"]);
    }
    let mut guards = Guards::default();
    seen(&mut guards, &[Arc::clone(&shop)], Some(canary()));
    let odd = guard("shop", |guard| guard["spec"]["rules"] = json!({ "regression": "0.1%" }));
    assert_eq!(seen(&mut guards, &[odd], Some(canary())), ["guard shop v2 held"]);
    assert_eq!(ready(&guards, "prod/shop"), "false Invalid");
}

/// A restart: the status has the pair that was found before.
#[test]
fn a_restart_goes_on_with_the_pair_of_the_status() {
    let found = guard("shop", |guard| {
        let spec = guard["spec"].as_object_mut().unwrap();
        spec.retain(|key, _| key != "baseline" && key != "candidate");
        guard["status"] = json!({ "baseline": "v1", "candidate": "v2" });
    });
    let mut guards = Guards::default();
    assert_eq!(seen(&mut guards, &[found], Some(Target::Missing)), ["guard shop v2 held"]);
}

/// Blue and green, across a restart between the promotion of v2 and the next v1.
#[test]
fn a_promotion_is_remembered() {
    let found = |status: Value| {
        guard("shop", |guard| {
            guard["spec"].as_object_mut().unwrap().retain(|key, _| key != "baseline" && key != "candidate");
            guard["status"] = status;
        })
    };
    let (old, young) = ([pod("v1", 1_000), pod("v2", 2_000)], [pod("v1", 5_000), pod("v2", 2_000)]);
    let shop = [found(json!({}))];
    let mut guards = Guards::default();
    let mut told = |split_as, pods| seen_with(&mut guards, &shop, Some(split(split_as)), pods);
    assert_eq!(told([90, 10, 0], &old), ["guard shop v2 acting"]);
    assert_eq!(told([0, 100, 0], &old), NONE);
    assert_eq!(told([10, 90, 0], &young), ["guard shop v1 acting"]);
    let after = |promoted: bool| {
        let shop = [found(json!({ "baseline": "v1", "candidate": "v2", "promoted": promoted }))];
        seen_with(&mut Guards::default(), &shop, Some(split([10, 90, 0])), &young)
    };
    assert_eq!(after(true), ["guard shop v1 acting"]);
    assert_eq!(after(false), ["guard shop v2 acting"], "its trial goes on");
}

/// A restart in the middle of a trial: the engine is told once, after all that it needs to judge the past.
#[test]
fn a_restart_tells_which_trial_was_running() {
    let on_trial = |change: fn(&mut Value)| {
        let mut guards = Guards::default();
        let shop = guard("shop", |guard| {
            guard["metadata"]["generation"] = 3.into();
            guard["status"] = json!({
                "observedGeneration": 3, "baseline": "v1", "candidate": "v2", "trialStartTime": "1970-01-01T01:00:00Z",
            });
            change(guard);
        });
        let pods = [pods::Seen { started: Timestamp::from_second(2_000).ok(), ..pod("v2", 1_000) }];
        assert_eq!(seen_with(&mut guards, &[Arc::clone(&shop)], None, &pods), NONE, "its target is not listed yet");
        let told = seen_with(&mut guards, &[Arc::clone(&shop)], Some(canary()), &pods);
        assert_eq!(seen_with(&mut guards, &[shop], Some(canary()), &pods), NONE, "once");
        assert_eq!(told[0], "guard shop v2 acting");
        assert!(told[1].starts_with("PodsStarted"), "{told:?}");
        told.get(2).cloned().unwrap_or_default()
    };
    assert_eq!(on_trial(|_| ()), "Restarted { service: \"shop\", trial: Ok(3600) }");
    assert_eq!(on_trial(|guard| guard["status"]["trialStartTime"] = Value::Null), "", "nothing was on trial");
    assert_eq!(on_trial(|guard| guard["status"] = Value::Null), "", "it is new");
    let says = |told: String, why: &str| assert!(told.contains("Err(") && told.contains(why), "{told}");
    says(on_trial(|guard| guard["status"]["candidate"] = "v3".into()), "v3 was on trial against v1, judged anew");
    says(on_trial(|guard| guard["status"]["observedGeneration"] = 2.into()), "ReleaseGuard was changed");
}

#[test]
fn of_two_guards_of_a_service_the_older_one_is_heard() {
    let older = guard("z", |_| ());
    let younger = guard("a", |guard| {
        guard["metadata"]["creationTimestamp"] = "2026-02-01T00:00:00Z".into();
        guard["spec"]["candidate"] = "v3".into();
    });
    let both = [Arc::clone(&older), Arc::clone(&younger)];
    let mut guards = Guards::default();
    assert_eq!(seen(&mut guards, &both, Some(canary())), ["guard shop v2 acting"]);
    assert_eq!(ready(&guards, "prod/a"), "false ServiceTaken");
    assert!(guards.kept["prod/a"].ready.message.contains("guarded by prod/z already"));
    assert_eq!(seen(&mut guards, &[younger], Some(split([80, 0, 20]))), ["guard shop v3 acting"]);
    let mut configured = Guards::new(["shop".to_owned()].into());
    assert_eq!(seen(&mut configured, &[older], Some(canary())), NONE);
    assert!(configured.kept["prod/z"].ready.message.contains("guarded by serin.yaml already"));
}

/// The watch has them in any order.
#[test]
fn of_too_many_the_youngest_are_not_heard() {
    let of = |at: usize| {
        guard(&format!("shop-{at}"), |guard| {
            guard["spec"]["service"] = format!("shop-{at}").into();
            guard["metadata"]["creationTimestamp"] =
                Timestamp::from_second(1_000_000 + at as i64).unwrap().to_string().into();
        })
    };
    let mut all: Vec<Arc<ReleaseGuard>> = (0..MAX_GUARDS + 2).rev().map(of).collect();
    all.rotate_left(500);
    let mut guards = Guards::default();
    assert_eq!(seen(&mut guards, &all, Some(canary())).len(), MAX_GUARDS);
    let unheard = guards.kept().filter(|(_, kept)| !kept.ready.is_ready).map(|(name, _)| name.as_str());
    assert_eq!(unheard.collect::<Vec<_>>(), ["prod/shop-1000", "prod/shop-1001"]);
}

/// Serin is older than its CRD, say.
#[test]
fn one_that_cannot_be_read_any_more_stays_as_it_was() {
    let mut guards = Guards::default();
    seen(&mut guards, &[guard("shop", |_| ())], Some(canary()));
    let (target, now) = (|_: &str, _: &TargetRef| None, Timestamp::from_second(10_000).unwrap());
    let unread = ["prod/shop", "prod/other"].map(str::to_owned).into();
    let is_current = |_: &ObjectRef| true;
    let world = World { guards: Vec::new(), unread, target: &target, pods: &|_| None, is_current: &is_current, now };
    assert_eq!(guards.reconcile(&world).len(), 0);
    assert!(guards.is_kept("prod/shop") && !guards.is_kept("prod/other"));
}

#[test]
fn one_that_is_made_anew_begins_anew() {
    let with_uid = |uid: &str| guard("shop", |guard| guard["metadata"]["uid"] = uid.into());
    let mut guards = Guards::default();
    seen(&mut guards, &[with_uid("1")], Some(canary()));
    assert_eq!(seen(&mut guards, &[with_uid("1")], Some(Target::Missing)), ["guard shop v2 held"]);
    assert_eq!(seen(&mut guards, &[with_uid("2")], Some(Target::Missing)), ["unguard shop"]);
}

#[test]
fn one_that_is_being_deleted_is_gone() {
    let mut guards = Guards::default();
    seen(&mut guards, &[guard("shop", |_| ())], Some(canary()));
    let going = guard("shop", |guard| guard["metadata"]["deletionTimestamp"] = "2026-02-01T00:00:00Z".into());
    assert_eq!(seen(&mut guards, &[going], Some(canary())), ["unguard shop"]);
}

/// Pods that start again are told, those of a node whose clock is off are not.
#[test]
fn the_engine_is_told_when_pods_were_started() {
    let pod = |name: &str, app: &str, started: i64| pods::Seen {
        name: name.to_owned(),
        ip: format!("ip-{name}"),
        node: format!("of-{name}"),
        app: Some(app.to_owned()),
        started: Timestamp::from_second(started).ok(),
        ..pod("v2", 1_000)
    };
    let shop = [guard("shop", |_| ())];
    let mut guards = Guards::default();
    let mut told = |pods: &[pods::Seen]| seen_with(&mut guards, &shop, Some(canary()), pods);
    let first = told(&[pod("a", "shop", 2_000), pod("b", "cart", 2_000), pod("c", "shop", 99_000)]);
    assert_eq!(first[0], "guard shop v2 acting");
    assert!(first[1].contains("\"a\": 2000") && first[1].contains("\"ip-a\": 2000"), "{first:?}");
    assert!(!first[1].contains("\"b\"") && !first[1].contains("\"c\""), "{first:?}");
    assert_eq!(told(&[pod("a", "shop", 2_000)]), NONE);
    assert!(told(&[pod("a", "shop", 3_000)])[0].contains("3000"));
}

/// A ready pod of a ReplicaSet, made by the one Deployment.
fn pod_of(set: &str, created: i64) -> pods::Seen {
    let created = Timestamp::from_second(created).unwrap();
    let (uid, name) = (format!("uid-{set}"), set.to_owned());
    let set = pods::Set { created, uid, name, made_by: Some("deployment".to_owned()) };
    pods::Seen { name: format!("pod-of-{}", set.name), set: Some(set), ..pod("v2", 1_000) }
}

fn deployed(set: &str, created: u64, is_other: bool) -> String {
    let deployed = crate::engine::Deployed { set: set.to_owned(), created, is_other };
    format!("{:?}", Event::Deployed { service: "shop".to_owned(), deployed })
}

/// The engine is told when the candidate's label is given to another ReplicaSet, once.
#[test]
fn a_candidate_is_deployed_anew() {
    let shop = [guard("shop", |_| ())];
    let mut guards = Guards::default();
    let mut told = |pods: &[pods::Seen], target| seen_with(&mut guards, &shop, Some(target), pods);
    let (a, b) = (pod_of("a", 1_000), pod_of("b", 2_000));
    assert_eq!(
        told(std::slice::from_ref(&a), canary()),
        ["guard shop v2 acting".to_owned(), deployed("a", 1_000, false)]
    );
    assert_eq!(told(std::slice::from_ref(&a), canary()), NONE);
    assert_eq!(told(&[a.clone(), b.clone()], canary()), NONE, "it is not rolled out");
    assert_eq!(told(std::slice::from_ref(&b), canary()), [deployed("b", 2_000, true)]);
    assert_eq!(told(std::slice::from_ref(&b), canary()), NONE);
    // Out of traffic it is watched as well, and where its guard waits.
    assert_eq!(told(&[], split([100, 0, 0])), NONE);
    assert_eq!(told(std::slice::from_ref(&a), split([100, 0, 0])), [deployed("a", 1_000, true)]);
    assert_eq!(
        told(std::slice::from_ref(&b), Target::Missing),
        ["guard shop v2 held".to_owned(), deployed("b", 2_000, true)]
    );
    assert_eq!(guards.kept["prod/shop"].redeployed.anew.as_ref().map(|set| set.name.as_str()), Some("b"));
    assert_eq!(guards.kept["prod/shop"].redeployed.set("v2").map(|set| set.name), Some("b".to_owned()));
    // Another candidate is another trial anyway.
    let next = [guard("shop", |guard| guard["spec"]["candidate"] = "v3".into())];
    let of_v3 = [pods::Seen { release: Some("v3".to_owned()), ..a }];
    let told = seen_with(&mut guards, &next, Some(split([80, 0, 20])), &of_v3);
    assert_eq!(told, ["guard shop v3 acting".to_owned(), deployed("a", 1_000, false)]);
    assert_eq!(guards.kept["prod/shop"].redeployed.anew, None);
}

/// Nobody knows the pods for a while: what was known stays.
#[test]
fn pods_that_are_not_known_are_no_deployment() {
    let shop = [guard("shop", |_| ())];
    let mut guards = Guards::default();
    seen_with(&mut guards, &shop, Some(canary()), &[pod_of("a", 1_000)]);
    let (target, now) = (|_: &str, _: &TargetRef| Some(canary()), Timestamp::from_second(10_000).unwrap());
    let is_current = |_: &ObjectRef| true;
    for pods in [None, Some(Err("replicasets: Forbidden (403)"))] {
        let world = World {
            guards: shop.to_vec(),
            unread: BTreeSet::new(),
            target: &target,
            pods: &|_| pods,
            is_current: &is_current,
            now,
        };
        guards.reconcile(&world);
    }
    assert_eq!(guards.kept["prod/shop"].redeployed.set("v2").map(|set| set.name), Some("a".to_owned()));
    let told = seen_with(&mut guards, &shop, Some(canary()), &[pod_of("b", 2_000)]);
    assert!(told.contains(&deployed("b", 2_000, true)), "{told:?}");
}

/// Killed, and started again: compared with what the status says of before. What was counted before a deployment is not judged again.
#[test]
fn a_deployment_while_serin_was_away() {
    let after = |candidate: &str, known: Option<&str>, pods: &[pods::Seen]| {
        let shop = guard("shop", |guard| {
            guard["metadata"]["generation"] = 3.into();
            guard["status"] = json!({
                "observedGeneration": 3, "baseline": "v1", "candidate": candidate, "trialStartTime": "1970-01-01T01:00:00Z",
            });
            if let Some(set) = known {
                let created = Timestamp::from_second(1_000).unwrap().to_string();
                guard["status"]["replicaSet"] =
                    json!({ "name": set, "uid": format!("uid-{set}"), "creationTimestamp": created });
            }
        });
        let mut guards = Guards::default();
        let told = seen_with(&mut guards, &[shop], Some(canary()), pods);
        assert_eq!(told[0], "guard shop v2 acting");
        told[1..].join(" ")
    };
    let goes_on = "Restarted { service: \"shop\", trial: Ok(3600) }";
    let (a, b) = (pod_of("a", 1_000), pod_of("b", 2_000));
    // The engine is told again: it may have ended while a rollback was being written, before it could lift the condemnation of another one.
    let as_before = format!("{} {goes_on}", deployed("a", 1_000, false));
    assert_eq!(after("v2", Some("a"), std::slice::from_ref(&a)), as_before);
    assert_eq!(after("v2", Some("a"), &[]), as_before, "its pods are away");
    assert_eq!(after("v2", Some("a"), &[a, b.clone()]), as_before, "not rolled out");
    assert_eq!(after("v2", Some("a"), std::slice::from_ref(&b)), deployed("b", 2_000, true));
    let unknown = format!("{} {goes_on}", deployed("b", 2_000, false));
    assert_eq!(after("v2", None, std::slice::from_ref(&b)), unknown);
    let other = after("v3", Some("a"), &[b]);
    assert!(other.starts_with(&deployed("b", 2_000, false)) && other.contains("v3 was on trial"), "{other}");
}

/// The candidate's share of the weights, where the requests are held against it.
#[test]
fn the_engine_is_told_what_the_weights_promise() {
    let shop = [guard("shop", |guard| guard["spec"]["rules"] = json!({ "throughput": "judged" }))];
    let weighed = |share: &str| format!("Weighed {{ service: \"shop\", share: {share} }}");
    let mut guards = Guards::default();
    let mut told = |target| seen(&mut guards, &shop, Some(target));
    assert_eq!(told(canary()), ["guard shop v2 acting".to_owned(), weighed("Some(0.1)")]);
    assert_eq!(told(canary()), NONE);
    assert_eq!(told(split([80, 20, 0])), [weighed("Some(0.2)")]);
    assert_eq!(told(Target::Missing), ["guard shop v2 held".to_owned(), weighed("None")]);
    assert_eq!(told(canary()), ["guard shop v2 acting".to_owned(), weighed("Some(0.1)")]);
    // A pair that is new to the engine has no weight there.
    let next = [guard("shop", |guard| {
        guard["spec"]["rules"] = json!({ "throughput": "judged" });
        guard["spec"]["candidate"] = "v3".into();
    })];
    assert_eq!(
        seen(&mut guards, &next, Some(split([90, 0, 10]))),
        ["guard shop v3 acting".to_owned(), weighed("Some(0.1)")]
    );
    // Its watch is cut: the weight may be another one by now.
    let (target, now) = (|_: &str, _: &TargetRef| Some(split([90, 0, 10])), Timestamp::from_second(10_000).unwrap());
    let (guards_seen, unread) = (next.to_vec(), BTreeSet::new());
    let is_current = |_: &ObjectRef| false;
    let world =
        World { guards: guards_seen, unread, target: &target, pods: &|_| Some(Ok(&[])), is_current: &is_current, now };
    let told: Vec<String> = guards.reconcile(&world).iter().map(|event| format!("{event:?}")).collect();
    assert_eq!(told, [weighed("None")]);
}

/// Its node is a minute ahead. When our clock is where its start is, the engine would take it for a restart.
#[test]
fn a_start_that_was_in_the_future_is_never_told() {
    let shop = [guard("shop", |_| ())];
    let ahead = [pods::Seen { started: Timestamp::from_second(10_060).ok(), ..pod("v2", 9_999) }];
    let mut guards = Guards::default();
    let mut told = |now| seen_at(now, &mut guards, &shop, Some(canary()), &ahead);
    let first = told(10_001);
    assert!(first[0] == "guard shop v2 acting" && !first.iter().any(|told| told.contains("10060")), "{first:?}");
    for now in [10_059, 10_060, 10_100, 13_000, 20_000] {
        assert_eq!(told(now), NONE, "{now}");
    }
}

/// What is seen of the target: `None` is an API server that has not told yet.
fn any_target() -> impl Strategy<Value = Option<Target>> {
    prop_oneof![
        4 => Just(Some(canary())),
        2 => Just(Some(split([100, 0, 0]))),
        1 => Just(Some(split([70, 10, 20]))),
        1 => Just(Some(split([80, 0, 20]))),
        1 => Just(Some(split([0, 0, 0]))),
        1 => Just(Some(Target::Missing)),
        1 => Just(Some(Target::NotWatched("403".to_owned()))),
        2 => Just(None),
    ]
}

fn pod(release: &str, second: i64) -> pods::Seen {
    let at = |second| Timestamp::from_second(second).unwrap();
    pods::Seen {
        name: format!("shop-{release}"),
        ip: String::new(),
        node: "n1".to_owned(),
        app: Some("shop".to_owned()),
        release: Some(release.to_owned()),
        created: at(second),
        started: None,
        is_ready: true,
        is_leaving: false,
        has_ended: false,
        owner: None,
        set: None,
    }
}

proptest! {
    /// Whatever is seen in whatever order: what acts is ready, what is not told changes nothing, and what the engine was told adds up.
    #[test]
    fn only_what_is_ready_acts(
        steps in proptest::collection::vec((any_target(), 0..4_u8, 0..3_usize), 1..40),
        named in any::<bool>(),
    ) {
        let found = guard("shop", |guard| {
            guard["spec"].as_object_mut().unwrap().retain(|key, _| named || (key != "baseline" && key != "candidate"));
        });
        let pods = [pod("v1", 1_000), pod("v2", 2_000), pod("v3", 3_000)];
        let mut guards = Guards::default();
        let mut engine = BTreeMap::new();
        for (target, there, without) in steps {
            let target = |_: &str, _: &TargetRef| target.clone();
            let seen: Vec<Arc<ReleaseGuard>> = (there > 0).then(|| Arc::clone(&found)).into_iter().collect();
            let here: Vec<pods::Seen> = pods.iter().skip(without).cloned().collect();
            let of_pods = |_: &str| Some(Ok(here.as_slice()));
            let now = Timestamp::from_second(10_000).unwrap();
            let is_current = |_: &ObjectRef| true;
            let unread = BTreeSet::new();
            let world =
                World { guards: seen, unread, target: &target, pods: &of_pods, is_current: &is_current, now };
            let is_told = (world.target)("prod", &found.spec.targets[0]).is_some();
            let before = engine.clone();
            for event in guards.reconcile(&world) {
                match event {
                    Event::Guard(service) => drop(engine.insert(service.name.clone(), service)),
                    Event::Unguard { service } => drop(engine.remove(&service)),
                    _ => {}
                }
            }
            if there == 0 {
                prop_assert!(engine.is_empty());
            } else if !is_told {
                prop_assert_eq!(&engine, &before);
            } else {
                let kept = &guards.kept["prod/shop"];
                let acts = engine.get("shop").is_some_and(|service| service.rollback.has_targets());
                prop_assert_eq!(acts, kept.ready.is_ready, "{:?}", kept);
                let judged = engine.get("shop").map(|service| service.candidate.as_str());
                prop_assert_eq!(judged, kept.pair.as_ref().map(|pair| pair.candidate.as_str()));
            }
        }
    }
}
