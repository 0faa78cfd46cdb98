//! Proxies report to one aggregator or another: does each know all of them, and does it say whom it could not ask?

use std::{
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, Result};
use serin_proto::v1::{ListProxiesRequest, ListProxiesResponse};
use support::{
    artifacts,
    filter::{Counts, Filters, Tally},
    nats::Nats,
    poll,
    serin::{self, Serin},
};

const SOON: Duration = Duration::from_secs(30);

async fn proxies(serin: &Serin) -> Result<ListProxiesResponse> {
    Ok(serin.query().list_proxies(ListProxiesRequest {}).await?.into_inner())
}

#[tokio::test(flavor = "multi_thread")]
async fn whichever_aggregator_is_asked() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let nats = Nats::start(1, dir.path()).await?;
    let config = serin::configure(dir.path(), &dir.path().join("rds.yaml"))?;
    let is_enough = Arc::new(AtomicBool::new(false));
    let (mut serins, mut filters, mut tallies) = (Vec::new(), Vec::new(), Vec::new());
    for at in 0..2 {
        let log = dir.path().join(format!("serin-{at}.log"));
        let serin = Serin::start_with(&config, &log, &["--history", &Nats::url(&nats.addresses)]).await?;
        let (filter, tally) = (Filters::start(serin.grpc)?, Arc::<Tally>::default());
        let counts = Counts { node: format!("node-{at}"), service: "shop".to_owned(), series: 2, requests: 3 };
        filter.add(counts, Arc::clone(&tally), Arc::clone(&is_enough));
        serins.push(serin);
        filters.push(filter);
        tallies.push(tally);
    }
    let begun = async || Ok(tallies.iter().all(|tally| tally.acknowledged.load(Ordering::Relaxed) > 0).then_some(()));
    poll::until("both to report", SOON, begun).await?;
    is_enough.store(true, Ordering::Relaxed);
    for filter in filters {
        filter.delivered().await?;
    }
    let want: Vec<(String, u64)> =
        (0..).zip(&tallies).map(|(at, tally)| (format!("node-{at}"), tally.counted.load(Ordering::Relaxed))).collect();
    for serin in &serins {
        let all = poll::until("both proxies to be known", SOON, async || {
            let answer = proxies(serin).await?;
            Ok((answer.proxies.len() == 2 && answer.unanswered.is_empty()).then_some(answer.proxies))
        });
        let all = all.await?;
        assert!(all.iter().all(|proxy| proxy.reporters.is_empty()), "reporters are for aggregators: {all:?}");
        let counted: Vec<(String, u64)> = all.into_iter().map(|proxy| (proxy.node_id, proxy.counted)).collect();
        assert_eq!(counted, want);
    }
    // It is there by its last heartbeat, for another five seconds: where those are over, or it was not stopped yet, once more.
    let silent = serins[0].grpc.to_string();
    let (proxies, shown) = poll::until("one not to answer", SOON, async || {
        serins[0].process.pause();
        let answer = proxies(&serins[1]).await?;
        let mut command = Command::new(artifacts::serin()?);
        let shown = command.args(["proxies", "--server", &serins[1].grpc.to_string()]).output()?;
        serins[0].process.resume();
        let shown = String::from_utf8(shown.stdout)?;
        Ok((answer.unanswered == [silent.as_str()] && shown.contains("not answer")).then_some((answer.proxies, shown)))
    })
    .await?;
    let names: Vec<String> = proxies.into_iter().map(|proxy| proxy.node_id).collect();
    assert_eq!(names, ["node-1"]);
    let last = shown.lines().last().context("it says nothing")?;
    assert!(last.starts_with(&format!("The aggregator at {silent} does not answer")), "{shown}");
    Ok(())
}
