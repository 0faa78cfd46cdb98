//! Why a rollback could not be written.

use std::{error::Error, fmt::Write as _, io, path::PathBuf};

use super::outcome::{Left, listed};

/// Why nothing was written.
#[derive(Debug, thiserror::Error)]
pub enum ActuateError {
    /// The directory cannot be listed.
    #[error("cannot list the directory {}: set `directory` to a directory of YAML files that serin may read", .directory.display())]
    List {
        /// The configured directory.
        directory: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file cannot be read, or is not UTF-8.
    #[error("cannot read {}: it must be a UTF-8 file that serin may read", .file.display())]
    Read {
        /// Which.
        file: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file is larger than what is looked at.
    #[error("{} is {bytes} bytes, over the limit of {limit}: split it", .file.display())]
    TooLarge {
        /// Which.
        file: PathBuf,
        /// Its size.
        bytes: u64,
        /// The most that is read.
        limit: u64,
    },
    /// Nothing there mentions the candidate.
    #[error("no route in {} mentions {wanted}: {}", .path.display(), what_to_check(.unread))]
    NoRoute {
        /// The candidate as the target names it.
        wanted: String,
        /// Where it was looked for.
        path: PathBuf,
        /// What could not be looked at.
        unread: Vec<Left>,
    },
    /// The weights cannot be changed without changing something else.
    #[error("cannot edit {place} in {} safely, nothing was written: {reason}", .file.display())]
    Ambiguous {
        /// Which.
        file: PathBuf,
        /// Where in it.
        place: String,
        /// What stands in the way, and what to do.
        reason: String,
    },
    /// The file could not be replaced; it is as it was.
    #[error("cannot write {}, it is as it was: serin needs to create files in its directory", .file.display())]
    Write {
        /// Which.
        file: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file was edited between reading and writing, every time.
    #[error("{} was edited each time serin was about to write it, it is as its editor left it: try again when it is at rest", .file.display())]
    EditedMeanwhile {
        /// Which.
        file: PathBuf,
    },
    /// It is not in Git.
    #[error(transparent)]
    Git(#[from] super::git::GitError),
    /// Several files mention the candidate and none could be written.
    #[error("none of {} files could be written: {}", .0.len(), listed(.0.iter().map(chain)))]
    Several(Vec<ActuateError>),
}

/// An error and its causes, in one line.
pub fn chain(error: &ActuateError) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let _ = write!(text, ": {error}");
        cause = error.source();
    }
    text
}

fn what_to_check(unread: &[Left]) -> String {
    match unread {
        [] => "check the target's names against the files".to_owned(),
        _ => format!("some could not be looked at, mend them: {}", listed(unread)),
    }
}
