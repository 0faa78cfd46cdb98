//! A decision's life, as the events that are kept with it, and told.

mod news;

use serin_proto::v1::{self, DecisionStage};

use crate::time::UnixMicros;

/// Events kept with one decision; when a fight with another writer would exceed it, the oldest of what repeats goes.
const EVENTS_MAX: usize = 200;

/// What became of one target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Written {
    /// Written.
    Done(String),
    /// Nothing had to be written: the target sends the candidate nothing already.
    InEffect(String),
    /// Would have been written.
    DryRun(String),
    /// Not written.
    Failed(String),
    /// Left to the replica that leads.
    Standby(String),
    /// Others wrote the old weights back: what follows is about writing it again.
    Back(String),
    /// It was held for long enough: left to others.
    Left(String),
}

impl Written {
    pub(super) fn stage(&self) -> (DecisionStage, &str) {
        match self {
            Written::Done(sentence) | Written::InEffect(sentence) => (DecisionStage::Written, sentence),
            Written::DryRun(sentence) => (DecisionStage::NotWritten, sentence),
            Written::Failed(sentence) => (DecisionStage::Failed, sentence),
            Written::Standby(sentence) => (DecisionStage::NotWritten, sentence),
            Written::Back(sentence) | Written::Left(sentence) => (DecisionStage::NotInEffect, sentence),
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
        sources: Vec::new(),
    };
    record(&mut decision, DecisionStage::Decided, &verdict.sentence, now);
    decision.verdict = Some(verdict);
    decision
}

/// Adds an event, unless it is no news. Whether it was.
pub(super) fn record(decision: &mut v1::Decision, stage: DecisionStage, sentence: &str, now: UnixMicros) -> bool {
    if !news::is_news(&decision.events, stage, sentence, now) {
        return false;
    }
    if decision.events.len() >= EVENTS_MAX {
        use DecisionStage::{Failed, NotInEffect, NotKnown, Written};
        let repeats = [Written, Failed, NotInEffect, NotKnown];
        // The first write stays: from it counts for how long the rollback is held.
        let first = first_written(decision);
        let goes = |event: &v1::DecisionEvent| repeats.contains(&event.stage()) && Some(event.unix_us) != first;
        let oldest = decision.events.iter().position(goes);
        oldest.map(|at| decision.events.remove(at));
    }
    decision.events.push(v1::DecisionEvent { unix_us: now.0, stage: stage.into(), sentence: sentence.to_owned() });
    true
}

/// A person lifts it.
pub(super) fn clear(decision: &mut v1::Decision, now: UnixMicros) {
    let sentence = may_come(&decision.candidate);
    record(decision, DecisionStage::Cleared, &sentence, now);
}

/// What is said of a release whose condemnation is lifted.
pub(super) fn may_come(candidate: &str) -> String {
    format!("{candidate} may take traffic again")
}

/// Whether it still holds: nobody has cleared it.
pub(super) fn condemns(decision: &v1::Decision, service: &str, release: &str) -> bool {
    decision.service == service && decision.candidate == release && !has(decision, DecisionStage::Cleared)
}

/// When it was cleared, where it is about this release.
pub(super) fn cleared(decision: &v1::Decision, service: &str, release: &str) -> Option<UnixMicros> {
    let is_about = decision.service == service && decision.candidate == release;
    let event = decision.events.iter().find(|event| is_about && event.stage() == DecisionStage::Cleared)?;
    Some(UnixMicros(event.unix_us))
}

/// When it was written for the first time.
pub(super) fn first_written(decision: &v1::Decision) -> Option<u64> {
    decision.events.iter().find(|event| event.stage() == DecisionStage::Written).map(|event| event.unix_us)
}

/// Whether somebody has to look: its rollback could not be written or is not seen in the data plane, and nothing better was seen since. That it
/// is written once more is no better yet.
pub(super) fn is_unconfirmed(decision: &v1::Decision) -> bool {
    use DecisionStage::{Cleared, Confirmed, Failed, NotInEffect};
    let tells = |stage: &DecisionStage| matches!(stage, Failed | NotInEffect | Confirmed | Cleared);
    let last = decision.events.iter().rev().map(v1::DecisionEvent::stage).find(tells);
    matches!(last, Some(Failed | NotInEffect))
}

/// Whether it came this far.
pub(super) fn has(decision: &v1::Decision, stage: DecisionStage) -> bool {
    decision.events.iter().any(|event| event.stage() == stage)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_unconfirmed_until_the_data_plane_shows_it_or_a_person_clears_it() {
        use DecisionStage::{Cleared, Confirmed, Decided, Failed, NotInEffect, NotKnown, NotWritten, Written};
        let cases: [(&[DecisionStage], bool); 10] = [
            (&[Decided], false),
            (&[Decided, NotWritten], false),
            (&[Decided, Written], false),
            (&[Decided, Written, Confirmed], false),
            (&[Decided, Failed], true),
            (&[Decided, Written, NotInEffect], true),
            (&[Decided, Written, NotKnown], false),
            (&[Decided, Written, NotInEffect, Written], true),
            (&[Decided, Failed, Written, Confirmed], false),
            (&[Decided, Failed, Cleared], false),
        ];
        for (stages, want) in cases {
            let mut decision = v1::Decision::default();
            for stage in stages {
                record(&mut decision, *stage, "", UnixMicros(0));
            }
            assert_eq!(is_unconfirmed(&decision), want, "{stages:?}");
        }
    }

    #[test]
    fn a_long_fight_does_not_push_out_what_a_person_said() {
        let mut decision = v1::Decision::default();
        record(&mut decision, DecisionStage::Decided, "worse", UnixMicros(0));
        for n in 0..1_000 {
            record(&mut decision, DecisionStage::NotInEffect, &format!("still n{n}"), UnixMicros(n));
        }
        record(&mut decision, DecisionStage::Cleared, "may take traffic again", UnixMicros(1_000));
        assert_eq!(decision.events.len(), EVENTS_MAX);
        assert!(has(&decision, DecisionStage::Decided) && has(&decision, DecisionStage::Cleared));
    }
}
