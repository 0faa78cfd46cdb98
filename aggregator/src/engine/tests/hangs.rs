//! Candidates that do not answer: what waits for them, and what times out.

use super::*;

impl World {
    /// One second goes by in which the baseline answers. Of the candidate's requests 50 each second wait since so many seconds.
    fn hangs(&mut self, seconds: std::ops::RangeInclusive<u64>) -> Vec<Effect> {
        self.waits(seconds.map(|s| (s, 50)))
    }

    /// So many requests to the candidate wait since so many seconds.
    fn waits(&mut self, since: impl Iterator<Item = (u64, u64)>) -> Vec<Effect> {
        let series = (*delta("v2", Outcome::Unspecified, 1).series).clone();
        let age = |s| serin_sketch::Bucket::of(Micros(s * 1_000_000 + 500_000));
        let ages = Counts::from_iter(since.map(|(s, n)| (age(s), n)));
        let at = UnixMicros::from_second(self.second + 1);
        let (interval, workload) = (Duration::from_secs(1), "".into());
        let waiting = Some(report::Waiting { at, interval, workload, ages: vec![(series, ages)] });
        let heartbeat = Heartbeat { waiting, ..Heartbeat::default() };
        self.engine.step(Event::Heartbeat { stream: STREAM, heartbeat }, at);
        self.second(vec![spread("v1", 1)])
    }
}

/// Requests that hang are no deltas; what the reporter says of them is enough.
#[test]
fn a_candidate_that_answers_nothing_is_condemned() {
    let (mut world, _) = World::new(&config(false), vec![]);
    (0..70).for_each(|_| drop(world.second(vec![spread("v1", 1), spread("v2", 1)])));
    let decided = (1..=30).find(|s| world.hangs(1..=*s).iter().find_map(roll_back).is_some());
    // Eight seconds that agree, and some more to make up for 70 that were good.
    assert!(decided.is_some_and(|s| s <= 14), "{decided:?}");
    let sentence = world.engine.decisions("shop", 1)[0].verdict.clone().unwrap().sentence;
    assert!(sentence.starts_with("p99 more than 2.5 times slower"), "{sentence}");
}

/// None of its requests ever ends, so that what waits is all that is known of it: that it is slow, and whether it still gets any.
#[test]
fn a_candidate_that_never_answered_is_condemned() {
    let (mut world, _) = World::new(&config(false), vec![]);
    (0..70).for_each(|_| drop(world.second(vec![spread("v1", 1)])));
    let decided = (1..=30).find_map(|s| Some((s, world.hangs(1..=s).iter().find_map(roll_back)?)));
    let Some((decided, id)) = decided.filter(|(s, _)| *s <= 14) else { panic!("{decided:?}") };
    world.step(written(id));
    let confirmed = stage(DecisionStage::Confirmed);
    let not_in_effect = stage(DecisionStage::NotInEffect);
    let mut effects: Vec<_> = (1..=40).flat_map(|s| world.hangs(1..=decided + s)).collect();
    assert_eq!(effects.iter().find_map(&confirmed), None, "it still gets requests");
    let said = effects.iter().find_map(not_in_effect).unwrap();
    assert!(said.contains("v2 still gets 33.3% of the requests"), "{said}");
    // It was written again, and now only those that were sent before go on waiting.
    world.step(written(id));
    effects = (1..=20).flat_map(|s| world.hangs(1 + s..=decided + s)).collect();
    assert!(effects.iter().find_map(confirmed).is_some());
}

/// Some that were sent long ago and never end are no requests of now.
#[test]
fn what_waits_for_ever_does_not_keep_a_trial_running() {
    let (mut world, _) = World::new(&config(false), vec![]);
    (0..20).for_each(|_| drop(world.second(vec![spread("v1", 1), spread("v2", 1)])));
    assert!(world.engine.trial_began("shop").is_some());
    (2..=905).for_each(|s| drop(world.waits([(s, 1)].into_iter())));
    assert_eq!(world.engine.verdicts().next().unwrap().sentence, "v2: no requests for 15 min, the trial is over");
}

/// As an access logger tells it: each request is known when it has timed out, 15 s after it was sent. Those that are sent after the write
/// are not seen before, whether there are any or not.
#[test]
fn what_times_out_is_no_proof_before_it_could_have() {
    let seconds = |follows: bool| {
        let (mut world, _) = World::new(&config(false), vec![]);
        let times_out = || vec![spread("v1", 1), lasting(15_000_000, "v2", Outcome::Timeout, 50)];
        let id = world.until(60, &times_out(), roll_back).unwrap();
        world.step(written(id));
        let told = |effect: &Effect| {
            stage(DecisionStage::Confirmed)(effect).or_else(|| stage(DecisionStage::NotInEffect)(effect))
        };
        (1..=60).find_map(|second| {
            let is_sent = second <= 15 || !follows;
            let deltas = if is_sent { times_out() } else { vec![spread("v1", 1)] };
            Some((second, world.second(deltas).iter().find_map(told)?))
        })
    };
    let (second, said) = seconds(true).unwrap();
    assert!((15..=18).contains(&second) && said.starts_with("candidate share 0.0%"), "{second}: {said}");
    let (second, said) = seconds(false).unwrap();
    assert!((29..=31).contains(&second) && said.contains("gets 33.3% of the requests"), "{second}: {said}");
}
