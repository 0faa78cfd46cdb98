//! Which VirtualService splits a service, where the one that is named delegates its routes to others: pure.
//!
//! As Istio does it: a route of `http` may name a delegate, which is in the namespace of the root unless it says another; a delegate has
//! no hosts of its own, is exported to the root's namespace, and does not delegate further. What is none of this is ignored by Istio,
//! and so here.

use serde_json::Value;

use crate::{
    intent::Intent,
    json::{items, text},
    object::ObjectRef,
    plan::{Part, part, share},
    release_guard::TargetKind,
    routes,
};

/// The most that are looked at. Each is read for itself, in 10 ms (p99): 0.2 s in all.
pub const MAX_DELEGATES: usize = 20;

/// An object, and what it delegates to.
#[derive(Clone, Debug, PartialEq)]
pub struct Family {
    /// The one that is named.
    pub root: Value,
    /// Each as it was read; `None`: it is not there.
    pub delegates: Vec<(ObjectRef, Option<Value>)>,
}

/// Why it is not known which one to change.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotFollowed {
    /// More than are looked at.
    #[error("it delegates to more than {MAX_DELEGATES}: name the one that splits the service as target")]
    TooMany,
    /// None sends anything to either release.
    #[error("neither it nor what it delegates to sends anything to {candidate}: check its name{}", said(.ignored))]
    NoneSplits {
        /// As looked for.
        candidate: String,
        /// Those that Istio ignores, each with what to do.
        ignored: Vec<String>,
    },
    /// A rollback of one of them would be half of one.
    #[error("{} all send requests to these releases: name each that is to be changed as a target of its own", .0.join(" and "))]
    SeveralSplit(Vec<String>),
}

/// What an object delegates to: each once, in the order of its routes. One more than are looked at, where there are more.
pub fn of(root: &Value) -> Vec<ObjectRef> {
    let mut found: Vec<ObjectRef> = Vec::new();
    if routes::kind_of(root) != Some(TargetKind::VirtualService) || !has_hosts(root) {
        return found;
    }
    let (namespace, _) = routes::names(root);
    for (_, route) in items(root.get("spec").unwrap_or(&Value::Null), "http") {
        let Some(delegate) = route.get("delegate") else { continue };
        let namespace = text(delegate, "namespace").filter(|namespace| !namespace.is_empty()).unwrap_or(namespace);
        // What has a name that no object can have is not there.
        let named = ObjectRef::new(TargetKind::VirtualService, namespace, text(delegate, "name").unwrap_or_default());
        found.extend(named.ok().filter(|named| !found.contains(named)));
        if found.len() > MAX_DELEGATES {
            break;
        }
    }
    found
}

impl Family {
    /// An object that is not looked at any further.
    pub fn alone(root: Value) -> Self {
        Family { root, delegates: Vec::new() }
    }

    /// All that decide about requests.
    pub fn parts(&self) -> impl Iterator<Item = &Value> {
        let delegates = self.delegates.iter().filter_map(|(_, object)| object.as_ref());
        std::iter::once(&self.root).chain(delegates.filter(|object| self.ignored(Some(object)).is_none()))
    }

    /// The one to change: the only one that divides requests between the releases, or if none does the only one that sends any to them.
    /// `None` with it: it is the root.
    ///
    /// # Errors
    /// When there is none, or more than one.
    pub fn splits(&self, intent: &Intent) -> Result<(Option<&ObjectRef>, &Value), NotFollowed> {
        if self.delegates.is_empty() {
            return Ok((None, &self.root));
        }
        if self.delegates.len() > MAX_DELEGATES {
            return Err(NotFollowed::TooMany);
        }
        let root = std::iter::once((None, &self.root, part(&self.root, intent)));
        let followed = self.delegates.iter().filter(|(_, object)| self.ignored(object.as_ref()).is_none());
        let followed = followed.filter_map(|(name, object)| Some((Some(name), object.as_ref()?)));
        let all: Vec<_> = root.chain(followed.map(|(name, object)| (name, object, part(object, intent)))).collect();
        for wanted in [Part::Splits, Part::Sends] {
            let found: Vec<_> = all.iter().filter(|(.., part)| *part == wanted).collect();
            match found.as_slice() {
                [] => {}
                [(name, object, _)] => return Ok((*name, object)),
                several => {
                    let named =
                        |name: &Option<&ObjectRef>| name.map_or_else(|| "the root".to_owned(), ToString::to_string);
                    return Err(NotFollowed::SeveralSplit(several.iter().map(|(name, ..)| named(name)).collect()));
                }
            }
        }
        Err(self.none_splits(intent.candidate.to_string()))
    }

    /// The candidate's share of the weights, 0 to 1, where every route that the baseline or the candidate gets requests by says the same.
    ///
    /// A route that has only the candidate sends it more than its share, not less, and is passed over. One that has only the baseline, such
    /// as for all who do not send a header, sends the candidate less than its share elsewhere: then nobody knows it, and it is `None`.
    pub fn share(&self, intent: &Intent) -> Option<f64> {
        if self.delegates.len() > MAX_DELEGATES { None } else { share(self.parts(), intent) }
    }

    /// That none sends anything to this.
    pub(crate) fn none_splits(&self, candidate: String) -> NotFollowed {
        let why =
            |(name, object): &(ObjectRef, Option<Value>)| Some(format!("{name} {}", self.ignored(object.as_ref())?));
        NotFollowed::NoneSplits { candidate, ignored: self.delegates.iter().filter_map(why).collect() }
    }

    /// Why Istio ignores a delegate, with what to do.
    fn ignored(&self, delegate: Option<&Value>) -> Option<&'static str> {
        let Some(delegate) = delegate else { return Some("does not exist: create it, or delegate to another") };
        let (of_root, _) = routes::names(&self.root);
        let (of_it, _) = routes::names(delegate);
        let mut exported = items(delegate.get("spec").unwrap_or(&Value::Null), "exportTo").peekable();
        let to_root = |to: &str| to == "*" || to == of_root || (to == "." && of_it == of_root);
        let is_exported = exported.peek().is_none() || exported.any(|(_, to)| to.as_str().is_some_and(to_root));
        match () {
            () if has_hosts(delegate) => Some("has hosts, so that Istio takes it for no delegate: take them out"),
            () if !is_exported => Some("is not exported to the root's namespace: add it to exportTo"),
            () => None,
        }
    }
}

impl NotFollowed {
    /// For the `reason` of a condition.
    pub fn reason(&self) -> &'static str {
        match self {
            NotFollowed::TooMany => "TooManyDelegates",
            NotFollowed::NoneSplits { .. } => "NoDelegateSplits",
            NotFollowed::SeveralSplit(_) => "SeveralDelegatesSplit",
        }
    }
}

fn has_hosts(object: &Value) -> bool {
    object.get("spec").is_some_and(|spec| items(spec, "hosts").next().is_some())
}

fn said(ignored: &[String]) -> String {
    ignored.iter().map(|why| format!("; {why}")).collect()
}

#[cfg(test)]
mod tests;
