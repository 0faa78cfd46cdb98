//! Services that come, change and go at run time.

use proptest::prelude::*;

use super::*;

fn shop(change: impl FnOnce(&mut Service)) -> Event {
    let mut service = config(false).services.remove(0);
    change(&mut service);
    Event::Guard(Arc::new(service))
}

fn without_services() -> Config {
    Config { services: Vec::new(), ..config(false) }
}

/// With no service, seconds go by unjudged; one that comes is judged, and one that goes is not any more.
#[test]
fn a_service_comes_and_goes() {
    let (mut world, _) = World::new(&without_services(), vec![]);
    assert_eq!(world.until(30, &failing(), roll_back), None);
    world.step(shop(|_| ()));
    let id = world.until(60, &failing(), roll_back).expect("it is judged");
    world.step(Event::Unguard { service: "shop".to_owned() });
    assert_eq!(world.engine.verdicts().count(), 0);
    assert_eq!(world.until(60, &failing(), roll_back), None);
    // The order was on its way when it went.
    let effects = world.step(written(id));
    assert!(effects.iter().any(|effect| stage(DecisionStage::Written)(effect).is_some()), "{effects:?}");
}

#[test]
fn a_condemned_release_stays_condemned_while_others_are_on_trial() {
    let (mut world, _) = World::new(&without_services(), vec![]);
    world.step(shop(|_| ()));
    let id = world.until(60, &failing(), roll_back).unwrap();
    world.step(written(id));
    world.until(5, &rolled_back(), stage(DecisionStage::Confirmed)).unwrap();
    world.step(shop(|service| service.candidate = "v3".into()));
    assert!(world.engine.verdicts().all(|verdict| !verdict.condemned && verdict.candidate == "v3"));
    world.until(40, &rolled_back(), roll_back);
    assert_eq!(world.step(shop(|_| ())), [], "its rollback is in effect");
    assert!(world.engine.verdicts().all(|verdict| verdict.condemned));
    assert!(world.until(5, &healthy(), roll_back).is_some(), "and it is not let back in");
}

/// Blue and green: who was the baseline is on trial, judged anew; also where the name was condemned once and cleared since.
#[test]
fn a_name_that_was_the_baseline_is_judged_anew() {
    let turned = || {
        shop(|service| {
            (service.baseline, service.candidate) = ("v2".into(), "v1".into());
        })
    };
    let blue_fails = [delta("v2", Outcome::Success, 50), delta("v1", Outcome::ServerError, 50)];
    let (mut world, _) = World::new(&without_services(), vec![]);
    world.step(shop(|_| ()));
    let green = world.until(60, &failing(), roll_back).unwrap();
    world.step(written(green));
    // A trial begins with the last minute.
    assert_eq!(world.until(61, &rolled_back(), roll_back), None);
    world.engine.clear("shop", "v2", world.now()).unwrap();
    assert_eq!(world.until(5, &healthy(), roll_back), None);
    assert_eq!(world.step(turned()), []);
    assert!(world.engine.verdicts().all(|verdict| !verdict.condemned && verdict.candidate == "v1"));
    let blue = world.until(60, &blue_fails, roll_back).expect("what is known of v1 as a baseline does not help it");
    assert_ne!(blue, green);
    world.step(written(blue));
    world.step(shop(|_| ()));
    assert!(world.engine.verdicts().all(|verdict| !verdict.condemned && verdict.candidate == "v2"));
    assert_eq!(world.until(60, &healthy(), roll_back), None);
    assert_eq!(world.step(turned()), [], "its rollback is in effect");
    assert!(world.engine.verdicts().all(|verdict| verdict.condemned), "until a person clears it");
}

/// What was decided in a dry run is written once it is meant, as after a restart; and only once.
#[test]
fn a_dry_run_that_is_meant_now_is_written() {
    let (mut world, _) = World::new(&without_services(), vec![]);
    world.step(shop(|service| service.rollback.dry_run = true));
    let id = world.until(60, &failing(), roll_back).unwrap();
    world.step(Event::Written { decision: id, results: vec![Written::DryRun("dry run: v2 50 -> 0".into())] });
    let effects = world.step(shop(|_| ()));
    assert_eq!(effects.iter().filter_map(roll_back).collect::<Vec<_>>(), [id]);
    assert_eq!(world.step(shop(|service| service.rollback.confirm_within *= 2)), [], "its order is on its way");
}

/// How many seconds until the decision, with these events after each second.
fn decided_after(events: impl Fn(u64) -> Vec<Event>) -> Option<u64> {
    let (mut world, _) = World::new(&without_services(), vec![]);
    world.step(shop(|_| ()));
    (0..120).find(|second| {
        let decided = world.second(failing()).iter().any(|effect| roll_back(effect).is_some());
        events(*second).into_iter().for_each(|event| drop(world.step(event)));
        decided
    })
}

#[test]
fn another_rollback_begins_no_new_trial() {
    let once =
        |change: fn(&mut Service)| decided_after(move |at| (at == 0).then(|| shop(change)).into_iter().collect());
    let undisturbed = decided_after(|_| vec![]);
    assert!(undisturbed.is_some_and(|after| after >= 1), "{undisturbed:?}");
    assert_eq!(once(|service| service.rollback.confirm_within *= 2), undisturbed);
}

#[test]
fn other_rules_begin_a_new_trial() {
    let (mut world, _) = World::new(&without_services(), vec![]);
    world.step(shop(|_| ()));
    world.until(3, &healthy(), roll_back);
    let sentence = |world: &World| world.engine.verdicts().next().unwrap().sentence.clone();
    assert!(!sentence(&world).contains("judged anew"), "{}", sentence(&world));
    world.step(shop(|service| service.throughput = true));
    assert!(sentence(&world).contains("the rules changed, judged anew"), "{}", sentence(&world));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    /// A resync says the same again, and other services come and go: the trial takes as long as without.
    #[test]
    fn what_does_not_change_does_not_begin_anew(others in proptest::collection::vec(0..4_u8, 120)) {
        let other = |at: u64| match others[usize::try_from(at).unwrap()] {
            0 => vec![],
            1 => vec![shop(|_| ())],
            2 => vec![shop(|service| service.name = "cart".into())],
            _ => vec![Event::Unguard { service: "cart".to_owned() }, shop(|_| ())],
        };
        prop_assert_eq!(decided_after(other), decided_after(|_| vec![]));
    }
}
