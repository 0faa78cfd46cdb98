//! A pause in the Lease, given by a person there or through a replica.

use super::*;
use crate::lease::{PAUSED_BECAUSE, PAUSED_SINCE, PAUSED_UNTIL};

type Told = Arc<Mutex<Vec<Option<String>>>>;

/// One that follows pauses, and what it was told: why.
fn replica(
    identity: &str,
    stored: &Stored,
    before: impl FnMut(&Asked) -> Option<Answer> + Send + 'static,
) -> (Leadership, oneshot::Sender<()>, Told) {
    let told = Told::default();
    let tell = Arc::clone(&told);
    let follow = move |pause: Option<Pause>| {
        tell.lock().unwrap().push(pause.map(|pause| pause.because));
        std::future::ready(())
    };
    let (leadership, stop) = following(identity, stored, before, follow);
    (leadership, stop, told)
}

fn told(told: &Told) -> Vec<Option<String>> {
    told.lock().unwrap().clone()
}

fn why(because: &str) -> Option<String> {
    Some(because.to_owned())
}

fn pause(until: Option<&str>) -> Option<Pause> {
    let [since, until] = [Some("2026-01-01T00:00:00Z"), until].map(|time| time.map(|time| time.parse().unwrap()));
    Some(Pause { since: since.unwrap(), until, because: "a drill".into() })
}

/// As `kubectl annotate`, and with `None` as `kubectl annotate KEY-`.
fn annotate(stored: &Stored, key: &str, value: Option<&str>) {
    let mut stored = stored.lock().unwrap();
    let lease = stored.as_mut().unwrap();
    let version: u64 = lease["metadata"]["resourceVersion"].as_str().unwrap().parse().unwrap();
    lease["metadata"]["resourceVersion"] = (version + 1).to_string().into();
    match value {
        Some(value) => lease["metadata"]["annotations"][key] = value.into(),
        None => drop(lease["metadata"]["annotations"].as_object_mut().unwrap().remove(key)),
    }
}

fn annotations(stored: &Stored) -> Value {
    stored.lock().unwrap().as_ref().unwrap()["metadata"]["annotations"].clone()
}

#[tokio::test(start_paused = true)]
async fn one_that_a_person_annotates_is_followed_by_all() {
    let stored = Stored::default();
    let (_a, _run_a, told_a) = replica("a", &stored, |_| None);
    seconds(1).await;
    let (_b, _run_b, told_b) = replica("b", &stored, |_| None);
    seconds(5).await;
    annotate(&stored, "others", Some("stay"));
    annotate(&stored, PAUSED_BECAUSE, Some("a drill"));
    seconds(3).await;
    let since = annotations(&stored)[PAUSED_SINCE].clone();
    assert!(
        since.as_str().is_some_and(|since| since.parse::<Timestamp>().is_ok()),
        "who leads notes since when: {since}"
    );
    seconds(60).await;
    assert_eq!(annotations(&stored), json!({ "others": "stay", PAUSED_BECAUSE: "a drill", PAUSED_SINCE: since }));
    annotate(&stored, PAUSED_BECAUSE, None);
    seconds(3).await;
    assert_eq!(annotations(&stored), json!({ "others": "stay" }));
    for told in [told_a, told_b].iter().map(super::pauses::told) {
        assert_eq!(told, [None, why("a drill"), None]);
    }
}

#[tokio::test(start_paused = true)]
async fn one_outlives_a_takeover() {
    let stored = Stored::default();
    let (a, stop, _) = replica("a", &stored, |_| None);
    seconds(1).await;
    a.pause(pause(None)).await.unwrap();
    assert_eq!(annotations(&stored), json!({ PAUSED_BECAUSE: "a drill", PAUSED_SINCE: "2026-01-01T00:00:00Z" }));
    stop.send(()).unwrap();
    let (b, _run, told_b) = replica("b", &stored, |_| None);
    seconds(60).await;
    assert!(b.is_leader());
    assert_eq!(told(&told_b), [why("a drill")]);
    b.pause(None).await.unwrap();
    assert_eq!(told(&told_b), [why("a drill"), None]);
    seconds(60).await;
    assert!(b.is_leader());
    assert_eq!(annotations(&stored), Value::Null);
}

#[tokio::test(start_paused = true)]
async fn one_that_a_standby_is_asked_for_is_followed_by_who_leads() {
    let stored = Stored::default();
    let (a, _run_a, told_a) = replica("a", &stored, |_| None);
    seconds(1).await;
    let (b, _run_b, told_b) = replica("b", &stored, |_| None);
    seconds(5).await;
    b.pause(pause(None)).await.unwrap();
    assert_eq!(told(&told_b), [None, why("a drill")], "when it is answered");
    assert_eq!(holder(&stored), "a");
    seconds(3).await;
    assert_eq!(told(&told_a), [None, why("a drill")]);
    seconds(60).await;
    assert!(a.is_leader() && !b.is_leader());
}

#[tokio::test(start_paused = true)]
async fn what_is_over_is_removed_by_who_leads() {
    let stored = Stored::default();
    let (a, _run, told_a) = replica("a", &stored, |_| None);
    seconds(1).await;
    a.pause(pause(Some("2026-01-01T00:00:01Z"))).await.unwrap();
    seconds(3).await;
    assert_eq!((annotations(&stored), told(&told_a)), (Value::Null, vec![None, why("a drill"), None]));
    annotate(&stored, PAUSED_UNTIL, Some("2026-01-01T00:00:01Z"));
    seconds(3).await;
    annotate(&stored, PAUSED_BECAUSE, Some("again"));
    seconds(60).await;
    assert_eq!(annotations(&stored)[PAUSED_BECAUSE], "again", "an end that was left there is not its end");
}

/// Between being read and written.
#[tokio::test(start_paused = true)]
async fn one_that_comes_while_the_lease_is_renewed_is_not_lost() {
    let stored = Stored::default();
    let (store, mut renewals) = (Arc::clone(&stored), 0);
    let (a, _run, told_a) = replica("a", &stored, move |asked| {
        renewals += u32::from(asked.method == "PUT");
        if asked.method == "PUT" && renewals == 3 {
            annotate(&store, PAUSED_BECAUSE, Some("a drill"));
        }
        None
    });
    for _ in 0..200 {
        sleep(Duration::from_millis(100)).await;
        assert!(a.is_leader(), "one renewal that fails is not the end");
    }
    assert_eq!(told(&told_a), [None, why("a drill")]);
}

#[tokio::test(start_paused = true)]
async fn an_order_that_is_not_kept_is_an_error() {
    let stored = Stored::default();
    let refuses = Arc::new(Mutex::new(None));
    let refused = Arc::clone(&refuses);
    let (a, stop, told_a) = replica("a", &stored, move |asked| {
        let code = refused.lock().unwrap().filter(|_| asked.method == "PUT")?;
        Some(status(code, "Refused", "no", &json!({})))
    });
    seconds(1).await;
    for (code, want) in [(403, "no: Refused"), (409, "others wrote the Lease at the same time, 5 times: try again")] {
        *refuses.lock().unwrap() = Some(code);
        let said = a.pause(pause(None)).await.unwrap_err().to_string();
        assert!(said.contains(want), "{said}");
    }
    assert_eq!(told(&told_a), [None]);
    *refuses.lock().unwrap() = None;
    a.pause(pause(None)).await.unwrap();
    stop.send(()).unwrap();
    seconds(1).await;
    assert!(matches!(a.pause(None).await, Err(NotKept::Ended)));
}

#[tokio::test(start_paused = true)]
async fn what_was_read_last_holds_while_the_lease_cannot_be_read_or_is_gone() {
    let stored = Stored::default();
    let is_cut = Arc::new(Mutex::new(false));
    let cut = Arc::clone(&is_cut);
    let (a, _run, told_a) = replica("a", &stored, move |_| cut.lock().unwrap().then_some(Answer::Broken));
    seconds(1).await;
    a.pause(pause(None)).await.unwrap();
    *is_cut.lock().unwrap() = true;
    seconds(60).await;
    assert!(!a.is_leader());
    *is_cut.lock().unwrap() = false;
    *stored.lock().unwrap() = None;
    seconds(60).await;
    assert!(a.is_leader());
    assert_eq!(told(&told_a), [None, why("a drill")]);
    assert_eq!(annotations(&stored)[PAUSED_BECAUSE], "a drill", "it is made again with what it said");
}

#[tokio::test(start_paused = true)]
async fn nobody_leads_who_has_not_followed_what_the_lease_says() {
    let stored = Stored::default();
    let (a, _run) = following("a", &stored, |_| None, |_| std::future::pending());
    seconds(60).await;
    // It wrote that it holds it, and does not act by that.
    assert!(!a.is_leader());
}
