//! What there is to tell of a decision: pure.

use serin_proto::v1::{Decision, DecisionEvent, DecisionStage};

/// One event of a decision, and what stood then.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Notice {
    pub(super) decision: u64,
    pub(super) service: String,
    pub(super) baseline: String,
    pub(super) candidate: String,
    /// When it was decided.
    pub(super) decided_us: u64,
    /// When this happened.
    pub(super) unix_us: u64,
    pub(super) stage: DecisionStage,
    pub(super) sentence: String,
    /// What was wrong with its rollback up to then.
    pub(super) trouble: Option<Trouble>,
}

/// A rollback that could not be written, or did not take effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Trouble {
    pub(super) since_us: u64,
    /// What was said of it last.
    pub(super) sentence: String,
    pub(super) is_over: bool,
}

impl Notice {
    fn new(decision: &Decision, event: &DecisionEvent, trouble: Option<Trouble>) -> Self {
        Notice {
            decision: decision.id,
            service: decision.service.clone(),
            baseline: decision.baseline.clone(),
            candidate: decision.candidate.clone(),
            decided_us: decision.unix_us,
            unix_us: event.unix_us,
            stage: event.stage(),
            sentence: event.sentence.clone(),
            trouble,
        }
    }

    /// What stands of a decision.
    pub(super) fn standing(decision: &Decision) -> Option<Self> {
        all(decision).last()
    }
}

/// The events of a decision after a time.
pub(super) fn notices(decision: &Decision, after: u64) -> impl Iterator<Item = Notice> + '_ {
    all(decision).filter(move |notice| notice.unix_us > after)
}

fn all(decision: &Decision) -> impl Iterator<Item = Notice> + '_ {
    decision.events.iter().scan(None, move |trouble: &mut Option<Trouble>, event| {
        *trouble = after(trouble.take(), event);
        Some(Notice::new(decision, event, trouble.clone()))
    })
}

/// That nobody can tell is no trouble, and none less: whoever is called at night could only wait for requests.
fn after(trouble: Option<Trouble>, event: &DecisionEvent) -> Option<Trouble> {
    match event.stage() {
        DecisionStage::Failed | DecisionStage::NotInEffect => {
            let since_us = trouble.filter(|trouble| !trouble.is_over).map_or(event.unix_us, |trouble| trouble.since_us);
            Some(Trouble { since_us, sentence: event.sentence.clone(), is_over: false })
        }
        DecisionStage::Confirmed | DecisionStage::Cleared => {
            trouble.map(|trouble| Trouble { is_over: true, ..trouble })
        }
        DecisionStage::Unspecified
        | DecisionStage::Decided
        | DecisionStage::Written
        | DecisionStage::NotWritten
        | DecisionStage::NotKnown => trouble,
    }
}
