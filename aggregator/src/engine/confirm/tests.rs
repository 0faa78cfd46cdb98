use serin_proto::v1::{self, SourceState};

use super::{super::shares::Sent, *};

mod by_workload;

const WRITTEN: UnixMicros = UnixMicros(100_300_000);

fn split(candidate: u64, others: u64) -> Split {
    Split { candidate, others }
}

fn whole(candidate: u64, others: u64) -> Shares {
    Shares { whole: split(candidate, others), ..Shares::default() }
}

fn shares<'a>(by: impl IntoIterator<Item = (&'a str, Split)>) -> Shares {
    shares_of(by.into_iter().map(|(node, split)| ("", node, split)))
}

/// By workload and node id.
fn shares_of<'a>(by: impl IntoIterator<Item = (&'a str, &'a str, Split)>) -> Shares {
    let sent = |(workload, node, split): (&str, &str, Split)| {
        (Arc::from(node), Sent { workload: workload.into(), split, unanswered: Counts::new() })
    };
    let by: BTreeMap<Arc<str>, Sent> = by.into_iter().map(sent).collect();
    let whole = by.values().fold(Split::default(), |sum, sent| sum.plus(sent.split));
    Shares { whole, by, ..Shares::default() }
}

fn after(shares: Shares, within_s: u64) -> Confirm {
    let mut before = Recent::default();
    before.push(shares);
    Confirm::new(WRITTEN, Duration::from_secs(within_s), &before, true)
}

fn confirm() -> Confirm {
    after(whole(50, 50), 5)
}

/// What is seen first that is not waiting, and in which second after the write.
fn first(confirm: &mut Confirm, seconds: u64, shares: impl Fn(u64) -> Shares) -> Option<(u64, Seen)> {
    (101..=100 + seconds)
        .map(|s| (s - 100, confirm.observe(s, &shares(s - 100))))
        .find(|(_, seen)| *seen != Seen::Waiting)
}

#[test]
fn silence_while_others_are_served_is_zero() {
    let mut c = confirm();
    assert_eq!(c.observe(99, &whole(0, 500)), Seen::Waiting, "before the write");
    assert_eq!(c.observe(100, &whole(40, 60)), Seen::Waiting);
    assert_eq!(c.observe(101, &whole(1, 99)), Seen::Waiting, "one that was in flight");
    assert_eq!(c.observe(102, &whole(0, 100)), Seen::Zero { after: Duration::from_millis(1_700) });
}

#[test]
fn a_silence_that_chance_explains_is_waited_out() {
    let mut c = after(whole(1, 99), 60);
    // 100 requests a second bring about one of the candidate's: 7 s of silence are below 1 in 1,000.
    let seen = first(&mut c, 60, |_| whole(0, 100));
    assert_eq!(seen, Some((7, Seen::Zero { after: Duration::from_millis(700) })));
}

#[test]
fn says_once_that_nothing_changed_and_goes_on_watching() {
    let mut c = confirm();
    let seen: Vec<_> = (101..108).map(|second| c.observe(second, &whole(25, 75))).collect();
    assert_eq!(seen.iter().filter(|s| **s != Seen::Waiting).count(), 1);
    assert_eq!(seen[4], Seen::NotInEffect);
    assert!(matches!(c.observe(108, &whole(0, 100)), Seen::Zero { .. }));
}

#[test]
fn no_requests_at_all_prove_nothing() {
    assert_eq!(first(&mut confirm(), 5, |_| whole(0, 0)), Some((5, Seen::NotInEffect)));
}

/// 13 of them with 9% each.
fn thirteen(stuck: Split, others: Split) -> Shares {
    let names: Vec<String> = (0..13).map(|n| format!("client-{n}")).collect();
    shares(names.iter().map(|name| (name.as_str(), if name == "client-7" { stuck } else { others })))
}

#[test]
fn one_that_does_not_follow_is_named_and_waited_for() {
    // It has 1% of the requests, so as a whole nearly nothing is left.
    let mut c = after(thirteen(split(2, 20), split(20, 200)), 10);
    let seen = |second: u64| match second {
        0..=2 => thirteen(split(2, 20), split(2, 220)),
        // It is quiet for a moment.
        5 => thirteen(split(0, 22), split(0, 220)),
        _ => thirteen(split(2, 20), split(0, 220)),
    };
    assert_eq!(first(&mut c, 10, seen), Some((10, Seen::NotInEffect)));
    let recent = thirteen(split(2, 20), split(0, 220));
    let who = c.who(&recent, "v2").unwrap();
    assert_eq!(who, "client-7 (9.1% of its own) still sends v2 requests; the other 12 stopped within 2.7 s");
    let sources = c.sources(&recent);
    assert_eq!((sources.len(), sources[0].node_id.as_str(), sources[0].state()), (13, "client-7", SourceState::Sends));
    assert!(
        sources[1..].iter().all(|source| (source.state(), source.stopped_after_ms) == (SourceState::Stopped, 2_700))
    );
    // Started again, it follows.
    let zero = (111..130).find_map(|s| match c.observe(s, &thirteen(split(0, 22), split(0, 220))) {
        Seen::Zero { after } => Some((s, after)),
        _ => None,
    });
    assert_eq!(
        zero,
        Some((114, Duration::from_millis(10_700))),
        "22 requests with a share of 1 in 11: 2.0 expected a second"
    );
    assert_eq!(c.how(&recent), ": client-7 after 10.7 s, the other 12 of the proxies within 2.7 s");
}

#[test]
fn one_that_dies_is_not_waited_for_and_proves_nothing() {
    let mut c = after(shares([("a", split(5, 45)), ("b", split(5, 45))]), 30);
    let seen = |second: u64| match second {
        0..=1 => shares([("a", split(5, 45)), ("b", split(1, 49))]),
        _ => shares([("b", split(0, 50))]),
    };
    // It could report every ten seconds.
    assert_eq!(first(&mut c, 30, seen), Some((12, Seen::Zero { after: Duration::from_millis(1_700) })));
    let sources = c.sources(&shares([("b", split(0, 50))]));
    let states: Vec<_> = sources.iter().map(|source| (source.node_id.as_str(), source.state())).collect();
    assert_eq!(states, [("a", SourceState::Gone), ("b", SourceState::Stopped)]);
    // When all of them are gone nobody tells anything.
    let mut c = after(shares([("a", split(5, 45)), ("b", split(5, 45))]), 30);
    assert_eq!(first(&mut c, 30, |_| whole(0, 0)), Some((30, Seen::NotInEffect)));
}

/// Both report every ten seconds. One is silent with each second report, and not gone in between.
#[test]
fn one_that_reports_seldom_is_not_gone() {
    let mut before = Recent::default();
    (0..9).for_each(|_| before.push(whole(0, 0)));
    before.push(shares([("a", split(20, 180)), ("b", split(20, 180))]));
    let mut c = Confirm::new(WRITTEN, Duration::from_secs(30), &before, true);
    let seen = |second: u64| match second % 10 {
        9 => shares([("a", split(0, 200)), ("b", split(20, 180))]),
        _ => whole(0, 0),
    };
    assert_eq!(first(&mut c, 29, seen), None);
    let sources = c.sources(&seen(9));
    let states: Vec<_> = sources.iter().map(|source| (source.node_id.as_str(), source.state())).collect();
    assert_eq!(states, [("b", SourceState::Sends), ("a", SourceState::Stopped)]);
}

/// A tenth of all requests to the candidate hang for 15 s, and one proxy sends all of those: by itself it shows nothing for as long.
#[test]
fn what_hangs_is_hidden_where_it_is_sent() {
    let mut before = shares([("hangs", split(10, 90)), ("answered", split(90, 10))]);
    before.unanswered = Counts::from_iter([(Bucket::of(serin_sketch::Micros(15_000_000)), 10)]);
    before.by.get_mut("hangs").unwrap().unanswered = before.unanswered.clone();
    let mut c = after(before, 30);
    let seen = |_| shares([("hangs", split(0, 100)), ("answered", split(0, 100))]);
    assert_eq!(first(&mut c, 30, seen), Some((16, Seen::Zero { after: Duration::from_millis(700) })));
}

/// After a restart between the decision and the write.
#[test]
fn where_nothing_is_known_of_before_all_may_hang() {
    let mut c = Confirm::new(WRITTEN, Duration::from_secs(30), &Recent::default(), true);
    // At 1% a thousand requests bring ten.
    assert_eq!(first(&mut c, 30, |_| whole(0, 1_000)), Some((16, Seen::Zero { after: Duration::from_millis(700) })));
}

/// Each of a hundred is too small to prove its silence in time, and together they are enough.
#[test]
fn those_that_are_few_count_together() {
    let names: Vec<String> = (0..100).map(|n| format!("client-{n}")).collect();
    let all = |candidate: u64, others: u64| shares(names.iter().map(|name| (name.as_str(), split(candidate, others))));
    let mut before = Recent::default();
    (0..9).for_each(|_| before.push(all(0, 10)));
    before.push(all(1, 9));
    let mut c = Confirm::new(WRITTEN, Duration::from_secs(30), &before, true);
    assert_eq!(c.alone.len(), 0, "3 are expected of each in 30 s");
    assert_eq!(c.observe(101, &all(0, 10)), Seen::Zero { after: Duration::from_millis(700) });
    let sources = c.sources(&all(0, 10));
    assert_eq!(sources.iter().map(|source| (source.node_id.as_str(), source.proxies)).collect::<Vec<_>>(), [("", 100)]);
}

/// One of the small ones, while a big one is waited for: it is then one that has to be silent by itself.
#[test]
fn a_small_one_that_goes_on_after_the_others_is_singled_out() {
    let names: Vec<String> = (0..50).map(|n| format!("small-{n}")).collect();
    let all = |big: Split, small: &dyn Fn(usize) -> Split| {
        let small = names.iter().enumerate().map(|(n, name)| (name.as_str(), small(n)));
        shares(small.chain([("big", big)]))
    };
    let before = all(split(10, 90), &|n| if n % 10 == 0 { split(1, 9) } else { split(0, 10) });
    let mut c = after(before.clone(), 6);
    assert_eq!(c.alone.keys().map(|node| &**node).collect::<Vec<_>>(), ["big"]);
    let seen = |second: u64| {
        let big = if second < 5 { split(10, 90) } else { split(0, 100) };
        all(big, &|n| if n == 3 && second == 4 { split(1, 9) } else { split(0, 10) })
    };
    assert_eq!(first(&mut c, 6, seen), Some((6, Seen::NotInEffect)));
    assert_eq!(c.alone.keys().map(|node| &**node).collect::<Vec<_>>(), ["big", "small-3"]);
}

#[test]
fn a_hundred_and_more_are_bounded() {
    let names: Vec<String> = (0..300).map(|n| format!("client-{n:03}")).collect();
    let all = |of: &dyn Fn(u64) -> Split| shares((0..).zip(&names).map(|(n, name)| (name.as_str(), of(n))));
    let mut c = after(all(&|n| split(10 + n, 90)), 10);
    assert_eq!((c.alone.len(), c.alone.keys().next().map(|node| &**node)), (ALONE_MAX, Some("client-200")));
    // One of those that are not told apart does not follow: neither is the whole silent.
    let stuck = all(&|n| if n == 5 { split(10, 90) } else { split(0, 100) });
    assert_eq!(first(&mut c, 10, |_| stuck.clone()), Some((10, Seen::NotInEffect)));
    let sources = c.sources(&stuck);
    assert_eq!((sources.len(), sources[0].node_id.as_str()), (17, "client-005"));
    assert_eq!(sources[16].proxies, 300 - 16);
    assert_eq!(
        c.who(&stuck, "v2").unwrap(),
        "client-005 (10.0% of its own) still sends v2 requests; the other 100 stopped within 0.7 s"
    );
}

/// A proxy whose requests become fewer has no time to prove anything by itself.
#[test]
fn who_had_too_few_requests_since_counts_with_the_others_when_the_time_is_over() {
    let mut c = after(shares([("busy", split(50, 50)), ("calm", split(10, 90))]), 10);
    let now = |_| shares([("busy", split(0, 100)), ("calm", split(0, 1))]);
    assert_eq!(first(&mut c, 12, now), Some((10, Seen::Zero { after: Duration::from_millis(700) })));
}

/// The release's own sidecars say what they receive, and not from whom; where callers report as well, each of them is asked.
#[test]
fn callers_that_report_are_asked_where_the_release_itself_is_judged() {
    let at = |candidate: u64, by: Split| Shares { whole: split(candidate, 90), ..shares([("caller", by)]) };
    let mut before = Recent::default();
    before.push(at(10, split(10, 90)));
    let mut c = Confirm::new(WRITTEN, Duration::from_secs(10), &before, false);
    assert_eq!(first(&mut c, 10, |s| at(0, split(u64::from(s < 12), 90))), Some((10, Seen::NotInEffect)));
    assert!(c.sources(&at(0, split(1, 90))).iter().all(|source| source.node_id == "caller"));
    let mut c = Confirm::new(WRITTEN, Duration::from_secs(10), &before, false);
    assert_eq!(first(&mut c, 10, |_| at(0, split(0, 90))), Some((1, Seen::Zero { after: Duration::from_millis(700) })));
}
