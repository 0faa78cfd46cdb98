//! What a rollback did, for the record and for people.

use std::{
    fmt,
    path::{Path, PathBuf},
};

use super::plan::Plan;

/// What was written, what needed no writing, and what needs a person.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Nothing was written; `changes` says what would have been.
    pub dry_run: bool,
    /// The routes whose weights changed.
    pub changes: Vec<Change>,
    /// The routes where the candidate had weight 0 before.
    pub already: Vec<Place>,
    /// What was not done, and why.
    pub left: Vec<Left>,
}

/// One traffic split with new weights.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The file as the target names it.
    pub file: PathBuf,
    /// The route, such as `VirtualService default/shop http[0] (primary)`.
    pub place: String,
    /// The destinations whose weight changed, in the order of the file.
    pub weights: Vec<Reweighted>,
}

/// One destination's weight.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reweighted {
    /// Its subset, host or cluster.
    pub destination: String,
    /// What the file said; 0 when it said nothing.
    pub before: u32,
    /// What it says now.
    pub after: u32,
}

/// A route in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The file as the target names it.
    pub file: PathBuf,
    /// As in [`Change::place`].
    pub place: String,
}

/// Something a person has to look at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Left {
    /// The file as the target names it.
    pub file: PathBuf,
    /// As in [`Change::place`]; empty when it is about the whole file.
    pub place: String,
    /// Why it was left alone.
    pub reason: String,
}

impl Outcome {
    pub(super) fn add(&mut self, file: &Path, plan: Plan) {
        let file = || file.to_owned();
        let changes = plan.changes.into_iter();
        self.changes.extend(changes.map(|change| Change {
            file: file(),
            place: change.place,
            weights: change.weights,
        }));
        self.already.extend(plan.already.into_iter().map(|place| Place { file: file(), place }));
        let left = plan.left.into_iter();
        self.left.extend(left.map(|about| Left { file: file(), place: about.place, reason: about.reason }));
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.changes.is_empty(), self.dry_run) {
            (false, false) => write!(f, "wrote {}", listed(&self.changes))?,
            (false, true) => write!(f, "would write {}", listed(&self.changes))?,
            (true, _) if !self.already.is_empty() => write!(f, "already in effect in {}", listed(&self.already))?,
            (true, _) => f.write_str("wrote nothing")?,
        }
        if !self.left.is_empty() {
            write!(f, "; left alone: {}", listed(&self.left))?;
        }
        Ok(())
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} ", self.file.display(), self.place)?;
        for (i, weight) in self.weights.iter().enumerate() {
            let comma = if i == 0 { "" } else { ", " };
            write!(f, "{comma}{weight}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Reweighted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} -> {}", self.destination, self.before, self.after)
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.file.display(), self.place)
    }
}

impl fmt::Display for Left {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.file.display())?;
        if !self.place.is_empty() {
            write!(f, "{}: ", self.place)?;
        }
        f.write_str(&self.reason)
    }
}

/// Everything in one line.
pub(super) fn listed<T: fmt::Display>(things: impl IntoIterator<Item = T>) -> String {
    let mut all = String::new();
    for thing in things {
        if !all.is_empty() {
            all.push_str("; ");
        }
        all.push_str(&thing.to_string());
    }
    all
}
