//! Lists and reads the files of a target: IO.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::{self, Read},
    path::{Path, PathBuf},
};

use super::error::ActuateError;
use crate::config::Target;

/// The most that is read of a file: what Kubernetes stores of one object is at most 1.5 MiB, what people write far
/// less.
pub(super) const MAX_FILE_BYTES: u64 = 1 << 20;

/// The files to look at, sorted by name. Of several links to one file the first.
pub(super) fn files(target: &Target) -> Result<Vec<PathBuf>, ActuateError> {
    let directory = match target {
        Target::EnvoyRds { file, .. } => return Ok(vec![file.clone()]),
        Target::VirtualServices { directory, .. } => directory,
    };
    let list = |source| ActuateError::List { directory: directory.clone(), source };
    let mut files = BTreeSet::new();
    for entry in fs::read_dir(directory).map_err(list)? {
        let path = entry.map_err(list)?.path();
        let yaml = path.extension().is_some_and(|extension| extension == "yaml" || extension == "yml");
        // What cannot be looked at (a link to nowhere, or to itself) stays listed: reading it says why.
        if yaml && !fs::metadata(&path).is_ok_and(|found| !found.is_file()) {
            files.insert(path);
        }
    }
    let mut seen = BTreeSet::new();
    Ok(files.into_iter().filter(|path| fs::canonicalize(path).map_or(true, |real| seen.insert(real))).collect())
}

/// The text of a file.
pub(super) fn read(file: &Path) -> Result<String, ActuateError> {
    let error = |source| ActuateError::Read { file: file.to_owned(), source };
    // A pipe would be waited for.
    if !fs::metadata(file).map_err(error)?.is_file() {
        return Err(error(io::Error::other("it is not a regular file")));
    }
    let opened = File::open(file).map_err(error)?;
    let bytes = opened.metadata().map_err(error)?.len();
    let mut text = String::new();
    // One more than the limit, in case it grows while it is read.
    let read = opened.take(MAX_FILE_BYTES + 1).read_to_string(&mut text);
    if bytes > MAX_FILE_BYTES || text.len() as u64 > MAX_FILE_BYTES {
        return Err(ActuateError::TooLarge { file: file.to_owned(), bytes, limit: MAX_FILE_BYTES });
    }
    read.map_err(|source: io::Error| error(source))?;
    Ok(text)
}
