//! Sends a plan to the API server: IO.
//!
//! read the object, or the delegate of it that splits the service (IO) -> [`plan`] (pure) -> send the patch (IO) -> `answer` (pure: what an error
//! means) -> read again, a bounded number of times. A JSON patch is sent, never an apply: an apply creates an object
//! that was deleted, and takes the whole list of routes over. That the proxies do what the object says is not known
//! here: it is confirmed from what they report.

mod answer;
mod ask;
mod error;
mod find;
mod tries;

use std::time::Duration;

use serde_json::Value;

pub use answer::Verb;
pub use error::ApplyError;

pub(crate) use answer::{Outcome, Setback};
pub(crate) use ask::answered;
pub(crate) use tries::Tries;

use crate::{
    cluster::Cluster,
    gitops::{self, Advice},
    intent::Intent,
    json::text,
    object::ObjectRef,
    plan::{Change, Obstacle, Plan, Reweighted, plan},
    writers::{self, FIELD_MANAGER, Writer},
};
use ask::Ask;
use find::find;

/// How an object is changed.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// The server checks the patch and answers as if it were applied, but stores nothing.
    pub dry_run: bool,
    /// How long one request is waited for. Patches take 10 ms (p99); a busy server takes seconds.
    pub request: Duration,
    /// How often the object is read and written until it is given up, at least once.
    pub attempts: u32,
    /// How long the first pause between two attempts is; each is twice the one before.
    pub pause: Duration,
    /// The longest pause, also where the server asks for more: a bad release is taking requests meanwhile.
    pub longest_pause: Duration,
}

impl Default for Options {
    /// 5 attempts with 50 ms, 100 ms, 200 ms and 400 ms between them, 5 s a request: at most 51 s in all, where every
    /// one of the ten requests is answered at the last moment. What comes once, to learn the version
    /// and to read delegates, is at most 30 s more.
    fn default() -> Self {
        Options {
            dry_run: false,
            request: Duration::from_secs(5),
            attempts: 5,
            pause: Duration::from_millis(50),
            longest_pause: Duration::from_secs(2),
        }
    }
}

/// What became of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Applied {
    /// It has new weights, or would have.
    Changed {
        /// The object itself, or the one of its delegates that splits the service.
        object: ObjectRef,
        /// Which.
        weights: Vec<Reweighted>,
        /// The object's version since.
        resource_version: String,
        /// What is left undone, or should be mended all the same.
        notes: Vec<Obstacle>,
    },
    /// It needed none.
    InEffect {
        /// As above.
        object: ObjectRef,
        /// As above.
        notes: Vec<Obstacle>,
    },
}

/// Makes an object's weights as the intent says.
///
/// # Errors
/// When they are not so afterwards, or when nobody knows: see [`ApplyError`].
pub async fn apply(
    cluster: &Cluster,
    object: &ObjectRef,
    intent: &Intent,
    options: &Options,
) -> Result<Applied, ApplyError> {
    let mut run = Run::new(cluster, object, intent, options);
    let mut tries = Tries::new(options);
    loop {
        let setback = match run.attempt().await {
            Ok(applied) => return Ok(applied),
            Err(Outcome::End(error)) => return Err(error),
            Err(Outcome::Again(setback)) => setback,
        };
        tracing::debug!(%object, attempt = tries.made, ?setback, "not applied");
        if !tries.again(&setback).await {
            return Err(run.give_up(setback, tries.made));
        }
    }
}

/// How an object is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Look {
    /// The object itself, or the one of its delegates that splits the service.
    pub object: ObjectRef,
    /// Whether the weights are as the intent says.
    pub is_right: bool,
    /// Who owns its routes, the latest first: where the weights are not right, the first wrote them back.
    pub writers: Vec<Writer>,
    /// What to give to those who write weights back.
    pub advice: Vec<Advice>,
}

/// Looks whether a rollback is still there, for [`Hold`](crate::hold::Hold). Once: the next look is soon.
///
/// # Errors
/// When the object cannot be read, or its plan is refused.
pub async fn look(
    cluster: &Cluster,
    object: &ObjectRef,
    intent: &Intent,
    options: &Options,
) -> Result<Look, ApplyError> {
    let mut run = Run::new(cluster, object, intent, options);
    let read = match run.read().await {
        Ok(read) => read,
        Err(Outcome::End(error)) => return Err(error),
        Err(Outcome::Again(setback)) => return Err(run.give_up(setback, 1)),
    };
    let is_right = match plan(&read, intent) {
        Plan::Refused(obstacle) => return Err(obstacle.into()),
        Plan::InEffect { .. } => true,
        Plan::Change(_) => false,
    };
    Ok(Look { object: run.object, is_right, writers: run.writers, advice: gitops::advise(&read) })
}

/// The candidate's [share](crate::delegates::Family::share) of the weights of an object and of what it delegates to, as they are now.
///
/// # Errors
/// When one of them cannot be read.
pub async fn weigh(
    cluster: &Cluster,
    object: &ObjectRef,
    intent: &Intent,
    options: &Options,
) -> Result<Option<f64>, ApplyError> {
    let run = Run::new(cluster, object, intent, options);
    match find::family(&run.ask, object).await {
        Ok(family) => Ok(family.share(intent)),
        Err(Outcome::End(error)) => Err(error),
        Err(Outcome::Again(setback)) => Err(run.give_up(setback, 1)),
    }
}

/// What is known between attempts.
struct Run<'a> {
    ask: Ask<'a>,
    /// As it is named, until it was read: it may delegate to another.
    object: ObjectRef,
    intent: &'a Intent,
    options: &'a Options,
    /// Of the object when it was read first.
    uid: Option<String>,
    /// The last patch that was not answered with success.
    tried: Option<Tried>,
    /// Who owned the routes when the object was read last.
    writers: Vec<Writer>,
}

struct Tried {
    change: Change,
    /// What was against it; `None` when it may have been applied.
    refusal: Option<(u16, String)>,
}

impl<'a> Run<'a> {
    fn new(cluster: &'a Cluster, object: &ObjectRef, intent: &'a Intent, options: &'a Options) -> Self {
        let ask = Ask { cluster, limit: options.request };
        Run { ask, object: object.clone(), intent, options, uid: None, tried: None, writers: Vec::new() }
    }

    async fn attempt(&mut self) -> Result<Applied, Outcome> {
        let object = self.read().await?;
        let change = match plan(&object, self.intent) {
            Plan::Refused(obstacle) => return Err(Outcome::End(obstacle.into())),
            Plan::InEffect { notes } => return Ok(self.in_effect(&object, notes)),
            Plan::Change(change) => change,
        };
        self.not_refused_for_itself(&change)?;
        match self.ask.patch(&self.object, &change, self.options).await {
            Ok(after) => Ok(self.changed(change, &after)),
            Err(Outcome::Again(setback)) => {
                let refusal = match &setback {
                    Setback::Changed { code, message } => Some((*code, message.clone())),
                    _ => None,
                };
                if refusal.is_some() || setback.is_unknown() {
                    self.tried = Some(Tried { change, refusal });
                }
                Err(Outcome::Again(setback))
            }
            Err(end) => Err(end),
        }
    }

    async fn read(&mut self) -> Result<Value, Outcome> {
        let object = if self.uid.is_some() {
            self.ask.get(&self.object).await.map_err(|error| match error {
                Outcome::End(ApplyError::NotFound(object)) => Outcome::End(ApplyError::DeletedMeanwhile(object)),
                other => other,
            })?
        } else {
            let (found, object) = find(&self.ask, &self.object, self.intent).await?;
            self.object = found;
            object
        };
        let uid = object.get("metadata").and_then(|metadata| text(metadata, "uid"));
        if self.uid.is_some() && self.uid.as_deref() != uid {
            return Err(Outcome::End(ApplyError::Replaced(self.object.to_string())));
        }
        self.uid = uid.map(str::to_owned);
        self.writers = writers::of_routes(&object);
        Ok(object)
    }

    /// A refusal of an object that has not changed since is about the patch itself.
    fn not_refused_for_itself(&self, change: &Change) -> Result<(), Outcome> {
        match &self.tried {
            Some(Tried { change: tried, refusal: Some((code, message)) })
                if tried.resource_version == change.resource_version =>
            {
                let (object, code, message) = (self.object.to_string(), *code, message.clone());
                Err(Outcome::End(ApplyError::Rejected { object, code, message }))
            }
            _ => Ok(()),
        }
    }

    /// A patch without an answer was applied if the object is as it wanted and Serin is its latest writer.
    fn in_effect(&mut self, object: &Value, notes: Vec<Obstacle>) -> Applied {
        let is_ours = self.writers.first().is_some_and(|writer| writer.manager == FIELD_MANAGER);
        match self.tried.take() {
            Some(Tried { change, refusal: None }) if is_ours => self.changed(Change { notes, ..change }, object),
            _ => Applied::InEffect { object: self.object.clone(), notes },
        }
    }

    fn changed(&self, change: Change, after: &Value) -> Applied {
        let version = after.get("metadata").and_then(|metadata| text(metadata, "resourceVersion"));
        let resource_version = version.unwrap_or_default().to_owned();
        Applied::Changed { object: self.object.clone(), weights: change.weights, resource_version, notes: change.notes }
    }

    fn give_up(self, setback: Setback, attempts: u32) -> ApplyError {
        setback.given_up(self.object.to_string(), attempts, self.options.request, self.writers)
    }
}

#[cfg(test)]
mod tests;
