//! The fast lane: for a candidate so bad that it must not live through its warm-up. Active from its first second,
//! on 1 s cells, with a share of alpha/10 of its own.
//!
//! It has six lanes: errors, latency at p50, p95 and p99, pods that answer nothing, and requests that never come back.

mod errors;
mod latency;
mod stall;
mod throughput;

pub(crate) use errors::Errors;
pub(crate) use latency::{LANES, Latency, RATIO};
pub(crate) use stall::Stall;
pub(crate) use throughput::Throughput;

use crate::slice::PodId;
use crate::stat::{ln_add, ln_mean_exp};

/// How much alpha the fast lane spends beside the slow one's: a tenth of it.
pub(crate) const SHARE: f64 = 0.1;
/// How many lanes share that.
const SHARES: f64 = 6.0;
/// At least this many pod seconds must agree.
const CLIP: f64 = 8.0;
/// ln of the evidence at which a lane fires.
pub(crate) fn threshold(alpha: f64) -> f64 {
    (SHARES / (SHARE * alpha)).ln()
}

/// A clipped mixture over `M` tilts with a restart every second. JUDGE.md restarts every 10 s; a tenth of the weight ten
/// times as often costs ln 10 of evidence, less than two clipped seconds, and saves up to 10 s of waiting for the next
/// restart when a candidate breaks late. The weights still sum to 1, so nothing else changes.
#[derive(Clone, Debug)]
pub(crate) struct Mixture<const M: usize> {
    z: [f64; M],
    r: [f64; M],
    cap: f64,
    ln_restart: f64,
    restarts_left: u32,
}

impl<const M: usize> Mixture<M> {
    /// `spare`: how much more than the threshold all clipped seconds together reach, in ln.
    fn new(alpha: f64, spare: f64, trial_s: u32) -> Self {
        let restarts = trial_s.max(1);
        Mixture {
            z: [0.0; M],
            r: [0.5f64.ln(); M],
            cap: (threshold(alpha) + 2f64.ln() + spare) / CLIP,
            ln_restart: (0.5 / f64::from(restarts)).ln(),
            restarts_left: restarts,
        }
    }

    /// One second: every candidate pod's increment for each tilt.
    fn observe(&mut self, Increments(pods): Increments<M>) {
        let mut sums = [0.0; M];
        for (_, pod) in pods {
            for (sum, inc) in sums.iter_mut().zip(pod) {
                *sum += inc.min(self.cap);
            }
        }
        for (z, sum) in self.z.iter_mut().zip(sums) {
            *z += sum.min(self.cap);
        }
        if self.restarts_left > 0 {
            self.restarts_left -= 1;
            for (r, z) in self.r.iter_mut().zip(self.z) {
                *r = ln_add(*r, self.ln_restart - z);
            }
        }
    }

    fn ln_e(&self) -> f64 {
        let mut sum = self.z;
        for (z, r) in sum.iter_mut().zip(self.r) {
            *z += r;
        }
        ln_mean_exp(&sum)
    }
}

/// What each candidate pod adds in a second, for each tilt: one entry a pod, so that each is clipped as a whole.
#[derive(Debug)]
struct Increments<const M: usize>(Vec<(PodId, [f64; M])>);

impl<const M: usize> Increments<M> {
    /// Of all strata, each with its pods in ascending order.
    fn of(strata: impl Iterator<Item = impl Iterator<Item = (PodId, [f64; M])>>) -> Self {
        let mut all = Vec::new();
        let strata = strata.map(|stratum| all.extend(stratum)).count();
        if strata > 1 {
            all.sort_by_key(|(pod, _)| *pod);
        }
        all.dedup_by(|(pod, more), (before, sums)| {
            let is_same = pod == before;
            if is_same {
                sums.iter_mut().zip(more).for_each(|(sum, inc)| *sum += *inc);
            }
            is_same
        });
        Increments(all)
    }
}
