mod pauses;

use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use tokio::sync::oneshot;

use super::*;
use crate::{
    fake::{Answer, Asked, server, status},
    lease::Timing,
};

const PATH: &str = "/apis/coordination.k8s.io/v1/namespaces/serin-system/leases";

type Stored = Arc<Mutex<Option<Value>>>;

/// What the API server does with a Lease.
fn answer(stored: &Stored, asked: &Asked) -> Answer {
    let mut stored = stored.lock().unwrap();
    let conflict = || status(409, "Conflict", "the object has been modified", &json!({ "name": "serin" }));
    match (asked.method.as_str(), stored.as_mut()) {
        ("GET", None) => status(404, "NotFound", "leases \"serin\" not found", &json!({ "name": "serin" })),
        ("GET", Some(lease)) => Answer::Json(200, lease.clone()),
        ("POST", Some(_)) => conflict(),
        ("PUT", Some(lease)) if asked.body["metadata"]["resourceVersion"] != lease["metadata"]["resourceVersion"] => {
            conflict()
        }
        (_, lease) => {
            let version =
                lease.map_or(0, |lease| lease["metadata"]["resourceVersion"].as_str().unwrap().parse().unwrap());
            let mut after = asked.body.clone();
            after["metadata"]["resourceVersion"] = (version + 1_u64).to_string().into();
            *stored = Some(after.clone());
            Answer::Json(if asked.method == "POST" { 201 } else { 200 }, after)
        }
    }
}

fn holder(stored: &Stored) -> Value {
    stored.lock().unwrap().as_ref().map(|lease| lease["spec"]["holderIdentity"].clone()).unwrap_or_default()
}

/// A replica whose requests are answered by `before` or the store, and the end of its campaign.
fn replica(
    identity: &str,
    stored: &Stored,
    before: impl FnMut(&Asked) -> Option<Answer> + Send + 'static,
) -> (Leadership, oneshot::Sender<()>) {
    following(identity, stored, before, async |_| {})
}

/// The same, with who follows pauses.
fn following<F: Future<Output = ()> + Send + 'static>(
    identity: &str,
    stored: &Stored,
    mut before: impl FnMut(&Asked) -> Option<Answer> + Send + 'static,
    paused: impl FnMut(Option<Pause>) -> F + Send + Sync + 'static,
) -> (Leadership, oneshot::Sender<()>) {
    let stored = Arc::clone(stored);
    let (client, _) = server(move |asked| before(asked).unwrap_or_else(|| answer(&stored, asked)));
    let election = Election::new("serin", identity, Timing::default());
    let (stop, stopped) = oneshot::channel::<()>();
    let (leadership, run) = campaign(client, "serin-system", election, paused, async {
        let _ = stopped.await;
    });
    tokio::spawn(run);
    (leadership, stop)
}

async fn seconds(seconds: u64) {
    sleep(Duration::from_secs(seconds)).await;
}

#[tokio::test(start_paused = true)]
async fn one_leads_and_leaves_to_the_other() {
    let stored = Stored::default();
    let paths = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&paths);
    let (a, stop) = replica("a", &stored, move |asked| {
        seen.lock().unwrap().push(format!("{} {} {}", asked.method, asked.path, asked.query.trim_start_matches('&')));
        None
    });
    seconds(1).await;
    let (b, _run) = replica("b", &stored, |_| None);
    seconds(60).await;
    assert!(a.is_leader() && !b.is_leader());
    assert_eq!(holder(&stored), "a");
    let paths = paths.lock().unwrap().clone();
    let get = format!("GET {PATH}/serin ");
    let put = format!("PUT {PATH}/serin fieldManager=serin");
    assert_eq!(paths[..4], [get.clone(), format!("POST {PATH} fieldManager=serin"), get, put]);

    stop.send(()).unwrap();
    seconds(3).await;
    assert!(!a.is_leader() && b.is_leader());
    assert_eq!(holder(&stored), "b");
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_is_cut_off_stops_before_another_starts() {
    for cut in [|| Answer::Broken, || Answer::Never, || status(403, "Forbidden", "leases is forbidden", &json!({}))] {
        let stored = Stored::default();
        let is_cut = Arc::new(Mutex::new(false));
        let cut_off = Arc::clone(&is_cut);
        let (a, _run_a) = replica("a", &stored, move |_| cut_off.lock().unwrap().then(cut));
        seconds(1).await;
        let (b, _run_b) = replica("b", &stored, |_| None);
        seconds(10).await;
        assert!(a.is_leader() && !b.is_leader());
        *is_cut.lock().unwrap() = true;
        let mut changes = Vec::new();
        for tenth in 0..200_u32 {
            assert!(!(a.is_leader() && b.is_leader()), "both at {tenth}");
            let who = (a.is_leader(), b.is_leader());
            if changes.last().is_none_or(|(_, last)| *last != who) {
                changes.push((tenth, who));
            }
            sleep(Duration::from_millis(100)).await;
        }
        let who: Vec<(bool, bool)> = changes.iter().map(|(_, who)| *who).collect();
        assert_eq!(who, [(true, false), (false, false), (false, true)]);
        assert!(changes[1].0 <= 61 && changes[2].0 < 150, "{changes:?}");
        // The other way is open again: it follows.
        *is_cut.lock().unwrap() = false;
        seconds(20).await;
        assert!(!a.is_leader() && b.is_leader());
    }
}

#[tokio::test(start_paused = true)]
async fn nobody_leads_who_may_not_write() {
    let stored = Stored::default();
    let (a, _run) = replica("a", &stored, |asked| {
        (asked.method != "GET").then(|| status(403, "Forbidden", "leases is forbidden", &json!({})))
    });
    seconds(60).await;
    assert!(!a.is_leader());
    assert_eq!(holder(&stored), Value::Null);
}

#[tokio::test(start_paused = true)]
async fn a_change_is_told() {
    let stored = Stored::default();
    let (mut a, stop) = replica("a", &stored, |_| None);
    while !a.is_leader() {
        assert!(a.changed().await);
    }
    stop.send(()).unwrap();
    while a.changed().await {}
    assert!(!a.is_leader());
}
