//! Seconds: counted as reports come, and judged when they are complete.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use super::{Effect, Engine, Guard, Remembered};
use crate::{
    report::{Deltas, Origin},
    time::UnixMicros,
};

/// How long after the end of a second its reports may still arrive: reporters tick on the second, so what is
/// later than this is late, or its clock is wrong.
pub(super) const SETTLE: Duration = Duration::from_millis(500);
/// Seconds judged one after the other when the clock jumps ahead (a suspended machine); what lies before is
/// skipped.
const CATCH_UP_S: u64 = 120;
/// When the clock is set back by more than this many seconds, judging goes on from there.
const CLOCK_BACK_S: u64 = 5;

impl Engine {
    /// Goes on where an earlier run left off: who has reported what, and the trials that were running, which are judged again from their
    /// seconds. To be called before the first event.
    pub fn restore(&mut self, remembered: Remembered, now: UnixMicros) -> Vec<Effect> {
        let Remembered { applied, seconds } = remembered;
        applied.into_iter().for_each(|(reporter, sequence)| self.reporters.restore(reporter, sequence, now));
        for delta in seconds.values().flatten().flat_map(|deltas| deltas.iter()) {
            self.admission.place(&delta.series.service);
        }
        // Those after it are judged when they are complete.
        self.judged = now.minus(SETTLE + Duration::from_secs(1)).second();
        let effects = self.judge_again(seconds, now, |_| true);
        self.let_out(effects, now)
    }

    /// Has guards judge seconds of the past, up to the last that was judged.
    pub(super) fn judge_again(
        &mut self,
        seconds: BTreeMap<u64, Vec<Arc<Deltas>>>,
        now: UnixMicros,
        which: impl Fn(&Guard) -> bool,
    ) -> Vec<Effect> {
        let first = seconds.first_key_value().map(|(second, _)| *second);
        self.wait_for_guards(now);
        // Who reported it is not kept.
        let nobody = Origin::unknown();
        seconds
            .into_iter()
            .for_each(|(second, all)| all.into_iter().for_each(|deltas| self.slices.add(second, &nobody, deltas, now)));
        let last = now.minus(SETTLE + Duration::from_secs(1)).second().min(self.judged);
        let mut effects = Vec::new();
        for second in first.into_iter().flat_map(|first| first..=last) {
            effects.extend(self.judge(second, now, |guard| which(guard) && !guard.is_condemned()));
        }
        effects
    }

    /// Counts what a report of a proxy has, in its second.
    pub(super) fn count(&mut self, second: u64, origin: &Origin, deltas: Arc<Deltas>, now: UnixMicros) {
        self.counters.applied += 1;
        if second <= self.judged {
            self.counters.late_requests = self.counters.late_requests.saturating_add(deltas.requests());
        }
        for delta in deltas.iter() {
            self.totals.add(&delta);
            self.latencies.add(&delta);
        }
        self.slices.add(second, origin, deltas, now);
    }

    pub(super) fn tick(&mut self, now: UnixMicros) -> Vec<Effect> {
        let complete = now.minus(SETTLE + Duration::from_secs(1)).second();
        if complete + CLOCK_BACK_S < self.judged {
            (self.judged, self.whole_until) = (complete, UnixMicros(0));
            self.guards.iter_mut().for_each(|guard| guard.is_set_back(now));
        }
        let mut effects = self.shed(now);
        for second in self.judged.max(complete.saturating_sub(CATCH_UP_S)) + 1..=complete {
            effects.extend(self.judge(second, now, |_| true));
        }
        self.judged = self.judged.max(complete);
        if now >= self.whole_until {
            self.slices.fold(self.judged);
        }
        self.latencies.tick(now);
        effects
    }

    /// Has guards judge one second.
    pub(super) fn judge(&mut self, second: u64, now: UnixMicros, which: impl Fn(&Guard) -> bool) -> Vec<Effect> {
        let mut effects = Vec::new();
        for index in 0..self.guards.len() {
            if self.guards.get(index).is_some_and(&which) {
                effects.extend(self.judge_one(index, second, now));
            }
        }
        effects
    }

    /// Has one guard judge one second, where its service is judged here.
    pub(super) fn judge_one(&mut self, index: usize, second: u64, now: UnixMicros) -> Vec<Effect> {
        let Some(service) = self.guards.get(index).map(|guard| Arc::clone(guard.service())) else { return Vec::new() };
        if !self.judges(&service.name) {
            return Vec::new();
        }
        let id = self.next_decision(&service.name);
        let Some(guard) = self.guards.get_mut(index) else { return Vec::new() };
        let effects = guard.judge(second, &self.slices, id, now);
        self.remember(effects)
    }
}
