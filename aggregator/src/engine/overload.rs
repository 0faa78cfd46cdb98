//! What the engine does when more comes in than can be handled: it asks the [`admission`](super::admission), and closes streams.

use std::time::Duration;

use super::{
    CloseReason, Effect, Engine, StreamId,
    admission::{Overload, Place},
};
use crate::{
    report::{Report, ReporterId},
    time::UnixMicros,
};

impl Engine {
    /// A message waited this long between being read and being handled.
    pub fn waited(&mut self, wait: Duration) {
        self.admission.waited(wait);
    }

    /// How much is to be handled, and who is shed.
    pub fn overload(&self) -> Overload {
        self.admission.overload()
    }

    /// Whether so much waits for the disk that no more reports are to be handled.
    pub fn is_backlogged(&self) -> bool {
        self.backlog.is_full()
    }

    /// Closes the streams of whom there is no room for any more.
    pub(super) fn shed(&mut self, now: UnixMicros) -> Vec<Effect> {
        // What waits for NATS waits for all services alike: shedding some would not help.
        let disk = if self.partitions.is_none() { self.backlog.age(now) } else { Duration::ZERO };
        if !self.admission.look(disk, now) {
            return Vec::new();
        }
        let shed = self.streams.iter().filter(|(_, reporter)| self.is_shed(reporter));
        let shed: Vec<StreamId> = shed.map(|(stream, _)| *stream).collect();
        shed.into_iter().map(|stream| self.turn_away(stream)).collect()
    }

    /// Whether a reporter is known to carry only services that are shed.
    pub(super) fn is_shed(&self, reporter: &ReporterId) -> bool {
        self.reporters.oldest_service(reporter).is_some_and(|place| !self.admission.admits(place))
    }

    pub(super) fn turn_away(&mut self, stream: StreamId) -> Effect {
        self.streams.remove(&stream);
        self.counters.shed += 1;
        Effect::Close { stream, reason: CloseReason::Overloaded(self.admission.overload()) }
    }

    /// The oldest service in a report, where many series of one service come in a row. `None` for a report of nothing.
    pub(super) fn place(&mut self, report: &Report) -> Option<Place> {
        let mut before = None;
        let mut oldest: Option<Place> = None;
        for service in report.deltas.iter().map(|delta| delta.series.service.as_str()) {
            if before.replace(service) != Some(service) {
                let place = self.admission.place(service);
                oldest = Some(oldest.map_or(place, |oldest| oldest.min(place)));
            }
        }
        oldest
    }
}
