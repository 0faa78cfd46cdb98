//! Policy and history, to the wire and back.

use serin_judge::{History, Metric, PodSpread, Policy};
use serin_proto::{convert, v1};
use serin_sketch::Micros;

use super::wire::RecordingError;

pub(super) fn to_wire(policy: &Policy) -> v1::JudgePolicy {
    let metric = |metric: Metric| {
        let (pass, regression) = policy.thresholds_of(metric).unwrap_or_default();
        let limit_us = policy.limits().find(|(of, _, _)| *of == metric).map_or(0, |(_, _, limit)| limit.0);
        v1::MetricPolicy { metric: metric.to_string(), pass, regression, limit_us }
    };
    let metrics = Metric::latencies().map(metric).filter(|own| own.regression > 0.0 || own.limit_us > 0);
    v1::JudgePolicy {
        regression: policy.regression(),
        false_rollback: policy.false_rollback(),
        false_pass: policy.false_pass(),
        trial_s: policy.trial_s(),
        pass: policy.pass(),
        guard_s: policy.guard_s(),
        metrics: metrics.collect(),
    }
}

pub(super) fn from_wire(wire: &v1::JudgePolicy) -> Result<Policy, RecordingError> {
    let policy = Policy::new(wire.regression, wire.false_rollback, wire.false_pass, wire.trial_s)?;
    let policy = policy.with_pass(wire.pass)?.with_guard(wire.guard_s)?;
    wire.metrics.iter().try_fold(policy, |policy, own| {
        let metric = Metric::latency_named(&own.metric).ok_or_else(|| RecordingError::Metric(own.metric.clone()))?;
        let policy = if own.regression > 0.0 || own.pass > 0.0 {
            policy.with_thresholds(metric, own.pass, own.regression)?
        } else {
            policy
        };
        Ok(if own.limit_us > 0 { policy.with_limit(metric, Micros(own.limit_us))? } else { policy })
    })
}

pub(super) fn history_to_wire(history: &History) -> v1::JudgeHistory {
    let spread = history.pods.measured_at().map(|spread| spread.unwrap_or(-1.0));
    v1::JudgeHistory {
        windows: history.windows.iter().map(convert::to_wire).collect(),
        pod_spread: if spread.iter().all(|spread| *spread < 0.0) { Vec::new() } else { spread.to_vec() },
    }
}

pub(super) fn history_from_wire(wire: &v1::JudgeHistory) -> Result<History, RecordingError> {
    let windows = wire.windows.iter().map(convert::from_wire).collect::<Result<Vec<_>, _>>()?;
    let mut spread = [None; 4];
    for (spread, wire) in spread.iter_mut().zip(&wire.pod_spread) {
        *spread = (*wire >= 0.0 && wire.is_finite()).then_some(*wire);
    }
    Ok(History { pods: PodSpread::known(spread), windows })
}
