use super::*;

const NOW: UnixMicros = UnixMicros(1_800_000_000_000_000);

fn safety(rollbacks_per_hour: u32) -> Safety {
    Safety::new(config::Safety { rollbacks_per_hour, dry_run: false })
}

fn asked(decision: u64, service: &str) -> Asked<'_> {
    Asked { decision, service, candidate: "v2" }
}

fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// An order: seconds from now, its decision, and whether it may be written.
type Ordered = (u64, u64, bool);

/// With two an hour.
#[test]
fn so_many_an_hour() {
    let cases: [(&str, &[Ordered]); 4] = [
        ("the third has to wait", &[(0, 1, true), (1, 2, true), (2, 3, false), (3_599, 3, false), (3_600, 3, true)]),
        ("the hour slides", &[(0, 1, true), (1_800, 2, true), (3_600, 3, true), (3_601, 4, false), (5_400, 4, true)]),
        (
            "the same one again is no further one",
            &[(0, 1, true), (1, 2, true), (30, 1, true), (60, 2, true), (90, 3, false)],
        ),
        (
            "what was refused does not count",
            &[(0, 1, true), (1, 2, true), (2, 3, false), (3_600, 4, true), (3_601, 5, true)],
        ),
    ];
    for (name, orders) in cases {
        let mut safety = safety(2);
        for (at, decision, may) in orders {
            let (now, service) = (NOW.plus(s(*at)), decision.to_string());
            let asked = asked(*decision, &service);
            assert_eq!(safety.order(&asked, || true, now).is_ok(), *may, "{name}: decision {decision} at {at} s");
        }
    }
}

#[test]
fn what_an_earlier_run_wrote_counts() {
    let event = |ago: u64, stage: DecisionStage| v1::DecisionEvent {
        unix_us: NOW.minus(s(ago)).0,
        stage: stage.into(),
        sentence: String::new(),
    };
    for (what, events, may) in [
        ("written", vec![event(60, DecisionStage::Decided), event(59, DecisionStage::Written)], false),
        ("long ago", vec![event(4_000, DecisionStage::Written)], true),
        ("not written", vec![event(60, DecisionStage::NotWritten)], true),
    ] {
        let mut safety = safety(1);
        safety.saw(&v1::Decision { id: 1, events, ..v1::Decision::default() });
        assert_eq!(safety.order(&asked(2, "shop"), || true, NOW).is_ok(), may, "{what}");
    }
}

#[test]
fn what_is_held_back_says_why_and_what_to_do() {
    let pause = |until| Pause { since: NOW, until, reason: "a drill".into() };
    let mut paused = safety(9);
    paused.pause(Some(pause(Some(NOW.plus(s(3_600))))));
    let mut busy = safety(9);
    busy.order(&asked(1, "shop"), || true, NOW).unwrap();
    let cases = [
        (
            paused,
            asked(2, "shop"),
            "held back: serin is paused since 2027-01-15T08:00:00Z until 2027-01-15T09:00:00Z (a drill); run `serin resume` to have it written",
        ),
        (
            busy,
            asked(2, "shop"),
            "held back: the rollback of decision 1, of the same service, is being written; this one follows",
        ),
        (
            safety(0),
            asked(2, "shop"),
            "held back: 0 rollbacks in the last hour (safety.rollbacks_per_hour), so something else may be wrong; it is written when the \
             hour allows it; run `serin clear shop v2` to keep the release, or set its weight to 0 yourself",
        ),
        (
            safety(9),
            asked(2, "shop"),
            "held back: the newest report of v2's requests is older than 5 s; it is written as soon as v2 is served again",
        ),
    ];
    for (mut safety, asked, want) in cases {
        assert_eq!(safety.order(&asked, || false, NOW).unwrap_err().to_string(), want);
    }
}

#[test]
fn a_pause_ends_by_itself_or_by_a_person() {
    let mut safety = safety(9);
    let pause = Pause { since: NOW, until: Some(NOW.plus(s(60))), reason: String::new() };
    safety.pause(Some(pause.clone()));
    assert_eq!(safety.paused(NOW.plus(s(59))), Some(&pause));
    assert_eq!(safety.paused(NOW.plus(s(60))), None);
    safety.pause(Some(Pause { until: None, ..pause }));
    assert!(safety.paused(NOW.plus(s(1_000_000))).is_some());
    safety.pause(None);
    assert_eq!(safety.order(&asked(1, "shop"), || true, NOW), Ok(()));
}

#[test]
fn one_at_a_time_for_each_service() {
    let mut safety = safety(9);
    safety.order(&asked(1, "shop"), || true, NOW).unwrap();
    assert_eq!(safety.order(&asked(2, "shop"), || true, NOW), Err(HeldBack::Busy(1)));
    assert_eq!(safety.order(&asked(3, "cart"), || true, NOW), Ok(()), "another service");
    safety.answered(1);
    assert_eq!(safety.order(&asked(2, "shop"), || true, NOW), Ok(()));
    safety.leave(|service| service == "shop");
    assert_eq!(safety.order(&asked(4, "shop"), || true, NOW), Ok(()), "nobody answers for it any more");
}
