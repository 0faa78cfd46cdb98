//! Who may report while more comes in than can be handled (pure).
//!
//! A filter that is not acknowledged keeps its counts and coarsens them, so delay is the first answer to pressure, and it needs nothing
//! from here. Where the delay does not go away, the services that arrived last are shed, a quarter at a time: the older ones are judged
//! on time again, and the filters of the shed ones are told to come back later. When the pressure is gone they are let in again in the
//! order in which they first arrived. Nothing that was acknowledged is touched by either.
//!
//! What is shed are streams. One report is applied as a whole or not at all, and numbers must not have gaps, so a reporter that carries
//! several services counts as the oldest of them: an older service never suffers for a newer one, and gateways go last.

use std::{collections::HashMap, time::Duration};

use crate::time::UnixMicros;

/// A wait that is too long. A second is judged half a second after it ended, so a report that waits this long is late.
const HIGH: Duration = Duration::from_secs(1);
/// A wait that is no pressure: commits to a slow disk take some tens of milliseconds.
const LOW: Duration = Duration::from_millis(250);
/// How long it must have been too long before something is shed. Filters hold 38 s before they coarsen.
const SUSTAINED: Duration = Duration::from_secs(2);
/// How long there must have been no pressure before something is let in again: between these, doubled each time that it had
/// to be shed again, halved each time that it had not.
const CALM: [Duration; 2] = [Duration::from_secs(3), Duration::from_secs(24)];
/// When no report came for this long, none is late.
const FORGOTTEN: Duration = Duration::from_secs(2);
/// A quarter is shed or let in at a time.
const STEP: usize = 4;
/// Services told apart, at up to 256 bytes each 26 MB. Those beyond it count as one that arrived last.
const SERVICES_MAX: usize = 100_000;

/// The place of a service among all, by when it first arrived: 0 and up.
pub(crate) type Place = usize;

/// How much is to be handled, and what is done about it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Overload {
    /// How late half of the reports come at least, or how long the oldest message has waited to be handled, or the oldest report for the disk.
    pub lag: Duration,
    /// Services that were ever seen.
    pub services: usize,
    /// How many of them, the last to arrive, are not let in.
    pub shed: usize,
}

/// Decides who is let in.
#[derive(Debug)]
pub(crate) struct Admission {
    places: HashMap<Box<str>, Place>,
    /// Services before this place are let in; `None` while all are.
    cut: Option<Place>,
    /// The longest wait that was seen since the last look.
    waited: Duration,
    lag: Duration,
    /// How late the reports since the last look were.
    delays: Vec<Duration>,
    /// Half of them were later than this, the last time that any came.
    delay: Duration,
    delay_at: UnixMicros,
    high_since: Option<UnixMicros>,
    low_since: Option<UnixMicros>,
    calm: Duration,
    /// Whether the last step let somebody in.
    is_trying: bool,
}

impl Admission {
    /// Services that the configuration names were there first, in its order.
    pub(crate) fn new<'a>(configured: impl IntoIterator<Item = &'a str>) -> Self {
        let mut admission = Admission {
            places: HashMap::new(),
            cut: None,
            waited: Duration::ZERO,
            lag: Duration::ZERO,
            delays: Vec::new(),
            delay: Duration::ZERO,
            delay_at: UnixMicros(0),
            high_since: None,
            low_since: None,
            calm: CALM[0],
            is_trying: false,
        };
        for service in configured {
            admission.place(service);
        }
        admission
    }

    /// The place of a service, which it gets now where it is new.
    pub(crate) fn place(&mut self, service: &str) -> Place {
        let next = self.places.len();
        match self.places.get(service) {
            Some(place) => *place,
            None if next >= SERVICES_MAX => SERVICES_MAX,
            None => {
                self.places.insert(service.into(), next);
                next
            }
        }
    }

    /// Whether a reporter is let in whose oldest service has this place.
    pub(crate) fn admits(&self, place: Place) -> bool {
        self.cut.is_none_or(|cut| place < cut)
    }

    /// A report came this much later than the soonest one of its reporter: it waited somewhere, in a socket for instance.
    pub(crate) fn delayed(&mut self, delay: Duration) {
        self.delays.push(delay);
    }

    /// A message waited this long until it was handled.
    pub(crate) fn waited(&mut self, wait: Duration) {
        self.waited = self.waited.max(wait);
    }

    /// How things stand.
    pub(crate) fn overload(&self) -> Overload {
        let services = self.places.len();
        Overload { lag: self.lag, services, shed: self.cut.map_or(0, |cut| services.saturating_sub(cut)) }
    }

    /// To be called several times a second, with how long the oldest report has waited for the disk. Says whether something was
    /// shed, so that streams have to be closed.
    pub(crate) fn look(&mut self, disk: Duration, now: UnixMicros) -> bool {
        // Half of those that came since: a reporter that was cut off is late by itself.
        if !self.delays.is_empty() {
            let middle = self.delays.len() / 2;
            let (_, median, _) = self.delays.select_nth_unstable(middle);
            (self.delay, self.delay_at) = (*median, now);
            self.delays.clear();
        } else if now.since(self.delay_at) > FORGOTTEN {
            self.delay = Duration::ZERO;
        }
        self.lag = std::mem::take(&mut self.waited).max(disk).max(self.delay);
        if self.lag >= HIGH {
            self.low_since = None;
            let since = *self.high_since.get_or_insert(now);
            if now.since(since) >= SUSTAINED {
                self.high_since = Some(now);
                return self.shed();
            }
        } else if self.lag < LOW {
            self.high_since = None;
            let since = *self.low_since.get_or_insert(now);
            if self.cut.is_some() && now.since(since) >= self.calm {
                self.low_since = Some(now);
                self.let_in();
            }
        } else {
            (self.high_since, self.low_since) = (None, None);
        }
        false
    }

    fn shed(&mut self) -> bool {
        if std::mem::take(&mut self.is_trying) {
            self.calm = (self.calm * 2).min(CALM[1]);
        }
        let let_in = self.cut.unwrap_or(usize::MAX).min(self.places.len());
        // The last one is not shed: without it there would be nothing left to do.
        if let_in < 2 {
            return false;
        }
        self.cut = Some(let_in - (let_in / STEP).max(1));
        true
    }

    fn let_in(&mut self) {
        if std::mem::replace(&mut self.is_trying, true) {
            self.calm = (self.calm / 2).max(CALM[0]);
        }
        self.cut = self.cut.map(|cut| cut + (cut / STEP).max(1)).filter(|cut| *cut < self.places.len());
    }
}

#[cfg(test)]
mod tests;
