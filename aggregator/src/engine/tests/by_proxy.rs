//! Thirteen proxies send requests: each of them takes the new routes over, or does not.

use serin_proto::v1::SourceState;

use super::*;

const PROXIES: u64 = 13;
const STUCK: u64 = 7;

/// Reporters beside the one of [`World`], each of a proxy of its own.
struct Mesh {
    world: World,
    sent: BTreeMap<u64, u64>,
    sequence: u64,
}

impl Mesh {
    fn new(config: &Config) -> Self {
        Mesh::of("", config)
    }

    /// All of them of one workload.
    fn of(workload: &str, config: &Config) -> Self {
        let (mut world, _) = World::new(config, vec![]);
        for n in 0..PROXIES {
            let node = format!("sidecar~10.0.0.{n}~client-{n}.shop~shop.svc.cluster.local");
            let id = ReporterId { node_id: node.into(), boot_nonce: 1, context_id: 1 };
            let reporter = Reporter { id, workload: workload.into(), ..reporter() };
            world.step(Event::Connected { stream: StreamId(100 + n), reporter });
        }
        Mesh { world, sent: BTreeMap::new(), sequence: 0 }
    }

    /// One second in which each proxy reports this.
    fn second(&mut self, of: &impl Fn(u64) -> Vec<Counted>) -> Vec<Effect> {
        self.sequence += 1;
        let end = UnixMicros::from_second(self.world.second + 1);
        let mut effects = Vec::new();
        for n in 0..PROXIES {
            let sent = self.sent.entry(n).or_default();
            let report = Report {
                sequence: self.sequence,
                interval_end: end,
                interval: Duration::from_secs(1),
                deltas: shared(of(n)),
                requests_before: *sent,
                overflow_requests: 0,
                own: serin_proto::v1::ReporterState::default(),
                waiting: None,
            };
            *sent += report.requests();
            let event = Event::Reported { stream: StreamId(100 + n), report };
            effects.extend(self.world.engine.step(event, end.plus(Duration::from_millis(5))));
        }
        effects.extend(self.world.second(Vec::new()));
        effects
    }

    fn until<T>(&mut self, seconds: u64, of: impl Fn(u64) -> Vec<Counted>, found: impl Fn(&Effect) -> Option<T>) -> T {
        (0..seconds).find_map(|_| self.second(&of).iter().find_map(&found)).expect("it comes")
    }

    fn decision(&self) -> v1::Decision {
        self.world.engine.decisions("", 1).remove(0)
    }
}

/// One has 1% of the requests.
fn requests(n: u64) -> u64 {
    if n == STUCK { 20 } else { 200 }
}

fn split(n: u64) -> Vec<Counted> {
    let candidate = requests(n) / 10;
    vec![delta("v1", Outcome::Success, requests(n) - candidate), delta("v2", Outcome::ServerError, candidate)]
}

fn follows(n: u64) -> Vec<Counted> {
    vec![delta("v1", Outcome::Success, requests(n))]
}

#[test]
fn the_one_that_did_not_follow_is_named_until_it_does() {
    let mut mesh = Mesh::new(&config(false));
    let id = mesh.until(60, split, roll_back);
    mesh.world.step(written(id));
    mesh.second(&split);
    let all_but_one = |n| if n == STUCK { split(n) } else { follows(n) };
    let said = mesh.until(12, all_but_one, stage(DecisionStage::NotInEffect));
    let want = "gets less than 0.1% of the requests; client-7.shop (10.0% of its own) still sends v2 requests; the other 12 stopped within 1.0 s";
    assert!(said.contains(want), "{said}");
    let sources = mesh.decision().sources;
    assert_eq!((sources.len(), sources[0].state(), sources[0].proxies), (13, SourceState::Sends, 1));
    assert!(sources[0].node_id.contains("client-7.shop"), "{sources:?}");
    assert!(sources[1..].iter().all(|source| source.stopped_after_ms == 1_000), "{sources:?}");
    // Written again, with nothing to write: it is still the same one.
    let again = mesh.until(40, all_but_one, roll_back);
    let same = Written::InEffect("already in effect in rds.yaml".into());
    mesh.world.step(Event::Written { decision: again, results: vec![same] });
    let told = |effect: &Effect| matches!(effect, Effect::Persist(_)).then_some(());
    assert!((0..20).all(|_| mesh.second(&all_but_one).iter().find_map(told).is_none()), "{:?}", mesh.decision().events);
    // Its proxy is started again.
    let said = mesh.until(20, follows, stage(DecisionStage::Confirmed));
    assert!(said.contains(": client-7.shop after "), "{said}");
    assert!(said.ends_with("the other 12 of the proxies within 1.0 s"), "{said}");
    let sources = mesh.decision().sources;
    assert!(sources.iter().all(|source| source.state() == SourceState::Stopped), "{sources:?}");
}

#[test]
fn what_proxies_say_of_their_workload_is_told() {
    let mut mesh = Mesh::of("shop/client", &config(false));
    let id = mesh.until(60, split, roll_back);
    mesh.world.step(written(id));
    let all_but_one = |n| if n == STUCK { split(n) } else { follows(n) };
    let said = mesh.until(12, all_but_one, stage(DecisionStage::NotInEffect));
    assert!(said.contains("; client-7.shop of shop/client (10.0% of its own) still sends v2"), "{said}");
    let told = |decision: v1::Decision| -> Vec<(String, u32, SourceState)> {
        decision.sources.iter().map(|one| (one.workload.clone(), one.proxies, one.state())).collect()
    };
    let workload = || "shop/client".to_owned();
    assert_eq!(told(mesh.decision()), [(workload(), 13, SourceState::Sends), (workload(), 1, SourceState::Sends)]);
    let said = mesh.until(20, follows, stage(DecisionStage::Confirmed));
    assert!(said.contains(": client-7.shop after "), "{said}");
    assert!(said.ends_with("the other 12 proxies of shop/client within 0.0 s"), "{said}");
    assert_eq!(told(mesh.decision()), [(workload(), 13, SourceState::Stopped)]);
    let now = UnixMicros::from_second(mesh.world.second);
    let proxies = mesh.world.engine.proxies(now);
    let known = proxies.iter().filter(|proxy| proxy.workload == "shop/client").count();
    assert_eq!(
        (known as u64, proxies.len() as u64),
        (PROXIES, PROXIES + 1),
        "the world's own reporter does not say it"
    );
}

#[test]
fn one_that_comes_back_with_little_is_named() {
    let mut mesh = Mesh::new(&config(false));
    let id = mesh.until(60, split, roll_back);
    mesh.world.step(written(id));
    let said = mesh.until(10, follows, stage(DecisionStage::Confirmed));
    assert!(said.ends_with(", at each of 13 proxies"), "{said}");
    (0..30).for_each(|_| drop(mesh.second(&follows)));
    let one_is_back = |n| if n == STUCK { split(n) } else { follows(n) };
    let said = mesh.until(20, one_is_back, stage(DecisionStage::NotInEffect));
    assert!(
        said.contains("gets less than 0.1% of the requests from client-7.shop (3.0% of its own): writing"),
        "{said}"
    );
}

/// A proxy that ends with its pod is not waited for.
#[test]
fn one_that_dies_holds_nothing_up() {
    let mut config = config(false);
    config.services[0].rollback.confirm_within = Duration::from_secs(30);
    let mut mesh = Mesh::new(&config);
    let id = mesh.until(60, split, roll_back);
    mesh.world.step(written(id));
    mesh.second(&split);
    let said = mesh.until(15, |n| if n == STUCK { vec![] } else { follows(n) }, stage(DecisionStage::Confirmed));
    assert!(said.starts_with("candidate share 0.0% after 1.0 s"), "{said}");
    let sources = mesh.decision().sources;
    let gone = sources.iter().find(|source| source.node_id.contains("client-7")).unwrap();
    assert_eq!(gone.state(), SourceState::Gone);
}
