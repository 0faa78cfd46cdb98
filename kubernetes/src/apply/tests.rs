use std::sync::{
    Arc, Mutex,
    atomic::{AtomicUsize, Ordering},
};

use serde_json::json;
use tokio::time::Instant;

use super::*;
use crate::{
    fake::{Answer, Asked, Log, server, status},
    hold::{Hold, Next},
    release_guard::TargetKind,
};

const PATH: &str = "/apis/networking.istio.io/v1/namespaces/default/virtualservices/reviews";

fn reviews() -> ObjectRef {
    ObjectRef::new(TargetKind::VirtualService, "default", "reviews").unwrap()
}

fn intent() -> Intent {
    Intent::subsets("reviews", "default", "v1", "v2")
}

fn object(v1: i64, v2: i64) -> Value {
    json!({
        "apiVersion": "networking.istio.io/v1", "kind": "VirtualService",
        "metadata": { "name": "reviews", "namespace": "default", "uid": "u1", "resourceVersion": "100" },
        "spec": { "hosts": ["reviews"], "http": [{ "timeout": "3s", "route": [
            { "destination": { "host": "reviews", "subset": "v1" }, "weight": v1 },
            { "destination": { "host": "reviews", "subset": "v2" }, "weight": v2 },
        ] }] },
    })
}

fn weights(object: &Value) -> [&Value; 2] {
    [0, 1].map(|i| &object["spec"]["http"][0]["route"][i]["weight"])
}

type Stored = Arc<Mutex<Option<Value>>>;

fn not_found() -> Answer {
    let details = json!({ "name": "reviews", "group": "networking.istio.io", "kind": "virtualservices" });
    status(404, "NotFound", r#"virtualservices.networking.istio.io "reviews" not found"#, &details)
}

/// Writes as some manager: another version, and its name in `managedFields`.
fn write_as(object: &mut Value, manager: &str, edit: impl FnOnce(&mut Value)) {
    edit(object);
    let version: u64 = object["metadata"]["resourceVersion"].as_str().unwrap().parse().unwrap();
    object["metadata"]["resourceVersion"] = (version + 1).to_string().into();
    object["metadata"]["managedFields"] = json!([{
        "manager": manager, "operation": "Update", "time": "2026-01-01T00:00:00Z",
        "fieldsType": "FieldsV1", "fieldsV1": { "f:spec": { "f:http": {} } },
    }]);
}

/// What an API server does with a request.
fn answer(stored: &mut Option<Value>, asked: &Asked) -> Answer {
    let Some(object) = stored.as_mut() else { return not_found() };
    if asked.method == "GET" {
        return Answer::Json(200, object.clone());
    }
    let patch: json_patch::Patch = serde_json::from_value(asked.body.clone()).unwrap();
    let mut after = object.clone();
    if json_patch::patch(&mut after, &patch).is_err() {
        return status(422, "Invalid", "the server rejected our request due to an error in our request", &json!({}));
    }
    write_as(&mut after, FIELD_MANAGER, |_| {});
    if !asked.query.contains("dryRun=All") {
        *object = after.clone();
    }
    Answer::Json(200, after)
}

/// A server with one object. `before` sees each request first, with its number from 0, and may answer it.
fn store(
    first: Option<Value>,
    mut before: impl FnMut(usize, &Asked, &mut Option<Value>) -> Option<Answer> + Send + 'static,
) -> (Cluster, Log, Stored) {
    let stored: Stored = Arc::new(Mutex::new(first));
    let count = AtomicUsize::new(0);
    let shared = Arc::clone(&stored);
    let (client, log) = server(move |asked| {
        let mut stored = shared.lock().unwrap();
        before(count.fetch_add(1, Ordering::Relaxed), asked, &mut stored).unwrap_or_else(|| answer(&mut stored, asked))
    });
    (Cluster::new(client), log, stored)
}

fn methods(log: &Log) -> Vec<String> {
    log.lock().unwrap().iter().map(|asked| asked.method.clone()).collect()
}

async fn run(cluster: &Cluster) -> Result<Applied, ApplyError> {
    apply(cluster, &reviews(), &intent(), &Options::default()).await
}

/// The error of a run in which `before` answers, with its text.
async fn fails(
    before: impl FnMut(usize, &Asked, &mut Option<Value>) -> Option<Answer> + Send + 'static,
) -> (ApplyError, String, Vec<String>) {
    let (client, log, _) = store(Some(object(90, 10)), before);
    let error = run(&client).await.unwrap_err();
    let text = error.to_string();
    (error, text, methods(&log))
}

#[tokio::test(start_paused = true)]
async fn done_at_once() {
    let (client, log, stored) = store(Some(object(90, 10)), |_, _, _| None);
    let applied = run(&client).await.unwrap();
    let Applied::Changed { weights: changed, resource_version, notes, .. } = &applied else { panic!("{applied:?}") };
    let shown: Vec<String> = changed.iter().map(ToString::to_string).collect();
    let place = "VirtualService default/reviews http[0]";
    assert_eq!(shown, [format!("{place}: v1 90 -> 100"), format!("{place}: v2 10 -> 0")]);
    assert_eq!((resource_version.as_str(), notes.as_slice()), ("101", &[][..]));
    let after = stored.lock().unwrap().clone().unwrap();
    assert_eq!(weights(&after), [100, 0]);
    assert_eq!(after["spec"]["http"][0]["timeout"], "3s");

    let log = log.lock().unwrap().clone();
    let asked: Vec<(&str, &str)> = log.iter().map(|asked| (asked.method.as_str(), asked.path.as_str())).collect();
    assert_eq!(asked, [("GET", PATH), ("PATCH", PATH)]);
    assert_eq!(log[1].content_type, "application/json-patch+json");
    assert_eq!(log[1].query.trim_start_matches('&'), "fieldManager=serin");

    assert_eq!(run(&client).await.unwrap(), Applied::InEffect { object: reviews(), notes: Vec::new() });
}

#[tokio::test(start_paused = true)]
async fn a_dry_run_stores_nothing() {
    let (client, log, stored) = store(Some(object(90, 10)), |_, _, _| None);
    let options = Options { dry_run: true, ..Options::default() };
    let applied = apply(&client, &reviews(), &intent(), &options).await.unwrap();
    assert!(matches!(applied, Applied::Changed { .. }));
    assert_eq!(weights(stored.lock().unwrap().as_ref().unwrap()), [90, 10]);
    assert!(log.lock().unwrap()[1].query.contains("dryRun=All"));
}

#[tokio::test(start_paused = true)]
async fn a_conflict_is_read_and_planned_again() {
    let (client, log, stored) = store(Some(object(90, 10)), |n, _, stored| {
        // Somebody moves the canary on between reading and writing, twice.
        if n == 1 || n == 3 {
            write_as(stored.as_mut().unwrap(), "kubectl-edit", |object| {
                object["spec"]["http"][0]["route"][0]["weight"] = (80 - 10 * n).into();
                object["spec"]["http"][0]["route"][1]["weight"] = (20 + 10 * n).into();
            });
        }
        // One of the two is noticed as a stale version.
        (n == 3).then(|| status(409, "Conflict", "the object has been modified", &json!({ "name": "reviews" })))
    });
    let applied = run(&client).await.unwrap();
    let Applied::Changed { weights: changed, .. } = applied else { panic!("{applied:?}") };
    assert_eq!((changed[0].before, changed[1].before), (50, 50));
    assert_eq!(weights(stored.lock().unwrap().as_ref().unwrap()), [100, 0]);
    assert_eq!(methods(&log), ["GET", "PATCH", "GET", "PATCH", "GET", "PATCH"]);
}

#[tokio::test(start_paused = true)]
async fn a_fight_with_another_writer_names_it() {
    let (error, text, methods) = fails(|n, _, stored| {
        if n % 2 == 1 {
            write_as(stored.as_mut().unwrap(), "argocd-controller", |_| {});
        }
        None
    })
    .await;
    assert!(matches!(error, ApplyError::Contended { attempts: 5, .. }), "{error:?}");
    assert!(text.contains("each of 5 times") && text.contains("last by argocd-controller (Argo CD)"), "{text}");
    assert_eq!(methods.len(), 10);
    assert!(error.is_passing());
}

#[tokio::test(start_paused = true)]
async fn another_owner_of_the_fields_is_not_tried_again() {
    let (error, text, methods) = fails(|n, _, _| {
        let cause =
            json!({ "reason": "FieldManagerConflict", "message": "conflict with \"helm\"", "field": ".spec.http" });
        let details = json!({ "name": "reviews", "causes": [cause] });
        (n == 1).then(|| status(409, "Conflict", "Apply failed with 1 conflict: conflict with \"helm\"", &details))
    })
    .await;
    assert!(matches!(error, ApplyError::FieldConflict { .. }), "{error:?}");
    assert!(text.contains("helm"), "{text}");
    assert_eq!(methods, ["GET", "PATCH"]);
}

#[tokio::test(start_paused = true)]
async fn a_refusal_of_an_unchanged_object_is_about_the_patch() {
    let (error, text, methods) = fails(|n, _, _| {
        (n == 1).then(|| status(422, "Invalid", "spec.http: Invalid value: weights", &json!({ "name": "reviews" })))
    })
    .await;
    assert!(matches!(error, ApplyError::Rejected { code: 422, .. }), "{error:?}");
    assert!(text.contains("Invalid value: weights"), "{text}");
    assert_eq!(methods, ["GET", "PATCH", "GET"]);
}

#[tokio::test(start_paused = true)]
async fn forbidden_and_unauthorized() {
    for (at, verb) in [(0, Verb::Get), (1, Verb::Patch)] {
        let (error, text, methods) = fails(move |n, _, _| {
            let message = "virtualservices \"reviews\" is forbidden: User \"system:serviceaccount:serin:serin\" cannot";
            (n == at).then(|| status(403, "Forbidden", message, &json!({ "name": "reviews" })))
        })
        .await;
        assert!(matches!(&error, ApplyError::Forbidden { verb: said, .. } if *said == verb), "{error:?}");
        assert!(text.starts_with(&format!("serin may not {verb} VirtualService default/reviews")), "{text}");
        assert_eq!(methods.len(), at + 1);
    }
    let (error, ..) = fails(|_, _, _| Some(status(401, "Unauthorized", "Unauthorized", &json!({})))).await;
    assert!(matches!(error, ApplyError::Unauthorized), "{error:?}");
    assert!(!error.is_passing());
}

#[tokio::test(start_paused = true)]
async fn a_webhook_or_policy_that_denies() {
    let webhook = r#"admission webhook "validation.istio.io" denied the request: total destination weight = 0"#;
    // As kube-apiserver 1.36 has it.
    let policy = "virtualservices.networking.istio.io \"reviews\" is forbidden: ValidatingAdmissionPolicy 'frozen' with binding \
                  'frozen-all' denied request: total destination weight = 0";
    for (code, message) in [(400, webhook), (403, webhook), (403, policy)] {
        let (error, text, methods) =
            fails(move |n, _, _| (n == 1).then(|| status(code, "", message, &json!({})))).await;
        assert!(matches!(error, ApplyError::Rejected { .. }), "{error:?}");
        assert!(text.contains("total destination weight = 0"), "{text}");
        assert_eq!(methods, ["GET", "PATCH"]);
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_not_there() {
    let (error, ..) = fails(|_, _, stored| {
        *stored = None;
        None
    })
    .await;
    assert!(matches!(error, ApplyError::NotFound(_)), "{error:?}");
    // The API server says that it serves it.
    let (error, text, methods) = fails(|_, _, _| Some(Answer::Text(404, "404 page not found"))).await;
    assert!(matches!(error, ApplyError::NotThere { attempts: 5, .. }), "{error:?}");
    assert!(text.contains("answers 404 5 times"), "{text}");
    assert_eq!(methods, ["GET"; 5]);
}

/// In the middle of a rollback an object may go. Nothing makes it again, and one of the same name is another one.
#[tokio::test(start_paused = true)]
async fn deleted_meanwhile() {
    let (error, _, methods) = fails(|n, _, stored| {
        if n == 1 {
            *stored = None;
        }
        None
    })
    .await;
    assert!(matches!(error, ApplyError::DeletedMeanwhile(_)), "{error:?}");
    assert_eq!(methods, ["GET", "PATCH"]);

    // The patch got no answer, and then the object was gone.
    let (error, ..) = fails(|n, _, stored| {
        *stored = stored.take().filter(|_| n < 1);
        (n == 1).then_some(Answer::Never)
    })
    .await;
    assert!(matches!(error, ApplyError::DeletedMeanwhile(_)), "{error:?}");

    let (error, _, methods) = fails(|n, _, stored| {
        if n == 1 {
            stored.as_mut().unwrap()["metadata"]["uid"] = "u2".into();
        }
        None
    })
    .await;
    assert!(matches!(error, ApplyError::Replaced(_)), "{error:?}");
    assert_eq!(methods, ["GET", "PATCH", "GET"]);
}

#[tokio::test(start_paused = true)]
async fn the_server_is_down() {
    let start = Instant::now();
    let (error, _, methods) = fails(|_, _, _| Some(Answer::Broken)).await;
    assert!(matches!(error, ApplyError::Unreachable { attempts: 5, .. }), "{error:?}");
    assert!(error.is_passing());
    assert_eq!(methods, ["GET"; 5]);
    // 50 + 100 + 200 + 400 ms of pauses.
    assert!((750..800).contains(&start.elapsed().as_millis()), "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn the_server_comes_back() {
    let (client, _, stored) = store(Some(object(90, 10)), |n, _, _| (n < 3).then_some(Answer::Broken));
    assert!(matches!(run(&client).await.unwrap(), Applied::Changed { .. }));
    assert_eq!(weights(stored.lock().unwrap().as_ref().unwrap()), [100, 0]);
}

#[tokio::test(start_paused = true)]
async fn a_slow_server_is_waited_for() {
    let start = Instant::now();
    let (client, log, _) = store(Some(object(90, 10)), |_, asked, stored| match answer(stored, asked) {
        Answer::Json(code, value) => Some(Answer::Late(Duration::from_millis(4_900), code, value)),
        other => Some(other),
    });
    assert!(matches!(run(&client).await.unwrap(), Applied::Changed { .. }));
    assert_eq!(methods(&log), ["GET", "PATCH"]);
    assert!((9_800..9_900).contains(&start.elapsed().as_millis()), "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_server_that_never_answers_is_given_up() {
    let start = Instant::now();
    let (error, text, _) = fails(|_, _, _| Some(Answer::Never)).await;
    assert!(matches!(error, ApplyError::TimedOut { attempts: 5, .. }), "{error:?}");
    assert!(text.contains("within 5 s, 5 times"), "{text}");
    assert!((25..26).contains(&start.elapsed().as_secs()), "{:?}", start.elapsed());
}

/// The patch is applied, but its answer is lost: what is in effect was done by this call.
#[tokio::test(start_paused = true)]
async fn a_lost_answer_is_looked_for() {
    let (client, log, _) = store(Some(object(90, 10)), |n, asked, stored| {
        (n == 1).then(|| {
            answer(stored, asked);
            Answer::Never
        })
    });
    let applied = run(&client).await.unwrap();
    let Applied::Changed { weights, resource_version, .. } = applied else { panic!("{applied:?}") };
    assert_eq!((weights.len(), resource_version.as_str()), (2, "101"));
    assert_eq!(methods(&log), ["GET", "PATCH", "GET"]);

    // Here somebody else did it meanwhile.
    let (client, ..) = store(Some(object(90, 10)), |n, _, stored| {
        (n == 1).then(|| {
            write_as(stored.as_mut().unwrap(), "kubectl-edit", |stored| stored["spec"] = object(100, 0)["spec"].take());
            Answer::Broken
        })
    });
    assert_eq!(run(&client).await.unwrap(), Applied::InEffect { object: reviews(), notes: Vec::new() });
}

#[tokio::test(start_paused = true)]
async fn a_busy_server_is_given_the_time_it_asks_for() {
    let busy = |code, wait| status(code, "TooManyRequests", "too many requests", &json!({ "retryAfterSeconds": wait }));
    for (wait, least, most) in [(1, 1_000, 1_100), (3_600, 2_000, 2_100)] {
        let start = Instant::now();
        let (client, ..) = store(Some(object(90, 10)), move |n, _, _| (n == 1).then(|| busy(429, wait)));
        assert!(matches!(run(&client).await.unwrap(), Applied::Changed { .. }));
        assert!((least..most).contains(&start.elapsed().as_millis()), "{wait}: {:?}", start.elapsed());
    }
    let (error, ..) = fails(move |_, _, _| Some(busy(503, 0))).await;
    assert!(matches!(error, ApplyError::Busy { attempts: 5, code: 503, .. }), "{error:?}");
}

/// A wrong type in a body is answered with 500.
#[tokio::test(start_paused = true)]
async fn an_internal_error_is_not_tried_again() {
    let (error, _, methods) =
        fails(|n, _, _| (n == 1).then(|| status(500, "InternalError", "failed to create typed patch", &json!({}))))
            .await;
    assert!(matches!(error, ApplyError::Failed { .. }), "{error:?}");
    assert_eq!(methods, ["GET", "PATCH"]);
}

#[tokio::test(start_paused = true)]
async fn a_refused_plan_writes_nothing() {
    let (error, text, methods) = fails(|_, _, stored| {
        stored.as_mut().unwrap()["metadata"]["ownerReferences"] =
            json!([{ "kind": "Canary", "name": "reviews", "controller": true }]);
        None
    })
    .await;
    assert_eq!(error.reason(), "OwnedByController");
    assert!(text.starts_with("Canary reviews controls the object"), "{text}");
    assert_eq!(methods, ["GET"]);
}

/// Argo CD writes the old weights back 3 s after every change. The rollback is held for five minutes, then left.
#[tokio::test(start_paused = true)]
async fn a_rollback_is_held_against_another_writer() {
    let (client, _, stored) = store(Some(object(90, 10)), |_, _, _| None);
    let changed = Arc::clone(&stored);
    tokio::spawn(async move {
        loop {
            tokio::time::sleep(Duration::from_secs(3)).await;
            let mut stored = changed.lock().unwrap();
            let stored = stored.as_mut().unwrap();
            if weights(stored) != [90, 10] {
                write_as(stored, "argocd-controller", |stored| stored["spec"] = object(90, 10)["spec"].take());
            }
        }
    });
    let start = Instant::now();
    assert!(matches!(run(&client).await.unwrap(), Applied::Changed { .. }));
    let mut hold = Hold::new(start.elapsed(), Duration::from_secs(300));
    let mut written = 0;
    let times = loop {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let now = look(&client, &reviews(), &intent(), &Options::default()).await.unwrap();
        if !now.is_right {
            assert_eq!(now.writers[0].to_string(), "argocd-controller (Argo CD)");
            assert!(now.advice[0].snippet.as_ref().unwrap().contains("- .spec.http[]?.route[]?.weight"));
        }
        match hold.looked(now.is_right, start.elapsed()) {
            Next::Rest | Next::Wait(_) => {}
            Next::Write { .. } => {
                written += 1;
                assert!(matches!(run(&client).await.unwrap(), Applied::Changed { .. }));
                hold.written();
            }
            Next::Over { times } => break times,
        }
    };
    assert_eq!(times, written + 1);
    assert_eq!(written, 8);
    assert!((300..305).contains(&start.elapsed().as_secs()), "{:?}", start.elapsed());
    // What the others want, and nothing else, is what stays.
    assert_eq!(weights(stored.lock().unwrap().as_ref().unwrap()), [90, 10]);
}
