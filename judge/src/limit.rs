//! Absolute limits: "p99 below 500 ms" means that at most 1% of the requests of any second are expected to take longer.
//!
//! Two null hypotheses must fall, as with errors: that the candidate keeps the limit, P_t(B >= limit) <= 1 - q, and that it is no worse
//! than the baseline there, P_t(B >= limit) <= P_t(A >= limit). The smaller of two e-processes is at most either, so it is one
//! for both. What breaks a limit in both arms is a common cause, and no release's fault.

use std::collections::VecDeque;

use serin_sketch::{Bucket, Micros};

use crate::dispersion::Dispersion;
use crate::evidence::Evidence;
use crate::metric::Metric;
use crate::policy::Policy;
use crate::slice::{Pair, Second};
use crate::verdict::LimitFinding;

/// How much of alpha all limits together have beside the rest.
pub(crate) const SHARE: f64 = 0.1;
/// Seconds that the shares which are shown span.
const RECENT_S: usize = 60;

/// One limit, and what is known of it.
#[derive(Clone, Debug)]
pub(crate) struct Limit {
    pub(crate) metric: Metric,
    pub(crate) latency: Micros,
    /// The share of requests that may take longer.
    allowed: f64,
    edge: Bucket,
    /// That the candidate keeps it, and that it is no worse than the baseline.
    keeps: Evidence,
    no_worse: Evidence,
    dispersion: Dispersion,
    recent: VecDeque<[f64; 4]>,
}

impl Limit {
    /// The limits of a policy.
    pub(crate) fn all(policy: &Policy, blocks: u32) -> Vec<Self> {
        let limits = policy.limits();
        limits
            .map(|(metric, q, latency)| Limit {
                metric,
                latency,
                allowed: 1.0 - q,
                edge: Bucket::at_or_above(latency),
                keeps: Evidence::new(policy.false_rollback(), blocks).alone(),
                no_worse: Evidence::new(policy.false_rollback(), blocks),
                dispersion: Dispersion::new(policy.false_rollback(), None),
                recent: VecDeque::new(),
            })
            .collect()
    }

    /// One slice with requests of both arms. A limit is one of all requests; that the candidate is no worse is a matter of each stratum.
    pub(crate) fn observe(&mut self, second: &Second) {
        let Pair { baseline, candidate, .. } = &second.all;
        let (n_a, n_b) = (baseline.tail.known(self.edge), candidate.tail.known(self.edge));
        let (a, b) = (baseline.tail.at_or_above(self.edge), candidate.tail.at_or_above(self.edge));
        self.dispersion.observe((baseline, self.edge), (candidate, self.edge));
        for pair in second.strata().iter().filter(|pair| pair.is_comparable()) {
            self.no_worse.observe(pair.split(self.edge, self.edge), pair.candidate.parts(self.edge));
        }
        // Of n_b independent requests of which each is beyond with a probability of at most `allowed`.
        let (allowed, parts) = (self.allowed, candidate.parts(self.edge));
        self.keeps.observe_against(|tilt| n_b * (allowed * tilt.exp_m1()).ln_1p(), n_b * allowed, parts);
        self.recent.push_back([a, n_a, b, n_b]);
        if self.recent.len() > RECENT_S {
            self.recent.pop_front();
        }
    }

    pub(crate) fn close_block(&mut self) {
        self.keeps.close_block();
        self.no_worse.close_block();
        self.dispersion.close_block();
    }

    pub(crate) fn weigh(&mut self) {
        let factor = self.dispersion.factor();
        self.keeps.weigh(factor);
        self.no_worse.weigh(factor);
    }

    /// ln of the evidence that the candidate breaks it and is worse than the baseline.
    pub(crate) fn ln_e(&self) -> f64 {
        self.keeps.ln_e().min(self.no_worse.ln_e())
    }

    /// Candidate requests that took longer.
    pub(crate) fn beyond_b(&self) -> f64 {
        self.keeps.beyond_b
    }

    /// What is known of it, with the shares of the last minute.
    pub(crate) fn finding(&self) -> LimitFinding {
        let [a, n_a, b, n_b] = self.recent.iter().fold([0.0; 4], |mut sum, second| {
            for (sum, n) in sum.iter_mut().zip(second) {
                *sum += n;
            }
            sum
        });
        let share = |x: f64, n: f64| if n > 0.0 { x / n } else { 0.0 };
        LimitFinding {
            metric: self.metric,
            limit: self.latency,
            allowed: self.allowed,
            baseline_beyond: share(a, n_a),
            candidate_beyond: share(b, n_b),
            log_evidence: self.ln_e(),
        }
    }
}

/// ln of the evidence at which one of so many limits decides.
pub(crate) fn threshold(alpha: f64, limits: usize) -> f64 {
    (limits.max(1) as f64 / (SHARE * alpha)).ln()
}
