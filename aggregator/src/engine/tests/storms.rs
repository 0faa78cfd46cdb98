//! What stands is told once, at once, and again at growing distances at most: on-call reads it.

use super::*;

const HOUR_S: u64 = 3_600;

/// Seconds go by, each attempt to write is answered, and what is recorded of the decision is counted.
fn told(world: &mut World, seconds: u64, deltas: &[Counted], answer: &Written) -> Vec<(DecisionStage, String)> {
    let before = world.engine.decisions("", 1)[0].events.len();
    for _ in 0..seconds {
        let order = world.second(deltas.to_vec()).iter().find_map(roll_back);
        order.map(|decision| world.step(Event::Written { decision, results: vec![answer.clone()] }));
    }
    let events = world.engine.decisions("", 1).remove(0).events;
    events[before..].iter().map(|event| (event.stage(), event.sentence.clone())).collect()
}

fn attempts(world: &mut World, seconds: u64, deltas: &[Counted], answer: &Written) -> usize {
    (0..seconds)
        .filter(|_| {
            let order = world.second(deltas.to_vec()).iter().find_map(roll_back);
            order.map(|decision| world.step(Event::Written { decision, results: vec![answer.clone()] })).is_some()
        })
        .count()
}

fn refused() -> Written {
    Written::Failed("VirtualService shop: 403, serin may not patch it: grant it".into())
}

fn never_written() -> (World, u64) {
    let (mut world, _) = World::new(&config(false), vec![]);
    let decision = world.until(60, &failing(), roll_back).unwrap();
    world.step(Event::Written { decision, results: vec![refused()] });
    (world, decision)
}

#[test]
fn a_rollback_that_cannot_be_written_is_no_storm() {
    let (mut world, decision) = never_written();
    let first = told(&mut world, HOUR_S, &failing(), &refused());
    assert!(first.len() <= 6, "{first:?}");
    let later = told(&mut world, HOUR_S, &failing(), &refused());
    assert!((1..=3).contains(&later.len()), "{later:?}");
    // 30 s, 1, 2, 4 and 8 min, and then every quarter of an hour.
    let (mut world, _) = never_written();
    assert_eq!(attempts(&mut world, HOUR_S, &failing(), &refused()), 7);
    // Where it can be written again, that is told at once, and that it took effect.
    let written = Written::Done("wrote rds.yaml".into());
    let order = world.until(16 * 60, &failing(), roll_back);
    assert_eq!(order, Some(decision));
    world.step(Event::Written { decision, results: vec![written.clone()] });
    let stages: Vec<_> = told(&mut world, 60, &rolled_back(), &written).into_iter().map(|(stage, _)| stage).collect();
    assert_eq!(stages, [DecisionStage::Confirmed]);
    let events = world.engine.decisions("", 1).remove(0).events;
    assert_eq!(events[events.len() - 2].stage(), DecisionStage::Written);
}

/// Whoever is called repairs it by hand: that is told as well.
#[test]
fn what_somebody_else_took_out_is_confirmed() {
    let (mut world, _) = never_written();
    told(&mut world, 120, &failing(), &refused());
    let said = told(&mut world, 60, &rolled_back(), &refused());
    let [(DecisionStage::Confirmed, sentence)] = &said[..] else { panic!("{said:?}") };
    assert!(sentence.ends_with("not by serin, which could not write it"), "{sentence}");
    let back = told(&mut world, HOUR_S, &failing(), &refused());
    assert!(back.first().is_some_and(|(stage, _)| *stage == DecisionStage::NotInEffect), "{back:?}");
}

/// Testers go on by a route that matches their header, which is not among the weights.
#[test]
fn a_candidate_that_another_route_serves_is_no_storm() {
    let testers = [rolled_back(), vec![delta("v2", Outcome::Success, 3)]].concat();
    let same = Written::InEffect("VirtualService shop: v2 gets nothing already".into());
    let (mut world, _) = condemned(&config(false));
    let said = told(&mut world, HOUR_S, &testers, &same);
    let stages: BTreeSet<_> = said.iter().map(|(stage, _)| stage.word()).collect();
    assert_eq!(stages, BTreeSet::from(["not_in_effect".to_owned()]), "{said:?}");
    assert!((2..=12).contains(&said.len()), "{said:?}");
    let useless = said.iter().find(|(_, sentence)| sentence.contains("writing it again changes nothing"));
    assert!(useless.is_some_and(|(_, sentence)| sentence.contains("v2 gets nothing already")), "{said:?}");
    let repaired = told(&mut world, 60, &rolled_back(), &same);
    assert!(matches!(&repaired[..], [(DecisionStage::Confirmed, _)]), "{repaired:?}");
}

/// Now and then only: what is confirmed between two of them is no news each time either, and the last word is true.
#[test]
fn a_candidate_that_comes_and_goes_is_no_storm() {
    let testers = [rolled_back(), vec![delta("v2", Outcome::Success, 1)]].concat();
    let same = Written::InEffect("VirtualService shop: v2 gets nothing already".into());
    let (mut world, _) = condemned(&config(false));
    let mut said = Vec::new();
    for _ in 0..HOUR_S / 120 {
        said.extend(told(&mut world, 20, &testers, &same));
        said.extend(told(&mut world, 100, &rolled_back(), &same));
    }
    assert!(said.len() <= 30, "{}: {said:?}", said.len());
    assert_eq!(said.last().map(|(stage, _)| *stage), Some(DecisionStage::Confirmed), "{said:?}");
}

/// Somebody else writes the file back whenever it was written: it is put right each time, and told as seldom.
#[test]
fn a_fight_about_a_file_goes_on_quietly() {
    let written = Written::Done("wrote rds.yaml".into());
    let (mut world, _) = condemned(&config(false));
    assert!(attempts(&mut world, HOUR_S, &failing(), &written) >= 80);
    let said = world.engine.decisions("", 1).remove(0).events;
    assert!(said.len() <= 30, "{said:?}");
    assert!(told(&mut world, HOUR_S, &failing(), &written).len() <= 8);
}

#[test]
fn a_restart_does_not_tell_it_again() {
    let (mut world, _) = never_written();
    told(&mut world, 300, &failing(), &refused());
    let (mut after, first) = World::new(&config(false), world.engine.decisions("", 9));
    after.second = world.second;
    assert_eq!(first.iter().find_map(roll_back), None, "held back until it is served");
    let said = told(&mut after, 300, &failing(), &refused());
    assert!(said.iter().all(|(stage, _)| *stage == DecisionStage::NotWritten), "{said:?}");
}

/// What is told again is what stands now.
#[test]
fn only_candidates_that_are_condemned_now_stand() {
    let (mut world, decision) = condemned(&config(false));
    let standing = |world: &World| world.engine.standing().iter().map(|decision| decision.id).collect::<Vec<_>>();
    assert_eq!(standing(&world), [decision.id]);
    let kept = world.engine.decisions("", 9);
    let (again, _) = World::new(&config(false), kept.clone());
    assert_eq!(standing(&again), [decision.id], "after a restart too");
    let mut next = config(false);
    next.services[0].candidate = "v3".into();
    assert!(standing(&World::new(&next, kept).0).is_empty(), "another one is on trial");
    world.engine.clear("shop", "v2", world.now()).unwrap();
    assert!(standing(&world).is_empty());
}

/// A service with hardly any requests: nobody is called, and it is confirmed when there are enough.
#[test]
fn too_few_requests_to_tell_are_no_failure() {
    let (mut world, _) = condemned(&config(false));
    let written = Written::Done("wrote rds.yaml".into());
    let said = told(&mut world, HOUR_S, &[], &written);
    assert!(matches!(&said[..], [(DecisionStage::NotKnown, _)]), "{said:?}");
    let few = [delta("v1", Outcome::Success, 1)];
    let said = told(&mut world, 60, &few, &written);
    assert!(matches!(&said[..], [(DecisionStage::Confirmed, _)]), "{said:?}");
}
