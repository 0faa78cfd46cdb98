//! Guards one service: runs its trial, and condemns the candidate when it is regressed.

mod condemnation;
mod deployed;

use std::{sync::Arc, time::Duration};

use serin_proto::v1::{self, VerdictState};

use super::{
    Deployed, Effect, Learned,
    condemned::Condemned,
    decision,
    evidence::{self, Starts},
    running::Running,
    shares::{self, Recent},
    verdict,
};
use crate::{config::Service, recording::Kept, store::Slices, time::UnixMicros};

/// A verdict that does not change is shown again this often.
const SHOW_AGAIN: Duration = Duration::from_secs(10);
/// A trial ends when its candidate got no requests for this long; its next request begins a new one.
const TRIAL_ENDS_AFTER_S: u64 = 900;
/// Weights that changed less than this ago may not be what requests were sent by yet.
const WEIGHT_SETTLES: Duration = Duration::from_secs(30);

/// A recording that can be read.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Recorded<'a> {
    /// It goes on.
    Running(&'a Kept),
    /// It came to a rollback.
    Ended(&'a Kept),
}

/// Guards one service.
#[derive(Debug)]
pub(crate) struct Guard {
    service: Arc<Service>,
    trial: Option<Running>,
    /// Seconds before this one are no evidence: they were judged otherwise.
    since: u64,
    learned: Learned,
    /// The recording of the trial that a standing condemnation came of.
    ended: Option<Arc<Kept>>,
    /// The candidate's share of the weights, and since when.
    weight: Option<(f64, UnixMicros)>,
    starts: Starts,
    condemned: Option<Condemned>,
    /// What the candidate's label was deployed as, until it is known whether that lifts a condemnation.
    deployed: Option<Deployed>,
    recent: Recent,
    verdict: v1::Verdict,
    shown: Option<((VerdictState, bool), UnixMicros)>,
}

impl Guard {
    /// `kept`: the decisions of earlier runs, newest first.
    pub(super) fn new<'a>(
        service: Arc<Service>,
        kept: impl Iterator<Item = &'a v1::Decision> + Clone,
        now: UnixMicros,
    ) -> Self {
        let mut guard = Guard {
            verdict: verdict::waiting(&service, format!("no requests to {} yet", service.candidate), now.0),
            service,
            trial: None,
            since: 0,
            learned: Learned::default(),
            ended: None,
            weight: None,
            starts: Starts::default(),
            condemned: None,
            deployed: None,
            recent: Recent::default(),
            shown: None,
        };
        guard.resume(kept, now);
        guard
    }

    /// Goes on from the decisions that were kept, newest first.
    pub(super) fn resume<'a>(&mut self, mut kept: impl Iterator<Item = &'a v1::Decision> + Clone, now: UnixMicros) {
        let Service { name, candidate, .. } = &*self.service;
        let cleared = kept.clone().filter_map(|kept| decision::cleared(kept, name, candidate)).max();
        self.since = self.since.max(cleared.map_or(0, UnixMicros::second)).min(now.second());
        let condemns = |d: &&v1::Decision| decision::condemns(d, &self.service.name, &self.service.candidate);
        let condemned = kept.find(condemns).map(|decision| Condemned::resume(&self.service, decision.clone(), now));
        if let Some(condemned) = &condemned {
            self.verdict = condemned_verdict(condemned.decision(), now);
        }
        self.condemned = condemned;
    }

    /// Another aggregator judges it from now on.
    pub(super) fn leave(&mut self, now: UnixMicros) {
        self.condemned = None;
        self.begin_anew("another aggregator judges it", now);
    }

    /// Another aggregator shows its verdict.
    pub(super) fn tell(&mut self, verdict: v1::Verdict) {
        self.verdict = verdict;
    }

    pub(super) fn guards(&self, service: &str, release: &str) -> bool {
        self.service.name == service && self.service.candidate == release
    }

    pub(crate) fn service(&self) -> &Arc<Service> {
        &self.service
    }

    pub(crate) fn verdict(&self) -> &v1::Verdict {
        &self.verdict
    }

    /// Takes one complete second. `id`: of the next decision.
    pub(super) fn judge(&mut self, second: u64, slices: &Slices, id: u64, now: UnixMicros) -> Vec<Effect> {
        let mut effects = self.acquit(now);
        effects.extend(match &mut self.condemned {
            Some(condemned) => condemned.watch(&self.service, second, slices.second(second), now),
            None => self.try_candidate(second, slices, id, now),
        });
        effects.extend(self.show(now));
        effects
    }

    /// The recording of the running trial, or of one that ended with a rollback.
    pub(super) fn recording(&self) -> Option<Recorded<'_>> {
        let running = self.trial.as_ref().map(|running| Recorded::Running(&running.recording));
        running.or_else(|| self.ended.as_deref().map(Recorded::Ended))
    }

    /// The service is to be judged by other rules, or rolled back otherwise, or has another release on trial. What did not change does
    /// not begin anew: this is called whenever somebody looks.
    pub(super) fn replace<'a>(
        &mut self,
        service: Arc<Service>,
        kept: impl Iterator<Item = &'a v1::Decision> + Clone,
        now: UnixMicros,
    ) -> Vec<Effect> {
        if self.service == service {
            return Vec::new();
        }
        let is_same_pair = self.service.baseline == service.baseline && self.service.candidate == service.candidate;
        if !is_same_pair {
            let starts = std::mem::take(&mut self.starts);
            let deployed = self.deployed.take().filter(|_| self.service.candidate == service.candidate);
            *self = Guard { starts, deployed, ..Guard::new(service, kept, now) };
            self.begins(now);
            return self.unfinished().into_iter().collect();
        }
        let is_judged_alike = service.is_judged_as(&self.service);
        self.service = service;
        match &mut self.condemned {
            // Its order is on its way, and is answered.
            Some(condemned) if condemned.is_writing() => Vec::new(),
            Some(condemned) => {
                *condemned = Condemned::resume(&self.service, condemned.decision().clone(), now);
                self.unfinished().into_iter().collect()
            }
            None => {
                if !is_judged_alike {
                    self.begins(now);
                    self.begin_anew("the rules changed, judged anew", now);
                }
                Vec::new()
            }
        }
    }

    /// Only what comes from now on is evidence.
    pub(super) fn begins(&mut self, now: UnixMicros) {
        self.since = self.since.max(now.second());
    }

    /// An earlier run began the trial: what comes from that second on is judged, again where it was already.
    pub(super) fn goes_on(&mut self, since: u64) {
        (self.trial, self.recent, self.since) = (None, Recent::default(), since);
    }

    /// The second in which the running trial began.
    pub(crate) fn trial_began(&self) -> Option<u64> {
        self.trial.as_ref().map(|running| running.began)
    }

    /// What earlier days tell, for trials that begin from now on.
    pub(super) fn learned(&mut self, learned: Learned) {
        self.learned = learned;
    }

    /// Pods were started, or are gone.
    pub(super) fn started(&mut self, starts: Starts) {
        self.starts = starts;
    }

    /// The weights were read.
    pub(super) fn weighed(&mut self, share: Option<f64>, now: UnixMicros) {
        if self.weight.map(|(known, _)| known) != share {
            self.weight = share.map(|share| (share, now));
        }
    }

    /// The clock was set back: what is to come has other seconds than was thought.
    pub(super) fn is_set_back(&mut self, now: UnixMicros) {
        self.since = self.since.min(now.second());
        self.begin_anew("the clock was set back, judged anew", now);
    }

    /// Forgets the trial, because its seconds do not go on.
    pub(super) fn begin_anew(&mut self, why: &str, now: UnixMicros) {
        (self.trial, self.ended, self.recent) = (None, None, Recent::default());
        if self.condemned.is_none() {
            self.verdict = verdict::waiting(&self.service, format!("{}: {why}", self.service.candidate), now.0);
        }
    }

    fn try_candidate(&mut self, second: u64, slices: &Slices, id: u64, now: UnixMicros) -> Vec<Effect> {
        if second < self.since {
            return Vec::new();
        }
        let seen = slices.second(second);
        self.recent.push(shares::of(&self.service, second, seen, UnixMicros(0)));
        let gets_requests = evidence::gets_requests(&self.service, seen);
        let over = |t: &Running| second.saturating_sub(t.last_candidate) > TRIAL_ENDS_AFTER_S;
        if self.trial.as_ref().is_some_and(over) {
            self.begin_anew("no requests for 15 min, the trial is over", now);
        }
        if gets_requests && self.trial.is_none() {
            self.trial = Some(Running::begin(&self.service, &self.learned, &self.starts, second, slices));
        }
        let Some(running) = &mut self.trial else { return Vec::new() };
        if gets_requests {
            running.last_candidate = second;
        }
        let settled = self.weight.filter(|(_, since)| now.since(*since) >= WEIGHT_SETTLES);
        running.observe(&self.service, second, seen, settled.map(|(share, _)| share), &self.starts);
        let is_regressed = self.verdict.state() == VerdictState::Regressed;
        if running.trial.is_due(second) || is_regressed {
            self.verdict = running.trial.verdict(now.0);
        }
        match self.verdict.state() {
            VerdictState::Regressed if evidence::is_fresh(&self.service, slices, now) => self.condemn(id, now),
            VerdictState::Regressed => {
                let sentence = &mut self.verdict.sentence;
                *sentence += "; not acted on, because it comes of reports that are old: more requests decide";
                Vec::new()
            }
            _ => Vec::new(),
        }
    }

    fn show(&mut self, now: UnixMicros) -> Option<Effect> {
        let state = (self.verdict.state(), self.verdict.condemned);
        let fresh = self.shown.is_some_and(|(shown, at)| shown == state && now.since(at) < SHOW_AGAIN);
        (!fresh).then(|| {
            self.shown = Some((state, now));
            Effect::Publish(self.verdict.clone())
        })
    }
}

fn condemned_verdict(decision: &v1::Decision, now: UnixMicros) -> v1::Verdict {
    let mut verdict = decision.verdict.clone().unwrap_or_default();
    verdict.unix_us = now.0;
    verdict.condemned = true;
    verdict
}
