use std::{collections::HashMap, sync::Arc, time::Duration};

use serin_proto::v1;

use crate::{
    ingest::validate::Heartbeat,
    report::{Origin, Report, Reporter, ReporterId},
    time::UnixMicros,
};

/// Reporters remembered at once: 10,000 sidecars of 4 workers and the main thread, four times over (each change of a
/// proxy's configuration makes new ones), at about 250 bytes each 50 MB.
const REPORTERS_MAX: usize = 200_000;
/// When there is no room, a reporter without a sign of life for this long is forgotten. Were it to come back and send
/// again what was applied but never acknowledged, that would count twice.
const FORGET_AFTER: Duration = Duration::from_hours(1);
/// Three heartbeats at the longest interval.
const ALIVE_WITHIN: Duration = Duration::from_secs(30);

/// For how long at least a reporter's soonest report is what later ones are held against, and twice as long at most. Clocks drift apart and are
/// set: what was usual once must not make every report late for ever.
const USUAL_FOR: Duration = Duration::from_mins(5);

/// What became of a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Applied {
    /// It is new: its counts are to be added.
    New,
    /// It was applied before: nothing changes, it is acknowledged again.
    Duplicate,
    /// An earlier one is missing.
    Gap {
        /// The sequence that should have come.
        expected: u64,
    },
}

/// No room for another reporter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("200,000 reporters are known already: wait for silent ones to be forgotten (1 h)")]
pub struct ReportersFull;

#[derive(Debug)]
struct State {
    applied: u64,
    /// The highest that may be acknowledged: it is on disk.
    durable: u64,
    requests: u64,
    elsewhere: u64,
    overflow: u64,
    own: v1::ReporterState,
    workload: Arc<str>,
    /// The place of the oldest service that it was seen to carry, where it was.
    oldest_service: Option<usize>,
    usual: Usual,
    /// When its stream began.
    connected: UnixMicros,
    last_seen: UnixMicros,
}

/// How long a reporter's soonest report took, by both clocks, in microseconds: since a time, and in the stretch before it.
#[derive(Clone, Copy, Debug)]
struct Usual {
    since: UnixMicros,
    soonest_us: i64,
    before_us: i64,
}

impl Default for Usual {
    fn default() -> Self {
        Usual { since: UnixMicros(0), soonest_us: i64::MAX, before_us: i64::MAX }
    }
}

impl Usual {
    fn delay(&mut self, interval_end: UnixMicros, now: UnixMicros) -> Duration {
        // Either may be any number that the wire can hold.
        let us = |time: UnixMicros| i64::try_from(time.0).unwrap_or(i64::MAX);
        let took = us(now).saturating_sub(us(interval_end));
        let age = now.since(self.since);
        if age >= USUAL_FOR {
            self.before_us = if age < USUAL_FOR * 2 { self.soonest_us } else { i64::MAX };
            (self.since, self.soonest_us) = (now, i64::MAX);
        }
        self.soonest_us = self.soonest_us.min(took);
        Duration::from_micros(took.abs_diff(self.soonest_us.min(self.before_us)))
    }
}

/// What is known of one reporter.
#[derive(Clone, Debug, PartialEq)]
pub struct ReporterView {
    /// Requests it delivered, here or to an aggregator that ran before.
    pub requests: u64,
    /// Whether it gave a sign of life within 30 s.
    pub is_alive: bool,
    /// The last sign of life.
    pub last_seen: UnixMicros,
    /// What it says of itself.
    pub state: v1::ReporterState,
    /// The workload that its proxy is of; empty where it is not known.
    pub workload: Arc<str>,
}

/// What is known of each reporter: the highest sequence applied, above all.
#[derive(Debug, Default)]
pub struct Reporters(HashMap<ReporterId, State>);

impl Reporters {
    /// A stream of this reporter began. What it no longer holds was acknowledged before: by us, or by an
    /// aggregator that ran before us.
    ///
    /// # Errors
    /// When there is no room for another one.
    pub fn connected(&mut self, reporter: &Reporter, now: UnixMicros) -> Result<(), ReportersFull> {
        if !self.0.contains_key(&reporter.id) && self.0.len() >= REPORTERS_MAX {
            self.0.retain(|_, state| now.since(state.last_seen) < FORGET_AFTER);
            if self.0.len() >= REPORTERS_MAX {
                return Err(ReportersFull);
            }
        }
        let state = self.0.entry(reporter.id.clone()).or_insert(State {
            applied: 0,
            durable: 0,
            requests: 0,
            elsewhere: 0,
            overflow: 0,
            own: v1::ReporterState::default(),
            workload: Arc::clone(&reporter.workload),
            oldest_service: None,
            usual: Usual::default(),
            connected: now,
            last_seen: now,
        });
        state.connected = now;
        state.workload = Arc::clone(&reporter.workload);
        state.applied = state.applied.max(reporter.first_sequence.saturating_sub(1));
        state.durable = state.durable.max(reporter.first_sequence.saturating_sub(1));
        state.last_seen = now;
        Ok(())
    }

    /// A sign of life.
    pub fn seen(&mut self, id: &ReporterId, heartbeat: Heartbeat, now: UnixMicros) {
        if let Some(state) = self.0.get_mut(id) {
            state.last_seen = now;
            state.elsewhere = heartbeat.requests_before.saturating_sub(state.requests);
            state.overflow = heartbeat.overflow_requests;
            state.own = heartbeat.own;
        }
    }

    /// Takes a report's number and says whether its counts are to be added.
    pub fn apply(&mut self, id: &ReporterId, report: &Report, now: UnixMicros) -> Applied {
        let Some(state) = self.0.get_mut(id) else { return Applied::Gap { expected: 1 } };
        state.last_seen = now;
        state.own = report.own;
        if report.sequence <= state.applied {
            return Applied::Duplicate;
        }
        if report.sequence != state.applied + 1 {
            return Applied::Gap { expected: state.applied + 1 };
        }
        state.applied = report.sequence;
        state.elsewhere = report.requests_before.saturating_sub(state.requests);
        state.requests = state.requests.saturating_add(report.requests());
        state.overflow = report.overflow_requests;
        Applied::New
    }

    /// How much later a report comes than the soonest one of its reporter in the last minutes did, by both clocks: neither has to be right.
    /// What a filter kept while it had no stream is not late by what we do, so it is no more than the age of the stream.
    pub fn delay(&mut self, id: &ReporterId, interval_end: UnixMicros, now: UnixMicros) -> Duration {
        let delay = |state: &mut State| state.usual.delay(interval_end, now).min(now.since(state.connected));
        self.0.get_mut(id).map_or(Duration::ZERO, delay)
    }

    /// A reporter carries a service that has this place by age.
    pub fn carries(&mut self, id: &ReporterId, place: Option<usize>) {
        if let Some((state, place)) = self.0.get_mut(id).zip(place) {
            state.oldest_service = Some(state.oldest_service.map_or(place, |oldest| oldest.min(place)));
        }
    }

    /// The place of the oldest service that it was seen to carry.
    pub fn oldest_service(&self, id: &ReporterId) -> Option<usize> {
        self.0.get(id)?.oldest_service
    }

    /// Whose counts its reports are.
    pub fn origin(&self, id: &ReporterId) -> Origin {
        let workload = self.0.get(id).map_or_else(|| Arc::from(""), |state| Arc::clone(&state.workload));
        Origin { node: Arc::clone(&id.node_id), workload }
    }

    /// A report is on disk.
    pub fn is_durable(&mut self, id: &ReporterId, sequence: u64) {
        if let Some(state) = self.0.get_mut(id) {
            state.durable = state.durable.max(sequence);
        }
    }

    /// The highest sequence that is on disk; 0 for an unknown reporter.
    pub fn durable(&self, id: &ReporterId) -> u64 {
        self.0.get(id).map_or(0, |state| state.durable)
    }

    /// An earlier run had kept this reporter's reports up to this one.
    pub fn restore(&mut self, id: ReporterId, sequence: u64, now: UnixMicros) {
        if self.0.len() < REPORTERS_MAX {
            let own = v1::ReporterState::default();
            let state = State {
                applied: sequence,
                durable: sequence,
                requests: 0,
                elsewhere: 0,
                overflow: 0,
                own,
                workload: Arc::from(""),
                oldest_service: None,
                usual: Usual::default(),
                connected: now,
                last_seen: now,
            };
            self.0.entry(id).or_insert(state);
        }
    }

    /// What is known of each.
    pub fn views(&self, now: UnixMicros) -> impl Iterator<Item = (&ReporterId, ReporterView)> {
        let view = move |state: &State| ReporterView {
            requests: state.requests.saturating_add(state.elsewhere),
            is_alive: now.since(state.last_seen) <= ALIVE_WITHIN,
            last_seen: state.last_seen,
            state: state.own,
            workload: Arc::clone(&state.workload),
        };
        self.0.iter().map(move |(id, state)| (id, view(state)))
    }

    /// How many gave a sign of life within 30 s.
    pub fn alive(&self, now: UnixMicros) -> usize {
        self.0.values().filter(|state| now.since(state.last_seen) <= ALIVE_WITHIN).count()
    }

    /// Requests that these reporters had delivered to an aggregator that ran before this one.
    pub fn delivered_elsewhere(&self) -> u64 {
        self.0.values().fold(0, |sum, state| sum.saturating_add(state.elsewhere))
    }

    /// Requests that reporters counted in their overflow series for want of room.
    pub fn overflow_requests(&self) -> u64 {
        self.0.values().fold(0, |sum, state| sum.saturating_add(state.overflow))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serin_proto::v1::Vantage;

    use super::*;

    const NOW: UnixMicros = UnixMicros(1_000_000_000);

    fn reporter(first_sequence: u64) -> Reporter {
        let id = ReporterId { node_id: "n".into(), boot_nonce: 1, context_id: 1 };
        Reporter { id, vantage: Vantage::Gateway, version: "0".into(), first_sequence, workload: "".into() }
    }

    fn report(sequence: u64, requests_before: u64) -> Report {
        Report {
            sequence,
            interval_end: NOW,
            interval: Duration::from_secs(1),
            deltas: Default::default(),
            requests_before,
            overflow_requests: 0,
            own: v1::ReporterState::default(),
            waiting: None,
        }
    }

    #[test]
    fn a_resend_changes_nothing_and_a_gap_is_refused() {
        let me = reporter(1);
        let mut reporters = Reporters::default();
        reporters.connected(&me, NOW).unwrap();
        assert_eq!(reporters.apply(&me.id, &report(1, 0), NOW), Applied::New);
        assert_eq!(reporters.apply(&me.id, &report(1, 0), NOW), Applied::Duplicate);
        assert_eq!(reporters.apply(&me.id, &report(3, 0), NOW), Applied::Gap { expected: 2 });
        assert_eq!(reporters.0[&me.id].applied, 1);
    }

    #[test]
    fn goes_on_where_an_earlier_aggregator_stopped() {
        let me = reporter(8);
        let mut reporters = Reporters::default();
        reporters.connected(&me, NOW).unwrap();
        assert_eq!(reporters.apply(&me.id, &report(8, 500), NOW), Applied::New);
        assert_eq!(reporters.delivered_elsewhere(), 500);
    }

    #[test]
    fn an_idle_reporter_tells_what_an_earlier_aggregator_took() {
        let me = reporter(8);
        let mut reporters = Reporters::default();
        reporters.connected(&me, NOW).unwrap();
        reporters.seen(&me.id, Heartbeat { requests_before: 500, overflow_requests: 3, ..Heartbeat::default() }, NOW);
        assert_eq!((reporters.delivered_elsewhere(), reporters.overflow_requests()), (500, 3));
    }

    #[test]
    fn a_silent_reporter_is_not_alive() {
        let mut reporters = Reporters::default();
        reporters.connected(&reporter(1), NOW).unwrap();
        assert_eq!(reporters.alive(NOW.plus(ALIVE_WITHIN)), 1);
        assert_eq!(reporters.alive(NOW.plus(ALIVE_WITHIN + Duration::from_secs(1))), 0);
    }

    #[test]
    fn a_report_is_late_by_what_was_usual_in_the_last_minutes() {
        let me = reporter(1);
        let mut reporters = Reporters::default();
        reporters.connected(&me, NOW).unwrap();
        // The reporter's clock is an hour ahead, and its reports take 5 ms; then ours is set 2 s ahead.
        let mut delay_ms = |second: u64, took_ms: u64| {
            let now = NOW.plus(Duration::from_secs(second));
            let end = now.plus(Duration::from_hours(1)).minus(Duration::from_millis(took_ms));
            reporters.delay(&me.id, end, now).as_millis()
        };
        assert_eq!([delay_ms(1, 5), delay_ms(2, 305), delay_ms(3, 4)], [0, 300, 0]);
        assert_eq!([delay_ms(10, 2_005), delay_ms(290, 2_005)], [2_001, 2_001]);
        assert_eq!([delay_ms(610, 2_005), delay_ms(950, 2_005)], [0, 0]);
    }

    /// It was shed for a minute, kept its reports, and is let in again.
    #[test]
    fn what_was_kept_without_a_stream_is_not_late() {
        let at = |second: u64| NOW.plus(Duration::from_secs(second));
        let me = reporter(1);
        let mut reporters = Reporters::default();
        reporters.connected(&me, at(0)).unwrap();
        assert_eq!(reporters.delay(&me.id, at(1), at(1)), Duration::ZERO);
        reporters.connected(&me, at(60)).unwrap();
        assert_eq!(reporters.delay(&me.id, at(2), at(60)), Duration::ZERO);
        // What still waits three seconds later waits for us.
        assert_eq!(reporters.delay(&me.id, at(3), at(63)), Duration::from_secs(3));
    }

    #[test]
    fn no_time_is_too_odd_to_be_held_against_another() {
        let me = reporter(1);
        let mut reporters = Reporters::default();
        reporters.connected(&me, NOW).unwrap();
        for end in [0, 1, 1 << 63, u64::MAX, (1 << 63) - 1, NOW.0] {
            for now in [NOW, UnixMicros(u64::MAX), UnixMicros(0)] {
                reporters.delay(&me.id, UnixMicros(end), now);
            }
        }
    }

    proptest! {
        /// Any sequence of resends, as long as nothing is skipped, applies each report once.
        #[test]
        fn each_number_is_applied_once(rewinds in prop::collection::vec(0u64..5, 1..50)) {
            let me = reporter(1);
            let mut reporters = Reporters::default();
            reporters.connected(&me, NOW).unwrap();
            let mut applied = 0;
            for rewind in rewinds {
                let from = (reporters.0[&me.id].applied + 1).saturating_sub(rewind).max(1);
                for sequence in from..from + 5 {
                    applied += u64::from(reporters.apply(&me.id, &report(sequence, 0), NOW) == Applied::New);
                }
            }
            prop_assert_eq!(applied, reporters.0[&me.id].applied);
        }
    }
}
