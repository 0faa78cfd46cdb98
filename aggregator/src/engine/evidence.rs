//! One second of the store as the judge wants it.

use std::collections::BTreeMap;

use serin_judge::{Arm, PodId, PodSlice, Slice};
use serin_sketch::{Bucket, Counts};

use super::confirm::Split;
use crate::{
    config::Service,
    report::{self, Delta},
    time::UnixMicros,
};

/// Pods told apart in one trial; those beyond it share one id, which only makes the judge more careful.
const PODS_MAX: u32 = 10_000;

/// Gives pods the numbers that the judge knows them by. One that serves both releases is two.
#[derive(Clone, Debug, Default)]
pub(super) struct Pods(BTreeMap<(String, String), PodId>);

impl Pods {
    fn id(&mut self, release: &str, pod: &str) -> PodId {
        let next = PodId((self.0.len() as u32).min(PODS_MAX));
        if next.0 == PODS_MAX {
            return self.0.get(&(release.to_owned(), pod.to_owned())).copied().unwrap_or(next);
        }
        *self.0.entry((release.to_owned(), pod.to_owned())).or_insert(next)
    }

    /// What a pod is called; empty for one that is not known.
    pub(super) fn name(&self, id: PodId) -> &str {
        self.0.iter().find(|(_, known)| **known == id).map_or("", |((_, pod), _)| pod)
    }
}

/// Whether a delta was measured for this service, where it is judged.
pub(super) fn is_of(service: &Service, delta: &Delta) -> bool {
    delta.series.service == service.name && delta.series.vantage == service.vantage
}

/// Which arm a delta counts for, if any.
fn arm(service: &Service, delta: &Delta) -> Option<Arm> {
    match delta.series.release.as_str() {
        release if release == service.baseline => Some(Arm::Baseline),
        release if release == service.candidate => Some(Arm::Candidate),
        _ => None,
    }
}

/// The slice of one route (`None`: all of them) in one second.
pub(super) fn slice(service: &Service, route: Option<&str>, second: u64, deltas: &[Delta], pods: &mut Pods) -> Slice {
    let mut by_pod: BTreeMap<PodId, PodSlice> = BTreeMap::new();
    let mut pods_known = true;
    for delta in deltas.iter().filter(|delta| is_of(service, delta)) {
        let on_route = route.is_none_or(|route| route == delta.series.route);
        let counts = on_route && report::is_judged(delta.series.outcome);
        let Some(arm) = arm(service, delta).filter(|_| counts) else { continue };
        pods_known &= !delta.series.pod.is_empty();
        let pod = pods.id(&delta.series.release, &delta.series.pod);
        let slice =
            by_pod.entry(pod).or_insert_with(|| PodSlice { arm, pod, latency: Counts::new(), requests: 0, errors: 0 });
        slice.requests = slice.requests.saturating_add(delta.requests());
        if report::is_error(delta.series.outcome) {
            slice.errors = slice.errors.saturating_add(delta.requests());
        }
        if report::counts_for_latency(delta.series.outcome) {
            slice.latency.merge(delta.timing(service.timing));
        }
    }
    Slice { second, pods: by_pod.into_values().collect(), pods_known }
}

/// The split of one second among the requests that may have begun after `since`. One that was not answered (it hung
/// until its timeout, say) can have been sent long before it ended, and is left out when it surely was; the others
/// count, so that a candidate that only refuses connections is still seen to be sent some.
pub(super) fn split(service: &Service, second: u64, deltas: &[Delta], since: UnixMicros) -> Split {
    let end = UnixMicros::from_second(second + 1);
    let may_be_later = |bucket: Bucket| end.minus(bucket.lower().into()) >= since;
    let of_service = deltas.iter().filter(|delta| is_of(service, delta));
    of_service.fold(Split::default(), |split, delta| {
        let n = if report::was_answered(delta.series.outcome) {
            delta.requests()
        } else {
            delta.total.iter().filter(|(bucket, _)| may_be_later(*bucket)).map(|(_, n)| n).sum()
        };
        let to_candidate = delta.series.release == service.candidate;
        split.plus(if to_candidate { Split { candidate: n, others: 0 } } else { Split { candidate: 0, others: n } })
    })
}
