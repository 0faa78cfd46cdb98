//! What an error of the API server means for the next step: pure.

use std::{fmt, time::Duration};

use kube::core::Status;

use super::error::ApplyError;
use crate::{cluster::Unserved, object::ObjectRef, writers::Writer};

/// What was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// To read the object.
    Get,
    /// To change it.
    Patch,
}

/// What to do about an error.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// Read the object again, and see.
    Again(Setback),
    /// Give up.
    End(ApplyError),
}

/// Something that may be over at the next try.
#[derive(Debug)]
pub(crate) enum Setback {
    /// The object is not as read (409), or the server refuses what it got (422): a failed `test` and an invalid object
    /// are both 422, and so may be a webhook's answer, with causes or without. Whether the object has changed tells them apart.
    Changed { code: u16, message: String },
    /// Too much to do.
    Busy { code: u16, message: String, wait: Duration },
    /// No connection, or one that broke.
    Unreachable(kube::Error),
    /// No answer in time.
    Slow,
    /// The version that was served is not any more, or not yet.
    Gone,
}

const FIELD_MANAGER_CONFLICT: &str = "FieldManagerConflict";

/// The longest text of a server that is passed on, in characters: webhooks say a lot.
const MAX_MESSAGE: usize = 300;

/// What an error means.
///
/// What is not listed is not tried again: 500 is also the answer to a bad body.
pub(crate) fn outcome(error: kube::Error, verb: Verb, object: &dyn fmt::Display) -> Outcome {
    let status = match error {
        kube::Error::Api(status) => *status,
        error @ (kube::Error::Service(_) | kube::Error::HyperError(_)) => {
            return Outcome::Again(Setback::Unreachable(error));
        }
        error => return Outcome::End(ApplyError::Client(Box::new(error))),
    };
    let code = status.code;
    let message: String = status.message.chars().take(MAX_MESSAGE).collect();
    let object = object.to_string();
    Outcome::End(match (code, verb) {
        (401, _) => ApplyError::Unauthorized,
        // A webhook or a policy that denies answers 403 as well, by default or if it says so.
        (403, _) if !is_admission(&message) => ApplyError::Forbidden { verb, object, message },
        (404, _) if !is_of_an_object(&status) => return Outcome::Again(Setback::Gone),
        (404, Verb::Get) => ApplyError::NotFound(object),
        (404, Verb::Patch) => ApplyError::DeletedMeanwhile(object),
        (409, Verb::Patch) if is_field_conflict(&status) => ApplyError::FieldConflict { object, message },
        (409 | 422, Verb::Patch) => return Outcome::Again(Setback::Changed { code, message }),
        (429 | 503 | 504, _) => {
            let wait = status.details.map(|details| details.retry_after_seconds).unwrap_or_default();
            return Outcome::Again(Setback::Busy { code, message, wait: Duration::from_secs(wait.into()) });
        }
        (500.., _) => ApplyError::Failed { object, message: format!("{code} {message}") },
        _ => ApplyError::Rejected { object, code, message },
    })
}

/// What it means that the version of an object's kind is not known.
pub(super) fn unserved(why: Unserved, object: &ObjectRef) -> Outcome {
    match why {
        // Like any other request that got no answer, or a bad one.
        Unserved::NotSaid(error) => outcome(*error, Verb::Get, object),
        why => Outcome::End(ApplyError::NotServed { object: object.to_string(), why }),
    }
}

/// A path that leads to no resource is answered with 404 as well, but not with a Status that names an object.
fn is_of_an_object(status: &Status) -> bool {
    status.details.as_ref().is_some_and(|details| !details.name.is_empty())
}

fn is_field_conflict(status: &Status) -> bool {
    let causes = status.details.iter().flat_map(|details| &details.causes);
    causes.into_iter().any(|cause| cause.reason == FIELD_MANAGER_CONFLICT)
}

fn is_admission(message: &str) -> bool {
    message.starts_with("admission webhook ") || message.contains(": ValidatingAdmissionPolicy '")
}

impl Setback {
    /// Whether a patch that was sent may have been applied all the same.
    pub(crate) fn is_unknown(&self) -> bool {
        matches!(self, Setback::Unreachable(_) | Setback::Slow)
    }

    /// How long the server asks to wait.
    pub(crate) fn wait(&self) -> Duration {
        match self {
            Setback::Busy { wait, .. } => *wait,
            _ => Duration::ZERO,
        }
    }
}

impl Setback {
    /// What it is after so many attempts. `writers`: who owned the routes when the object was read last.
    pub(crate) fn given_up(self, object: String, attempts: u32, limit: Duration, writers: Vec<Writer>) -> ApplyError {
        match self {
            Setback::Changed { .. } => ApplyError::Contended { object, attempts, writers },
            Setback::Busy { code, message, .. } => ApplyError::Busy { attempts, code, message },
            Setback::Unreachable(source) => ApplyError::Unreachable { attempts, source: Box::new(source) },
            Setback::Gone => ApplyError::NotThere { object, attempts },
            Setback::Slow => ApplyError::TimedOut { attempts, limit },
        }
    }
}

impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Verb::Get => "get",
            Verb::Patch => "patch",
        })
    }
}
