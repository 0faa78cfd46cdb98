//! Several aggregators share the work: each judges the partitions that it has taken, from the log that all of them write what they take in
//! to. What comes in by a stream is only passed on.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use serin_proto::v1;

use super::{Effect, Engine, Event};
use crate::{
    partition::{self, Partition},
    report::{Deltas, Origin, ReporterId, Waiting},
    time::UnixMicros,
};

/// What one report counted in a partition, each once.
#[derive(Clone, Debug, PartialEq)]
pub struct Logged {
    /// The second that it belongs to.
    pub second: u64,
    /// Whose it is.
    pub origin: Origin,
    /// What was counted.
    pub deltas: Arc<Deltas>,
}

/// What an aggregator finds when it takes a partition.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Taken {
    /// What the log has for the live window, in its order.
    pub reports: Vec<Logged>,
    /// The decisions about its services.
    pub decisions: Vec<v1::Decision>,
}

/// What happens among aggregators.
#[derive(Debug)]
pub enum Shared {
    /// A partition is ours.
    Took(Partition, Taken),
    /// It is not any more.
    Lost(Partition),
    /// The log goes on.
    Logged(Partition, Vec<Logged>),
    /// Requests of a partition wait at a reporter's worker.
    Waits(Partition, ReporterId, Waiting),
    /// Another aggregator has decided something, or come further with it.
    Decided(Box<v1::Decision>),
    /// Another aggregator shows a verdict.
    Shown(Box<v1::Verdict>),
}

impl From<Shared> for Event {
    fn from(event: Shared) -> Self {
        Event::Shared(event)
    }
}

impl Engine {
    /// Shares the work with others: nothing is judged here until a partition is taken.
    #[must_use]
    pub fn shared(mut self) -> Self {
        self.partitions = Some(BTreeSet::new());
        self
    }

    /// Whether a service is judged here, and not by another aggregator.
    pub fn judges(&self, service: &str) -> bool {
        self.partitions.as_ref().is_none_or(|taken| taken.contains(&partition::of(service)))
    }

    /// The number of the next decision about a service.
    pub(super) fn next_decision(&self, service: &str) -> u64 {
        match self.partitions {
            None => self.decisions.last_key_value().map_or(1, |(last, _)| last + 1),
            Some(_) => partition::next_decision(partition::of(service), self.decisions.keys().copied()),
        }
    }

    /// Takes an event that only happens among several.
    pub(super) fn share(&mut self, event: Shared, now: UnixMicros) -> Vec<Effect> {
        let is_ours = |partition| self.partitions.as_ref().is_some_and(|taken| taken.contains(&partition));
        match event {
            Shared::Took(partition, taken) => return self.take(partition, taken, now),
            Shared::Lost(partition) => self.lose(partition, now),
            Shared::Logged(partition, reports) if is_ours(partition) => {
                reports.into_iter().for_each(|report| self.count(report.second, &report.origin, report.deltas, now));
            }
            Shared::Waits(partition, reporter, waiting) if is_ours(partition) => {
                self.slices.wait(&reporter, waiting, now);
            }
            Shared::Logged(..) | Shared::Waits(..) => {}
            Shared::Decided(decision) if !self.judges(&decision.service) || self.is_news(&decision) => {
                self.safety.saw(&decision);
                self.decisions.insert(decision.id, *decision);
                self.trim();
            }
            Shared::Shown(verdict) if !self.judges(&verdict.service) => {
                let service = self.guards.iter_mut().find(|guard| guard.service().name == verdict.service);
                service.into_iter().for_each(|guard| guard.tell(verdict.as_ref().clone()));
                return vec![Effect::Show(*verdict)];
            }
            Shared::Decided(_) | Shared::Shown(_) => {}
        }
        Vec::new()
    }

    /// Whether a decision came further than we know: another one has our partition, and we have not been told yet.
    fn is_news(&self, decision: &v1::Decision) -> bool {
        self.decisions.get(&decision.id).is_none_or(|known| decision.events.len() > known.events.len())
    }

    fn take(&mut self, partition: Partition, taken: Taken, now: UnixMicros) -> Vec<Effect> {
        // It may have been ours before.
        self.lose(partition, now);
        taken.decisions.iter().for_each(|decision| self.safety.saw(decision));
        self.decisions.extend(taken.decisions.into_iter().map(|decision| (decision.id, decision)));
        self.partitions.get_or_insert_default().insert(partition);
        let mut seconds: BTreeMap<u64, Vec<Arc<Deltas>>> = BTreeMap::new();
        for report in taken.reports {
            seconds.entry(report.second).or_default().push(report.deltas);
        }
        let mut effects = Vec::new();
        for guard in self.guards.iter_mut().filter(|guard| partition::of(&guard.service().name) == partition) {
            guard.resume(self.decisions.values().rev(), now);
            effects.extend(guard.take_up());
        }
        let is_of_it = |guard: &super::Guard| partition::of(&guard.service().name) == partition;
        effects.extend(self.judge_again(seconds, now, is_of_it));
        effects
    }

    fn lose(&mut self, partition: Partition, now: UnixMicros) {
        self.partitions.get_or_insert_default().remove(&partition);
        self.slices.retain(|series| partition::of(&series.service) != partition);
        let lost = self.guards.iter_mut().filter(|guard| partition::of(&guard.service().name) == partition);
        lost.for_each(|guard| guard.leave(now));
        self.safety.leave(|service| partition::of(service) == partition);
    }
}

#[cfg(test)]
mod tests;
