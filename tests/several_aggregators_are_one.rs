//! Three NATS servers, three aggregators, four Envoys with load, and faults at random: is every request counted once, is there one decision for
//! each regression, and is it the same wherever one asks? `ROUNDS=30` takes a quarter of an hour.

use std::{env, net::SocketAddr, process::Command, time::Duration};

use anyhow::{Context, Result, ensure};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use serin_proto::v1::{ClearRequest, Decision, DecisionStage, control_client::ControlClient};
use support::{
    artifacts,
    envoy::Envoy,
    gateway::{ACCESS_LOG, Shop},
    load::{Load, Plan, Protocol},
    nats::Nats,
    poll,
    proxy::Proxy,
    serin::{self, Serin},
    service::Behaviour,
};

const SOON: Duration = Duration::from_secs(60);
const SERVERS: usize = 3;
const AGGREGATORS: usize = 3;
const ENVOYS: usize = 4;
const RATE_PER_S: f64 = 60.0;

/// An aggregator, what leads to it, and what it reaches NATS by.
struct Member {
    serin: Option<Serin>,
    front: Proxy,
    links: Vec<Proxy>,
    number: usize,
}

impl Member {
    async fn new(number: usize, nats: &Nats) -> Result<Self> {
        let mut links = Vec::new();
        for address in &nats.addresses {
            links.push(Proxy::start(Some(*address)).await?);
        }
        Ok(Member { serin: None, front: Proxy::start(None).await?, links, number })
    }

    async fn start(&mut self, shop: &Shop, config: &std::path::Path) -> Result<()> {
        let links: Vec<SocketAddr> = self.links.iter().map(|link| link.address).collect();
        let log = shop.dir().join(format!("serin-{}.log", self.number));
        let serin = Serin::start_with(config, &log, &["--history", &Nats::url(&links)]).await?;
        self.front.heal(serin.grpc);
        self.serin = Some(serin);
        Ok(())
    }

    fn cut(&self) {
        self.links.iter().for_each(Proxy::cut);
    }

    fn heal(&self, nats: &Nats) {
        self.links.iter().zip(&nats.addresses).for_each(|(link, address)| link.heal(*address));
    }

    fn serin(&self) -> Result<&Serin> {
        self.serin.as_ref().context("that aggregator does not run")
    }
}

struct World {
    nats: Nats,
    members: Vec<Member>,
    shop: Shop,
    config: std::path::PathBuf,
    envoys: Vec<Envoy>,
    dirs: Vec<tempfile::TempDir>,
}

impl World {
    async fn start() -> Result<Self> {
        let shop = Shop::open(2, 0.1).await?;
        let nats = Nats::start(SERVERS, shop.dir()).await?;
        let config = serin::configure(shop.dir(), &shop.routes)?;
        let mut members = Vec::new();
        for number in 0..AGGREGATORS {
            let mut member = Member::new(number, &nats).await?;
            member.start(&shop, &config).await?;
            members.push(member);
        }
        let fronts: Vec<SocketAddr> = members.iter().map(|member| member.front.address).collect();
        let (mut envoys, mut dirs) = (Vec::new(), Vec::new());
        for _ in 0..ENVOYS {
            let dir = tempfile::Builder::new().prefix("serin-envoy-").tempdir()?;
            let bootstrap = shop.bootstrap(ACCESS_LOG, fronts[0])?.cluster("serin", &fronts)?;
            envoys.push(Envoy::start(&bootstrap, 1, dir.path()).await?);
            dirs.push(dir);
        }
        Ok(World { nats, members, shop, config, envoys, dirs })
    }

    fn load(&self) -> Result<Vec<Load>> {
        let plan = |envoy: &Envoy| Plan {
            rate_per_s: RATE_PER_S,
            requests: 1_000_000,
            ..Plan::new(envoy.address, Protocol::Http1)
        };
        self.envoys.iter().map(|envoy| Load::start(plan(envoy))).collect()
    }

    /// Does something bad to one of them, and after a while undoes it.
    async fn strike(&mut self, rng: &mut StdRng) -> Result<String> {
        let at = rng.random_range(0..3);
        let lasts = Duration::from_millis(rng.random_range(500..7_000));
        match rng.random_range(0..3) {
            0 => {
                self.members[at].serin.take().context("it does not run")?.process.kill();
                self.members[at].front.cut();
                tokio::time::sleep(lasts).await;
                self.members[at].start(&self.shop, &self.config).await?;
                Ok(format!("aggregator {at} killed for {lasts:?}"))
            }
            1 => {
                self.nats.kill(at);
                tokio::time::sleep(lasts).await;
                self.nats.run(at)?;
                self.nats.is_ready(at).await?;
                Ok(format!("NATS server {at} killed for {lasts:?}"))
            }
            _ => {
                self.members[at].cut();
                tokio::time::sleep(lasts).await;
                self.members[at].heal(&self.nats);
                Ok(format!("aggregator {at} cut off from NATS for {lasts:?}"))
            }
        }
    }

    /// Waits until a decision has come this far, and everyone lists the same.
    async fn decided(&self, decisions: usize, stage: DecisionStage) -> Result<Decision> {
        let mut last = String::new();
        let agreed = poll::until("everyone to list the same decisions", SOON, async || {
            let mut lists = Vec::new();
            for member in &self.members {
                lists.push(member.serin()?.decisions().await?);
            }
            last = format!(
                "{:?}",
                lists
                    .iter()
                    .map(|list| list.iter().map(|d| (d.id, d.events.len())).collect::<Vec<_>>())
                    .collect::<Vec<_>>()
            );
            ensure!(lists.iter().all(|list| list.len() <= decisions), "more than {decisions} decisions: {lists:?}");
            let first = lists[0].first().cloned();
            let is_same = lists.iter().all(|list| list == &lists[0] && list.len() == decisions);
            let reached = |decision: &Decision| decision.events.iter().any(|event| event.stage() == stage);
            Ok(first.filter(|decision| is_same && reached(decision)))
        });
        agreed.await.with_context(|| format!("decisions (number, events): {last}"))
    }

    async fn clear(&self, at: usize) -> Result<()> {
        let grpc = self.members[at].serin()?.grpc;
        let cleared = poll::until("the condemnation to be lifted", SOON, async || {
            let mut control = ControlClient::connect(format!("http://{grpc}")).await?;
            let request = ClearRequest { service: "shop".to_owned(), release: "v2".to_owned() };
            Ok(control.clear(request).await.ok().map(drop))
        });
        cleared.await
    }

    fn exported(&self, at: usize) -> Result<u64> {
        let file = self.dirs[0].path().join(format!("{:?}.csv", std::time::Instant::now()));
        let mut command = Command::new(artifacts::serin()?);
        command.args([
            "export",
            "shop",
            "--format",
            "csv",
            "--server",
            &self.members[at].serin()?.grpc.to_string(),
            "--out",
        ]);
        let output = command.arg(&file).output()?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let text = std::fs::read_to_string(&file)?;
        let totals = text.lines().filter(|line| line.contains(",total,"));
        totals.map(|line| line.rsplit(',').next().and_then(|count| count.parse::<u64>().ok()).context("no count")).sum()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_dies() -> Result<()> {
    let rounds: usize = env::var("ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(2);
    let seed = env::var("SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1);
    let mut rng = StdRng::seed_from_u64(seed);
    let mut world = World::start().await?;
    let loads = world.load()?;
    let mut faults = Vec::new();
    for round in 1..=rounds {
        world.shop.v2.behave(Behaviour::Errors(0.3));
        // Before, while and after it is decided.
        for _ in 0..2 {
            faults.push(world.strike(&mut rng).await?);
            eprintln!("round {round}: {}", faults.last().unwrap());
        }
        let decision = world.decided(round, DecisionStage::Confirmed).await;
        let decision = decision.with_context(|| format!("round {round}, seed {seed}: {faults:?}"))?;
        let written = decision.events.iter().filter(|event| event.stage() == DecisionStage::Decided).count();
        assert_eq!(written, 1, "{decision:?}");
        assert_eq!((world.shop.weight("shop-v1")?, world.shop.weight("shop-v2")?), (100, 0));
        world.shop.v2.behave(Behaviour::Healthy);
        world.clear(rng.random_range(0..AGGREGATORS)).await?;
        std::fs::copy(support::bootstrap::directory().join("rds.yaml"), world.shop.routes.with_extension("new"))?;
        std::fs::rename(world.shop.routes.with_extension("new"), &world.shop.routes)?;
    }
    let mut sent = 0;
    for load in loads {
        sent += load.stop(SOON).await.sent;
    }
    let mut ended = 0;
    for envoy in &world.envoys {
        ended += envoy.idle(SOON).await?;
    }
    assert_eq!(ended, sent);
    let mut kept = 0;
    let all = poll::until("every request to be kept", SOON, async || {
        kept = world.exported(rng.random_range(0..AGGREGATORS))?;
        ensure!(kept <= ended, "{kept} requests are kept, and the Envoys had {ended}: {faults:?}");
        Ok((kept == ended).then_some(()))
    });
    all.await.with_context(|| format!("{kept} requests are kept, and the Envoys had {ended}: seed {seed}, {faults:?}"))
}

/// Whether it said last that it judges this partition.
pub(crate) fn judges(serin: &Serin, partition: u16) -> bool {
    let of_it = format!("partition={partition}");
    let log = serin.process.log();
    let said = log.lines().rfind(|line| line.split_whitespace().any(|word| word == of_it));
    said.is_some_and(|line| line.contains("judging from the log"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trial_goes_on_at_another_one() -> Result<()> {
    let shop = Shop::open(2, 0.1).await?;
    let nats = Nats::start(1, shop.dir()).await?;
    let config = serin::configure(shop.dir(), &shop.routes)?;
    let mut members = Vec::new();
    for number in 0..2 {
        let mut member = Member::new(number, &nats).await?;
        member.start(&shop, &config).await?;
        members.push(member);
    }
    let fronts: Vec<SocketAddr> = members.iter().map(|member| member.front.address).collect();
    let dir = tempfile::Builder::new().prefix("serin-envoy-").tempdir()?;
    let bootstrap = shop.bootstrap(ACCESS_LOG, fronts[0])?.cluster("serin", &fronts)?;
    let envoy = Envoy::start(&bootstrap, 1, dir.path()).await?;
    let load = Load::start(Plan { requests: 1_000_000, ..Plan::new(envoy.address, Protocol::Http1) })?;
    let partition = ::serin::partition::of("shop");
    let judge = poll::until("somebody to judge", SOON, async || {
        Ok((0..2).find(|at| members[*at].serin().is_ok_and(|serin| judges(serin, partition))))
    })
    .await?;
    let other = 1 - judge;
    let trial_s = async |at: usize| {
        let answer = members[at].serin()?.compare(0).await.ok();
        anyhow::Ok(answer.and_then(|answer| answer.verdict).map_or(0, |verdict| verdict.trial_s))
    };
    poll::until("a trial of 15 s, asked of the other one", SOON, async || {
        Ok((trial_s(other).await? >= 15).then_some(()))
    })
    .await?;
    members[judge].serin.take().context("it does not run")?.process.kill();
    members[judge].front.cut();
    let killed = tokio::time::Instant::now();
    let goes_on = poll::until("the trial to go on", SOON, async || {
        let answer = members[other].serin()?.compare(0).await.ok();
        let is_here = judges(members[other].serin()?, partition);
        Ok(answer
            .and_then(|answer| answer.verdict)
            .map(|verdict| verdict.trial_s)
            .filter(|trial_s| is_here && *trial_s > 0))
    })
    .await?;
    eprintln!("taken over {:.1} s after the kill, {goes_on} s into the trial", killed.elapsed().as_secs_f64());
    assert!(goes_on >= 15, "it began anew: {goes_on} s");
    // Sooner or later the seconds in between are judged, too.
    let tally = load.stop(SOON).await;
    assert_eq!(envoy.idle(SOON).await?, tally.sent);
    Ok(())
}
