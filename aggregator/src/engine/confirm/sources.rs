//! Who stopped and who did not, for the record.

use std::{collections::BTreeSet, time::Duration};

use serin_proto::v1::{Source, SourceState};

use super::{
    super::shares::{Shares, Split},
    Confirm,
    unit::{Told, Unit, state},
};

/// Workloads, and proxies without one, that are kept with a decision: at about 100 B each no more than its verdict.
const SOURCES_MAX: usize = 16;
/// Proxies that are named after the workload that they are of.
const STRAYS_MAX: usize = 8;

impl Confirm {
    /// Those that still send first, then those that were the last to stop. `recent`: of a moment ago.
    pub(in super::super) fn sources(&self, recent: &Shares) -> Vec<Source> {
        let mut units = self.units(recent);
        let more = units.split_off(units.len().min(SOURCES_MAX));
        let (mut all, mut room) = (Vec::new(), STRAYS_MAX);
        for unit in &units {
            all.push(of_unit(unit));
            let sends = unit.sends().count();
            // Where all of them send there is nobody to be told from the others.
            if sends < unit.proxies.len() {
                all.extend(unit.sends().take(room).map(|told| of_proxy(unit.workload, told)));
                room -= sends.min(room);
            }
        }
        all.extend(self.together(&units, &more, recent));
        all
    }

    /// Those that are not told apart, and those that are too many to be listed.
    fn together(&self, listed: &[Unit<'_>], more: &[Unit<'_>], recent: &Shares) -> Option<Source> {
        let of_listed: BTreeSet<&str> =
            listed.iter().flat_map(|unit| &unit.proxies).map(|told| told.node.as_ref()).collect();
        let others = || self.known.iter().filter(|(node, _)| !of_listed.contains(node.as_ref()));
        let proxies = others().count();
        if proxies == 0 || !self.is_theirs {
            return None;
        }
        let theirs = |shares: &Shares| {
            let of_listed = of_listed.iter().fold(Split::default(), |sum, node| sum.plus(shares.of(node)));
            shares.whole.minus(of_listed).share().unwrap_or_default()
        };
        let worst = [SourceState::Sends, SourceState::Quiet];
        let state = match worst.into_iter().find(|state| more.iter().any(|unit| unit.state() == *state)) {
            Some(state) => state,
            None if !more.is_empty() && !self.asks_rest() => SourceState::Stopped,
            None => state(&self.rest, Split::default()),
        };
        let stopped = others().map(|(_, proxy)| proxy.stopped(self.written)).max().unwrap_or_default();
        Some(Source {
            state: state.into(),
            share_before: theirs(&self.before),
            share: theirs(recent),
            stopped_after_ms: millis(state, stopped),
            proxies: count(proxies),
            ..Source::default()
        })
    }
}

fn of_unit(unit: &Unit<'_>) -> Source {
    match &unit.proxies[..] {
        [told] => of_proxy(unit.workload, told),
        proxies => Source {
            node_id: String::new(),
            state: unit.state().into(),
            share_before: unit.before().share().unwrap_or_default(),
            share: unit.now().share().unwrap_or_default(),
            stopped_after_ms: millis(unit.state(), unit.stopped()),
            proxies: count(proxies.len()),
            workload: unit.workload.to_owned(),
        },
    }
}

fn of_proxy(workload: &str, told: &Told<'_>) -> Source {
    Source {
        node_id: told.node.to_string(),
        state: told.state.into(),
        share_before: told.before.share().unwrap_or_default(),
        share: told.now.share().unwrap_or_default(),
        stopped_after_ms: millis(told.state, told.stopped),
        proxies: 1,
        workload: workload.to_owned(),
    }
}

/// Who still sends has not stopped.
fn millis(state: SourceState, stopped: Duration) -> u32 {
    if state == SourceState::Sends { 0 } else { u32::try_from(stopped.as_millis()).unwrap_or(u32::MAX) }
}

fn count(proxies: usize) -> u32 {
    u32::try_from(proxies).unwrap_or(u32::MAX)
}
