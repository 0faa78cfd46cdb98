use std::{net::SocketAddr, time::Duration};

use axum::{Router, http::StatusCode};
use serin_proto::v1::{DecisionEvent, DecisionStage};
use tokio::{net::TcpListener, time::timeout};

use super::*;
use crate::config::{Address, ReceiverKind};

const SOON: Duration = Duration::from_secs(20);

/// A second between one and the next.
fn told(stages: &[DecisionStage]) -> Decision {
    let decided_us = 1_700_000_000_000_000;
    let event = |(n, stage): (u64, &DecisionStage)| DecisionEvent {
        unix_us: decided_us + n * 1_000_000,
        stage: (*stage).into(),
        sentence: format!("{}: p99 1.44x & <more>", stage.word()),
    };
    let [service, baseline, candidate] = ["shop", "v1", "v2"].map(str::to_owned);
    let events = (0..).zip(stages).map(event).collect();
    Decision { id: 7, service, baseline, candidate, unix_us: decided_us, events, ..Decision::default() }
}

fn notice(stage: DecisionStage) -> Notice {
    Notice::standing(&told(&[DecisionStage::Decided, DecisionStage::Written, stage])).unwrap()
}

#[test]
fn a_webhook() {
    let text = payload::of(ReceiverKind::Webhook, &notice(DecisionStage::NotInEffect)).to_string();
    insta::assert_snapshot!(text, @r#"{"baseline":"v1","candidate":"v2","decision":7,"sentence":"not_in_effect: p99 1.44x & <more>","service":"shop","stage":"not_in_effect","time":"2023-11-14T22:13:22.000Z","version":1}"#);
}

#[test]
fn slack() {
    let text = payload::of(ReceiverKind::Slack, &notice(DecisionStage::NotInEffect)).to_string();
    insta::assert_snapshot!(text, @r#"{"text":"*shop*: v2 against v1: *not in effect*\nnot_in_effect: p99 1.44x &amp; &lt;more&gt;"}"#);
}

/// Name, until when, and what it says.
fn alerts_of(payload: &serde_json::Value) -> Vec<String> {
    let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
    let alert = |alert: &serde_json::Value| {
        let (name, ends) = (text(&alert["labels"]["alertname"]), text(&alert["endsAt"]));
        format!("{name} {} {}", &ends[14..19], text(&alert["annotations"]["summary"]).split(':').next().unwrap())
    };
    payload.as_array().unwrap().iter().map(alert).collect()
}

#[test]
fn alerts() {
    use DecisionStage::{Cleared, Confirmed, Decided, Failed, NotInEffect, NotKnown, Written};
    let check = |stages: &[DecisionStage], want: &[&str]| {
        let notice = Notice::standing(&told(stages)).unwrap();
        assert_eq!(alerts_of(&payload::of(ReceiverKind::Alertmanager, &notice)), want, "{stages:?}");
    };
    check(&[Decided], &["SerinReleaseCondemned 17:20 decided"]);
    check(&[Decided, Failed], &["SerinReleaseCondemned 17:21 failed", "SerinRollbackFailed 17:21 failed"]);
    check(&[Failed, Written], &["SerinReleaseCondemned 17:21 written", "SerinRollbackFailed 17:21 failed"]);
    check(&[Failed, Confirmed], &["SerinReleaseCondemned 17:21 confirmed", "SerinRollbackFailed 13:21 confirmed"]);
    check(&[Failed, Cleared], &["SerinReleaseCondemned 13:21 cleared", "SerinRollbackFailed 13:21 cleared"]);
    // Nobody can tell: that calls nobody, and does not send home who was called.
    check(&[Written, NotKnown], &["SerinReleaseCondemned 17:21 not_known"]);
    check(
        &[NotInEffect, NotKnown],
        &["SerinReleaseCondemned 17:21 not_known", "SerinRollbackFailed 17:21 not_in_effect"],
    );
    let alert = payload::of(ReceiverKind::Alertmanager, &Notice::standing(&told(&[Decided])).unwrap())[0].to_string();
    insta::assert_snapshot!(alert, @r#"{"annotations":{"stage":"decided","summary":"decided: p99 1.44x & <more>"},"endsAt":"2023-11-14T22:17:20.000Z","labels":{"alertname":"SerinReleaseCondemned","baseline":"v1","candidate":"v2","decision":"7","service":"shop","severity":"warning"},"startsAt":"2023-11-14T22:13:20.000Z"}"#);
}

#[test]
fn an_alert_began_with_the_trouble_that_it_is_about() {
    use DecisionStage::{Confirmed, Decided, Failed, NotInEffect};
    let since = |stages: &[DecisionStage]| {
        let trouble = Notice::standing(&told(stages)).unwrap().trouble.unwrap();
        (trouble.since_us - 1_700_000_000_000_000) / 1_000_000
    };
    assert_eq!(since(&[Decided, Failed, NotInEffect]), 1);
    assert_eq!(since(&[Decided, Failed, Confirmed, NotInEffect]), 3);
}

/// Neither a restart of Alertmanager nor of serin loses what stands.
#[tokio::test]
async fn what_stands_is_told_again_to_those_who_forget() {
    let (address, mut received) = server(Vec::new()).await;
    let url = Address::Url(format!("http://{address}"));
    let receivers = [ReceiverKind::Alertmanager, ReceiverKind::Slack];
    let receivers = receivers.map(|kind| Receiver { kind, address: url.clone() });
    let notifier = Notifier::start(&receivers, UnixMicros(u64::MAX)).unwrap();
    assert!(notifier.stands());
    use DecisionStage::{Confirmed, Decided, Failed};
    let standing = [told(&[Decided, Failed]), Decision { id: 8, ..told(&[Decided, Confirmed]) }];
    let now = UnixMicros(1_700_000_000_000_000).plus(Duration::from_secs(600));
    notifier.stand(&standing, now);
    counts(&notifier, [1, 0, 0]).await;
    let body = serde_json::from_str(&received.try_recv().unwrap()).unwrap();
    let want = [
        "SerinReleaseCondemned 27:20 failed",
        "SerinRollbackFailed 27:20 failed",
        "SerinReleaseCondemned 27:20 confirmed",
    ];
    assert_eq!(alerts_of(&body), want);
    assert!(received.try_recv().is_err(), "people are not told again");
    notifier.stand(&[], now);
    assert!(!Notifier::start(&receivers[1..], now).unwrap().stands());
}

/// One that hangs is not sent the same over and over when it comes back.
#[tokio::test]
async fn what_stands_does_not_pile_up() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = Address::Url(format!("http://{}", listener.local_addr().unwrap()));
    let notifier =
        Notifier::start(&[Receiver { kind: ReceiverKind::Alertmanager, address: url }], UnixMicros(0)).unwrap();
    let waiting = || QUEUE - notifier.queues[0].messages.capacity();
    for _ in 0..3 {
        // Nothing was awaited, so the queue holds what it holds.
        notifier.stand(&[decision()], UnixMicros(30));
    }
    assert_eq!(waiting(), 1);
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
