//! Takes a candidate out of traffic by editing the user's own files.
//!
//! For each file of a target:
//!
//! 1. fetch (IO, [`fetch`]): list the files, read one.
//! 2. plan (pure, [`plan`]): its text -> the new text and what changes in it. [`virtual_service`] and [`rds`] find the
//!    traffic splits, [`weights`] computes, [`edit`] puts numbers into the text and proves that nothing else moved.
//! 3. apply (IO, [`apply`]): replace the file in one step, unless somebody edited it since it was read; then again
//!    from 1.
//!
//! Only weights change. Comments, order, quoting, unknown fields and line ends stay as they are, byte for byte.

mod apply;
mod document;
mod edit;
mod error;
mod fetch;
pub mod git;
mod host;
mod outcome;
mod plan;
mod rds;
mod share;
mod splits;
mod virtual_service;
mod weights;

use std::path::{Path, PathBuf};

use self::{apply::Applied, plan::Plan, splits::Finder};
pub use self::{
    error::{ActuateError, chain},
    outcome::{Change, Left, Outcome, Place, Reweighted},
};
use crate::config::Target;

/// How often a file is planned anew because it was edited between reading and writing.
const REPLANS: usize = 3;

/// Which release goes, and which takes over its requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Intent<'a> {
    /// The stable release.
    pub baseline: &'a str,
    /// The release on trial, to get no requests any more.
    pub candidate: &'a str,
}

/// Writes the target's files so that the candidate gets no requests and the baseline gets the candidate's.
///
/// Blocks on file IO. With `dry_run` nothing is written and the outcome says what would be. Running it again changes
/// nothing: the outcome then has the routes under [`Outcome::already`].
///
/// Files are written one after the other. When one of several cannot be written, the others are, and the outcome's
/// [`Outcome::left`] says which was not.
///
/// # Errors
///
/// [`ActuateError::List`] when the directory cannot be listed, [`ActuateError::NoRoute`] when nothing there mentions
/// the candidate, and what stopped the writing when no file at all could be written.
pub fn roll_back(target: &Target, intent: &Intent<'_>, dry_run: bool) -> Result<Outcome, ActuateError> {
    roll_back_with(target, intent, dry_run, &mut |_| ())
}

/// [`roll_back`], with a call between planning a file and looking whether it is still what was planned on.
fn roll_back_with(
    target: &Target,
    intent: &Intent<'_>,
    dry_run: bool,
    planned: &mut dyn FnMut(&Path),
) -> Result<Outcome, ActuateError> {
    let finder = Finder::new(target, intent);
    let mut outcome = Outcome { dry_run, ..Outcome::default() };
    let (mut unread, mut failed) = (Vec::new(), Vec::new());
    for file in fetch::files(target)? {
        match roll_back_file(&file, &finder, dry_run, planned) {
            Ok((plan, note)) => {
                unread.extend(plan.unread.iter().map(|about| left(&file, about.place.clone(), about.reason.clone())));
                outcome.left.extend(note.map(|reason| left(&file, String::new(), reason)));
                outcome.add(&file, plan);
            }
            Err(error @ (ActuateError::Read { .. } | ActuateError::TooLarge { .. })) => {
                unread.push(left(&file, String::new(), chain(&error)));
            }
            Err(error) => failed.push((file, error)),
        }
    }
    settle(outcome, unread, failed, &finder, target)
}

/// The candidate's share of the weights in the target's files, 0 to 1. `None` where a file cannot be read, the candidate is nowhere, or
/// routes differ.
///
/// Blocks on file IO.
pub fn share(target: &Target, intent: &Intent<'_>) -> Option<f64> {
    let finder = Finder::new(target, intent);
    let mut shares = Vec::new();
    for file in fetch::files(target).ok()? {
        shares.extend(share::shares(&fetch::read(&file).ok()?, &finder));
    }
    share::common(&shares)
}

/// One file, from reading it to having replaced it. The text is something to tell a person about the writing.
fn roll_back_file(
    file: &Path,
    finder: &Finder,
    dry_run: bool,
    planned: &mut dyn FnMut(&Path),
) -> Result<(Plan, Option<String>), ActuateError> {
    for _ in 0..=REPLANS {
        let before = fetch::read(file)?;
        let plan = plan::plan(&before, finder).map_err(|source| ActuateError::Ambiguous {
            file: file.to_owned(),
            place: source.place,
            reason: source.reason,
        })?;
        if dry_run || plan.changes.is_empty() {
            return Ok((plan, None));
        }
        planned(file);
        match apply::replace(file, before.as_bytes(), plan.text.as_bytes())
            .map_err(|source| ActuateError::Write { file: file.to_owned(), source })?
        {
            Applied::Written { note } => return Ok((plan, note)),
            Applied::Edited => {}
        }
    }
    Err(ActuateError::EditedMeanwhile { file: file.to_owned() })
}

/// Turns what happened to all files into the answer.
fn settle(
    mut outcome: Outcome,
    unread: Vec<Left>,
    mut failed: Vec<(PathBuf, ActuateError)>,
    finder: &Finder,
    target: &Target,
) -> Result<Outcome, ActuateError> {
    if outcome.changes.is_empty() && !failed.is_empty() {
        return Err(match failed.len() {
            1 => failed.remove(0).1,
            _ => ActuateError::Several(failed.into_iter().map(|(_, error)| error).collect()),
        });
    }
    if outcome.changes.is_empty() && outcome.already.is_empty() && outcome.left.is_empty() {
        let path = match target {
            Target::VirtualServices { directory, .. } => directory.clone(),
            Target::EnvoyRds { file, .. } => file.clone(),
        };
        return Err(ActuateError::NoRoute { wanted: finder.wanted(), path, unread });
    }
    outcome.left.extend(unread);
    outcome.left.extend(failed.into_iter().map(|(file, error)| left(&file, String::new(), chain(&error))));
    Ok(outcome)
}

fn left(file: &Path, place: String, reason: String) -> Left {
    Left { file: file.to_owned(), place, reason }
}

#[cfg(test)]
mod tests;
