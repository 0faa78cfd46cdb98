//! One second of the store as the judge wants it.

use std::{collections::BTreeMap, sync::Arc};

use serin_judge::{Arm, PodId, PodSlice, Slice, Stratum};
use serin_sketch::Counts;

use crate::{
    config::Service,
    recording::Observed,
    report::{self, Delta, SeriesKey, Waiting},
    safety::FRESH,
    store::{Second, Slices},
    time::UnixMicros,
};

/// Pods told apart in one trial; those beyond it share one number, which only makes the judge more careful.
const PODS_MAX: u32 = 10_000;
/// What those are called.
const OTHERS: &str = "others";
/// Kinds of requests told apart in one trial; those beyond it are compared as one.
const STRATA_MAX: u16 = 31;

/// The numbers that the judge knows pods and kinds of requests by. A pod that serves both releases is two.
#[derive(Clone, Debug, Default)]
pub(super) struct Numbers {
    /// With the second since which each has its number.
    pods: BTreeMap<(Arm, String), (PodId, u64)>,
    /// How many there are: a pod that was started again has had two.
    given: u32,
    /// By the route with its method, and whether the requests were the caller's fault.
    strata: BTreeMap<(String, bool), Stratum>,
    /// Pods that were numbered in this second.
    new_pods: Vec<String>,
}

impl Numbers {
    /// `started`: when it was, if that is known. A candidate's pod that was started since it was seen first is a new one: it is cold,
    /// and warms up again.
    fn pod(&mut self, arm: Arm, pod: &str, second: u64, started: Option<u64>) -> PodId {
        let key = (arm, pod.to_owned());
        if let Some((known, since)) = self.pods.get(&key) {
            let is_new = arm == Arm::Candidate && started.is_some_and(|at| *since < at && at <= second);
            if !is_new || self.given >= PODS_MAX {
                return *known;
            }
        }
        if self.given >= PODS_MAX {
            if self.given == PODS_MAX {
                self.given += 1;
                self.new_pods.push(OTHERS.to_owned());
            }
            return PodId(PODS_MAX);
        }
        let next = PodId(self.given);
        self.given += 1;
        self.pods.insert(key, (next, second));
        self.new_pods.push(pod.to_owned());
        next
    }

    fn stratum(&mut self, series: &SeriesKey) -> Stratum {
        let key = (series.route.clone(), report::is_callers_fault(series.outcome));
        let next = Stratum((self.strata.len() as u16).min(STRATA_MAX));
        if next.0 == STRATA_MAX {
            return self.strata.get(&key).copied().unwrap_or(next);
        }
        *self.strata.entry(key).or_insert(next)
    }
}

/// When pods were started, in seconds since 1970: by name, and by address.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Starts(Arc<BTreeMap<String, u64>>);

impl FromIterator<(String, u64)> for Starts {
    fn from_iter<T: IntoIterator<Item = (String, u64)>>(starts: T) -> Self {
        Starts(Arc::new(starts.into_iter().collect()))
    }
}

impl Starts {
    /// `pod`: as a reporter tells it, which may be an address with a port.
    fn of(&self, pod: &str) -> Option<u64> {
        let address = || pod.rsplit_once(':').and_then(|(address, _)| self.0.get(address));
        self.0.get(pod).or_else(address).copied()
    }
}

/// Where the routes of a trial are, by name; an empty name is all of them together.
#[derive(Clone, Debug)]
pub(super) struct Routes(BTreeMap<String, usize>);

impl Routes {
    /// In the order of these names.
    pub(super) fn new(names: &[String]) -> Self {
        Routes(names.iter().enumerate().map(|(at, name)| (name.clone(), at)).collect())
    }

    /// The one that a label belongs to, with a method before it or without.
    fn find(&self, label: &str) -> Option<usize> {
        let names = [Some(label), report::without_method(label), Some("")].into_iter().flatten();
        names.filter_map(|name| self.0.get(name)).next().copied()
    }
}

/// Whether a series was measured for this service, where it is judged.
pub(super) fn belongs(service: &Service, series: &SeriesKey) -> bool {
    series.service == service.name && series.vantage == service.vantage
}

/// Whether a delta was measured for this service, where it is judged.
pub(super) fn is_of(service: &Service, delta: &Delta<'_>) -> bool {
    belongs(service, delta.series)
}

/// Whether requests of the candidate were reported a moment ago: those that ended, and those that wait for a response. Where its
/// throughput is judged, those of the baseline will do: none of the candidate's may be what is wrong.
pub(super) fn is_fresh(service: &Service, slices: &Slices, now: UnixMicros) -> bool {
    let is_told = |release: &str| release == service.candidate || service.throughput && release == service.baseline;
    let is_its = |series: &SeriesKey| belongs(service, series) && is_told(&series.release);
    // A second is as old as its end.
    let seconds = now.minus(FRESH).second()..=now.second();
    seconds
        .rev()
        .map(|second| slices.second(second))
        .any(|seen| seen.deltas().any(|delta| is_its(delta.series)) || seen.waiting().any(|(series, _)| is_its(series)))
}

/// Whether a series is of the service's candidate, wherever it was measured.
pub(super) fn is_candidates(service: &Service, series: &SeriesKey) -> bool {
    series.service == service.name && series.release == service.candidate
}

/// Whether the candidate was sent requests: some ended in this second, or were sent a moment before and wait. One that never answers only
/// has the latter. Those that have waited for longer tell nothing of now.
pub(super) fn gets_requests(service: &Service, seen: &Second) -> bool {
    let is_its = |series: &SeriesKey| is_candidates(service, series) && belongs(service, series);
    let waits =
        |waiting: &Waiting| waiting.ages.iter().any(|(series, ages)| is_its(series) && waiting.sent_lately(ages) > 0);
    seen.deltas().any(|delta| is_its(delta.series)) || seen.waiting_by_reporter().any(|(_, waiting)| waits(waiting))
}

/// Which arm a release counts for, if any.
fn arm(service: &Service, release: &str) -> Option<Arm> {
    match release {
        release if release == service.baseline => Some(Arm::Baseline),
        release if release == service.candidate => Some(Arm::Candidate),
        _ => None,
    }
}

/// One second of all routes. `weight`: the candidate's share of the weights, where the share of the requests is to be held against it.
pub(super) fn observed(
    service: &Service,
    routes: &Routes,
    second: u64,
    seen: &Second,
    numbers: &mut Numbers,
    weight: Option<f64>,
    starts: &Starts,
) -> Observed {
    let mut entries: Vec<BTreeMap<(PodId, Stratum), PodSlice>> = vec![BTreeMap::new(); routes.0.len()];
    let mut pods_known = true;
    let mut entry = |series: &SeriesKey, add: &dyn Fn(&mut PodSlice)| {
        let place = belongs(service, series).then(|| arm(service, &series.release).zip(routes.find(&series.route)));
        let Some((arm, at)) = place.flatten() else { return };
        pods_known &= !series.pod.is_empty();
        let (pod, stratum) = (numbers.pod(arm, &series.pod, second, starts.of(&series.pod)), numbers.stratum(series));
        if let Some(route) = entries.get_mut(at) {
            add(route.entry((pod, stratum)).or_insert_with(|| PodSlice::new(arm, pod, stratum)));
        }
    };
    for delta in seen.deltas().filter(|delta| report::is_judged(delta.series.outcome)) {
        entry(delta.series, &|slice| {
            slice.requests = slice.requests.saturating_add(delta.requests());
            if report::is_error(delta.series.outcome) {
                slice.errors = slice.errors.saturating_add(delta.requests());
            }
            if report::counts_for_latency(delta.series.outcome) {
                slice.latency.add_all(delta.timing(service.timing));
            }
        });
    }
    for (series, ages) in seen.waiting() {
        entry(series, &|slice| slice.in_flight.merge(ages));
    }
    let slice = |pods: BTreeMap<_, PodSlice>| Slice { second, pods: pods.into_values().collect(), pods_known, weight };
    let slices = entries.into_iter().map(slice).collect();
    Observed { second, new_pods: std::mem::take(&mut numbers.new_pods), slices }
}

/// What the baseline served on each route in windows of a minute while the candidate got nothing, the newest `windows` before a second.
pub(super) fn windows<'a>(
    service: &Service,
    routes: &Routes,
    windows: impl Iterator<Item = Vec<Delta<'a>>>,
) -> Vec<Vec<Counts>> {
    let mut all: Vec<Vec<Counts>> = vec![Vec::new(); routes.0.len()];
    for window in windows {
        let deltas = || window.iter().filter(|delta| is_of(service, delta));
        if deltas().any(|delta| delta.series.release == service.candidate) {
            break;
        }
        let mut counts = vec![Counts::new(); routes.0.len()];
        let judged = deltas().filter(|delta| report::counts_for_latency(delta.series.outcome));
        for delta in judged.filter(|delta| delta.series.release == service.baseline) {
            if let Some(counts) = routes.find(&delta.series.route).and_then(|at| counts.get_mut(at)) {
                counts.add_all(delta.timing(service.timing));
            }
        }
        for (all, counts) in all.iter_mut().zip(counts).filter(|(_, counts)| !counts.is_empty()) {
            all.push(counts);
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_candidates_pod_that_was_started_again_is_another_one() {
        let mut numbers = Numbers::default();
        let mut number = |arm, second, started| numbers.pod(arm, "shop-0", second, started).0;
        assert_eq!(number(Arm::Candidate, 100, None), 0);
        assert_eq!(number(Arm::Candidate, 101, Some(50)), 0, "it was there before it was seen");
        assert_eq!(number(Arm::Candidate, 102, Some(160)), 0, "by a clock that is ahead");
        assert_eq!(number(Arm::Candidate, 160, Some(160)), 1);
        assert_eq!(number(Arm::Candidate, 161, Some(160)), 1);
        assert_eq!(number(Arm::Candidate, 162, None), 1, "nobody knows any more");
        assert_eq!(number(Arm::Baseline, 160, None), 2);
        assert_eq!(number(Arm::Baseline, 170, Some(165)), 2, "a baseline does not warm up");
        assert_eq!(numbers.new_pods, ["shop-0"; 3], "each has a name in the recording");
    }

    #[test]
    fn pods_beyond_the_limit_share_a_number() {
        let mut numbers = Numbers::default();
        let of = |numbers: &mut Numbers, at: u32, started| numbers.pod(Arm::Candidate, &at.to_string(), 100, started).0;
        for at in 0..PODS_MAX {
            assert_eq!(of(&mut numbers, at, None), at);
        }
        assert_eq!([PODS_MAX, PODS_MAX + 7].map(|at| of(&mut numbers, at, None)), [PODS_MAX; 2]);
        assert_eq!(of(&mut numbers, 3, Some(100)), 3);
        assert_eq!(numbers.new_pods.len() as u32, PODS_MAX + 1);
    }

    #[test]
    fn a_pod_is_known_by_name_and_by_address() {
        let starts = [("shop-0", 5), ("10.0.0.1", 6), ("fd00::1", 7)].map(|(pod, at)| (pod.to_owned(), at));
        let starts: Starts = starts.into_iter().collect();
        let check = |pod, want| assert_eq!(starts.of(pod), want, "{pod}");
        check("shop-0", Some(5));
        check("10.0.0.1:8080", Some(6));
        check("fd00::1", Some(7));
        check("shop-1", None);
        check("", None);
    }
}
