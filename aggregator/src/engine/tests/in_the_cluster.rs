//! Rollbacks that others may write back, and replicas of which one acts.

use serin_kubernetes::release_guard::{TargetKind, TargetRef};

use super::*;
use crate::config::Object;
use crate::safety::Pause;

/// One object and no file, held for two minutes.
fn object() -> Config {
    let mut config = config(false);
    let (name, host, subset) = ("shop".to_owned(), "shop".to_owned(), Some("{release}".to_owned()));
    let target = TargetRef { kind: TargetKind::VirtualService, name, host, subset };
    let object = Object { object: target.object("shop-ns").unwrap(), namespace: "shop-ns".to_owned(), target };
    let rollback = &mut config.services[0].rollback;
    (rollback.targets, rollback.objects, rollback.hold) = (Vec::new(), vec![object], Duration::from_secs(120));
    config
}

fn results(world: &mut World, decision: u64, results: Vec<Written>) -> Vec<Effect> {
    world.step(Event::Written { decision, results })
}

#[test]
fn a_standby_acts_on_what_is_still_condemned_when_it_leads() {
    let (mut world, _) = World::new(&object(), vec![]);
    let id = world.until(60, &failing(), roll_back).unwrap();
    results(&mut world, id, vec![Written::Standby("this replica is standby".into())]);
    assert_eq!(world.engine.held(), []);
    // It says so once, however long the candidate gets requests.
    assert_eq!(world.until(100, &failing(), |effect| matches!(effect, Effect::Persist(_)).then_some(())), None);
    assert_eq!(world.step(Event::Leads).iter().find_map(roll_back), Some(id));
    assert!(world.step(Event::Leads).is_empty(), "it is being written");
    results(&mut world, id, vec![Written::Done("v2 10 -> 0".into())]);
    assert!(world.until(5, &rolled_back(), stage(DecisionStage::Confirmed)).is_some());
}

#[test]
fn a_standby_does_not_act_on_what_was_cleared() {
    let (mut world, _) = World::new(&object(), vec![]);
    let id = world.until(60, &failing(), roll_back).unwrap();
    results(&mut world, id, vec![Written::Standby("this replica is standby".into())]);
    world.engine.clear("shop", "v2", world.now()).unwrap();
    assert!(world.step(Event::Leads).is_empty());
}

#[test]
fn nobody_clears_what_is_being_written_again_and_nobody_writes_what_was_cleared() {
    let (mut world, decision) = condemned(&object());
    assert_eq!(world.engine.held().iter().map(|held| held.decision).collect::<Vec<_>>(), [decision.id]);
    let now = world.now();
    let pause = Pause { since: now, until: None, reason: String::new() };
    world.engine.pause(Some(pause));
    assert!(!world.engine.again(decision.id, now), "nothing is written while serin is paused");
    world.engine.pause(None);
    assert!(world.engine.again(decision.id, now));
    assert!(!world.engine.again(decision.id, now), "once");
    assert_eq!(world.engine.clear("shop", "v2", world.now()), Err(NotCleared::Writing));
    let back = Written::Back("written back by argocd-controller".into());
    results(&mut world, decision.id, vec![back, Written::Done("v2 10 -> 0".into())]);
    let stages: Vec<_> = world.engine.decisions("", 1)[0].events.iter().map(v1::DecisionEvent::stage).collect();
    use DecisionStage::{Decided, NotInEffect, Written as Wrote};
    assert_eq!(stages, [Decided, Wrote, NotInEffect, Wrote]);
    world.engine.clear("shop", "v2", world.now()).unwrap();
    assert!(!world.engine.again(decision.id, world.now()));
    assert_eq!(world.engine.held(), []);
}

#[test]
fn after_the_hold_nothing_is_written_any_more() {
    let (mut world, decision) = condemned(&object());
    let writes = (0..100).filter(|_| {
        let is_write = world.second(failing()).iter().any(|effect| roll_back(effect).is_some());
        if is_write {
            results(&mut world, decision.id, vec![Written::Done("v2 10 -> 0".into())]);
        }
        is_write
    });
    assert!(writes.count() >= 2, "as long as it is held it is written again");
    let left =
        |effect: &Effect| stage(DecisionStage::NotInEffect)(effect).filter(|said| said.contains("left to others"));
    let said = world.until(40, &failing(), left).unwrap();
    assert!(said.contains("held out of traffic for 2m (rollback.hold)"), "{said}");
    assert_eq!(world.until(100, &failing(), |effect| matches!(effect, Effect::Persist(_)).then_some(())), None);
    assert!(!world.engine.again(decision.id, world.now()));
    assert!(world.step(Event::Leads).is_empty());
    assert!(world.engine.verdicts().all(|verdict| verdict.condemned), "it is not let in again either");
    // Nor after a restart.
    let (mut world, effects) = World::new(&object(), world.engine.decisions("", 1));
    assert!(effects.is_empty());
    let later = UnixMicros::from_second(START + 1_000);
    let writes = world.engine.step(Event::Leads, later);
    assert!(writes.is_empty(), "{writes:?}");
}

/// Files have no other writers that a hold would be about.
#[test]
fn what_is_in_files_is_put_right_as_long_as_it_is_condemned() {
    let mut with_a_file = object();
    with_a_file.services[0].rollback.targets = config(false).services[0].rollback.targets.clone();
    let (mut world, _) = condemned(&with_a_file);
    (0..300).for_each(|_| drop(world.second(rolled_back())));
    assert!(world.until(40, &failing(), roll_back).is_some());
}
