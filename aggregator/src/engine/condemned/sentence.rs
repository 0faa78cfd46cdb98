//! What is said of a condemnation.

use std::time::Duration;

use serin_proto::v1::{self, DecisionStage};

use super::super::{
    confirm::few,
    shares::{Shares, Split},
};
use crate::config::Service;

/// Why there was nothing to write.
pub(super) fn without_targets(service: &Service) -> String {
    let why = service.rollback.held.as_deref().unwrap_or("no rollback target is configured");
    format!("nothing was written: {why}")
}

/// The candidate gets nothing. `how`: it came about. `in_place`: by what serin wrote.
pub(super) fn zero(service: &Service, after: Duration, how: &str, in_place: bool, is_left: bool) -> String {
    match (in_place, is_left) {
        (true, false) => format!("candidate share 0.0% after {:.1} s{how}", after.as_secs_f64()),
        (_, true) => {
            format!("{} gets no requests any more: it was taken out by others, to whom it was left", service.candidate)
        }
        (false, false) => {
            format!(
                "{} gets no requests any more: it was taken out by others, not by serin, which could not write it",
                service.candidate
            )
        }
    }
}

/// The time allowed is over. `who`: still sends, where that is not everybody.
pub(super) fn overdue(service: &Service, recent: Split, who: Option<String>) -> (DecisionStage, String) {
    let (within, candidate) = (service.rollback.confirm_within.as_secs(), &service.candidate);
    let share = percent(recent);
    let sentence = match (recent.candidate, recent.others, who) {
        (0, 0, _) => format!("not known whether the rollback took effect: no requests {within} s after it was written"),
        (0, others, _) => format!(
            "not known yet whether the rollback took effect: {candidate} got none of the last {others} requests, too few \
             to be sure"
        ),
        (_, _, Some(who)) => format!(
            "the rollback did not take effect everywhere: {within} s after it was written {candidate} still gets {share} of the \
             requests; {who}; check what these proxies read (`istioctl proxy-status` where it is Istio), or start them again"
        ),
        (_, _, None) => format!(
            "the rollback did not take effect: {within} s after it was written {candidate} still gets {share} of the \
             requests; check that the proxies read what was written, and whether a route was left alone"
        ),
    };
    (if recent.candidate == 0 { DecisionStage::NotKnown } else { DecisionStage::NotInEffect }, sentence)
}

fn percent(split: Split) -> String {
    match split.share().unwrap_or_default() * 100.0 {
        share if share > 0.0 && share < 0.1 => "less than 0.1%".to_owned(),
        share => format!("{share:.1}%"),
    }
}

/// It is served again, or still.
pub(super) fn again(service: &Service, recent: &Shares) -> String {
    let share = percent(recent.whole);
    let who = few(recent).map(|who| format!(" from {who}")).unwrap_or_default();
    format!("{} is condemned and gets {share} of the requests{who}: writing the rollback again", service.candidate)
}

/// It is served all the same. `said`: of the target.
pub(super) fn useless(service: &Service, said: &str) -> String {
    format!(
        "writing it again changes nothing ({said}), so {} gets its requests by another way: look for a route that matches them by header or \
         path, another object that names it, and proxies that did not take the new routes over; it is tried again every 15 min in the end",
        service.candidate
    )
}

/// It was held for long enough.
pub(super) fn left(service: &Service) -> String {
    format!(
        "{} is condemned and gets requests again: it was held out of traffic for {:#} (rollback.hold) and is left to others now; take it out \
         by hand, or clear it",
        service.candidate,
        jiff::SignedDuration::try_from(service.rollback.hold).unwrap_or_default()
    )
}

/// Why nothing is written, whatever the targets: somebody only wants to be told, or there may be no baseline to send requests to.
pub(super) fn why_not(service: &Service, decision: &v1::Decision) -> Option<String> {
    let without_baseline = decision.verdict.as_ref().is_some_and(|verdict| verdict.without_baseline);
    if service.rollback.only_tells {
        Some(format!(
            "told, not rolled back: rollback.action is notify; {} keeps its weight until somebody changes it",
            decision.candidate
        ))
    } else if without_baseline && !service.rollback.without_baseline {
        Some(format!(
            "not rolled back: {} had no requests when this was decided, so it may have no pods; where they are kept running after a \
             promotion, set rollback.without_baseline: true",
            decision.baseline
        ))
    } else {
        None
    }
}
