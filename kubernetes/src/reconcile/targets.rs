//! Whether a rollback could be written to the targets of a ReleaseGuard, and what should be mended in them: pure.

use kube::ResourceExt as _;

use super::Unready;
use crate::{
    delegates::Family,
    discover::{self, Pair},
    plan::{self, Obstacle, Plan},
    release_guard::{ReleaseGuard, TargetRef},
};

/// As `VirtualService shop/shop`.
pub(super) fn told(guard: &ReleaseGuard, target: &TargetRef) -> String {
    let namespace = guard.namespace().unwrap_or_default();
    target.object(&namespace).map_or_else(|_| target.name.clone(), |object| object.to_string())
}

/// Whether a rollback could be written, and what should be mended all the same. One target may be ahead of the others: a gateway
/// sends requests to the candidate before the mesh does.
pub(super) fn planned(
    guard: &ReleaseGuard,
    objects: &[(&TargetRef, &Family)],
    pair: &Pair,
) -> Result<Option<Unready>, Unready> {
    let namespace = guard.namespace().unwrap_or_default();
    let (mut note, mut without, mut any) = (None, None, false);
    for (target, family) in objects {
        let intent = target.intent(&namespace, &pair.baseline, &pair.candidate);
        let (name, object) =
            family.splits(&intent).map_err(|why| Unready::obstacle(told(guard, target), why.into()))?;
        let said = |obstacle| {
            let told = name.map_or_else(|| told(guard, target), ToString::to_string);
            Unready::obstacle(told, obstacle)
        };
        let notes = match plan::plan(object, &intent) {
            Plan::Refused(obstacle @ Obstacle::NoCandidate { .. }) => {
                without.get_or_insert_with(|| said(obstacle));
                continue;
            }
            Plan::Refused(obstacle) => return Err(said(obstacle)),
            Plan::Change(change) => change.notes,
            Plan::InEffect { notes } => notes,
        };
        any = true;
        note = note.or_else(|| notes.into_iter().next().map(said));
    }
    match without {
        Some(why) if !any => Err(why),
        without => Ok(note.or(without)),
    }
}

/// Whether that is how it is after a rollback, or after a promotion: one of the two releases was taken out of the object.
pub(super) fn is_tidied(why: &Unready, promoted: bool) -> bool {
    let Unready::Obstacle { obstacle, .. } = why else { return false };
    match &**obstacle {
        Obstacle::NoCandidate { .. } => true,
        Obstacle::OnlyCandidate { .. } | Obstacle::NoBaseline { .. } => promoted,
        _ => false,
    }
}

/// A candidate that is to get requests and has no pods, where the baseline's say which release they are.
pub(super) fn unlabelled(
    guard: &ReleaseGuard,
    objects: &[(&TargetRef, &Family)],
    pods: &[discover::Pod],
    Pair { baseline, candidate }: &Pair,
) -> Option<Unready> {
    let namespace = guard.namespace().unwrap_or_default();
    let has_pods = |release: &String| pods.iter().any(|pod| pod.release == *release);
    let gives = |(target, family): &(&TargetRef, &Family)| {
        family.parts().any(|object| discover::has_share(object, target, &namespace, candidate))
    };
    let has_share = || objects.iter().any(gives);
    (has_pods(baseline) && !has_pods(candidate) && has_share())
        .then(|| Unready::Unlabelled { release: candidate.clone() })
}
