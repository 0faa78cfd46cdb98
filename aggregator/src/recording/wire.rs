//! Setups and seconds, to the wire and back: what comes back is checked as anything that a peer sends.

use serin_judge::{Arm, PodId, PodSlice, PolicyError, Slice, Stratum};
use serin_proto::{
    convert::{self, DistributionError},
    v1,
};

use super::{Observed, Setup, policy};

/// Why a part of a recording cannot be read.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum RecordingError {
    #[error("a recording begins with its setup")]
    NoSetup,
    #[error("a setup comes once, at the beginning")]
    SetupAgain,
    #[error("the setup must name service, baseline, another candidate, and at least one route")]
    Names,
    #[error("policy: {0}")]
    Policy(#[from] PolicyError),
    #[error("policy: `{0}` is no latency: write p50, p95, p99 or p99.9")]
    Metric(String),
    #[error("second {second} does not come after second {before}")]
    Order { before: u64, second: u64 },
    #[error("second {second} has {got} routes where the setup has {expected}")]
    Routes { second: u64, got: usize, expected: usize },
    #[error("a distribution: {0}")]
    Distribution(#[from] DistributionError),
    #[error("pod {0} was not named")]
    Pod(u32),
}

impl Setup {
    /// As it is kept.
    pub fn to_wire(&self) -> v1::Setup {
        v1::Setup {
            serin_version: self.version.clone(),
            service: self.service.clone(),
            baseline: self.baseline.clone(),
            candidate: self.candidate.clone(),
            routes: self.routes.clone(),
            policy: Some(policy::to_wire(&self.policy)),
            histories: self.histories.iter().map(policy::history_to_wire).collect(),
            first_second: self.first_second,
        }
    }

    /// Reads it back.
    ///
    /// # Errors
    /// When it breaks a rule of `recording.proto`.
    pub fn from_wire(wire: v1::Setup) -> Result<Self, RecordingError> {
        let names = [&wire.service, &wire.baseline, &wire.candidate];
        if names.iter().any(|name| name.is_empty()) || wire.baseline == wire.candidate || wire.routes.is_empty() {
            return Err(RecordingError::Names);
        }
        let mut histories =
            wire.histories.iter().map(policy::history_from_wire).collect::<Result<Vec<_>, RecordingError>>()?;
        histories.resize_with(wire.routes.len(), Default::default);
        Ok(Setup {
            version: wire.serin_version,
            policy: policy::from_wire(&wire.policy.unwrap_or_default())?,
            service: wire.service,
            baseline: wire.baseline,
            candidate: wire.candidate,
            routes: wire.routes,
            histories,
            first_second: wire.first_second,
        })
    }
}

impl Observed {
    /// As it is kept.
    pub fn to_wire(&self) -> v1::RecordedSecond {
        let route = |slice: &Slice| v1::RecordedRoute { pods: slice.pods.iter().map(pod_to_wire).collect() };
        let first = self.slices.first();
        v1::RecordedSecond {
            second: self.second,
            new_pods: self.new_pods.clone(),
            routes: self.slices.iter().map(route).collect(),
            pods_unknown: self.slices.iter().any(|slice| !slice.pods_known),
            weight: first.and_then(|slice| slice.weight).unwrap_or(0.0),
        }
    }

    /// Reads it back, with how many pods have been named before.
    ///
    /// # Errors
    /// When it breaks a rule of `recording.proto`.
    pub fn from_wire(wire: v1::RecordedSecond, named: usize) -> Result<Self, RecordingError> {
        let v1::RecordedSecond { second, new_pods, routes, pods_unknown, weight } = wire;
        let named = named + new_pods.len();
        let slice = |route: v1::RecordedRoute| {
            let pods = route.pods.into_iter().map(|pod| pod_from_wire(pod, named)).collect::<Result<_, _>>()?;
            let weight = (weight > 0.0).then_some(weight);
            Ok(Slice { second, pods, pods_known: !pods_unknown, weight })
        };
        let slices = routes.into_iter().map(slice).collect::<Result<_, RecordingError>>()?;
        Ok(Observed { second, new_pods, slices })
    }
}

fn pod_to_wire(pod: &PodSlice) -> v1::RecordedPod {
    let some = |counts: &serin_sketch::Counts| (!counts.is_empty()).then(|| convert::to_wire(counts));
    v1::RecordedPod {
        pod: pod.pod.0,
        candidate: pod.arm == Arm::Candidate,
        stratum: pod.stratum.0.into(),
        latency: some(&pod.latency),
        in_flight: some(&pod.in_flight),
        requests: pod.requests,
        errors: pod.errors,
    }
}

fn pod_from_wire(wire: v1::RecordedPod, named: usize) -> Result<PodSlice, RecordingError> {
    if wire.pod as usize >= named {
        return Err(RecordingError::Pod(wire.pod));
    }
    let arm = if wire.candidate { Arm::Candidate } else { Arm::Baseline };
    let stratum = Stratum(u16::try_from(wire.stratum).unwrap_or(u16::MAX));
    Ok(PodSlice {
        latency: convert::from_wire(&wire.latency.unwrap_or_default())?,
        in_flight: convert::from_wire(&wire.in_flight.unwrap_or_default())?,
        requests: wire.requests,
        errors: wire.errors,
        ..PodSlice::new(arm, PodId(wire.pod), stratum)
    })
}
