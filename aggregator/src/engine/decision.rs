//! A decision's life, as the events that are kept with it.

use serin_proto::v1::{self, DecisionStage};

use crate::time::UnixMicros;

/// Events kept with one decision; when a fight with another writer would exceed it, the later ones are left out.
const EVENTS_MAX: usize = 200;

/// What became of one target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Written {
    /// Written, or in effect already.
    Done(String),
    /// Would have been written.
    DryRun(String),
    /// Not written.
    Failed(String),
}

impl Written {
    pub(super) fn stage(&self) -> (DecisionStage, &str) {
        match self {
            Written::Done(sentence) | Written::DryRun(sentence) => (DecisionStage::Written, sentence),
            Written::Failed(sentence) => (DecisionStage::Failed, sentence),
        }
    }
}

/// A fresh decision with its first event.
pub(super) fn decide(id: u64, verdict: v1::Verdict, now: UnixMicros) -> v1::Decision {
    let mut decision = v1::Decision {
        id,
        service: verdict.service.clone(),
        candidate: verdict.candidate.clone(),
        baseline: verdict.baseline.clone(),
        unix_us: now.0,
        verdict: None,
        events: Vec::new(),
    };
    record(&mut decision, DecisionStage::Decided, &verdict.sentence, now);
    decision.verdict = Some(verdict);
    decision
}

/// Adds an event, unless it says what the last one of its stage said.
pub(super) fn record(decision: &mut v1::Decision, stage: DecisionStage, sentence: &str, now: UnixMicros) {
    let repeated = decision.events.iter().rfind(|e| e.stage() == stage).is_some_and(|e| e.sentence == sentence);
    if !repeated && decision.events.len() < EVENTS_MAX {
        decision.events.push(v1::DecisionEvent { unix_us: now.0, stage: stage.into(), sentence: sentence.to_owned() });
    }
}

/// Whether it still holds: no person has cleared it.
pub(super) fn condemns(decision: &v1::Decision, service: &str, release: &str) -> bool {
    decision.service == service && decision.candidate == release && !has(decision, DecisionStage::Cleared)
}

/// Whether it came this far.
pub(super) fn has(decision: &v1::Decision, stage: DecisionStage) -> bool {
    decision.events.iter().any(|event| event.stage() == stage)
}
