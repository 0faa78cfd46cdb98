//! Who stopped and who did not, for the record and for people.

use std::{sync::Arc, time::Duration};

use serin_proto::v1::{Source, SourceState};

use super::{
    super::shares::{Shares, Split},
    Confirm,
    silence::Silence,
};
use crate::time::UnixMicros;

/// Proxies kept with a decision: at about 100 B each no more than its verdict.
const SOURCES_MAX: usize = 16;
/// Proxies that a sentence names.
const NAMES_MAX: usize = 3;

impl Confirm {
    /// Those that still send first, then those that were the last to stop. `recent`: of a moment ago.
    pub(in super::super) fn sources(&self, recent: &Shares) -> Vec<Source> {
        let mut all: Vec<Source> =
            self.alone.iter().map(|(node, silence)| self.source(node, silence, recent.of(node))).collect();
        let others = self.senders(recent).filter(|node| !self.alone.contains_key(*node));
        all.extend(others.map(|node| {
            let silence = Silence::new(self.before.of(node), self.seconds);
            self.source(node, &silence, recent.of(node))
        }));
        let order =
            |source: &Source| (source.state() != SourceState::Sends, std::cmp::Reverse(source.stopped_after_ms));
        all.sort_by(|a, b| {
            let by_share = b.share.total_cmp(&a.share);
            order(a).cmp(&order(b)).then(by_share).then_with(|| a.node_id.cmp(&b.node_id))
        });
        let more = all.split_off(all.len().min(SOURCES_MAX));
        all.extend(self.together(&more, &all, recent));
        all
    }

    /// Those that still send the candidate requests: what the rest sent before it was silent is over.
    fn senders<'a>(&'a self, recent: &'a Shares) -> impl Iterator<Item = &'a Arc<str>> {
        recent.senders().map(|(node, _)| node).filter(|node| match self.alone.get(*node) {
            Some(silence) => !silence.is_settled(),
            None => !self.rest.is_proven(),
        })
    }

    fn source(&self, node: &str, silence: &Silence, recent: Split) -> Source {
        let state = match () {
            () if silence.is_proven() => SourceState::Stopped,
            () if silence.is_gone() => SourceState::Gone,
            () if recent.candidate > 0 => SourceState::Sends,
            () => SourceState::Quiet,
        };
        let stopped = silence.from.filter(|_| state != SourceState::Sends).map(|from| from.since(self.written));
        Source {
            node_id: node.to_owned(),
            state: state.into(),
            share_before: silence.before.share().unwrap_or_default(),
            share: recent.share().unwrap_or_default(),
            stopped_after_ms: stopped.map_or(0, millis),
            proxies: 1,
            workload: String::new(),
        }
    }

    /// Those that are not told apart, and those that are too many to be listed.
    fn together(&self, more: &[Source], listed: &[Source], recent: &Shares) -> Option<Source> {
        let is_listed = |node: &Arc<str>| listed.iter().any(|source| source.node_id == **node);
        let nodes = self.before.by.keys().chain(recent.by.keys().filter(|node| !self.before.by.contains_key(*node)));
        let proxies = nodes.filter(|node| !is_listed(node)).count();
        if proxies == 0 || !self.is_theirs {
            return None;
        }
        let theirs = |shares: &Shares| {
            let of_listed = listed.iter().fold(Split::default(), |sum, source| sum.plus(shares.of(&source.node_id)));
            shares.whole.minus(of_listed).share().unwrap_or_default()
        };
        let mut rest = self.source("", &self.rest, Split::default());
        let worst = [SourceState::Sends, SourceState::Quiet]
            .into_iter()
            .find(|state| more.iter().any(|one| one.state() == *state));
        match worst {
            Some(state) => rest.set_state(state),
            None if !more.is_empty() && !self.asks_rest() => rest.set_state(SourceState::Stopped),
            None => {}
        }
        let stopped = more.iter().map(|source| source.stopped_after_ms).chain([rest.stopped_after_ms]).max();
        Some(Source {
            share_before: theirs(&self.before),
            share: theirs(recent),
            stopped_after_ms: stopped.unwrap_or_default(),
            proxies: u32::try_from(proxies).unwrap_or(u32::MAX),
            ..rest
        })
    }

    /// How they stopped, where there are several: `: client-7 after 9.3 s, the other 12 within 2.1 s`.
    pub(in super::super) fn how(&self) -> String {
        let mut stopped: Vec<(Duration, &str)> =
            self.alone.iter().map(|(node, silence)| (self.stopped(silence), name(node))).collect();
        stopped.sort_by(|a, b| b.cmp(a));
        let [(last, name), (next, _), ..] = stopped[..] else { return String::new() };
        if last == next {
            return format!(", at each of {} proxies", stopped.len());
        }
        let others = stopped.len() - 1;
        format!(
            ": {name} after {:.1} s, the other {others} of the proxies within {:.1} s",
            last.as_secs_f64(),
            next.as_secs_f64()
        )
    }

    fn stopped(&self, silence: &Silence) -> Duration {
        silence.from.map_or(Duration::ZERO, |from: UnixMicros| from.since(self.written))
    }

    /// Who still sends, where that is not everybody.
    pub(in super::super) fn who(&self, recent: &Shares, candidate: &str) -> Option<String> {
        let sends: Vec<&Arc<str>> = self.senders(recent).collect();
        let stopped: Vec<Duration> =
            self.alone.values().filter(|silence| silence.is_settled()).map(|silence| self.stopped(silence)).collect();
        let latest = stopped.iter().max().filter(|_| !sends.is_empty())?;
        let who = if sends.len() <= NAMES_MAX { listed(&sends, recent) } else { format!("{} proxies", sends.len()) };
        let (verb, stopped) = (if sends.len() == 1 { "sends" } else { "send" }, stopped.len());
        let latest = latest.as_secs_f64();
        Some(format!("{who} still {verb} {candidate} requests; the other {stopped} stopped within {latest:.1} s"))
    }
}

/// Those who send the candidate requests, where they are few.
pub(in super::super) fn few(recent: &Shares) -> Option<String> {
    let sends: Vec<&Arc<str>> = recent.senders().map(|(node, _)| node).collect();
    let is_few = (1..=NAMES_MAX).contains(&sends.len()) && sends.len() < recent.by.len();
    is_few.then(|| listed(&sends, recent))
}

fn listed(nodes: &[&Arc<str>], recent: &Shares) -> String {
    let own = |node: &str| recent.of(node).share().unwrap_or_default() * 100.0;
    let one = |node: &&Arc<str>| format!("{} ({:.1}% of its own)", name(node), own(node));
    nodes.iter().map(one).collect::<Vec<_>>().join(", ")
}

/// Istio's node ids are `sidecar~ADDRESS~POD.NAMESPACE~DOMAIN`: the pod says enough.
fn name(node: &str) -> &str {
    let mut parts = node.split('~');
    match (parts.next(), parts.nth(1), parts.next(), parts.next()) {
        (Some("sidecar" | "router" | "waypoint"), Some(pod), Some(_), None) if !pod.is_empty() => pod,
        _ => node,
    }
}

fn millis(duration: Duration) -> u32 {
    u32::try_from(duration.as_millis()).unwrap_or(u32::MAX)
}
