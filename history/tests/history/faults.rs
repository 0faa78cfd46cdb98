//! What the disk does wrong is told, and never read as if it were right.

use std::{
    fs::{self, File},
    os::unix::fs::{FileExt, PermissionsExt},
    path::{Path, PathBuf},
    process::Command,
};

use serin_history::{Error, History};

use crate::support::{Numbers, append, histograms, open, read, retention, series};

const NOON: u64 = 1_764_072_000;

/// Two minutes of twenty series, half of it rolled up.
fn fill(directory: &Path) {
    let history = open(directory);
    let mut numbers = Numbers(4);
    for second in 0..120 {
        let counted: Vec<_> = (0..20).map(|number| (series(number), histograms(&mut numbers))).collect();
        append(&history, "r", second + 1, NOON + second, &counted).unwrap();
    }
    history.roll_up(NOON + 70).unwrap();
}

#[test]
fn a_flipped_bit_is_told_or_harmless() {
    let directory = tempfile::tempdir().unwrap();
    fill(directory.path());
    let path = directory.path().join("histograms.redb");
    let sound = fs::read(&path).unwrap();
    let all = |history: &History| -> Result<_, Error> {
        Ok([read(history, (0, u64::MAX), 1)?, read(history, (0, u64::MAX), 10)?, read(history, (0, u64::MAX), 60)?])
    };
    let right = all(&open(directory.path())).unwrap();
    let (mut numbers, mut told) = (Numbers(8), [0; 4]);
    let flips = std::env::var("FLIPS").map_or(150, |flips| flips.parse().unwrap());
    for _ in 0..flips {
        fs::write(&path, &sound).unwrap();
        let (at, bit) = (numbers.below(sound.len() as u64), numbers.below(8));
        let file = File::options().write(true).open(&path).unwrap();
        file.write_all_at(&[sound[at as usize] ^ 1 << bit], at).unwrap();
        let Ok(history) = History::open(directory.path(), retention()) else {
            told[0] += 1;
            continue;
        };
        let found = all(&history);
        let checked = history.check();
        let is_sound = checked.as_ref().is_ok_and(|checked| checked.is_sound());
        match found {
            Err(_) => told[1] += 1,
            Ok(found) if found == right => told[3] += 1,
            // Nothing reads pages' own checksums but the check: a value may be looked for in the wrong place.
            Ok(_) => {
                told[2] += 1;
                assert!(!is_sound, "bit {bit} of byte {at}: {checked:?}");
            }
        }
    }
    let [at_open, at_read, by_the_check, harmless] = told;
    println!("told at opening {at_open}, at reading {at_read}, only by the check {by_the_check}; harmless {harmless}");
}

#[test]
fn a_file_that_is_none_is_told() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("histograms.redb"), [7; 100_000]).unwrap();
    let error = History::open(directory.path(), retention()).err().unwrap().to_string();
    assert!(error.starts_with("cannot open ") || error.contains(" is damaged ("), "{error}");
}

/// A file system of its own, while it is not dropped.
struct Mount(PathBuf);

impl Mount {
    /// `None` where one may not mount.
    fn new(directory: &Path, options: &str) -> Option<Self> {
        let mount = Command::new("mount").args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(directory).output();
        mount.is_ok_and(|output| output.status.success()).then(|| Mount(directory.to_owned()))
    }

    fn run(&self, program: &str, arguments: &[&str]) {
        assert!(Command::new(program).args(arguments).arg(&self.0).status().unwrap().success());
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).status();
    }
}

#[test]
fn a_full_disk_is_told_and_what_was_acknowledged_stays() {
    let directory = tempfile::tempdir().unwrap();
    let Some(mount) = Mount::new(directory.path(), "size=1m") else {
        eprintln!("skipped: a full disk needs the right to mount a tmpfs");
        return;
    };
    let history = open(directory.path());
    let mut numbers = Numbers(6);
    let counted: Vec<_> = (0..100).map(|number| (series(number), histograms(&mut numbers))).collect();
    let mut next = 1..;
    let (refused, error) =
        next.find_map(|sequence| Some((sequence, append(&history, "r", sequence, NOON, &counted).err()?))).unwrap();
    assert!(matches!(error, Error::Store(_)), "{error}");
    assert!(error.to_string().ends_with("check the space and the health of its disk"), "{error}");
    drop(history);
    mount.run("mount", &["-o", "remount,size=8m"]);
    let history = open(directory.path());
    assert_eq!(history.applied_sequence(b"r").unwrap(), Some(refused - 1));
    let sums = read(&history, (NOON, NOON + 1), 1).unwrap();
    let stored = sums.get(&(NOON, series(3))).unwrap().total.total();
    assert_eq!(stored, counted[3].1.total.total() * (refused - 1));
    append(&history, "r", refused, NOON, &counted).unwrap();
    assert!(history.check().unwrap().is_sound());
}

#[test]
fn a_directory_that_cannot_be_written_to_is_told() {
    let directory = tempfile::tempdir().unwrap();
    let is_root = rustix::process::geteuid().is_root();
    let mount = is_root.then(|| Mount::new(directory.path(), "ro")).flatten();
    if is_root && mount.is_none() {
        eprintln!("skipped: permissions do not bind root, who needs the right to mount a tmpfs here");
        return;
    }
    if !is_root {
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o555)).unwrap();
    }
    let error = History::open(directory.path(), retention()).err().unwrap().to_string();
    assert!(error.ends_with("make it and its directory writable, with space on the disk"), "{error}");
    let error = History::open(&directory.path().join("new"), retention()).err().unwrap().to_string();
    assert!(error.ends_with("make it writable or choose another directory"), "{error}");
}
