//! Proxies say their workloads: those are told, and what is proven of each proxy stays what it is.

use super::*;

const FOLLOWS: Split = Split { candidate: 0, others: 220 };
const BEFORE: Split = Split { candidate: 20, others: 200 };

/// So many of a workload, each of which sends this.
fn all(workload: &'static str, n: usize, of: impl Fn(usize) -> Split) -> Vec<(&'static str, String, Split)> {
    let name = workload.rsplit('/').next().unwrap();
    (0..n).map(|at| (workload, format!("{name}-{at:02}"), of(at))).collect()
}

fn sent(all: &[Vec<(&'static str, String, Split)>]) -> Shares {
    shares_of(all.iter().flatten().map(|(workload, node, split)| (*workload, node.as_str(), *split)))
}

/// Workload, node, how many, what they do, and when they stopped.
fn told(sources: &[v1::Source]) -> Vec<(&str, &str, u32, SourceState, u32)> {
    let one = |source: &v1::Source| (source.proxies, source.state(), source.stopped_after_ms);
    let told = sources.iter().map(|source| (source.workload.as_str(), source.node_id.as_str(), one(source)));
    told.map(|(workload, node, (proxies, state, ms))| (workload, node, proxies, state, ms)).collect()
}

/// 13 clients of which one has little and does not follow, 4 mobiles that are slower than the others, and one of nobody.
fn mesh(second: u64, stuck: Split) -> Shares {
    let after = |s| if second < s { BEFORE } else { FOLLOWS };
    let clients = all("shop/client", 13, |n| if n == 7 { stuck } else { after(3) });
    sent(&[clients, all("shop/mobile", 4, |_| after(4)), vec![("", "lone".into(), after(3))]])
}

#[test]
fn a_workload_has_stopped_when_its_last_proxy_has() {
    use SourceState::{Sends, Stopped};
    let (stuck, follows) = (split(2, 20), split(0, 22));
    let mut c = after(mesh(0, stuck), 10);
    assert_eq!(first(&mut c, 10, |s| mesh(s, stuck)), Some((10, Seen::NotInEffect)));
    let recent = mesh(10, stuck);
    assert_eq!(
        c.who(&recent, "v2").unwrap(),
        "client-07 of shop/client (9.1% of its own) still sends v2 requests; the other 17 stopped within 3.7 s, among them all of \
         shop/mobile within 3.7 s"
    );
    assert_eq!(few(&recent).unwrap(), "client-07 of shop/client (9.1% of its own)");
    let sources = c.sources(&recent);
    let want = [
        ("shop/client", "", 13, Sends, 0),
        ("shop/client", "client-07", 1, Sends, 0),
        ("shop/mobile", "", 4, Stopped, 3_700),
        ("", "lone", 1, Stopped, 2_700),
    ];
    assert_eq!(told(&sources), want);
    let shares: Vec<String> = sources.iter().map(|s| format!("{:.4} {:.4}", s.share_before, s.share)).take(2).collect();
    assert_eq!(shares, ["0.0909 0.0008", "0.0909 0.0909"], "2 of 2,662 in a second");

    let zero = (111..130).find(|s| matches!(c.observe(*s, &mesh(10, follows)), Seen::Zero { .. }));
    assert_eq!(zero, Some(114), "as soon as it is proven of this proxy, whosoever it is");
    let recent = mesh(10, follows);
    assert_eq!(
        c.how(&recent),
        ": 13 proxies of shop/client after 10.7 s, 4 proxies of shop/mobile after 3.7 s, lone after 2.7 s"
    );
    let want = [
        ("shop/client", "", 13, Stopped, 10_700),
        ("shop/mobile", "", 4, Stopped, 3_700),
        ("", "lone", 1, Stopped, 2_700),
    ];
    assert_eq!(told(&c.sources(&recent)), want);
}

/// Each is too small to prove its silence: they are proven together, and the time is told all the same.
#[test]
fn proxies_that_are_silent_together_have_a_workload_too() {
    let batch = |of: &dyn Fn(usize) -> Split| sent(&[all("shop/batch", 100, of)]);
    let mut before = Recent::default();
    (0..9).for_each(|_| before.push(batch(&|_| split(0, 10))));
    before.push(batch(&|_| split(1, 9)));
    let mut c = Confirm::new(WRITTEN, Duration::from_secs(30), &before, true);
    assert_eq!(c.alone.len(), 0);
    let seen = |s: u64| batch(&|n| if s == 1 || n == 42 && s < 4 { split(1, 9) } else { split(0, 10) });
    assert_eq!(first(&mut c, 10, seen), Some((4, Seen::Zero { after: Duration::from_millis(3_700) })));
    let recent = batch(&|_| split(0, 10));
    assert_eq!(c.how(&recent), ": batch-42 after 3.7 s, the other 99 proxies of shop/batch within 1.7 s");
    assert_eq!(told(&c.sources(&recent)), [("shop/batch", "", 100, SourceState::Stopped, 3_700)]);
}

#[test]
fn many_that_go_on_are_told_by_their_workloads() {
    let mesh = |going_on: usize, rest: Split| {
        let clients = all("shop/client", 13, |n| if n < going_on { BEFORE } else { rest });
        sent(&[clients, all("shop/mobile", 4, |_| rest)])
    };
    for (going_on, want, strays) in [(10, "10 of the 13 proxies", 8), (13, "all 13 proxies", 0), (2, "client-00 of", 2)]
    {
        let mut c = after(mesh(0, BEFORE), 10);
        let recent = mesh(going_on, FOLLOWS);
        assert_eq!(first(&mut c, 10, |_| recent.clone()), Some((10, Seen::NotInEffect)));
        let who = c.who(&recent, "v2").unwrap();
        assert!(who.starts_with(want) && who.contains("shop/client"), "{who}");
        assert_eq!(few(&recent).map(|few| who.starts_with(&few)), Some(true), "{who}");
        let sources = c.sources(&recent);
        assert_eq!(sources.len(), 2 + strays, "{sources:?}");
        assert!(sources[1..=strays].iter().all(|one| one.workload == "shop/client" && !one.node_id.is_empty()));
    }
}

#[test]
fn workloads_that_sent_none_and_those_beyond_sixteen_are_told_together() {
    let names: Vec<&'static str> = (0..20).map(|n| &*format!("ns/w{n:02}").leak()).collect();
    let mesh = |second: u64| {
        let of = |n: u64| if second <= n { BEFORE } else { FOLLOWS };
        let mut mesh: Vec<_> = (0..).zip(&names).map(|(n, name)| all(name, 2, |_| of(n))).collect();
        mesh.push(all("ns/idle", 3, |_| split(0, 1)));
        sent(&mesh)
    };
    let mut c = after(mesh(0), 30);
    assert!(matches!(first(&mut c, 25, mesh), Some((20, Seen::Zero { .. }))), "{c:?}");
    let sources = c.sources(&mesh(25));
    let (others, listed) = sources.split_last().unwrap();
    let listed: Vec<_> = listed.iter().map(|one| (one.workload.as_str(), one.stopped_after_ms)).collect();
    assert_eq!((listed.len(), listed[0], listed[15]), (16, ("ns/w19", 19_700), ("ns/w04", 4_700)));
    assert_eq!((&*others.workload, others.proxies, others.stopped_after_ms), ("", 11, 3_700));
    assert_eq!(
        c.how(&mesh(25)),
        ": 2 proxies of ns/w19 after 19.7 s, 2 proxies of ns/w18 after 18.7 s, 2 proxies of ns/w17 after 17.7 s, the other 17 workloads \
         within 16.7 s"
    );
}

#[test]
fn what_stopped_at_once_is_told_at_once() {
    let of = |workloads: &[&'static str], split: Split| {
        let all: Vec<_> = workloads.iter().map(|name| all(name, 2, |_| split)).collect();
        sent(&all)
    };
    let cases: [(&[&'static str], &str); 3] = [
        (&["ns/a"], ", at each of 2 proxies of ns/a"),
        (&["ns/a", "ns/b"], ", at each of 4 proxies of 2 workloads"),
        (&["ns/a", ""], ", at each of 4 proxies"),
    ];
    // One that never sent the candidate any had nothing to stop.
    let idle = |mesh: Vec<(&'static str, String, Split)>| sent(&[mesh, all("ns/a", 3, |_| split(0, 1)).split_off(2)]);
    for (workloads, want) in cases {
        let mut c = after(of(workloads, BEFORE), 10);
        assert_eq!(first(&mut c, 5, |_| of(workloads, FOLLOWS)).map(|(s, _)| s), Some(1));
        assert_eq!(c.how(&of(workloads, FOLLOWS)), want);
    }
    let mut c = after(idle(all("ns/a", 2, |_| BEFORE)), 10);
    let follows = idle(all("ns/a", 2, |_| FOLLOWS));
    assert_eq!(first(&mut c, 5, |_| follows.clone()).map(|(s, _)| s), Some(1));
    assert_eq!(c.how(&follows), ", at each of 3 proxies of ns/a");
}

/// While its filter is replaced both report for a moment.
#[test]
fn a_workload_that_is_said_later_counts() {
    let mut c = after(shares([("a", BEFORE), ("b", BEFORE)]), 10);
    let mesh = |s: u64| shares_of(["a", "b"].map(|node| (if s > 1 { "ns/w" } else { "" }, node, FOLLOWS)));
    assert_eq!(c.observe(101, &mesh(1)), Seen::Zero { after: Duration::from_millis(700) });
    assert_eq!(c.observe(102, &mesh(2)), Seen::Zero { after: Duration::from_millis(700) });
    assert_eq!(told(&c.sources(&mesh(2))), [("ns/w", "", 2, SourceState::Stopped, 700)]);
}
