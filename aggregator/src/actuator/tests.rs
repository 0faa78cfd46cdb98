use std::{collections::VecDeque, sync::Mutex};

use serin_proto::v1::{DecisionStage, Outcome, Vantage};
use serin_sketch::{Bucket, Counts, Micros};

use super::*;
use crate::{
    config::Config,
    engine::{Engine, Logged, Shared, Taken},
    partition,
    report::{Counted, Deltas, Origin, SeriesKey},
    shell::{Shell, now},
};

/// Answers the first puts as it was told, and keeps what comes after them.
struct Kept {
    first: Mutex<VecDeque<NotPut>>,
    puts: mpsc::UnboundedSender<Decision>,
}

#[tonic::async_trait]
impl Decisions for Kept {
    async fn put(self: Arc<Self>, decision: Decision) -> Result<(), NotPut> {
        let _ = self.puts.send(decision);
        self.first.lock().unwrap().pop_front().map_or(Ok(()), Err)
    }

    async fn put_recording(self: Arc<Self>, _: u64, _: Vec<u8>) -> Result<(), String> {
        Ok(())
    }

    async fn recording(self: Arc<Self>, _: u64) -> Result<Option<Vec<u8>>, String> {
        Ok(None)
    }
}

/// The last minute, in which the candidate only failed.
fn failing() -> Vec<Logged> {
    let delta = |release: &str, outcome| {
        let series = SeriesKey {
            service: "shop".into(),
            route: "all".into(),
            release: release.into(),
            pod: format!("{release}-pod"),
            outcome,
            vantage: Vantage::Gateway,
        };
        let total = Counts::from_iter([(Bucket::of(Micros(40_000)), 50)]);
        Counted { series: Arc::new(series), upstream: Counts::new(), total, retries: 0 }
    };
    let deltas: Deltas = [delta("v1", Outcome::Success), delta("v2", Outcome::ServerError)].into_iter().collect();
    let (last, deltas) = (now().second(), Arc::new(deltas));
    (last - 60..=last).map(|second| Logged { second, origin: Origin::unknown(), deltas: Arc::clone(&deltas) }).collect()
}

/// Another aggregator decided first and did not come to write it, and we got its partition back.
#[tokio::test]
async fn what_was_overtaken_and_is_ours_again_is_written() {
    let text = "services: [{name: shop, vantage: gateway, baseline: v1, candidate: v2, timing: total, \
                rollback: {envoy_rds: {file: /is/not/there.yaml, cluster: '{release}'}}}]";
    let (engine, first) = Engine::new(&Config::parse(text).unwrap(), Vec::new(), now());
    let (orders, receiver) = mpsc::unbounded_channel();
    let (reports, _kept) = mpsc::unbounded_channel();
    let (shell, handle) = Shell::new(engine.shared(), orders, reports, None);
    tokio::spawn(shell.run(first));
    let (puts, mut put) = mpsc::unbounded_channel();
    let history = Arc::new(Kept { first: Mutex::new([NotPut::Overtaken].into()), puts });
    let notifier = Notifier::start(&[], now()).unwrap();
    let actuator = Actuator::new(history, None, watch::channel(true).0, notifier, Leader::alone());
    tokio::spawn(actuator.run(receiver, handle.clone()));

    let take = async |decisions| {
        let taken = Taken { reports: failing(), decisions };
        handle.event(Shared::Took(partition::of("shop"), taken).into()).await.unwrap();
    };
    take(Vec::new()).await;
    let ours = put.recv().await.unwrap();
    let mut theirs = ours.clone();
    theirs.unix_us -= 1;
    take(vec![theirs.clone()]).await;
    let written = tokio::time::timeout(Duration::from_secs(20), async {
        loop {
            let kept = put.recv().await.unwrap();
            assert_eq!(kept.unix_us, theirs.unix_us, "ours is not written over it");
            if kept.events.iter().any(|event| event.stage() == DecisionStage::Failed) {
                return;
            }
        }
    });
    written.await.expect("its file is not there, so writing it fails, and that is said");
}
