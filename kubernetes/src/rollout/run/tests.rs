use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use serde_json::json;

use super::*;
use crate::fake::{Answer, Asked, server, status};

fn rollout() -> Value {
    json!({
        "apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout",
        "metadata": { "name": "shop", "namespace": "shop", "uid": "7d1" },
        "spec": { "template": { "metadata": { "labels": { "version": "v2" } } } },
        "status": { "currentPodHash": "6cf78c66c5", "stableRS": "5b79b5f6d4" },
    })
}

/// What comes of it where `before` sees each request first, with its number from 0, and may answer it; and what was asked.
async fn aborted(
    mut before: impl FnMut(usize, &Asked, &mut Value) -> Option<Answer> + Send + 'static,
) -> (Result<bool, String>, Vec<String>) {
    let stored = Arc::new(Mutex::new(rollout()));
    let mut count = 0;
    let (client, log) = server(move |asked| {
        let mut stored = stored.lock().unwrap();
        count += 1;
        before(count - 1, asked, &mut stored).unwrap_or_else(|| answer(asked, &mut stored))
    });
    let options = Options { request: Duration::from_secs(2), ..Options::default() };
    let done = run(&client, "shop", "shop", "v2", &options).await.map_err(|error| error.to_string());
    let asked = log.lock().unwrap().iter().map(|asked| asked.method.clone()).collect();
    (done, asked)
}

fn answer(asked: &Asked, stored: &mut Value) -> Answer {
    if asked.method == "PATCH" {
        let patch: json_patch::Patch = serde_json::from_value(asked.body.clone()).unwrap();
        if json_patch::patch(stored, &patch).is_err() {
            return status(422, "Invalid", "a test failed", &json!({}));
        }
    }
    Answer::Json(200, stored.clone())
}

#[tokio::test(start_paused = true)]
async fn what_passes_is_waited_for() {
    let once = ["GET", "PATCH"].map(str::to_owned).to_vec();
    assert_eq!(aborted(|_, _, _| None).await, (Ok(true), once));
    // Busy, and a controller that is faster.
    let (done, asked) = aborted(|n, _, stored| {
        if n == 2 {
            stored["status"]["currentPodHash"] = "77f".into();
        }
        (n == 0).then(|| status(503, "ServiceUnavailable", "busy", &json!({})))
    })
    .await;
    assert_eq!((done, asked.join(" ").as_str()), (Ok(true), "GET GET PATCH GET PATCH"));
    // The answer is lost: it was aborted by this.
    let (done, asked) = aborted(|n, asked, stored| {
        (n == 1).then(|| {
            answer(asked, stored);
            Answer::Never
        })
    })
    .await;
    assert_eq!((done, asked.join(" ").as_str()), (Ok(true), "GET PATCH GET"));
}

#[tokio::test(start_paused = true)]
async fn what_does_not_pass_is_said() {
    let check = async |answer: fn() -> Answer, requests: usize, said: &str| {
        let (done, asked) = aborted(move |_, _, _| Some(answer())).await;
        let error = done.unwrap_err();
        assert!(error.contains(said), "{error}");
        assert_eq!(asked.len(), requests, "{error}");
    };
    check(|| status(403, "Forbidden", "no", &json!({})), 1, "apply the overlay argo-rollouts").await;
    check(|| status(404, "NotFound", "no", &json!({ "name": "shop" })), 1, "it does not exist").await;
    check(|| Answer::Text(404, "404 page not found"), 5, "that Argo Rollouts is installed").await;
    check(|| Answer::Never, 5, "gave no answer within 2 s, 5 times").await;
    let (done, _) =
        aborted(|_, asked, _| (asked.method == "PATCH").then(|| status(422, "Invalid", "a test failed", &json!({}))))
            .await;
    assert!(done.unwrap_err().contains("was changed by others each of 5 times"));
    let (done, asked) = aborted(|_, _, stored| {
        stored["spec"]["template"]["metadata"]["labels"]["version"] = "v3".into();
        None
    })
    .await;
    assert!(done.unwrap_err().contains("brings release v3"));
    assert_eq!(asked, ["GET"]);
}
