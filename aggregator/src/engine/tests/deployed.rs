//! The candidate's label is used again.

use super::*;
use crate::{engine::Deployed, safety::Pause};

fn deployed(created: u64, is_other: bool) -> Event {
    let deployed = Deployed { set: "shop-5d4f".to_owned(), created, is_other };
    Event::Deployed { service: "shop".to_owned(), deployed }
}

fn verdict(world: &World) -> v1::Verdict {
    world.engine.verdicts().next().unwrap().clone()
}

fn cleared(effects: &[Effect]) -> Option<String> {
    effects.iter().find_map(stage(DecisionStage::Cleared))
}

/// The old one fails now and then; nothing of it is held against the new one, nor for it.
#[test]
fn the_trial_begins_anew() {
    let (mut world, _) = World::new(&config(false), vec![]);
    world.until(40, &healthy(), roll_back);
    let before = verdict(&world);
    assert!(before.candidate_requests > 1_000, "{before:?}");
    assert_eq!(world.step(deployed(world.second - 5, false)), [], "it was not known yet which one it is");
    assert_eq!(verdict(&world), before);
    let effects = world.step(deployed(world.second - 5, true));
    assert!(matches!(&effects[..], [Effect::Publish(_)]), "{effects:?}");
    let anew = verdict(&world);
    assert_eq!(anew.sentence, "v2: deployed anew (ReplicaSet shop-5d4f), judged anew");
    assert_eq!((anew.state(), anew.candidate_requests, anew.trial_s), (VerdictState::Gathering, 0, 0));
    let (second, of) = (world.second, verdict);
    world.until(20, &healthy(), roll_back);
    assert_eq!(world.engine.trial_began("shop"), Some(second));
    let after = of(&world);
    assert!((500..=1_000).contains(&after.candidate_requests), "{}", after.candidate_requests);
    assert!(after.trial_s <= 20, "{}", after.trial_s);
}

#[test]
fn what_is_deployed_after_a_condemnation_is_judged_anew() {
    let (mut world, decision) = condemned(&config(false));
    world.until(5, &rolled_back(), stage(DecisionStage::Confirmed)).unwrap();
    let decided = UnixMicros(decision.unix_us).second();
    for is_other in [false, true] {
        assert_eq!(world.step(deployed(decided, is_other)), [], "it was there when v2 was condemned");
        assert_eq!(world.until(3, &rolled_back(), roll_back), None);
        assert!(verdict(&world).condemned);
    }
    let effects = world.step(deployed(decided + 1, true));
    let said = "v2 was deployed anew (ReplicaSet shop-5d4f): v2 may take traffic again";
    assert_eq!(cleared(&effects).as_deref(), Some(said));
    assert!(effects.iter().all(|effect| roll_back(effect).is_none()), "weights are a person's to set");
    assert_eq!(verdict(&world).sentence, "v2: deployed anew (ReplicaSet shop-5d4f), cleared and judged anew");
    assert_eq!(world.engine.held(), []);
    assert_eq!(world.step(deployed(decided + 1, true)).iter().find_map(roll_back), None);
    assert_eq!(world.until(20, &healthy(), roll_back), None, "it is well");
    let again = world.until(60, &failing(), roll_back).expect("the next that fails is condemned as well");
    assert_eq!(again, decision.id + 1);
}

/// Serin was started again, or the ReleaseGuard was made again, and does not know what was deployed before.
#[test]
fn what_is_known_for_the_first_time_is_no_other_one_and_may_be_newer() {
    let (mut before, decision) = condemned(&config(false));
    before.until(5, &rolled_back(), stage(DecisionStage::Confirmed)).unwrap();
    let (mut world, _) = World::new(&config(false), before.engine.decisions("", 9));
    world.second = before.second;
    assert_eq!(world.step(deployed(START - 1_000, false)), []);
    assert!(verdict(&world).condemned);
    let effects = world.step(deployed(UnixMicros(decision.unix_us).second() + 1, false));
    assert!(cleared(&effects).is_some(), "{effects:?}");
}

/// Written after it was lifted, it would take the new one out of traffic.
#[test]
fn a_rollback_that_is_being_written_is_waited_for() {
    let (mut world, _) = World::new(&config(false), vec![]);
    let id = world.until(60, &failing(), roll_back).unwrap();
    assert_eq!(world.step(deployed(world.second + 1, true)), []);
    assert_eq!(world.until(3, &rolled_back(), stage(DecisionStage::Cleared)), None);
    let effects = world.step(written(id));
    assert_eq!(cleared(&effects), None, "what was done is told first");
    assert!(world.until(1, &rolled_back(), stage(DecisionStage::Cleared)).is_some());
    assert_eq!(world.until(20, &healthy(), roll_back), None);
}

/// Nor is it written later: it was held back because serin was paused.
#[test]
fn a_rollback_that_is_held_back_is_not_written_any_more() {
    let (mut world, _) = World::new(&config(false), vec![]);
    world.engine.pause(Some(Pause { since: world.now(), until: None, reason: String::new() }));
    world.until(60, &failing(), stage(DecisionStage::NotWritten)).unwrap();
    let effects = world.step(deployed(world.second + 1, true));
    assert!(cleared(&effects).is_some(), "{effects:?}");
    world.engine.pause(None);
    assert_eq!(world.until(20, &healthy(), roll_back), None);
}

/// The run before ended between the two.
#[test]
fn a_lift_that_a_restart_came_before_is_made_up_for() {
    let (_, decision) = condemned(&config(false));
    let decided = UnixMicros(decision.unix_us).second();
    let (mut next, _) = World::new(&config(false), vec![decision]);
    next.second = decided + 20;
    assert_eq!(cleared(&next.step(deployed(decided, false))), None, "it was there");
    let said = "v2 was deployed anew (ReplicaSet shop-5d4f): v2 may take traffic again";
    assert_eq!(cleared(&next.step(deployed(decided + 1, false))).as_deref(), Some(said));
}
