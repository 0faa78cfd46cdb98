//! What a rollback looks for in a document: pure.

use serde_json::Value;
use yamlpath::Component;

use super::{Intent, rds, virtual_service, weights::Role, weights::Total};
use crate::config::Target;

/// A way from a document's top to a value in it.
pub(super) type Path = Vec<Component<'static>>;

/// A route that mentions the candidate.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Found {
    /// It divides its requests.
    Split(Split),
    /// It sends all of them to the candidate.
    Straight {
        /// For people.
        place: String,
    },
}

/// A weighted choice between destinations, the candidate among them.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Split {
    /// For people.
    pub(super) place: String,
    /// Of the list of destinations.
    pub(super) path: Path,
    /// The destinations in the order of the list.
    pub(super) destinations: Vec<Destination>,
}

/// One of a split's destinations.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Destination {
    /// For people.
    pub(super) label: String,
    pub(super) role: Role,
}

/// The names to look for in one kind of file.
#[derive(Clone, Debug)]
pub(super) enum Finder {
    VirtualServices { host: String, baseline: String, candidate: String },
    EnvoyRds { baseline: String, candidate: String },
}

impl Finder {
    pub(super) fn new(target: &Target, intent: &Intent<'_>) -> Self {
        match target {
            Target::VirtualServices { host, subset, .. } => Finder::VirtualServices {
                host: host.clone(),
                baseline: subset.render(intent.baseline),
                candidate: subset.render(intent.candidate),
            },
            Target::EnvoyRds { cluster, .. } => Finder::EnvoyRds {
                baseline: cluster.render(intent.baseline),
                candidate: cluster.render(intent.candidate),
            },
        }
    }

    /// The same with the releases in each other's place.
    pub(super) fn swapped(&self) -> Self {
        let mut swapped = self.clone();
        match &mut swapped {
            Finder::VirtualServices { baseline, candidate, .. } | Finder::EnvoyRds { baseline, candidate } => {
                std::mem::swap(baseline, candidate);
            }
        }
        swapped
    }

    /// The candidate, for people.
    pub(super) fn wanted(&self) -> String {
        match self {
            Finder::VirtualServices { host, candidate, .. } => format!("host `{host}` subset `{candidate}`"),
            Finder::EnvoyRds { candidate, .. } => format!("cluster `{candidate}`"),
        }
    }

    /// The baseline, for people.
    pub(super) fn instead(&self) -> &str {
        match self {
            Finder::VirtualServices { baseline, .. } | Finder::EnvoyRds { baseline, .. } => baseline,
        }
    }

    /// Whether a document can be of the right kind, by a look at its text: what is not is not even parsed, so that
    /// it need not be YAML.
    pub(super) fn concerns(&self, text: &str) -> bool {
        match self {
            Finder::VirtualServices { .. } => text.contains("VirtualService"),
            Finder::EnvoyRds { .. } => true,
        }
    }

    /// Every route in the document that mentions the candidate, or why they cannot be looked for.
    pub(super) fn find(&self, document: &Value) -> Result<Vec<Found>, String> {
        match self {
            Finder::VirtualServices { host, baseline, candidate } => {
                virtual_service::find(document, &virtual_service::Names { host, baseline, candidate })
            }
            Finder::EnvoyRds { baseline, candidate } => Ok(rds::find(document, &rds::Names { baseline, candidate })),
        }
    }

    pub(super) fn total(&self) -> Total {
        match self {
            Finder::VirtualServices { .. } => Total::Hundred,
            Finder::EnvoyRds { .. } => Total::Kept,
        }
    }

    /// The key that every destination has, before which a missing weight is written.
    pub(super) fn first_key(&self) -> &'static str {
        match self {
            Finder::VirtualServices { .. } => "destination",
            Finder::EnvoyRds { .. } => "name",
        }
    }
}

impl Split {
    /// Whether a destination has this role.
    pub(super) fn has(&self, role: Role) -> bool {
        self.destinations.iter().any(|destination| destination.role == role)
    }

    /// Of one destination.
    pub(super) fn destination(&self, index: usize) -> Path {
        let mut path = self.path.clone();
        path.push(index.into());
        path
    }
}

/// The items of a list under a key; none when there is no such list.
pub(super) fn items<'v>(value: &'v Value, key: &str) -> impl Iterator<Item = (usize, &'v Value)> {
    value.get(key).and_then(Value::as_array).into_iter().flatten().enumerate()
}

/// The text under a key.
pub(super) fn text<'v>(value: &'v Value, key: &str) -> Option<&'v str> {
    value.get(key).and_then(Value::as_str)
}

/// ` (name)` when the value has a name, as part of a place.
pub(super) fn named(value: &Value) -> String {
    text(value, "name").map(|name| format!(" ({name})")).unwrap_or_default()
}
