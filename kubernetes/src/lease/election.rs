//! From a Lease and the time to what to write: pure.

use std::time::Duration;

use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta},
    jiff::Timestamp,
};

/// When to renew, when to stop, when to take over.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// How long others wait after the last renewal they saw. In whole seconds, as it stands in the Lease.
    pub duration_s: u32,
    /// How long after sending its last renewal a leader stops. Below the duration, by more than what clocks may differ in
    /// that time.
    pub lead: Duration,
    /// How often the Lease is looked at and renewed.
    pub look: Duration,
}

impl Default for Timing {
    /// 10 s, 6 s and 2 s.
    fn default() -> Self {
        Timing { duration_s: 10, lead: Duration::from_secs(6), look: Duration::from_secs(2) }
    }
}

/// The time, twice.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    /// Since any moment, by a clock that is never set. All decisions are by this one.
    pub clock: Duration,
    /// For people who read the Lease.
    pub wall: Timestamp,
}

/// What to do about the Lease.
#[derive(Clone, Debug, PartialEq)]
pub enum Act {
    /// Make it. If it is there by then, look again.
    Create(Lease),
    /// Write it, if it still has the version it had. If not, look again.
    Replace(Lease),
    /// Look again after this time.
    Wait(Duration),
}

/// One replica's view of the election.
#[derive(Clone, Debug)]
pub struct Election {
    name: String,
    identity: String,
    timing: Timing,
    /// Another's record, and since when it has been the same.
    seen: Option<(LeaseSpec, Duration)>,
    /// The Lease as this replica wrote it last, and until when it leads.
    held: Option<(Lease, Duration)>,
}

impl Election {
    /// `name`: of the Lease. `identity`: of this process and of no other, before or after it: the pod's name alone is not
    /// enough, since a container restarts in its pod.
    pub fn new(name: &str, identity: &str, timing: Timing) -> Self {
        Election { name: name.to_owned(), identity: identity.to_owned(), timing, seen: None, held: None }
    }

    /// The name of the Lease.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How often the Lease is looked at.
    pub fn look(&self) -> Duration {
        self.timing.look
    }

    /// Until when this replica leads, by the clock of [`Now`]; `None` when it does not.
    pub fn leads_until(&self) -> Option<Duration> {
        self.held.as_ref().map(|(_, until)| *until)
    }

    /// What to do about the Lease as it was just read; `None` when there is none. `now`: after it was read.
    pub fn step(&mut self, lease: Option<Lease>, now: Now) -> Act {
        let Some(lease) = lease else {
            self.held = None;
            // Somebody deleted it. Who led may still do so for a while.
            return match self.left(now) {
                Some(left) => Act::Wait(left),
                None => Act::Create(self.taken(None, now)),
            };
        };
        let spec = lease.spec.clone().unwrap_or_default();
        let holder = spec.holder_identity.clone().unwrap_or_default();
        if holder == self.identity {
            self.seen = None;
            return Act::Replace(self.renewed(lease, now));
        }
        self.held = None;
        if holder.is_empty() {
            return Act::Replace(self.taken(Some(lease), now));
        }
        if self.seen.as_ref().is_none_or(|(seen, _)| *seen != spec) {
            self.seen = Some((spec, now.clock));
        }
        match self.left(now) {
            Some(left) => Act::Wait(left),
            None => Act::Replace(self.taken(Some(lease), now)),
        }
    }

    /// The server stored what [`Election::step`] said. `sent`: the clock before it was sent.
    pub fn written(&mut self, lease: Lease, sent: Duration) {
        self.seen = None;
        self.held = Some((lease, sent + self.timing.lead));
    }

    /// Stops leading at once. What to write so that others need not wait, if this replica led.
    pub fn release(&mut self) -> Option<Lease> {
        let (mut lease, _) = self.held.take()?;
        let spec = lease.spec.get_or_insert_default();
        spec.holder_identity = None;
        // Not 0, which the API server refuses.
        spec.lease_duration_seconds = Some(1);
        Some(lease)
    }

    /// How long to wait until somebody else's record is out of date; `None` when it is, or there was none.
    fn left(&self, now: Now) -> Option<Duration> {
        let (spec, since) = self.seen.as_ref()?;
        let said = spec.lease_duration_seconds.and_then(|seconds| u32::try_from(seconds).ok());
        let duration = Duration::from_secs(said.unwrap_or(self.timing.duration_s).into());
        let left = (*since + duration).checked_sub(now.clock).filter(|left| !left.is_zero())?;
        Some(left.min(self.timing.look))
    }

    fn renewed(&self, mut lease: Lease, now: Now) -> Lease {
        let spec = lease.spec.get_or_insert_default();
        spec.lease_duration_seconds = Some(self.duration_s());
        spec.renew_time = Some(MicroTime(now.wall));
        lease
    }

    fn taken(&self, lease: Option<Lease>, now: Now) -> Lease {
        let metadata = ObjectMeta { name: Some(self.name.clone()), ..ObjectMeta::default() };
        let mut lease = lease.unwrap_or(Lease { metadata, spec: None });
        let spec = lease.spec.get_or_insert_default();
        let transitions = spec.lease_transitions.map_or(0, |transitions| transitions.saturating_add(1));
        spec.holder_identity = Some(self.identity.clone());
        spec.acquire_time = Some(MicroTime(now.wall));
        spec.lease_transitions = Some(transitions);
        self.renewed(lease, now)
    }

    fn duration_s(&self) -> i32 {
        i32::try_from(self.timing.duration_s).unwrap_or(i32::MAX)
    }
}

#[cfg(test)]
mod tests;
