//! How requests were split between the candidate and others: all of them, and those of each proxy that sends them.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use serin_proto::v1::Vantage;
use serin_sketch::{Bucket, Counts};

use super::evidence;
use crate::{
    config::{Service, Timing},
    report,
    store::Second,
    time::UnixMicros,
};

/// Proxies told apart in one second: at 100 B each, ten seconds of them are 1 MB for a service on trial. The others count in the whole.
const PROXIES_MAX: usize = 1_000;
/// How many past seconds the split before a write is taken from.
pub(super) const SECONDS: usize = 10;

/// Requests of one second, or of several.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Split {
    pub(super) candidate: u64,
    pub(super) others: u64,
}

impl Split {
    pub(super) fn all(self) -> u64 {
        self.candidate.saturating_add(self.others)
    }

    pub(super) fn share(self) -> Option<f64> {
        (self.all() > 0).then(|| self.candidate as f64 / self.all() as f64)
    }

    pub(super) fn plus(self, other: Split) -> Split {
        Split {
            candidate: self.candidate.saturating_add(other.candidate),
            others: self.others.saturating_add(other.others),
        }
    }

    pub(super) fn minus(self, other: Split) -> Split {
        Split {
            candidate: self.candidate.saturating_sub(other.candidate),
            others: self.others.saturating_sub(other.others),
        }
    }
}

/// What one proxy sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Sent {
    /// Empty where it is not known.
    pub(super) workload: Arc<str>,
    pub(super) split: Split,
    /// As in [`Shares`].
    pub(super) unanswered: Counts,
}

/// How requests were split, as a whole where the service is judged, and by the proxies that send them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Shares {
    pub(super) whole: Split,
    /// By node id. At the inbound vantage a proxy receives them: it is not among these.
    pub(super) by: BTreeMap<Arc<str>, Sent>,
    /// How long those of the candidate's lasted that were not answered, and that nobody told of while they waited.
    pub(super) unanswered: Counts,
}

impl Shares {
    /// What is added later may be of an older filter in the same proxy, which does not say its workload.
    fn add(&mut self, node: &Arc<str>, more: Sent) {
        if let Some(sent) = self.by.get_mut(node) {
            sent.split = sent.split.plus(more.split);
            sent.unanswered.merge(&more.unanswered);
            if sent.workload.is_empty() {
                sent.workload = more.workload;
            }
        } else if self.by.len() < PROXIES_MAX {
            self.by.insert(Arc::clone(node), more);
        }
    }

    /// Those that sent the candidate requests.
    pub(super) fn senders(&self) -> impl Iterator<Item = (&Arc<str>, &Sent)> {
        self.by.iter().filter(|(_, sent)| sent.split.candidate > 0)
    }

    pub(super) fn of(&self, node: &str) -> Split {
        self.by.get(node).map(|sent| sent.split).unwrap_or_default()
    }
}

/// The last seconds' shares.
#[derive(Clone, Debug, Default)]
pub(super) struct Recent(VecDeque<Shares>);

impl Recent {
    pub(super) fn push(&mut self, shares: Shares) {
        self.0.push_back(shares);
        self.0.drain(..self.0.len().saturating_sub(SECONDS));
    }

    pub(super) fn seconds(&self) -> usize {
        self.0.len()
    }

    pub(super) fn sum(&self) -> Shares {
        self.last(SECONDS)
    }

    /// Of so many seconds at the end.
    pub(super) fn last(&self, seconds: usize) -> Shares {
        let mut sum = Shares::default();
        for shares in self.0.iter().rev().take(seconds) {
            sum.whole = sum.whole.plus(shares.whole);
            shares.by.iter().for_each(|(node, sent)| sum.add(node, sent.clone()));
            sum.unanswered.merge(&shares.unanswered);
        }
        sum
    }
}

/// The split of one second among the requests that may have begun after `since`. One that was not answered (it hung
/// until its timeout, say) can have been sent long before it ended, and is left out when it surely was; the others
/// count, so that a candidate that only refuses connections is still seen to be sent some.
pub(super) fn of(service: &Service, second: u64, seen: &Second, since: UnixMicros) -> Shares {
    let end = UnixMicros::from_second(second + 1);
    let may_be_later = |bucket: Bucket| end.minus(bucket.lower().into()) >= since;
    let mut shares = Shares::default();
    for (origin, delta) in seen.by_origin().filter(|(_, delta)| delta.series.service == service.name) {
        let n = if report::was_answered(delta.series.outcome) {
            delta.requests()
        } else {
            delta.timing(Timing::Total).filter(|(bucket, _)| may_be_later(*bucket)).map(|(_, n)| n).sum()
        };
        let to_candidate = evidence::is_candidates(service, delta.series);
        let split = if to_candidate { Split { candidate: n, others: 0 } } else { Split { candidate: 0, others: n } };
        let mut unanswered = Counts::new();
        if to_candidate && !report::was_answered(delta.series.outcome) && !seen.tells_of_waiting(&origin.node) {
            unanswered.add_all(delta.timing(Timing::Total));
        }
        if evidence::is_of(service, &delta) {
            shares.whole = shares.whole.plus(split);
            shares.unanswered.merge(&unanswered);
        }
        // What was read from disk after a restart does not say who sent it.
        if delta.series.vantage != Vantage::Inbound && !origin.node.is_empty() {
            shares.add(&origin.node, Sent { workload: Arc::clone(&origin.workload), split, unanswered });
        }
    }
    let sent = sent(service, seen);
    shares.whole.candidate = shares.whole.candidate.max(sent.whole.candidate);
    for (node, mut sent) in sent.by {
        sent.split.candidate = sent.split.candidate.saturating_sub(shares.of(&node).candidate);
        shares.add(&node, sent);
    }
    shares
}

/// What the candidate was sent a second ago and has not answered. Where nothing ends this is all that is seen of it, and it is never more
/// than what is sent in that time: the larger of the two numbers counts, because most of what ends has also waited.
fn sent(service: &Service, seen: &Second) -> Shares {
    let mut shares = Shares::default();
    for (reporter, waiting) in seen.waiting_by_reporter() {
        let its = waiting.ages.iter().filter(|(series, _)| evidence::is_candidates(service, series));
        for (series, ages) in its {
            let split = Split { candidate: waiting.sent_lately(ages), others: 0 };
            if evidence::belongs(service, series) {
                shares.whole = shares.whole.plus(split);
            }
            if series.vantage != Vantage::Inbound && split.candidate > 0 {
                let workload = Arc::clone(&waiting.workload);
                shares.add(&reporter.node_id, Sent { workload, split, unanswered: Counts::new() });
            }
        }
    }
    shares
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serin_proto::v1::Outcome;
    use serin_sketch::Micros;

    use super::*;
    use crate::{
        config::Config,
        report::{Counted, Origin, ReporterId, SeriesKey, Waiting},
        store::Slices,
    };

    fn service() -> Service {
        let yaml = "services: [{name: shop, vantage: gateway, baseline: v1, candidate: v2}]";
        Config::parse(yaml).unwrap().services.remove(0)
    }

    fn series(release: &str, outcome: Outcome) -> SeriesKey {
        let [service, route, release] = ["shop", "r", release].map(str::to_owned);
        SeriesKey { service, route, release, pod: String::new(), outcome, vantage: Vantage::Gateway }
    }

    /// The shares of second 100: one request to each release by each of these, and three that wait for the candidate at some.
    fn shares(ended: &[(&str, &str)], waits: &[(&str, &str)]) -> Shares {
        let (mut slices, now) = (Slices::new(Duration::from_secs(60)), UnixMicros::from_second(101));
        let counts = |n| Counts::from_iter([(Bucket::of(Micros(1_500_000)), n)]);
        for (node, workload) in ended {
            let one = |release| Counted {
                series: Arc::new(series(release, Outcome::Success)),
                upstream: Counts::new(),
                total: counts(1),
                retries: 0,
            };
            let origin = Origin { node: (*node).into(), workload: (*workload).into() };
            slices.add(100, &origin, Arc::new(["v1", "v2"].map(one).into_iter().collect()), now);
        }
        for (node, workload) in waits {
            let reporter = ReporterId { node_id: (*node).into(), boot_nonce: 1, context_id: 1 };
            let ages = vec![(series("v2", Outcome::Unspecified), counts(3))];
            slices.wait(
                &reporter,
                Waiting { at: now, interval: Duration::from_secs(1), workload: (*workload).into(), ages },
                now,
            );
        }
        of(&service(), 100, slices.second(100), UnixMicros(0))
    }

    fn by(shares: &Shares) -> Vec<(&str, &str, u64, u64)> {
        let all = shares.by.iter();
        all.map(|(node, sent)| (&**node, &*sent.workload, sent.split.candidate, sent.split.others)).collect()
    }

    #[test]
    fn a_proxy_has_the_workload_that_any_of_its_filters_says() {
        let shares = shares(&[("a", ""), ("a", "ns/w"), ("b", "ns/w"), ("", "")], &[("b", ""), ("c", "ns/x")]);
        assert_eq!(by(&shares), [("a", "ns/w", 2, 2), ("b", "ns/w", 3, 1), ("c", "ns/x", 3, 0)]);
        assert_eq!(shares.whole, Split { candidate: 6, others: 4 });
    }

    /// Of one that tells what waits they would show, of the other one they show when they have timed out.
    #[test]
    fn what_is_not_answered_is_hidden_where_nothing_tells_that_it_waits() {
        let (mut slices, now) = (Slices::new(Duration::from_secs(60)), UnixMicros::from_second(101));
        let total = Counts::from_iter([(Bucket::of(Micros(15_000_000)), 5)]);
        let timed_out = Counted {
            series: Arc::new(series("v2", Outcome::Timeout)),
            upstream: Counts::new(),
            total: total.clone(),
            retries: 0,
        };
        for node in ["logger", "filter"] {
            let origin = Origin { node: node.into(), ..Origin::unknown() };
            slices.add(100, &origin, Arc::new([timed_out.clone()].into_iter().collect()), now);
        }
        let reporter = ReporterId { node_id: "filter".into(), boot_nonce: 9, context_id: 2 };
        let interval = Duration::from_secs(4);
        // Sent 1.5 s, 4.9 s and 5.1 s before; the last one was told of with the report before.
        let ages = Counts::from_iter([1_500_000, 4_900_000, 5_200_000].map(|age| (Bucket::of(Micros(age)), 20)));
        let ages = vec![(series("v2", Outcome::Unspecified), ages)];
        slices.wait(&reporter, Waiting { at: now, interval, workload: "".into(), ages }, now);
        let shares = of(&service(), 100, slices.second(100), UnixMicros(0));
        assert_eq!(by(&shares), [("filter", "", 40, 0), ("logger", "", 5, 0)]);
        assert_eq!((&shares.by["filter"].unanswered, &shares.by["logger"].unanswered), (&Counts::new(), &total));
        assert_eq!(shares.unanswered, total);
    }
}
