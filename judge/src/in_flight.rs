//! Requests that have not ended: each counts as soon as it is known to be slower than what is asked about, and once.
//!
//! Of a pod's second, D(y) requests ended that took y or longer, and at its end W(y) that had lasted y or longer were still under way. A
//! request that was in W at the end of the second before is now in D or still in W. So D(y) + W(y) - W'(y) is the number of requests
//! that were first known to take y or longer in this second, and no request has to be followed.

use std::collections::BTreeMap;

use serin_sketch::{Bucket, Counts};

use crate::slice::{Arm, PODS_MAX, PodId, PodSlice, Stratum};

/// Pods and strata with requests under way that are remembered: those past it are counted when they end.
const REMEMBERED_MAX: usize = 16 * PODS_MAX;

type Of = (Arm, PodId, Stratum);

/// What was under way when each pod was last heard of.
#[derive(Clone, Debug, Default)]
pub(crate) struct InFlight(BTreeMap<Of, Counts>);

impl InFlight {
    /// How many more requests of each age and older there are than at the end of the pod's last second, oldest first.
    pub(crate) fn gain(&self, slice: &PodSlice) -> Vec<(Bucket, f64)> {
        let before = self.0.get(&of(slice));
        if slice.in_flight.is_empty() && before.is_none() {
            return Vec::new();
        }
        let mut changes: BTreeMap<Bucket, f64> = BTreeMap::new();
        for (bucket, n) in slice.in_flight.iter() {
            *changes.entry(bucket).or_default() += n as f64;
        }
        for (bucket, n) in before.into_iter().flat_map(Counts::iter) {
            *changes.entry(bucket).or_default() -= n as f64;
        }
        changes.into_iter().collect()
    }

    /// Takes in a second after it was counted. A pod that is not in it was not heard of: what it had under way still counts as known.
    pub(crate) fn remember<'a>(&mut self, pods: impl Iterator<Item = &'a PodSlice> + Clone) {
        for slice in pods.clone() {
            self.0.remove(&of(slice));
        }
        for slice in pods.filter(|slice| !slice.in_flight.is_empty()) {
            if self.0.len() < REMEMBERED_MAX || self.0.contains_key(&of(slice)) {
                self.0.entry(of(slice)).or_default().merge(&slice.in_flight);
            }
        }
    }
}

fn of(slice: &PodSlice) -> Of {
    (slice.arm, slice.pod, slice.stratum)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::slice::{ArmSecond, Slice};
    use proptest::prelude::*;
    use serin_sketch::Micros;

    const SECOND_US: u64 = 1_000_000;

    /// What a pod says of a second, of requests given by begin and duration in microseconds.
    fn second(requests: &[(u64, u64)], second: u64) -> PodSlice {
        let (from, to) = (second * SECOND_US, (second + 1) * SECOND_US);
        let ended = requests.iter().filter(|(begin, took)| (from..to).contains(&(begin + took)));
        let latency: Counts = ended.map(|(_, took)| (Bucket::of(Micros(*took)), 1)).collect();
        let under_way = requests.iter().filter(|(begin, took)| *begin < to && begin + took >= to);
        let ages = under_way.map(|(begin, _)| to - begin).filter(|age| *age >= SECOND_US);
        let in_flight = ages.map(|age| (Bucket::of(Micros(age)), 1)).collect();
        let requests = latency.total();
        PodSlice { latency, in_flight, requests, ..PodSlice::new(Arm::Candidate, PodId(1), Stratum(0)) }
    }

    proptest! {
        /// Each request counts once, whatever is asked about; and nothing is known to be slow that was not.
        #[test]
        fn each_request_counts_once(requests in prop::collection::vec((0u64..6 * SECOND_US, 1u64..5 * SECOND_US), 0..40), edge in 1u64..4 * SECOND_US) {
            let edge = Bucket::of(Micros(edge));
            let mut in_flight = InFlight::default();
            let (mut beyond, mut known, mut all) = (0.0, 0.0, 0.0);
            for at in 0..12 {
                let slice = Slice { pods: vec![second(&requests, at)], ..Slice::new(at) };
                let arm = ArmSecond::of(&slice, Arm::Candidate, &in_flight, |_| true);
                in_flight.remember(slice.pods.iter());
                let (tail, part) = (&arm.tail, arm.pods[0].part(edge));
                prop_assert_eq!((PodId(1), tail.at_or_above(edge), tail.known(edge)), part);
                prop_assert!(tail.at_or_above(edge) <= tail.known(edge));
                beyond += tail.at_or_above(edge);
                known += tail.known(edge);
                all += tail.total();
            }
            let slow = requests.iter().filter(|(_, took)| Bucket::of(Micros(*took)) >= edge).count();
            prop_assert_eq!((beyond, known, all), (slow as f64, requests.len() as f64, requests.len() as f64));
        }
    }

    /// A request of 5 s is known to take more than 2 s two to three seconds before it ends.
    #[test]
    fn what_is_slow_is_known_before_it_ends() {
        let requests = [(500_000, 5 * SECOND_US)];
        let mut in_flight = InFlight::default();
        let seen: Vec<u64> = (0..8)
            .filter(|at| {
                let slice = Slice { pods: vec![second(&requests, *at)], ..Slice::new(*at) };
                let arm = ArmSecond::of(&slice, Arm::Candidate, &in_flight, |_| true);
                in_flight.remember(slice.pods.iter());
                arm.tail.at_or_above(Bucket::of(Micros(2 * SECOND_US))) > 0.0
            })
            .collect();
        assert_eq!(seen, [2], "at the end of second 2 it has lasted 2.5 s");
    }

    #[test]
    fn a_pod_that_is_not_heard_of_keeps_what_it_had() {
        let waiting = second(&[(0, 50 * SECOND_US)], 3);
        let mut in_flight = InFlight::default();
        in_flight.remember([&waiting].into_iter());
        in_flight.remember([].into_iter());
        assert!(in_flight.gain(&waiting).iter().all(|(_, n)| *n == 0.0));
    }
}
