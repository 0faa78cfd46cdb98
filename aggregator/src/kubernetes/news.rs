//! What is told as Kubernetes Events of a ReleaseGuard: pure.

use kube::runtime::events::{Event, EventType};
use serin_kubernetes::{
    pods::Set,
    release_guard::{ReleaseGuardStatus, VerdictState as Shown},
};
use serin_proto::v1::{Decision, DecisionStage, Verdict};

use super::{
    guards::Ready,
    status::{camel, state},
};

/// The most that the API server takes, in bytes.
const NOTE_MAX: usize = 1_024;

/// What was told of one ReleaseGuard.
#[derive(Clone, Debug)]
pub(super) struct Told {
    /// Whether it is ready, and the reason.
    ready: Option<(bool, String)>,
    verdict: Option<Shown>,
    /// What the candidate was deployed as.
    set: Option<String>,
    /// Of decisions: everything up to here.
    until_us: u64,
}

impl Told {
    /// What happened before `since_us` was told by an earlier run, up to what the status shows.
    pub(super) fn new(shown: &ReleaseGuardStatus, since_us: u64) -> Self {
        let ready = shown.conditions.iter().find(|condition| condition.type_ == "Ready");
        let ready = ready.map(|condition| (condition.status == "True", condition.reason.clone()));
        let set = shown.replica_set.as_ref().map(|set| set.uid.clone());
        Told { ready, verdict: shown.verdict, set, until_us: since_us }
    }

    /// What there is to tell of the last deployment that came in the place of another one.
    pub(super) fn deployed(&mut self, candidate: &str, anew: Option<&Set>) -> Option<Event> {
        let set = anew.filter(|set| self.set.as_ref() != Some(&set.uid))?;
        self.set = Some(set.uid.clone());
        let note = format!("{candidate} was deployed anew (ReplicaSet {})", set.name);
        Some(event(EventType::Normal, "deployed_anew", &keyed("Deployed", &set.uid), &note))
    }

    /// What there is to tell since the last time.
    pub(super) fn news(&mut self, ready: &Ready, verdict: Option<&Verdict>, decision: Option<&Decision>) -> Vec<Event> {
        let mut news: Vec<Event> = self.readiness(ready).into_iter().collect();
        let shown = verdict.and_then(|verdict| Some((state(verdict.state())?, verdict)));
        if let Some((shown, verdict)) = shown.filter(|(shown, _)| self.verdict != Some(*shown)) {
            // That a trial begins is no news of its candidate.
            if self.verdict.is_some() || shown != Shown::Gathering {
                let type_ = if shown == Shown::Regressed { EventType::Warning } else { EventType::Normal };
                news.push(event(
                    type_,
                    &verdict.state().word(),
                    &keyed("Judge", &verdict.candidate),
                    &verdict.sentence,
                ));
            }
            self.verdict = Some(shown);
        }
        let Some(decision) = decision else { return news };
        for happened in decision.events.iter().filter(|event| event.unix_us > self.until_us) {
            let type_ = match happened.stage() {
                DecisionStage::Failed | DecisionStage::NotInEffect => EventType::Warning,
                _ => EventType::Normal,
            };
            let action = keyed(&format!("Decision{}", decision.id), &happened.sentence);
            news.push(event(type_, &happened.stage().word(), &action, &happened.sentence));
        }
        self.until_us = decision.events.last().map_or(self.until_us, |last| last.unix_us.max(self.until_us));
        news
    }

    /// The words of a message may change by the second, as the seconds that a clock is off: another reason is news.
    fn readiness(&mut self, ready: &Ready) -> Option<Event> {
        let Ready { is_ready, reason, message } = ready;
        if self.ready.as_ref().is_some_and(|(was_ready, why)| was_ready == is_ready && why == reason) {
            return None;
        }
        self.ready = Some((*is_ready, (*reason).to_owned()));
        let type_ = if ready.is_well() { EventType::Normal } else { EventType::Warning };
        Some(event(type_, reason, &keyed("Reconcile", message), message))
    }
}

/// An action for each `what`: an event of the same reason and action that comes again within minutes is a count at the first one,
/// whose message stays.
fn keyed(action: &str, what: &str) -> String {
    format!("{action}.{:08x}", crc32fast::hash(what.as_bytes()))
}

fn event(type_: EventType, word: &str, action: &str, note: &str) -> Event {
    let end = (0..=NOTE_MAX.min(note.len())).rev().find(|end| note.is_char_boundary(*end)).unwrap_or(0);
    let note = note.get(..end).map(str::to_owned);
    Event { type_, reason: camel(word), note, action: action.to_owned(), secondary: None }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::jiff::Timestamp;
    use serin_kubernetes::release_guard::condition;
    use serin_proto::v1::{DecisionEvent, VerdictState};

    use super::*;

    fn reasons(news: &[Event]) -> Vec<String> {
        news.iter().map(|event| format!("{:?} {}", event.type_, event.reason)).collect()
    }

    fn ready(is_ready: bool, reason: &'static str, message: &str) -> Ready {
        Ready { is_ready, reason, message: message.to_owned() }
    }

    fn guarding() -> Ready {
        ready(true, "Guarding", "v2 is judged against v1")
    }

    /// What the status shows of a run before.
    fn shown(verdict: Option<Shown>, ready: &Ready) -> ReleaseGuardStatus {
        let ready = condition("Ready", ready.is_ready, ready.reason, &ready.message, Timestamp::UNIX_EPOCH);
        ReleaseGuardStatus { verdict, conditions: vec![ready], ..ReleaseGuardStatus::default() }
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
        let mut told = Told::new(&shown(None, &guarding()), 100);
        let mut news =
            |state, decision: Option<&Decision>| reasons(&told.news(&guarding(), Some(&verdict(state)), decision));
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

    /// The API would count it at the first one, and keep that one's message.
    #[test]
    fn what_says_something_else_is_another_event() {
        let mut told = Told::new(&shown(Some(Shown::Gathering), &guarding()), 0);
        let mut action = |candidate: &str, state| {
            let verdict = Verdict { candidate: candidate.to_owned(), ..verdict(state) };
            told.news(&guarding(), Some(&verdict), None).remove(0).action
        };
        let of_v2 = action("v2", VerdictState::Healthy);
        action("v3", VerdictState::Gathering);
        assert_ne!(action("v3", VerdictState::Healthy), of_v2);
        action("v2", VerdictState::Gathering);
        assert_eq!(action("v2", VerdictState::Healthy), of_v2, "it is so again");
        let mut decision = decision(&[(50, DecisionStage::NotInEffect), (60, DecisionStage::NotInEffect)]);
        decision.events[1].sentence = "Argo CD writes the old weights back".to_owned();
        let news = Told::new(&ReleaseGuardStatus::default(), 0).news(&guarding(), None, Some(&decision));
        let actions: Vec<&str> = news.iter().skip(1).map(|event| event.action.as_str()).collect();
        assert!(actions.len() == 2 && actions[0] != actions[1], "{actions:?}");
        assert!(actions.iter().all(|action| action.starts_with("Decision7.") && action.len() <= 128), "{actions:?}");
    }

    #[test]
    fn what_an_earlier_run_told_is_not_told_again() {
        let missing = ready(false, "TargetNotFound", "create it");
        let mut told = Told::new(&shown(Some(Shown::Regressed), &missing), 100);
        let kept = decision(&[(50, DecisionStage::Decided)]);
        assert_eq!(told.news(&missing, Some(&verdict(VerdictState::Regressed)), Some(&kept)).len(), 0);
        assert_eq!(reasons(&told.news(&guarding(), None, None)), ["Normal Guarding"]);
    }

    #[test]
    fn a_deployment_is_told_once() {
        let set = |uid: &str| Set {
            created: Timestamp::UNIX_EPOCH,
            uid: uid.to_owned(),
            name: "shop-5d4f".to_owned(),
            made_by: None,
        };
        let mut told = Told::new(&ReleaseGuardStatus::default(), 0);
        let mut news =
            |anew: Option<&Set>| told.deployed("v2", anew).map(|event| (event.reason, event.note.unwrap_or_default()));
        assert_eq!(news(None), None);
        let said = ("DeployedAnew".to_owned(), "v2 was deployed anew (ReplicaSet shop-5d4f)".to_owned());
        assert_eq!(news(Some(&set("1"))), Some(said.clone()));
        assert_eq!(news(Some(&set("1"))), None);
        assert_eq!(news(Some(&set("2"))), Some(said));
        let shown = ReleaseGuardStatus { replica_set: Some((&set("2")).into()), ..ReleaseGuardStatus::default() };
        let mut next = Told::new(&shown, 0);
        assert!(next.deployed("v2", Some(&set("2"))).is_none(), "the one that led before told it");
    }

    #[test]
    fn what_becomes_of_being_ready_is_told_once_with_its_remedy() {
        let mut told = Told::new(&ReleaseGuardStatus::default(), 100);
        let mut news = |is_ready, reason, message: &str| {
            let news = told.news(&ready(is_ready, reason, message), None, None);
            assert!(news.iter().all(|event| event.note.as_deref() == Some(message)));
            (reasons(&news), news.first().map(|event| event.action.clone()))
        };
        let none: [&str; 0] = [];
        assert_eq!(news(true, "Guarding", "v2 is judged against v1").0, ["Normal Guarding"]);
        assert_eq!(news(true, "Guarding", "v3 is judged against v1").0, none);
        let (first, action) = news(false, "TargetNotFound", "shop/a does not exist: create it");
        assert_eq!(first, ["Warning TargetNotFound"]);
        assert_eq!(news(true, "WeightsNotHundred", "give them 100 in all").0, ["Warning WeightsNotHundred"]);
        assert_eq!(news(true, "OneRelease", "all go to v1").0, ["Normal OneRelease"], "nothing is to be mended");
        assert_eq!(news(false, "OneRelease", "all go to v1").0, ["Normal OneRelease"], "as between two trials");
        let (again, other) = news(false, "TargetNotFound", "shop/b does not exist: create it");
        assert_eq!(again, ["Warning TargetNotFound"]);
        assert_ne!(action, other, "the API would keep the message of the first one");
        assert!(action.is_some_and(|action| action.len() <= 128));
    }

    #[test]
    fn a_note_fits() {
        let note = |text: &str| event(EventType::Normal, "x", "y", text).note.unwrap_or_default();
        assert_eq!(note(&"\u{20ac}".repeat(1_000)).len(), 1_023);
        assert_eq!(note("short"), "short");
    }
}
