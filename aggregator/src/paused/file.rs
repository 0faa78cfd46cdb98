//! A small file in the data_dir, replaced in one step (IO).

use std::{
    fs,
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use super::{decode, encode, unreadable};
use crate::{safety::Pause, time::UnixMicros};

const NAME: &str = "pause.json";

/// Its name.
#[derive(Clone, Debug)]
pub struct PauseFile(PathBuf);

impl PauseFile {
    /// In this data_dir.
    pub fn new(data_dir: &Path) -> Self {
        PauseFile(data_dir.join(NAME))
    }

    /// What was kept. A file that cannot be read is a pause without an end: somebody wanted one.
    pub fn read(&self, now: UnixMicros) -> Option<Pause> {
        let place = self.0.display().to_string();
        match fs::read(&self.0) {
            Ok(bytes) => Some(decode(&bytes, &place, now)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => Some(unreadable(&place, &error, now)),
        }
    }

    /// Keeps it, or that there is none. When this returns it is durable.
    ///
    /// # Errors
    /// When the disk is full, for instance.
    pub fn write(&self, pause: Option<&Pause>) -> io::Result<()> {
        let directory = self.0.parent().unwrap_or(Path::new("."));
        fs::create_dir_all(directory)?;
        match pause {
            Some(pause) => {
                let mut new = tempfile::Builder::new().prefix(".pause-").tempfile_in(directory)?;
                new.write_all(encode(pause).to_string().as_bytes())?;
                new.as_file().sync_all()?;
                new.persist(&self.0).map_err(|error| error.error)?;
            }
            None => match fs::remove_file(&self.0) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            },
        }
        fs::File::open(directory)?.sync_all()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_kept_until_it_is_lifted() {
        let directory = tempfile::tempdir().unwrap();
        let file = PauseFile::new(&directory.path().join("data"));
        let now = UnixMicros(7);
        assert_eq!(file.read(now), None);
        for until in [None, Some(UnixMicros(9))] {
            let pause = Pause { since: UnixMicros(3), until, reason: "a \"drill\"".into() };
            file.write(Some(&pause)).unwrap();
            assert_eq!(file.read(now), Some(pause));
        }
        file.write(None).unwrap();
        file.write(None).unwrap();
        assert_eq!(file.read(now), None);
        fs::write(&file.0, "{").unwrap();
        assert!(
            file.read(now).is_some_and(|pause| pause.until.is_none() && pause.since == now),
            "nothing is written on a guess"
        );
    }
}
