//! Reports: applied, kept, and acknowledged when they are durable.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use super::{CloseReason, Effect, Engine, Stored, StreamId};
use crate::{
    report::{Report, ReporterId, Waiting},
    store::{Applied, Slices},
    time::UnixMicros,
};

impl Engine {
    pub(super) fn reported(&mut self, stream: StreamId, mut report: Report, now: UnixMicros) -> Vec<Effect> {
        let place = self.place(&report);
        let Some(reporter) = self.streams.get(&stream).cloned() else { return Vec::new() };
        self.reporters.carries(&reporter, place);
        let delay = self.reporters.delay(&reporter, report.interval_end, now);
        self.admission.delayed(delay);
        if self.is_shed(&reporter) {
            return vec![self.turn_away(stream)];
        }
        let mut effects = self.waits(&reporter, report.waiting.take(), now);
        effects.push(match self.reporters.apply(&reporter, &report, now) {
            Applied::New => {
                let interval = Duration::from_millis(report.own.interval_ms.into());
                self.proxies.delivered(&reporter.node_id, report.requests(), interval, now);
                let second = Slices::second_of(report.interval_end, report.interval, now);
                self.backlog.push(report.deltas.bytes(), now);
                let origin = self.reporters.origin(&reporter);
                if self.partitions.is_none() {
                    self.count(second, &origin, Arc::clone(&report.deltas), now);
                }
                let (sequence, floor) = (report.sequence, self.reporters.durable(&reporter) + 1);
                let (workload, deltas) = (origin.workload, report.deltas);
                Effect::Store(Box::new(Stored { stream, reporter, workload, sequence, floor, second, deltas }))
            }
            Applied::Duplicate => {
                self.counters.duplicates += 1;
                Effect::Ack { stream, sequence: self.reporters.durable(&reporter) }
            }
            Applied::Gap { expected } => {
                self.counters.refused += 1;
                Effect::Close { stream, reason: CloseReason::Gap { expected, got: report.sequence } }
            }
        });
        effects
    }

    /// Takes what waits at a reporter's worker, or passes it on to those who judge it.
    pub(super) fn waits(&mut self, reporter: &ReporterId, waiting: Option<Waiting>, now: UnixMicros) -> Vec<Effect> {
        match waiting {
            Some(waiting) if self.partitions.is_some() => vec![Effect::Wait(reporter.clone(), waiting)],
            Some(waiting) => {
                self.slices.wait(reporter, waiting, now);
                Vec::new()
            }
            None => Vec::new(),
        }
    }

    /// Acknowledges, on each stream that is still open, the highest of what is durable now.
    pub(super) fn durable(&mut self, acks: Vec<(StreamId, ReporterId, u64)>) -> Vec<Effect> {
        self.backlog.done(acks.len());
        let mut highest = BTreeMap::new();
        for (stream, reporter, sequence) in acks {
            self.reporters.is_durable(&reporter, sequence);
            let known = highest.entry(stream).or_insert(0);
            *known = sequence.max(*known);
        }
        let open = highest.into_iter().filter(|(stream, _)| self.streams.contains_key(stream));
        open.map(|(stream, sequence)| Effect::Ack { stream, sequence }).collect()
    }
}
