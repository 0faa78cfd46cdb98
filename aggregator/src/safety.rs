//! Whether a rollback may be written now (pure): nobody has paused serin, the service's last one is answered, the hour's allowance is not
//! used up, and what it is based on is not old.
//!
//! Asked in one place, where the engine lets a rollback out. What is held back is asked about again every second, so that it is
//! written as soon as it may be, as long as its release is condemned.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use serin_proto::v1::{self, DecisionStage};

use crate::{config, time::UnixMicros};

/// What the limit counts over.
const HOUR: Duration = Duration::from_secs(3_600);
/// A second is judged half a second after its end, and requests waiting for it were told of within that second. Only what was read
/// again after a restart, a suspension or a takeover is older; 5 s leave room for a machine that is busy.
pub(crate) const FRESH: Duration = Duration::from_secs(5);

/// A person has ordered that nothing be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pause {
    /// From when on.
    pub since: UnixMicros,
    /// Until when; `None`: until somebody resumes.
    pub until: Option<UnixMicros>,
    /// Why, in that person's words; may be empty.
    pub reason: String,
}

impl Pause {
    /// Whether it holds.
    pub fn holds(&self, now: UnixMicros) -> bool {
        self.until.is_none_or(|until| now < until)
    }
}

impl std::fmt::Display for Pause {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "paused since {}", time(self.since))?;
        self.until.map_or(Ok(()), |until| write!(f, " until {}", time(until)))?;
        if self.reason.is_empty() { Ok(()) } else { write!(f, " ({})", self.reason) }
    }
}

fn time(at: UnixMicros) -> String {
    let second = i64::try_from(at.second()).ok().and_then(|second| jiff::Timestamp::from_second(second).ok());
    second.unwrap_or(jiff::Timestamp::UNIX_EPOCH).to_string()
}

/// A rollback that is to be written.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// For which decision.
    pub decision: u64,
    /// Of which service.
    pub service: &'a str,
    /// Which release goes.
    pub candidate: &'a str,
}

/// Why a rollback is not written now.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeldBack {
    /// A person wants it so.
    #[error("held back: serin is {0}; run `serin resume` to have it written")]
    Paused(Pause),
    /// Two at once would be one too many.
    #[error("held back: the rollback of decision {0}, of the same service, is being written; this one follows")]
    Busy(u64),
    /// Enough for an hour.
    #[error(
        "held back: {limit} rollbacks in the last hour (safety.rollbacks_per_hour), so something else may be wrong; it is written when \
         the hour allows it; run `serin clear {service} {candidate}` to keep the release, or set its weight to 0 yourself"
    )]
    Limit {
        /// As configured.
        limit: u32,
        /// Whose.
        service: String,
        /// Which release.
        candidate: String,
    },
    /// What was known may not be so any more.
    #[error(
        "held back: the newest report of {0}'s requests is older than {fresh} s; it is written as soon as {0} is served again",
        fresh = FRESH.as_secs()
    )]
    Stale(String),
}

/// What may be written, and what was.
#[derive(Clone, Debug)]
pub struct Safety {
    limits: config::Safety,
    pause: Option<Pause>,
    /// Decisions by when their rollback was last ordered or written. Writing one of them again, because somebody else brought its release
    /// back, is no further rollback. At most a thousand or so: those older than an hour go whenever the limit is asked about.
    last: BTreeMap<u64, UnixMicros>,
    /// Of each service, the decision whose rollback is on its way.
    writing: BTreeMap<String, u64>,
}

impl Safety {
    /// Nothing was written yet.
    pub fn new(limits: config::Safety) -> Self {
        Safety { limits, pause: None, last: BTreeMap::new(), writing: BTreeMap::new() }
    }

    /// Whether nothing at all is to be written, of no service.
    pub fn is_dry_run(&self) -> bool {
        self.limits.dry_run
    }

    /// Nothing is written from now on; `None`: it is again. Whether that is news.
    pub fn pause(&mut self, pause: Option<Pause>) -> bool {
        let before = std::mem::replace(&mut self.pause, pause);
        before != self.pause
    }

    /// The pause that holds.
    pub fn paused(&self, now: UnixMicros) -> Option<&Pause> {
        self.pause.as_ref().filter(|pause| pause.holds(now))
    }

    /// For `/healthz`: what keeps it from writing, or nothing.
    pub fn said(&self, now: UnixMicros) -> String {
        let dry_run = if self.limits.dry_run { ", but a dry run: nothing is written (safety.dry_run)" } else { "" };
        self.paused(now)
            .map_or_else(|| dry_run.to_owned(), |pause| format!("{dry_run}, but {pause}: nothing is written"))
    }

    /// A decision came further, here or at another aggregator: what it has written counts.
    pub fn saw(&mut self, decision: &v1::Decision) {
        let written = |event: &&v1::DecisionEvent| event.stage() == DecisionStage::Written;
        if let Some(event) = decision.events.iter().rev().find(written) {
            let last = self.last.entry(decision.id).or_default();
            *last = UnixMicros(event.unix_us).max(*last);
        }
    }

    /// Lets one rollback out, which counts from now on. `is_fresh`: whether what it is based on is, which takes a while to find out.
    ///
    /// # Errors
    /// Why not now.
    pub fn order(
        &mut self,
        asked: &Asked<'_>,
        is_fresh: impl FnOnce() -> bool,
        now: UnixMicros,
    ) -> Result<(), HeldBack> {
        if let Some(pause) = self.paused(now) {
            return Err(HeldBack::Paused(pause.clone()));
        }
        if let Some(other) = self.writing.get(asked.service).filter(|other| **other != asked.decision) {
            return Err(HeldBack::Busy(*other));
        }
        self.last.retain(|_, last| now.since(*last) < HOUR);
        let is_further = !self.last.contains_key(&asked.decision);
        let limit = self.limits.rollbacks_per_hour;
        if is_further && self.last.len() >= usize::try_from(limit).unwrap_or(usize::MAX) {
            let (service, candidate) = (asked.service.to_owned(), asked.candidate.to_owned());
            return Err(HeldBack::Limit { limit, service, candidate });
        }
        if !is_fresh() {
            return Err(HeldBack::Stale(asked.candidate.to_owned()));
        }
        self.last.insert(asked.decision, now);
        self.writing.insert(asked.service.to_owned(), asked.decision);
        Ok(())
    }

    /// A rollback was written, or not.
    pub fn answered(&mut self, decision: u64) {
        self.writing.retain(|_, writing| *writing != decision);
    }

    /// Nobody will answer for these services any more: others judge them.
    pub fn leave(&mut self, is_left: impl Fn(&str) -> bool) {
        let left: BTreeSet<_> = self.writing.keys().filter(|service| is_left(service)).cloned().collect();
        self.writing.retain(|service, _| !left.contains(service));
    }
}

#[cfg(test)]
mod tests;
