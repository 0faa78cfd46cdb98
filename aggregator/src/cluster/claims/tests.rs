use proptest::prelude::*;

use super::*;

const S: Duration = Duration::from_secs(1);

fn alone() -> Claims {
    let mut claims = Claims::new("a".into());
    claims.confirmed(1, S);
    claims
}

#[test]
fn one_alone_claims_everything_and_begins_when_it_has_it() {
    let mut claims = alone();
    let actions = claims.act(S);
    assert_eq!(actions.len(), usize::from(PARTITIONS));
    assert_eq!(actions[3], Action::Claim { partition: 3, revision: 0 });
    claims.owned(3, Owner { member: "a".into(), revision: 7 }, S);
    assert!(claims.act(S).contains(&Action::Begin(3)));
    assert!(claims.has(3, S) && !claims.has(4, S));
}

#[test]
fn one_that_does_not_get_through_lets_go_and_claims_nothing() {
    let mut claims = alone();
    claims.owned(3, Owner { member: "a".into(), revision: 7 }, S);
    claims.act(S);
    let later = S + FENCED_AFTER;
    assert!(!claims.has(3, later));
    assert_eq!(claims.act(later), [Action::End(3)]);
    claims.confirmed(2, later);
    assert!(claims.act(later).contains(&Action::Begin(3)), "nobody else took it");
}

#[test]
fn while_nothing_gets_through_nobody_is_gone() {
    let mut claims = alone();
    claims.beat("b", 2, S);
    for partition in 0..PARTITIONS {
        claims.owned(partition, Owner { member: "b".into(), revision: 9 }, S);
    }
    // A minute in which NATS stands still: the last beat of `b` is old, but so is our own.
    assert_eq!(claims.act(60 * S), []);
    claims.confirmed(3, 61 * S);
    let all_gone = claims.act(61 * S);
    assert_eq!(all_gone.len(), usize::from(PARTITIONS), "it had the time of our beats, and did not use it");
    assert_eq!(all_gone[0], Action::Claim { partition: 0, revision: 9 });
}

/// A watch that is renewed shows the last entry of every key again.
#[test]
fn a_heartbeat_that_is_shown_again_is_no_new_one() {
    let mut claims = alone();
    claims.beat("b", 2, S);
    claims.owned(0, Owner { member: "b".into(), revision: 3 }, S);
    let is_claimed = |claims: &mut Claims, now: Duration| {
        claims.confirmed(10 + now.as_secs(), now);
        claims.act(now).contains(&Action::Claim { partition: 0, revision: 3 })
    };
    claims.beat("b", 2, 4 * S);
    assert!(!is_claimed(&mut claims, 5 * S), "it may still be there");
    assert!(is_claimed(&mut claims, 6 * S), "it was heard of for the last time 5 s ago");
    claims.beat("b", 17, 6 * S);
    assert!(!is_claimed(&mut claims, 10 * S), "it is back");
}

/// Members and a bucket, with clocks that begin anywhere; members stop, go on and are cut off at random.
struct World {
    now: Duration,
    revision: u64,
    /// The revision of each member's last beat; 0 before the first one.
    beats: Vec<u64>,
    owners: BTreeMap<Partition, Owner>,
    members: Vec<Claims>,
    cut: Vec<bool>,
    stopped: Vec<bool>,
}

impl World {
    fn new(members: usize) -> Self {
        World {
            now: 100 * S,
            revision: 0,
            beats: vec![0; members],
            owners: BTreeMap::new(),
            members: (0..members).map(|at| Claims::new(format!("m{at}"))).collect(),
            cut: vec![false; members],
            stopped: vec![false; members],
        }
    }

    fn clock(&self, member: usize) -> Duration {
        self.now + 1_000 * S * member as u32
    }

    /// A quarter of a second: every member that runs beats (each second), is shown all entries, as by a new watch, and acts.
    fn step(&mut self) {
        self.now += S / 4;
        for at in 0..self.members.len() {
            if self.stopped[at] {
                continue;
            }
            let clock = self.clock(at);
            if !self.cut[at] {
                if self.now.subsec_millis() == 0 {
                    self.revision += 1;
                    self.beats[at] = self.revision;
                    self.members[at].confirmed(self.revision, clock);
                }
                for (other, revision) in self.beats.iter().enumerate().filter(|(_, revision)| **revision > 0) {
                    self.members[at].beat(&format!("m{other}"), *revision, clock);
                }
                for (partition, owner) in &self.owners {
                    self.members[at].owned(*partition, owner.clone(), clock);
                }
            }
            for action in self.members[at].act(clock) {
                let (partition, revision, member) = match action {
                    Action::Claim { partition, revision } => (partition, revision, format!("m{at}")),
                    Action::GiveBack { partition, revision } => (partition, revision, String::new()),
                    Action::Begin(_) | Action::End(_) => continue,
                };
                let is_as_seen = self.owners.get(&partition).map_or(0, |owner| owner.revision) == revision;
                if !self.cut[at] && is_as_seen {
                    self.revision += 1;
                    self.owners.insert(partition, Owner { member, revision: self.revision });
                }
            }
        }
        for partition in 0..PARTITIONS {
            let has = |at: &usize| !self.stopped[*at] && self.members[*at].has(partition, self.clock(*at));
            let who: Vec<usize> = (0..self.members.len()).filter(has).collect();
            assert!(who.len() <= 1, "partition {partition} is judged by {who:?} at {:?}", self.now);
        }
    }

    fn judged(&self) -> usize {
        let by = |partition| (0..self.members.len()).any(|at| self.members[at].has(partition, self.clock(at)));
        (0..PARTITIONS).filter(|partition| by(*partition)).count()
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    /// Two never have the same, whatever is cut off or stands still; and when the faults end all is judged, also after those that are back have
    /// got their share again (10 s).
    #[test]
    fn each_partition_has_one_judge(faults in prop::collection::vec((0..3usize, any::<bool>(), 1..60u32), 1..12)) {
        let mut world = World::new(3);
        for (member, stops, quarters) in faults {
            if stops { world.stopped[member] ^= true } else { world.cut[member] ^= true }
            (0..quarters).for_each(|_| world.step());
        }
        // Those that stood still go on with a clock that went on.
        (world.cut, world.stopped) = (vec![false; 3], vec![false; 3]);
        (0..60).for_each(|_| world.step());
        prop_assert_eq!(world.judged(), usize::from(PARTITIONS));
    }
}

#[test]
fn what_a_dead_member_had_is_judged_again_within_seven_seconds() {
    let mut world = World::new(3);
    (0..80).for_each(|_| world.step());
    world.stopped[1] = true;
    let had = (0..PARTITIONS).filter(|partition| world.owners[partition].member == "m1").count();
    assert!(had > 0, "it had some");
    let taken = |world: &World| world.owners.values().all(|owner| owner.member != "m1");
    (0..28).for_each(|_| world.step());
    assert!(taken(&world));
}

#[test]
fn partitions_are_spread_and_few_move_when_one_goes() {
    let all: Vec<String> = (0..50).map(|at| format!("member-{at}")).collect();
    for three in all.chunks_exact(3) {
        let three: Vec<&str> = three.iter().map(String::as_str).collect();
        let by: Vec<_> = (0..PARTITIONS).map(|partition| preferred(partition, &three).unwrap()).collect();
        assert!(three.iter().all(|member| by.contains(member)), "{by:?}");
        for (partition, had) in (0..PARTITIONS).zip(&by).filter(|(_, had)| **had != three[0]) {
            assert_eq!(preferred(partition, &three[1..]), Some(*had), "it was not the one that went");
        }
    }
}
