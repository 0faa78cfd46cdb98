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
