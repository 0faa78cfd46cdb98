//! Why a plan is not in the API server, each with what to do about it.

use std::time::Duration;

use super::answer::Verb;
use crate::{cluster::Unserved, plan::Obstacle, writers::Writer};

/// Why the weights are not as wanted. Except where it says so, nothing was written. Objects are told as `VirtualService shop/shop`.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// The plan was refused.
    #[error(transparent)]
    Refused(#[from] Obstacle),
    /// 404.
    #[error("there is no {0}: check the target's name and namespace")]
    NotFound(String),
    /// Its kind is not installed, or nobody may ask.
    #[error("{object} cannot be read: {why}")]
    NotServed {
        /// Which.
        object: String,
        /// Why not.
        why: Unserved,
    },
    /// 404 for the whole resource, every time, although the API server says that it serves it.
    #[error("the API server says that it serves {object}, and answers 404 {attempts} times: look at its log")]
    NotThere {
        /// Which.
        object: String,
        /// How often it was tried.
        attempts: u32,
    },
    /// It was there when it was read. It is not made again.
    #[error(
        "{0} was deleted in the middle of the rollback: there is nothing to roll back until somebody makes it again"
    )]
    DeletedMeanwhile(String),
    /// It has another `uid` than when it was read first.
    #[error(
        "{0} was deleted and made again in the middle of the rollback: look at its weights, serin plans on it anew"
    )]
    Replaced(String),
    /// 401.
    #[error("the API server does not accept serin's credentials: check the service account's token")]
    Unauthorized,
    /// 403.
    #[error("serin may not {verb} {object}: give its service account the verb in a Role ({message})")]
    Forbidden {
        /// What it tried.
        verb: Verb,
        /// On which object.
        object: String,
        /// What the server said.
        message: String,
    },
    /// 409 with `FieldManagerConflict`.
    #[error("others own fields of {object}: take the routes out of what they apply ({message})")]
    FieldConflict {
        /// Which.
        object: String,
        /// What the server said, which names them.
        message: String,
    },
    /// A schema, a webhook or a policy is against the new weights, or the request is.
    #[error(
        "the API server, or a webhook or policy there, refuses the new weights of {object} ({code} {message}): mend what it names, serin does not try again by itself"
    )]
    Rejected {
        /// Which.
        object: String,
        /// The HTTP status.
        code: u16,
        /// What the server said.
        message: String,
    },
    /// 500. A bad body is answered so, too: trying again would not end.
    #[error("the API server failed on {object} ({message}): look at its log")]
    Failed {
        /// Which.
        object: String,
        /// What the server said.
        message: String,
    },
    /// Changed by others between reading and writing, every time.
    #[error("{object} was changed by others each of {attempts} times that serin was about to write it{}", written_by(.writers))]
    Contended {
        /// Which.
        object: String,
        /// How often it was tried.
        attempts: u32,
        /// Who owns its routes, the latest first.
        writers: Vec<Writer>,
    },
    /// 429, 503 or 504, every time.
    #[error("the API server was too busy {attempts} times ({code} {message}): serin tries again later")]
    Busy {
        /// How often it was tried.
        attempts: u32,
        /// The HTTP status.
        code: u16,
        /// What the server said.
        message: String,
    },
    /// No connection, or one that broke. A patch may have been applied.
    #[error(
        "the API server could not be reached {attempts} times: check that it is up and the network policy lets serin through"
    )]
    Unreachable {
        /// How often it was tried.
        attempts: u32,
        /// What the client said.
        source: Box<kube::Error>,
    },
    /// No answer in time. A patch may have been applied.
    #[error("the API server gave no answer within {} s, {attempts} times: serin tries again later", .limit.as_secs_f64())]
    TimedOut {
        /// How often it was tried.
        attempts: u32,
        /// How long a request was waited for.
        limit: Duration,
    },
    /// The client itself could not: credentials that cannot be read, an answer that is not JSON.
    #[error("the request could not be made or its answer not be read: check the configuration of the client")]
    Client(#[source] Box<kube::Error>),
}

impl ApplyError {
    /// For the `reason` of a condition.
    pub fn reason(&self) -> &'static str {
        match self {
            ApplyError::Refused(obstacle) => obstacle.reason(),
            ApplyError::NotFound(_) => "NotFound",
            ApplyError::NotServed { .. } | ApplyError::NotThere { .. } => "NotServed",
            ApplyError::DeletedMeanwhile(_) => "DeletedMeanwhile",
            ApplyError::Replaced(_) => "Replaced",
            ApplyError::Unauthorized => "Unauthorized",
            ApplyError::Forbidden { .. } => "Forbidden",
            ApplyError::FieldConflict { .. } => "FieldConflict",
            ApplyError::Rejected { .. } => "Rejected",
            ApplyError::Failed { .. } => "ServerError",
            ApplyError::Contended { .. } => "Contended",
            ApplyError::Busy { .. } => "Busy",
            ApplyError::Unreachable { .. } => "Unreachable",
            ApplyError::TimedOut { .. } => "TimedOut",
            ApplyError::Client(_) => "ClientError",
        }
    }

    /// Whether the same call may succeed later without anybody doing something.
    pub fn is_passing(&self) -> bool {
        matches!(
            self,
            ApplyError::Contended { .. }
                | ApplyError::Busy { .. }
                | ApplyError::Unreachable { .. }
                | ApplyError::TimedOut { .. }
                | ApplyError::NotThere { .. }
                | ApplyError::Replaced(_)
        )
    }
}

fn written_by(writers: &[Writer]) -> String {
    match writers.first() {
        Some(writer) => format!(", last by {writer}: let only one of them write its routes"),
        None => ": let only one of them write its routes".to_owned(),
    }
}
