//! Replaces a file in one step: IO.

use std::{
    fs::{self, File},
    io::{self, Write as _},
    os::unix::fs::{MetadataExt as _, fchown},
    path::Path,
};

/// What became of a file.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Applied {
    /// It has the new content.
    Written {
        /// Something to tell a person about it.
        note: Option<String>,
    },
    /// It is no longer what was planned on, and untouched.
    Edited,
}

/// Puts `after` in the place of `before`.
///
/// The new content goes to a file beside the real one (links are followed), with its permissions, and its owner where
/// the system allows, is made durable, and takes its place by a rename: whoever reads the file sees the old content
/// or the new, and Envoy's watch, which waits for a rename, reloads it. An editor that writes in the instant between
/// the last look and the rename loses: POSIX has no rename that compares. Extended attributes and other hard links
/// keep to the old file.
pub(super) fn replace(file: &Path, before: &[u8], after: &[u8]) -> io::Result<Applied> {
    let real = fs::canonicalize(file)?;
    let directory = real.parent().ok_or_else(|| io::Error::other("it has no directory"))?;
    let metadata = fs::metadata(&real)?;
    // No `.yaml` at the end: nobody who reads the directory takes it for a manifest.
    let mut new = tempfile::Builder::new().prefix(".serin-").suffix(".tmp").tempfile_in(directory)?;
    new.write_all(after)?;
    let owner = new.as_file().metadata()?;
    if (owner.uid(), owner.gid()) != (metadata.uid(), metadata.gid()) {
        // Only root may give files away. Before the permissions: a change of owner clears some of them.
        let _ = fchown(new.as_file(), Some(metadata.uid()), Some(metadata.gid()));
    }
    new.as_file().set_permissions(metadata.permissions())?;
    new.as_file().sync_all()?;
    let parent = File::open(directory)?;
    if fs::read(&real)? != before {
        return Ok(Applied::Edited);
    }
    new.persist(&real).map_err(|error| error.error)?;
    let note = parent.sync_all().err().map(|error| {
        format!("it is written, but its directory could not be made durable and a power cut may undo it: {error}")
    });
    Ok(Applied::Written { note })
}
