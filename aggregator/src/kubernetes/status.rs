//! What the status of a ReleaseGuard says: pure.

use k8s_openapi::{
    apimachinery::pkg::apis::meta::v1::{Condition, Time},
    jiff::Timestamp,
};
use serin_kubernetes::{
    discover::Pair,
    release_guard::{DeployedSet, Needed, Ratio, ReleaseGuard, ReleaseGuardStatus, condition, set_condition},
};
use serin_proto::v1::{Decision, DecisionStage, Finding, Verdict, VerdictState};

use super::guards::Ready;

/// The metrics that are ratios of latencies.
const LATENCIES: [&str; 4] = ["p50", "p95", "p99", "p99.9"];

/// What is known of a ReleaseGuard.
#[derive(Clone, Copy, Debug)]
pub(super) struct Known<'a> {
    pub(super) guard: &'a ReleaseGuard,
    pub(super) ready: &'a Ready,
    pub(super) pair: Option<&'a Pair>,
    pub(super) promoted: bool,
    /// What the candidate is deployed as.
    pub(super) set: Option<&'a DeployedSet>,
    pub(super) verdict: Option<&'a Verdict>,
    /// The second in which its running trial began.
    pub(super) began: Option<u64>,
    /// The newest one about its service.
    pub(super) decision: Option<&'a Decision>,
}

/// `earlier`: the conditions as they were, whose times go on.
pub(super) fn status(known: &Known<'_>, earlier: &[Condition], now: Timestamp) -> ReleaseGuardStatus {
    let verdict = known.verdict.filter(|verdict| known.is_on_trial(&verdict.candidate));
    let decision = known.decision.filter(|decision| known.is_on_trial(&decision.candidate));
    let is_ours = |condition: &&Condition| ["Ready", "Regressed", "RolledBack"].contains(&condition.type_.as_str());
    let mut conditions: Vec<Condition> = earlier.iter().filter(is_ours).cloned().collect();
    let mut set = |type_, is, reason: &str, message: &str| {
        let mut new = condition(type_, is, reason, message, now);
        new.observed_generation = known.guard.metadata.generation;
        set_condition(&mut conditions, new);
    };
    let Ready { is_ready, reason, message } = known.ready;
    set("Ready", *is_ready, reason, message);
    if let Some(verdict) = verdict {
        let is_bad = verdict.condemned || verdict.state() == VerdictState::Regressed;
        let reason = if is_bad { "Regressed".to_owned() } else { camel(&verdict.state().word()) };
        set("Regressed", is_bad, &reason, if is_bad { &verdict.sentence } else { "" });
    }
    match decision.and_then(|decision| decision.events.last()) {
        Some(last) => {
            use DecisionStage::{Confirmed, NotKnown, Written};
            let is_rolled_back = matches!(last.stage(), Written | Confirmed | NotKnown);
            set("RolledBack", is_rolled_back, &camel(&last.stage().word()), &last.sentence);
        }
        None => conditions.retain(|condition| condition.type_ != "RolledBack"),
    }
    if verdict.is_none() {
        conditions.retain(|condition| condition.type_ != "Regressed");
    }
    ReleaseGuardStatus {
        observed_generation: known.guard.metadata.generation,
        baseline: known.pair.map(|pair| pair.baseline.clone()),
        candidate: known.pair.map(|pair| pair.candidate.clone()),
        promoted: known.promoted,
        replica_set: known.pair.and(known.set).cloned(),
        trial_start_time: verdict.and(known.began).and_then(time),
        verdict: verdict.and_then(|verdict| state(verdict.state())),
        sentence: verdict.map(|verdict| verdict.sentence.clone()),
        ratio: verdict.and_then(ratio),
        needed: verdict
            .filter(|verdict| verdict.needed_requests > 0)
            .map(|verdict| Needed::new(verdict.needed_requests, (verdict.needed_s > 0).then_some(verdict.needed_s))),
        conditions,
    }
}

impl Known<'_> {
    fn is_on_trial(&self, candidate: &str) -> bool {
        self.pair.is_some_and(|pair| pair.candidate == candidate)
    }
}

/// What a reader would notice of it: not the digits behind the rounded ones, nor the time of a condition.
pub(super) fn noticed(status: &ReleaseGuardStatus) -> String {
    let ratio = status.ratio.as_ref().map(|ratio| &ratio.text);
    let needed = status.needed.as_ref().map(|needed| &needed.text);
    let said = |condition: &Condition| (condition.status.clone(), condition.reason.clone(), condition.message.clone());
    let conditions: Vec<_> = status.conditions.iter().map(said).collect();
    let ReleaseGuardStatus { observed_generation, baseline, candidate, promoted, verdict, sentence, .. } = status;
    let trial = (baseline, candidate, promoted, &status.replica_set, &status.trial_start_time);
    format!("{:?}", (observed_generation, trial, verdict, sentence, ratio, needed, conditions))
}

fn time(second: u64) -> Option<Time> {
    Timestamp::from_second(i64::try_from(second).ok()?).ok().map(Time)
}

/// The latency with the most evidence for a regression.
fn ratio(verdict: &Verdict) -> Option<Ratio> {
    let is_known = |finding: &&Finding| {
        let numbers = [finding.ratio, finding.ratio_low, finding.ratio_high];
        LATENCIES.contains(&finding.metric.as_str()) && numbers.iter().all(|x| x.is_finite() && *x > 0.0)
    };
    let known = verdict.findings.iter().filter(is_known);
    let most = known.max_by(|a, b| a.log_evidence.total_cmp(&b.log_evidence))?;
    Some(Ratio::new(&most.metric, most.ratio, most.ratio_low, most.ratio_high))
}

/// As the custom resource has it.
pub(super) fn state(state: VerdictState) -> Option<serin_kubernetes::release_guard::VerdictState> {
    use serin_kubernetes::release_guard::VerdictState as Shown;
    match state {
        VerdictState::Unspecified => None,
        VerdictState::Gathering => Some(Shown::Gathering),
        VerdictState::Healthy => Some(Shown::Healthy),
        VerdictState::Marginal => Some(Shown::Marginal),
        VerdictState::Regressed => Some(Shown::Regressed),
    }
}

/// `NotInEffect` for `not_in_effect`.
pub(super) fn camel(word: &str) -> String {
    let capital = |part: &str| {
        let mut letters = part.chars();
        letters.next().map(|first| first.to_ascii_uppercase()).into_iter().chain(letters).collect::<String>()
    };
    word.split('_').map(capital).collect()
}

#[cfg(test)]
mod tests {
    use serin_proto::v1::DecisionEvent;

    use super::*;

    fn guard() -> ReleaseGuard {
        let mut guard = ReleaseGuard::new(
            "shop",
            serde_json::from_value(serde_json::json!({ "service": "shop", "vantage": "gateway" })).unwrap(),
        );
        guard.metadata.generation = Some(3);
        guard
    }

    fn verdict(state: VerdictState) -> Verdict {
        let finding = |metric: &str, ratio, log_evidence| Finding {
            metric: metric.to_owned(),
            ratio,
            ratio_low: ratio * 0.9,
            ratio_high: ratio * 1.1,
            log_evidence,
            ..Finding::default()
        };
        Verdict {
            candidate: "v2".to_owned(),
            state: state.into(),
            sentence: "p99 slower".to_owned(),
            findings: vec![finding("p50", 1.0, 0.1), finding("p99", 1.5, 9.0), finding("errors", 7.0, 20.0)],
            needed_requests: 1_200,
            needed_s: 40,
            ..Verdict::default()
        }
    }

    fn decision(stages: &[DecisionStage]) -> Decision {
        let event =
            |stage: &DecisionStage| DecisionEvent { unix_us: 1, stage: (*stage).into(), sentence: "said".to_owned() };
        Decision { candidate: "v2".to_owned(), events: stages.iter().map(event).collect(), ..Decision::default() }
    }

    fn shown(
        verdict: Option<&Verdict>,
        decision: Option<&Decision>,
        earlier: &[Condition],
        second: i64,
    ) -> ReleaseGuardStatus {
        let pair = Pair { baseline: "v1".to_owned(), candidate: "v2".to_owned() };
        let (guard, ready) = (guard(), Ready::guarding(&pair));
        let (guard, ready, pair) = (&guard, &ready, Some(&pair));
        let created = Time(Timestamp::from_second(5).unwrap());
        let set = DeployedSet { name: "shop-77".to_owned(), uid: "rs".to_owned(), creation_timestamp: created };
        let (set, began) = (Some(&set), Some(7));
        let known = Known { guard, ready, pair, promoted: false, set, verdict, began, decision };
        status(&known, earlier, Timestamp::from_second(second).unwrap())
    }

    fn conditions(status: &ReleaseGuardStatus) -> Vec<String> {
        let told = |condition: &Condition| format!("{}={} {}", condition.type_, condition.status, condition.reason);
        status.conditions.iter().map(told).collect()
    }

    #[test]
    fn what_is_shown() {
        let status = shown(Some(&verdict(VerdictState::Gathering)), None, &[], 10);
        assert_eq!(status.observed_generation, Some(3));
        assert_eq!(status.ratio.as_ref().map(|ratio| ratio.text.as_str()), Some("p99 +50.0% (+35.0% to +65.0%)"));
        assert_eq!(status.needed.as_ref().map(|needed| needed.text.as_str()), Some("1200 requests, 40 s"));
        assert_eq!(status.trial_start_time.as_ref().map(|time| time.0.as_second()), Some(7));
        assert_eq!(status.replica_set.as_ref().map(|set| set.name.as_str()), Some("shop-77"));
        assert_eq!(conditions(&status), ["Ready=True Guarding", "Regressed=False Gathering"]);
        use DecisionStage::{Confirmed, Decided, NotInEffect, NotKnown, NotWritten, Written};
        let check = |stages: &[DecisionStage], told: &str| {
            let status = shown(Some(&verdict(VerdictState::Regressed)), Some(&decision(stages)), &[], 10);
            assert_eq!(conditions(&status), ["Ready=True Guarding", "Regressed=True Regressed", told]);
        };
        check(&[Decided], "RolledBack=False Decided");
        check(&[Decided, Written], "RolledBack=True Written");
        check(&[Decided, Written, Confirmed], "RolledBack=True Confirmed");
        check(&[Decided, Written, NotInEffect], "RolledBack=False NotInEffect");
        check(&[Decided, Written, NotKnown], "RolledBack=True NotKnown");
        check(&[Decided, NotWritten], "RolledBack=False NotWritten");
    }

    /// What is about another candidate is not about this one.
    #[test]
    fn an_earlier_candidate_leaves_nothing_behind() {
        let earlier =
            shown(Some(&verdict(VerdictState::Regressed)), Some(&decision(&[DecisionStage::Written])), &[], 10);
        let other = Verdict { candidate: "v3".to_owned(), ..verdict(VerdictState::Regressed) };
        let status = shown(Some(&other), None, &earlier.conditions, 20);
        assert_eq!(conditions(&status), ["Ready=True Guarding"]);
        assert_eq!((status.verdict, status.sentence, status.trial_start_time), (None, None, None));
        assert_eq!(status.conditions[0].last_transition_time.0.as_second(), 10);
    }

    #[test]
    fn what_nobody_would_notice() {
        let of = |change: fn(&mut Verdict), second| {
            let mut verdict = verdict(VerdictState::Gathering);
            change(&mut verdict);
            noticed(&shown(Some(&verdict), None, &[], second))
        };
        let first = of(|_| (), 10);
        assert_eq!(of(|verdict| verdict.findings[1].ratio += 0.000_1, 10), first);
        assert_eq!(of(|_| (), 20), first);
        assert_ne!(of(|verdict| verdict.findings[1].ratio += 0.01, 10), first);
        assert_ne!(of(|verdict| verdict.sentence.push('!'), 10), first);
        assert_ne!(of(|verdict| verdict.state = VerdictState::Healthy.into(), 10), first);
    }

    #[test]
    fn numbers_that_json_does_not_have_are_left_out() {
        let mut odd = verdict(VerdictState::Gathering);
        odd.findings[1].ratio_high = f64::INFINITY;
        assert_eq!(shown(Some(&odd), None, &[], 1).ratio.map(|ratio| ratio.metric), Some("p50".to_owned()));
    }
}
