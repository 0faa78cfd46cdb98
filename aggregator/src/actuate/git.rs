//! Commits what a rollback wrote, through the `git` command (IO), so that a GitOps controller applies it and does not fight it.
//!
//! clean? -> write -> commit these files only -> push; when the remote is ahead rebase once and push again. Credentials, hooks and signing
//! are what the checkout's owner set up ([ADR 18](../../../docs/adr/0018-rollbacks-through-the-git-command.md)).

use std::{
    fs::File,
    io::{self, Read as _, Seek as _},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use super::{ActuateError, Outcome};
use crate::config::Git;

/// How often a running `git` is looked at.
const LOOK: Duration = Duration::from_millis(10);
/// The most that is quoted of what `git` says.
const SAID_MAX: usize = 500;

/// Why a rollback is not in Git.
#[derive(Debug, thiserror::Error)]
pub enum GitError {
    /// The directory is not in a work tree, or is not this user's.
    #[error("{} is not a checked-out Git repository that serin may use: {said}", directory.display())]
    NotARepository {
        /// As configured.
        directory: PathBuf,
        /// By `git`.
        said: String,
    },
    /// Somebody is at work there.
    #[error("{} has changes that are not committed, nothing was written: {changed}; commit or discard them", directory.display())]
    Dirty {
        /// As configured.
        directory: PathBuf,
        /// As `git status` says it.
        changed: String,
    },
    /// A hook refuses it, for instance.
    #[error("the rollback was not committed, the files are as they were: {said}")]
    NotCommitted {
        /// By `git`.
        said: String,
    },
    /// The remote does not take it.
    #[error("the rollback is committed in {} and was not pushed: {said}; push it by hand", directory.display())]
    NotPushed {
        /// As configured.
        directory: PathBuf,
        /// By `git`.
        said: String,
    },
    /// The same lines were changed there.
    #[error("the rollback is committed in {} and conflicts with what was pushed meanwhile: {said}; rebase and push it by hand", directory.display())]
    Conflict {
        /// As configured.
        directory: PathBuf,
        /// By `git`.
        said: String,
    },
    /// `git` is not there, for instance.
    #[error("cannot run git: {0}; install it where serin runs")]
    Run(io::Error),
    /// It takes too long.
    #[error("`git {command}` was ended after `timeout`: is its remote reachable, and does it ask for nothing?")]
    Slow {
        /// Which.
        command: String,
    },
}

/// Has the files written and commits them. Running it again pushes what was not pushed before.
///
/// # Errors
/// When they are not written, not committed, or not pushed; the last two say in what state the checkout is.
pub fn roll_back(
    git: &Git,
    directory: &Path,
    message: &str,
    write: impl FnOnce() -> Result<Outcome, ActuateError>,
) -> Result<(Outcome, String), ActuateError> {
    let tree = Tree { git, directory, deadline: Instant::now() + git.timeout };
    tree.is_clean()?;
    let outcome = write()?;
    let mut done = String::new();
    if !outcome.changes.is_empty() {
        let files: Vec<&Path> = outcome.changes.iter().map(|change| change.file.as_path()).collect();
        done = format!("; committed as {}", tree.commit(&files, message)?);
    }
    if git.push && tree.push()? {
        done.push_str("; pushed");
    }
    Ok((outcome, done))
}

struct Tree<'a> {
    git: &'a Git,
    directory: &'a Path,
    deadline: Instant,
}

/// What a `git` that ran said, or what one that failed said.
type Said = Result<String, String>;

impl Tree<'_> {
    fn is_clean(&self) -> Result<(), GitError> {
        let directory = || self.directory.to_owned();
        self.run(&["rev-parse", "--show-toplevel"], &[])?
            .map_err(|said| GitError::NotARepository { directory: directory(), said })?;
        let changed = self.run(&["status", "--porcelain", "--untracked-files=no", "--", "."], &[])?;
        match changed {
            Ok(changed) if changed.is_empty() => Ok(()),
            Ok(changed) | Err(changed) => Err(GitError::Dirty { directory: directory(), changed }),
        }
    }

    /// The short name of the commit.
    fn commit(&self, files: &[&Path], message: &str) -> Result<String, GitError> {
        // Links in the configured path are followed: git is told where the files really are.
        let files: Vec<PathBuf> = files.iter().map(|file| file.canonicalize().unwrap_or(file.to_path_buf())).collect();
        // A new file is not known to git yet; of the others nothing but these is taken.
        let committed = match self.run(&["add", "--"], &files)? {
            Ok(_) => self.run(&["commit", "--quiet", "--only", "--message", message, "--"], &files)?,
            Err(said) => Err(said),
        };
        if let Err(said) = committed {
            // They were clean before: what is in them is Serin's.
            let restored = self.run(&["restore", "--staged", "--worktree", "--"], &files)?;
            let said =
                restored.err().map_or(said.clone(), |why| format!("{said}; and they could not be restored: {why}"));
            return Err(GitError::NotCommitted { said });
        }
        Ok(self.run(&["rev-parse", "--short", "HEAD"], &[])?.unwrap_or_default())
    }

    /// Whether there was something to push.
    fn push(&self) -> Result<bool, GitError> {
        let not_pushed = |said| GitError::NotPushed { directory: self.directory.to_owned(), said };
        let ahead = self.run(&["rev-list", "--count", "@{upstream}..HEAD"], &[])?.map_err(not_pushed)?;
        if ahead == "0" {
            return Ok(false);
        }
        let Err(first) = self.run(&["push", "--quiet"], &[])? else { return Ok(true) };
        // Only one that is ahead can be caught up with.
        self.run(&["fetch", "--quiet"], &[])?.map_err(not_pushed)?;
        if self.run(&["rev-list", "--count", "HEAD..@{upstream}"], &[])?.is_ok_and(|behind| behind == "0") {
            return Err(not_pushed(first));
        }
        if let Err(said) = self.run(&["rebase", "--quiet", "--autostash", "@{upstream}"], &[])? {
            // What it cannot undo it says, and a person has to look anyway.
            let _ = self.run(&["rebase", "--abort"], &[])?;
            return Err(GitError::Conflict { directory: self.directory.to_owned(), said });
        }
        self.run(&["push", "--quiet"], &[])?.map_err(not_pushed)?;
        Ok(true)
    }

    fn run(&self, arguments: &[&str], files: &[PathBuf]) -> Result<Said, GitError> {
        // To files, not pipes: nobody needs to empty them while it runs.
        let (mut out, mut err) =
            (tempfile::tempfile().map_err(GitError::Run)?, tempfile::tempfile().map_err(GitError::Run)?);
        let mut command = Command::new("git");
        command
            .arg("-C")
            .arg(self.directory)
            .args(["-c", &format!("user.name={}", self.git.name), "-c", &format!("user.email={}", self.git.email)])
            .args(arguments)
            .args(files)
            // Nobody is there to answer.
            .env("GIT_TERMINAL_PROMPT", "0")
            .env("GIT_EDITOR", "true")
            .stdin(Stdio::null())
            .stdout(out.try_clone().map_err(GitError::Run)?)
            .stderr(err.try_clone().map_err(GitError::Run)?);
        let mut child = command.spawn().map_err(GitError::Run)?;
        let status = loop {
            if let Some(status) = child.try_wait().map_err(GitError::Run)? {
                break status;
            }
            if Instant::now() >= self.deadline {
                // It may have ended just now.
                let _ = child.kill().and_then(|()| child.wait());
                return Err(GitError::Slow { command: arguments.first().copied().unwrap_or_default().to_owned() });
            }
            thread::sleep(LOOK);
        };
        if status.success() {
            return Ok(Ok(text(&mut out).map_err(GitError::Run)?));
        }
        let said = format!("{} {}", text(&mut err).map_err(GitError::Run)?, text(&mut out).map_err(GitError::Run)?);
        Ok(Err(said.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(SAID_MAX).collect()))
    }
}

fn text(file: &mut File) -> io::Result<String> {
    let mut bytes = Vec::new();
    file.rewind()?;
    file.take(64 << 10).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).trim().to_owned())
}

#[cfg(test)]
mod tests;
