//! Whether another controller drives the weights: pure.

use serde_json::Value;

use super::obstacle::Obstacle;
use crate::{
    json::{items, text},
    writers::{self, WriterKind},
};

/// Prefixes of the annotations and labels that a controller puts on routes it drives.
const MARKS: [(&str, &str); 4] = [
    ("argo-rollouts.argoproj.io/", "Argo Rollouts"),
    ("rollouts.argoproj.io/", "Argo Rollouts"),
    ("rollouts-pod-template-hash", "Argo Rollouts"),
    ("flagger.app/", "Flagger"),
];

/// The controller that drives the weights, if there is one.
///
/// Argo Rollouts leaves its entry in `managedFields` after a rollout is over: it stays the one who writes these
/// weights until somebody else owns them.
pub(super) fn check(object: &Value) -> Result<(), Obstacle> {
    let metadata = object.get("metadata").unwrap_or(&Value::Null);
    let controller =
        items(metadata, "ownerReferences").find(|(_, owner)| owner.get("controller") == Some(&true.into()));
    if let Some((_, owner)) = controller {
        let field = |key| text(owner, key).unwrap_or_default().to_owned();
        return Err(Obstacle::OwnedByController { kind: field("kind"), name: field("name") });
    }
    for marked in ["annotations", "labels"] {
        let keys = metadata.get(marked).and_then(Value::as_object).into_iter().flat_map(|marks| marks.keys());
        for key in keys {
            if let Some((_, program)) = MARKS.iter().find(|(prefix, _)| key.starts_with(prefix)) {
                return Err(Obstacle::DrivenByAnother { program, evidence: format!("{marked} have {key}") });
            }
        }
    }
    for writer in writers::of_routes(object) {
        let program = match writer.kind {
            WriterKind::Flagger => "Flagger",
            WriterKind::ArgoRollouts => "Argo Rollouts",
            _ => continue,
        };
        let evidence = format!("managedFields have {}", writer.manager);
        return Err(Obstacle::DrivenByAnother { program, evidence });
    }
    Ok(())
}
