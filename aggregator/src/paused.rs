//! The pause, kept across restarts (IO): a small file in the data_dir, replaced in one step.

use std::{
    fs,
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use serde_json::{Value, json};

use crate::{safety::Pause, time::UnixMicros};

const NAME: &str = "pause.json";

/// Where it is kept.
#[derive(Clone, Debug)]
pub struct PauseFile(PathBuf);

impl PauseFile {
    /// In this data_dir.
    pub fn new(data_dir: &Path) -> Self {
        PauseFile(data_dir.join(NAME))
    }

    /// What was kept. A file that cannot be read is a pause without an end: somebody wanted one.
    pub fn read(&self, now: UnixMicros) -> Option<Pause> {
        let unreadable = |error: &dyn std::fmt::Display| Pause {
            since: now,
            until: None,
            reason: format!("{} cannot be read: {error}", self.0.display()),
        };
        match fs::read(&self.0) {
            Ok(bytes) => Some(decode(&bytes).unwrap_or_else(|| unreadable(&"it is not what serin writes"))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => Some(unreadable(&error)),
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

fn encode(pause: &Pause) -> Value {
    json!({
        "since_unix_us": pause.since.0,
        "until_unix_us": pause.until.map(|until| until.0),
        "reason": pause.reason,
    })
}

fn decode(bytes: &[u8]) -> Option<Pause> {
    let value: Value = serde_json::from_slice(bytes).ok()?;
    let until = match value.get("until_unix_us")? {
        Value::Null => None,
        until => Some(UnixMicros(until.as_u64()?)),
    };
    let since = UnixMicros(value.get("since_unix_us")?.as_u64()?);
    Some(Pause { since, until, reason: value.get("reason")?.as_str()?.to_owned() })
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
