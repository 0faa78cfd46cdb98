//! Aborts an Argo Rollout: pure, from the object to a JSON patch of its `status`, or why not; [`run`] sends it (IO).
//!
//! Argo Rollouts owns the weights of a Rollout, so they are left alone: an aborted Rollout sends its requests to the stable release by
//! itself. The patch goes to the subresource `status`, as `kubectl argo rollouts abort` does.

mod run;

use json_patch::{AddOperation, Patch, PatchOperation, TestOperation, jsonptr::PointerBuf};
use serde_json::Value;

pub use run::{RunError, run};

/// The labels of a pod template that name its release, the first that is there.
const RELEASE_LABELS: [&str; 2] = ["version", "release"];

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Abort {
    /// Send this to the object's subresource `status`, as JSON patch.
    Patch(Patch),
    /// It is aborted already.
    InEffect,
}

/// Why it is not aborted, and what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotAborted {
    /// Another object.
    #[error("{kind} is not a Rollout of argoproj.io: name a Rollout")]
    NotARollout {
        /// What it is.
        kind: String,
    },
    /// The controller has not said anything of it.
    #[error("the Rollout has no status with a uid and pod hashes yet: is the Argo Rollouts controller running?")]
    NoStatus,
    /// Its update is over, or none began.
    #[error(
        "no update of the Rollout is under way: {candidate} is stable or gone, undo it with `kubectl argo rollouts undo`"
    )]
    NothingToAbort {
        /// The release that was to go.
        candidate: String,
    },
    /// Its update brings another release.
    #[error("the Rollout brings release {found} and {candidate} is to go: nothing is aborted on a guess")]
    AnotherRelease {
        /// What its pod template says.
        found: String,
        /// The release that was to go.
        candidate: String,
    },
    /// Its pod template does not say.
    #[error("the Rollout's pod template has no label `version` or `release`: add the one that the filter reads")]
    Unlabelled,
}

/// Stops the update that brings a release.
///
/// The patch applies only to the object that was read, and only while that update is still the one under way.
///
/// # Errors
/// When there is nothing to abort, or it is not certain that it is this release.
pub fn abort(rollout: &Value, candidate: &str) -> Result<Abort, NotAborted> {
    let text = |pointer: &str| rollout.pointer(pointer).and_then(Value::as_str);
    let is_rollout = text("/kind") == Some("Rollout")
        && text("/apiVersion").is_some_and(|version| version.starts_with("argoproj.io/"));
    if !is_rollout {
        return Err(NotAborted::NotARollout { kind: text("/kind").unwrap_or("the object").to_owned() });
    }
    let labels = rollout.pointer("/spec/template/metadata/labels");
    let found = RELEASE_LABELS.iter().find_map(|label| labels?.get(label)?.as_str());
    let found = found.ok_or(NotAborted::Unlabelled)?;
    if found != candidate {
        return Err(NotAborted::AnotherRelease { found: found.to_owned(), candidate: candidate.to_owned() });
    }
    let status = (text("/metadata/uid"), text("/status/currentPodHash"), text("/status/stableRS"));
    let (Some(uid), Some(current), Some(stable)) = status else { return Err(NotAborted::NoStatus) };
    if current == stable {
        return Err(NotAborted::NothingToAbort { candidate: candidate.to_owned() });
    }
    if rollout.pointer("/status/abort") == Some(&Value::Bool(true)) {
        return Ok(Abort::InEffect);
    }
    let test = |path: [&str; 2], value: &str| {
        PatchOperation::Test(TestOperation { path: PointerBuf::from_tokens(path), value: value.into() })
    };
    let path = PointerBuf::from_tokens(["status", "abort"]);
    Ok(Abort::Patch(Patch(vec![
        test(["metadata", "uid"], uid),
        test(["status", "currentPodHash"], current),
        PatchOperation::Add(AddOperation { path, value: Value::Bool(true) }),
    ])))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn rollout() -> Value {
        json!({
            "apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout",
            "metadata": { "name": "shop", "namespace": "shop", "uid": "7d1" },
            "spec": { "template": { "metadata": { "labels": { "app": "shop", "version": "v2" } } } },
            "status": { "currentPodHash": "6cf78c66c5", "stableRS": "5b79b5f6d4", "phase": "Progressing" },
        })
    }

    #[test]
    fn only_abort_changes() {
        let before = rollout();
        let Ok(Abort::Patch(patch)) = abort(&before, "v2") else { panic!() };
        let mut after = before.clone();
        json_patch::patch(&mut after, &patch).unwrap();
        assert_eq!(after["status"]["abort"], true);
        assert_eq!(abort(&after, "v2"), Ok(Abort::InEffect));
        after["status"].as_object_mut().unwrap().remove("abort");
        assert_eq!(after, before);
    }

    #[test]
    fn another_update_meanwhile_is_not_aborted() {
        let Ok(Abort::Patch(patch)) = abort(&rollout(), "v2") else { panic!() };
        for (pointer, value) in [("/metadata/uid", "7d2"), ("/status/currentPodHash", "77f")] {
            let mut meanwhile = rollout();
            *meanwhile.pointer_mut(pointer).unwrap() = json!(value);
            assert!(json_patch::patch(&mut meanwhile, &patch).is_err(), "{pointer}");
        }
    }

    #[test]
    fn nothing_is_done_on_a_guess() {
        let check = |pointer: &str, value: Value, want: NotAborted| {
            let mut object = rollout();
            *object.pointer_mut(pointer).unwrap() = value;
            assert_eq!(abort(&object, "v2"), Err(want), "{pointer}");
        };
        let [found, candidate, kind] = ["v3", "v2", "Deployment"].map(str::to_owned);
        check("/kind", json!("Deployment"), NotAborted::NotARollout { kind });
        check("/apiVersion", json!("apps/v1"), NotAborted::NotARollout { kind: "Rollout".to_owned() });
        check("/status", json!({}), NotAborted::NoStatus);
        let over = NotAborted::NothingToAbort { candidate: candidate.clone() };
        check("/status/stableRS", json!("6cf78c66c5"), over);
        let labels = "/spec/template/metadata/labels";
        check(labels, json!({ "app": "shop", "release": "v3" }), NotAborted::AnotherRelease { found, candidate });
        check(labels, json!({ "app": "shop" }), NotAborted::Unlabelled);
        check("/spec", json!({ "workloadRef": { "name": "shop" } }), NotAborted::Unlabelled);
    }
}
