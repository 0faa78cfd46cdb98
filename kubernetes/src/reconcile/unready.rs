//! Why a ReleaseGuard is not acted on, or what should be mended all the same: each with a reason for a condition and a remedy for
//! a person. Pure.

use crate::{
    clocks::Skew,
    discover::{NoTrial, Pair},
    plan::Obstacle,
};

/// What a condition says.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unready {
    /// Somebody else guards the service.
    #[error("{service} is guarded by {by} already: delete one of the two")]
    Taken {
        /// The service.
        service: String,
        /// Who: a ReleaseGuard as `namespace/name`, or the configuration.
        by: String,
    },
    /// There is no such object.
    #[error("{target} does not exist: create it, or name another target")]
    TargetNotFound {
        /// Which.
        target: String,
    },
    /// Its kind is not there.
    #[error("{target}: {why}")]
    NotServed {
        /// Which.
        target: String,
        /// With the remedy.
        why: String,
    },
    /// The API server does not tell.
    #[error("{what} cannot be watched: {why}; check serin's Role in this namespace")]
    NotWatched {
        /// What.
        what: String,
        /// As the API server says.
        why: String,
    },
    /// Two targets have different releases on trial.
    #[error(
        "one target has {} on trial against {}, another {} against {}: name baseline and candidate, or make two ReleaseGuards",
        .one.candidate, .one.baseline, .other.candidate, .other.baseline
    )]
    Disagree {
        /// Of the one.
        one: Pair,
        /// Of the other.
        other: Pair,
    },
    /// The spec names a release that is not one of the two.
    #[error(
        "{} and {} take the requests, which the spec says otherwise: correct baseline or candidate, or leave both out",
        .pair.baseline, .pair.candidate
    )]
    NotAsNamed {
        /// Those that do.
        pair: Pair,
    },
    /// The rules cannot be read.
    #[error("{0}")]
    Invalid(String),
    /// A node's clock is off, or our own.
    #[error("{}", off(.0))]
    ClockSkew(Skew),
    /// Nothing says that the candidate is there.
    #[error(
        "{release} has a share but no pods with label version or release {release}: its requests may reach nobody, and it cannot be judged; label its pods, or give it weight 0"
    )]
    Unlabelled {
        /// The candidate.
        release: String,
    },
    /// There is no release on trial.
    #[error(transparent)]
    NoTrial(#[from] NoTrial),
    /// A target cannot be changed, or not well.
    #[error("{}", about(.target, &.obstacle.to_string()))]
    Obstacle {
        /// Which.
        target: String,
        /// Why not.
        obstacle: Box<Obstacle>,
    },
}

/// What is said of a route names its object already.
fn about(target: &str, said: &str) -> String {
    if said.starts_with(target) { said.to_owned() } else { format!("{target}: {said}") }
}

impl Unready {
    pub(super) fn obstacle(target: String, obstacle: Obstacle) -> Self {
        Unready::Obstacle { target, obstacle: Box::new(obstacle) }
    }

    /// For the `reason` of a condition.
    pub fn reason(&self) -> &'static str {
        match self {
            Unready::Taken { .. } => "ServiceTaken",
            Unready::TargetNotFound { .. } => "TargetNotFound",
            Unready::NotServed { .. } => "NotServed",
            Unready::NotWatched { .. } => "NotWatched",
            Unready::Disagree { .. } => "TargetsDisagree",
            Unready::NotAsNamed { .. } => "NotAsNamed",
            Unready::Invalid(_) => "Invalid",
            Unready::ClockSkew(_) => "ClockSkew",
            Unready::Unlabelled { .. } => "NoPods",
            Unready::NoTrial(why) => why.reason(),
            Unready::Obstacle { obstacle, .. } => obstacle.reason(),
        }
    }
}

fn off(Skew { node, seconds, others }: &Skew) -> String {
    match others {
        0 => format!(
            "the clock of node {node} is off by {seconds} s: mend its NTP; its pods' start is not taken into account"
        ),
        others => format!(
            "the clocks of {} nodes are ahead of serin's own by up to {seconds} s ({node}): theirs are wrong, or serin's own is; mend NTP \
             there; their pods' start is not taken into account",
            others + 1
        ),
    }
}
