//! What is told as Kubernetes Events of a ReleaseGuard: pure.

use kube::runtime::events::{Event, EventType};
use serin_kubernetes::release_guard::VerdictState as Shown;
use serin_proto::v1::{Decision, DecisionStage, Verdict};

use super::status::{camel, state};

/// The most that the API server takes, in bytes.
const NOTE_MAX: usize = 1_024;

/// What was told of one ReleaseGuard.
#[derive(Clone, Debug)]
pub(super) struct Told {
    verdict: Option<Shown>,
    /// Of decisions: everything up to here.
    until_us: u64,
}

impl Told {
    /// What happened before `since_us` was told by an earlier run, up to the verdict that the status shows.
    pub(super) fn new(verdict: Option<Shown>, since_us: u64) -> Self {
        Told { verdict, until_us: since_us }
    }

    /// What there is to tell since the last time.
    pub(super) fn news(&mut self, verdict: Option<&Verdict>, decision: Option<&Decision>) -> Vec<Event> {
        let mut news = Vec::new();
        let shown = verdict.and_then(|verdict| Some((state(verdict.state())?, verdict)));
        if let Some((shown, verdict)) = shown.filter(|(shown, _)| self.verdict != Some(*shown)) {
            // That a trial begins is no news of its candidate.
            if self.verdict.is_some() || shown != Shown::Gathering {
                let type_ = if shown == Shown::Regressed { EventType::Warning } else { EventType::Normal };
                news.push(event(type_, &verdict.state().word(), "Judge", &verdict.sentence));
            }
            self.verdict = Some(shown);
        }
        let Some(decision) = decision else { return news };
        for happened in decision.events.iter().filter(|event| event.unix_us > self.until_us) {
            let type_ = match happened.stage() {
                DecisionStage::Failed | DecisionStage::NotInEffect => EventType::Warning,
                _ => EventType::Normal,
            };
            // Events of the same reason and action are one with a count: those of two decisions are two.
            news.push(event(type_, &happened.stage().word(), &format!("Decision{}", decision.id), &happened.sentence));
        }
        self.until_us = decision.events.last().map_or(self.until_us, |last| last.unix_us.max(self.until_us));
        news
    }
}

fn event(type_: EventType, word: &str, action: &str, note: &str) -> Event {
    let end = (0..=NOTE_MAX.min(note.len())).rev().find(|end| note.is_char_boundary(*end)).unwrap_or(0);
    let note = note.get(..end).map(str::to_owned);
    Event { type_, reason: camel(word), note, action: action.to_owned(), secondary: None }
}

#[cfg(test)]
mod tests {
    use serin_proto::v1::{DecisionEvent, VerdictState};

    use super::*;

    fn reasons(news: &[Event]) -> Vec<String> {
        news.iter().map(|event| format!("{:?} {}", event.type_, event.reason)).collect()
    }

    fn verdict(state: VerdictState) -> Verdict {
        Verdict { state: state.into(), sentence: "said".to_owned(), ..Verdict::default() }
    }

    fn decision(stages: &[(u64, DecisionStage)]) -> Decision {
        let event = |(at, stage): &(u64, DecisionStage)| DecisionEvent {
            unix_us: *at,
            stage: (*stage).into(),
            sentence: "x".repeat(3_000),
        };
        Decision { id: 7, events: stages.iter().map(event).collect(), ..Decision::default() }
    }

    #[test]
    fn changes_are_told_once() {
        use VerdictState::{Gathering, Healthy, Regressed};
        let mut told = Told::new(None, 100);
        let mut news = |state, decision: Option<&Decision>| reasons(&told.news(Some(&verdict(state)), decision));
        let none: [&str; 0] = [];
        assert_eq!(news(Gathering, None), none);
        assert_eq!(news(Healthy, None), ["Normal Healthy"]);
        assert_eq!(news(Healthy, None), none);
        assert_eq!(news(Gathering, None), ["Normal Gathering"]);
        use DecisionStage::{Confirmed, Decided, Failed, NotInEffect, Written};
        let first = decision(&[(50, Decided), (150, Decided), (151, Written)]);
        assert_eq!(news(Regressed, Some(&first)), ["Warning Regressed", "Normal Decided", "Normal Written"]);
        assert_eq!(news(Regressed, Some(&first)), none);
        let more = decision(&[(151, Written), (160, NotInEffect), (170, Failed), (180, Confirmed)]);
        assert_eq!(news(Regressed, Some(&more)), ["Warning NotInEffect", "Warning Failed", "Normal Confirmed"]);
    }

    #[test]
    fn what_an_earlier_run_told_is_not_told_again() {
        let mut told = Told::new(Some(Shown::Regressed), 100);
        let kept = decision(&[(50, DecisionStage::Decided)]);
        assert_eq!(told.news(Some(&verdict(VerdictState::Regressed)), Some(&kept)).len(), 0);
    }

    #[test]
    fn a_note_fits() {
        let note = |text: &str| event(EventType::Normal, "x", "y", text).note.unwrap_or_default();
        assert_eq!(note(&"\u{20ac}".repeat(1_000)).len(), 1_023);
        assert_eq!(note("short"), "short");
    }
}
