use std::{net::SocketAddr, time::Duration};

use axum::{Router, http::StatusCode};
use serin_proto::v1::DecisionEvent;
use tokio::{net::TcpListener, time::timeout};

use super::*;
use crate::config::{Address, ReceiverKind};

const SOON: Duration = Duration::from_secs(20);

fn notice(stage: DecisionStage) -> Notice {
    let [service, baseline, candidate, sentence] =
        ["shop", "v1", "v2", "p99 slower: 1.44x & <more>"].map(str::to_owned);
    let (decided_us, unix_us) = (1_700_000_000_000_000, 1_700_000_002_500_000);
    Notice { decision: 7, service, baseline, candidate, decided_us, unix_us, stage, sentence }
}

#[test]
fn a_webhook() {
    let text = payload::of(ReceiverKind::Webhook, &notice(DecisionStage::NotInEffect)).to_string();
    insta::assert_snapshot!(text, @r#"{"baseline":"v1","candidate":"v2","decision":7,"sentence":"p99 slower: 1.44x & <more>","service":"shop","stage":"not_in_effect","time":"2023-11-14T22:13:22.500Z","version":1}"#);
}

#[test]
fn slack() {
    let text = payload::of(ReceiverKind::Slack, &notice(DecisionStage::NotInEffect)).to_string();
    insta::assert_snapshot!(text, @r#"{"text":"*shop*: v2 against v1: *not in effect*\np99 slower: 1.44x &amp; &lt;more&gt;"}"#);
}

#[test]
fn alerts() {
    let told = |stage| {
        let alerts = payload::of(ReceiverKind::Alertmanager, &notice(stage));
        let alert = |alert: &serde_json::Value| {
            format!("{} until {}", alert["labels"]["alertname"].as_str().unwrap(), alert["endsAt"].as_str().unwrap())
        };
        alerts.as_array().unwrap().iter().map(alert).collect::<Vec<_>>().join(", ")
    };
    let (later, now) = ("2023-11-15T22:13:22.500Z", "2023-11-14T22:13:22.500Z");
    let (condemned, failed) = ("SerinReleaseCondemned until", "SerinRollbackFailed until");
    assert_eq!(told(DecisionStage::Decided), format!("{condemned} {later}"));
    assert_eq!(told(DecisionStage::Failed), format!("{condemned} {later}, {failed} {later}"));
    assert_eq!(told(DecisionStage::Confirmed), format!("{condemned} {later}, {failed} {now}"));
    assert_eq!(told(DecisionStage::Cleared), format!("{condemned} {now}, {failed} {now}"));
    let alert = payload::of(ReceiverKind::Alertmanager, &notice(DecisionStage::Decided))[0].to_string();
    insta::assert_snapshot!(alert, @r#"{"annotations":{"stage":"decided","summary":"p99 slower: 1.44x & <more>"},"endsAt":"2023-11-15T22:13:22.500Z","labels":{"alertname":"SerinReleaseCondemned","baseline":"v1","candidate":"v2","decision":"7","service":"shop","severity":"warning"},"startsAt":"2023-11-14T22:13:20.000Z"}"#);
}

fn decision() -> Decision {
    let event = |unix_us, stage: DecisionStage| DecisionEvent { unix_us, stage: stage.into(), sentence: "so".into() };
    Decision {
        id: 1,
        service: "shop".into(),
        events: vec![event(10, DecisionStage::Decided), event(20, DecisionStage::Written)],
        ..Decision::default()
    }
}

#[test]
fn only_what_is_new_is_told() {
    let stages = |after| notices(&decision(), after).map(|notice| notice.stage).collect::<Vec<_>>();
    assert_eq!(stages(0), [DecisionStage::Decided, DecisionStage::Written]);
    assert_eq!(stages(10), [DecisionStage::Written]);
    assert!(stages(20).is_empty());
}

/// Answers with these, and then 200; what it is sent goes to the channel.
async fn server(answers: Vec<u16>) -> (SocketAddr, mpsc::UnboundedReceiver<String>) {
    let (bodies, received) = mpsc::unbounded_channel();
    let answers = Arc::new(std::sync::Mutex::new(answers.into_iter()));
    let router = Router::new().fallback(move |body: String| {
        let answer = answers.lock().unwrap().next().unwrap_or(200);
        bodies.send(body).unwrap();
        async move { StatusCode::from_u16(answer).unwrap() }
    });
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    (address, received)
}

fn notifier(address: Address) -> Notifier {
    Notifier::start(&[Receiver { kind: ReceiverKind::Webhook, address }], UnixMicros(0)).unwrap()
}

async fn counts(notifier: &Notifier, want: [u64; 3]) {
    let counts = &notifier.queues[0].counts;
    let reached = async {
        while [&counts.sent, &counts.failed, &counts.dropped].map(|count| count.load(Ordering::Relaxed)) != want {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(SOON, reached).await.unwrap_or_else(|_| panic!("{counts:?} is not {want:?}"));
}

#[tokio::test]
async fn what_is_refused_for_now_is_sent_again_in_order() {
    let (address, mut received) = server(vec![503]).await;
    let notifier = notifier(Address::Url(format!("http://{address}/hook")));
    notifier.tell(&decision(), 0);
    counts(&notifier, [2, 0, 0]).await;
    let mut stages = Vec::new();
    while let Ok(body) = received.try_recv() {
        stages.push(serde_json::from_str::<serde_json::Value>(&body).unwrap()["stage"].as_str().unwrap().to_owned());
    }
    assert_eq!(stages, ["decided", "decided", "written"]);
}

#[tokio::test]
async fn what_is_refused_for_good_is_counted_and_the_next_one_goes_on() {
    let (address, _received) = server(vec![400]).await;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("url");
    std::fs::write(&file, format!("http://{address}/hook\n")).unwrap();
    let notifier = notifier(Address::File(file));
    notifier.tell(&decision(), 0);
    counts(&notifier, [1, 1, 0]).await;
    let mut registry = Registry::default();
    notifier.register(&mut registry);
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
    assert!(text.contains("serin_notifications_total{receiver=\"0-webhook\",result=\"failed\"} 1\n"), "{text}");
}

/// A receiver that hangs holds up nobody: what finds no room is dropped at once.
#[tokio::test]
async fn a_receiver_that_hangs_is_not_waited_for() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let notifier = notifier(Address::Url(format!("http://{}", listener.local_addr().unwrap())));
    for _ in 0..QUEUE {
        notifier.tell(&decision(), 0);
    }
    // Nothing was awaited, so the queue holds what it holds.
    let dropped = notifier.queues[0].counts.dropped.load(Ordering::Relaxed);
    assert_eq!(dropped, QUEUE as u64);
}

#[tokio::test]
async fn what_an_earlier_run_told_is_not_told_again() {
    let (address, mut received) = server(Vec::new()).await;
    let receiver = Receiver { kind: ReceiverKind::Slack, address: Address::Url(format!("http://{address}")) };
    let notifier = Notifier::start(&[receiver], UnixMicros(10)).unwrap();
    notifier.tell(&decision(), 0);
    counts(&notifier, [1, 0, 0]).await;
    assert!(received.try_recv().unwrap().contains("written"));
}
