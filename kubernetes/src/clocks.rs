//! Nodes whose clocks are off: pure.
//!
//! A pod's start is by its node's clock. One in the future is one of the past as soon as our clock gets there, and would then be taken
//! for a restart in the middle of a trial. So what was seen to be off is remembered.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
};

use k8s_openapi::jiff::{SignedDuration, Timestamp};

use crate::pods::Seen;

/// How long after it was seen to be off a clock is not believed: longer than a trial and its warm-up, and whoever mends NTP sees the
/// condition go.
const DOUBT: SignedDuration = SignedDuration::from_hours(1);

/// What is known of the nodes' clocks. Of nodes that have pods here: 5,000 at most, as Kubernetes goes.
#[derive(Clone, Debug, Default)]
pub struct Clocks {
    off: BTreeMap<String, Off>,
}

#[derive(Clone, Copy, Debug)]
struct Off {
    /// Ahead, or behind when negative: the most that was seen.
    seconds: i64,
    /// A start before this is not believed.
    until: Timestamp,
    /// Nor one up to the latest that was seen to be off.
    latest: Timestamp,
}

/// A clock that is off, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Skew {
    /// Whose.
    pub node: String,
    /// Ahead, or behind when negative.
    pub seconds: i64,
    /// How many other nodes are ahead as well, by our own clock: that one may be what is behind.
    pub others: usize,
}

impl Clocks {
    /// Takes in all pods that are there.
    pub fn look<'a>(&mut self, pods: impl Iterator<Item = &'a Seen> + Clone, now: Timestamp) {
        for pod in pods.clone() {
            let (Some(seconds), Some(started)) = (pod.skew_s(now), pod.started) else { continue };
            // Behind it was when the pod was created, by the API server's clock; ahead it is now.
            let seen = if seconds < 0 { pod.created } else { now };
            let until = seen.saturating_add(DOUBT).unwrap_or(Timestamp::MAX);
            let off = self.off.entry(pod.node.clone()).or_insert(Off { seconds, until, latest: started });
            (off.until, off.latest) = (off.until.max(until), off.latest.max(started));
            if seconds.abs() > off.seconds.abs() {
                off.seconds = seconds;
            }
        }
        let doubted: BTreeSet<&String> = pods.filter(|pod| !self.vouch_for(pod)).map(|pod| &pod.node).collect();
        self.off.retain(|node, off| off.until > now || doubted.contains(node));
    }

    /// Whether the pod's start can be believed.
    pub fn vouch_for(&self, pod: &Seen) -> bool {
        self.off.get(&pod.node).is_none_or(|off| !off.doubts(pod))
    }

    /// The clock that is most off where these pods run.
    pub fn skew<'a>(&self, pods: impl Iterator<Item = &'a Seen>, now: Timestamp) -> Option<Skew> {
        let is_off = |off: &Off| off.until > now;
        let off = pods.filter_map(|pod| self.off.get_key_value(&pod.node)).filter(|(_, off)| is_off(off));
        let (node, most) = off.max_by_key(|(node, off)| (off.seconds.abs(), Reverse(*node)))?;
        let ahead = self.off.iter().filter(|(other, off)| *other != node && is_off(off) && off.seconds > 0);
        let others = if most.seconds > 0 { ahead.count() } else { 0 };
        Some(Skew { node: node.clone(), seconds: most.seconds, others })
    }
}

impl Off {
    fn doubts(&self, pod: &Seen) -> bool {
        pod.started.is_some_and(|started| started < self.until || started <= self.latest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn pod(node: &str, created: i64, started: i64) -> Seen {
        Seen {
            name: format!("{node}-{created}"),
            ip: String::new(),
            node: node.to_owned(),
            app: None,
            release: None,
            created: at(created),
            started: Some(at(started)),
            is_ready: true,
            is_leaving: false,
            has_ended: false,
            owner: None,
            set: None,
        }
    }

    fn skew(clocks: &Clocks, pods: &[Seen], now: i64) -> Option<(String, i64, usize)> {
        clocks.skew(pods.iter(), at(now)).map(|skew| (skew.node, skew.seconds, skew.others))
    }

    /// A node that is a minute ahead: when our clock gets where its pod says that it was started, that is still no restart.
    #[test]
    fn what_was_off_is_remembered() {
        let mut clocks = Clocks::default();
        let pods = [pod("n1", 10_000, 10_060), pod("n1", 5_000, 5_061), pod("n2", 9_000, 9_001)];
        let mut check = |pods: &[Seen], now: i64, told: Option<i64>, believed: &[bool]| {
            clocks.look(pods.iter(), at(now));
            let told = told.map(|seconds| ("n1".to_owned(), seconds, 0));
            assert_eq!(skew(&clocks, pods, now), told, "{now}");
            assert_eq!(pods.iter().map(|pod| clocks.vouch_for(pod)).collect::<Vec<_>>(), believed, "{now}");
        };
        check(&pods[1..], 9_990, None, &[true, true]);
        check(&pods, 10_003, Some(57), &[false, false, true]);
        check(&pods, 10_020, Some(57), &[false, false, true]);
        check(&pods, 10_070, Some(57), &[false, false, true]);
        check(&pods[2..], 10_080, None, &[true]);
        check(&pods, 10_090, Some(57), &[false, false, true]);
        // It is mended. What it said before is as wrong as it was.
        let later = [pods[0].clone(), pod("n1", 13_800, 13_801)];
        check(&later, 13_900, None, &[false, true]);
        check(&later, 90_000, None, &[false, true]);
        check(&later[1..], 90_001, None, &[true]);
        check(&pods[..1], 90_002, None, &[true]); // Nobody remembers.
    }

    /// Two hours ahead: longer than it is remembered after our clock was looked at.
    #[test]
    fn far_in_the_future() {
        let mut clocks = Clocks::default();
        let pods = [pod("n1", 10_000, 17_200)];
        for now in [10_001, 17_190, 17_201, 21_000] {
            clocks.look(pods.iter(), at(now));
            assert!(!clocks.vouch_for(&pods[0]), "{now}");
        }
    }

    /// Seen from when it was created on, by the API server's clock: it does not say that the clock is off today.
    #[test]
    fn one_that_was_behind() {
        let mut clocks = Clocks::default();
        let pods = [pod("n1", 10_000, 9_900)];
        clocks.look(pods.iter(), at(10_100));
        assert_eq!(skew(&clocks, &pods, 10_100), Some(("n1".to_owned(), -100, 0)));
        clocks.look(pods.iter(), at(20_000));
        assert_eq!(skew(&clocks, &pods, 20_000), None);
        assert!(!clocks.vouch_for(&pods[0]));
    }

    /// Our own clock is behind, and blames every node.
    #[test]
    fn several_that_are_ahead() {
        let mut clocks = Clocks::default();
        let pods = [pod("n1", 100, 160), pod("n2", 110, 161), pod("n3", 50, 51), pod("n4", 100, 20)];
        clocks.look(pods.iter(), at(101));
        assert_eq!(skew(&clocks, &pods[..3], 101), Some(("n2".to_owned(), 60, 1)));
        assert_eq!(skew(&clocks, &pods[..1], 101), Some(("n1".to_owned(), 59, 1)));
        assert_eq!(skew(&clocks, &pods[2..3], 101), None);
        assert_eq!(skew(&clocks, &pods[3..], 101), Some(("n4".to_owned(), -80, 0)), "by nobody's clock but its own");
    }
}
