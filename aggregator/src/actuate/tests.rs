use std::{
    ffi::OsStr,
    fs,
    os::unix::fs::{PermissionsExt as _, symlink},
};

use tempfile::TempDir;

use super::*;
use crate::config::Template;

const DATA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/actuate");
const INTENT: Intent<'_> = Intent { baseline: "v1", candidate: "v2" };

fn reviews(directory: &Path) -> Target {
    let subset = Template::parse("{release}").unwrap();
    Target::VirtualServices { directory: directory.to_owned(), host: "reviews".to_owned(), subset, git: None }
}

fn shop(file: &Path) -> Target {
    Target::EnvoyRds { file: file.to_owned(), cluster: Template::parse("shop-{release}").unwrap() }
}

fn said(result: &Result<Outcome, ActuateError>) -> String {
    match result {
        Ok(outcome) => outcome.to_string(),
        Err(error) => format!("error: {}", chain(error)),
    }
}

/// Every `NAME.in.EXT` of a folder becomes `NAME.out.EXT`, and the outcome is `NAME.says.txt`.
fn check(folder: &str, target: impl Fn(&Path) -> Target) {
    let mut cases = 0;
    for entry in fs::read_dir(Path::new(DATA).join(folder)).unwrap() {
        let path = entry.unwrap().path();
        let file_name = path.file_name().and_then(OsStr::to_str).unwrap();
        let Some((name, extension)) = file_name.split_once(".in.") else {
            continue;
        };
        let before = fs::read_to_string(&path).unwrap();
        let expected = fs::read_to_string(path.with_file_name(format!("{name}.out.{extension}"))).unwrap();
        let says = fs::read_to_string(path.with_file_name(format!("{name}.says.txt"))).unwrap();
        let directory = TempDir::new().unwrap();
        let file = directory.path().join(format!("{name}.{extension}"));
        fs::write(&file, &before).unwrap();
        let target = target(&file);

        let rehearsed = roll_back(&target, &INTENT, true);
        assert_eq!(fs::read_to_string(&file).unwrap(), before, "{name}: a dry run wrote");
        let done = roll_back(&target, &INTENT, false);
        let said = said(&done).replace(directory.path().to_str().unwrap(), "DIR");
        assert_eq!(said, says.trim_end(), "{name}");
        assert_eq!(fs::read_to_string(&file).unwrap(), expected, "{name}");
        if let (Ok(rehearsed), Ok(done)) = (rehearsed, done) {
            assert_eq!(Outcome { dry_run: false, ..rehearsed }, done, "{name}");
            let again = roll_back(&target, &INTENT, false).unwrap();
            assert_eq!(again.changes, [], "{name}: the second time");
            assert_eq!(again.already.len(), done.changes.len() + done.already.len(), "{name}: the second time");
            assert_eq!(again.left, done.left, "{name}: the second time");
        }
        assert_eq!(fs::read_to_string(&file).unwrap(), expected, "{name}: the second time");
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1, "{name}: files left behind");
        cases += 1;
    }
    assert!(cases > 2, "{folder} has cases");
}

#[test]
fn virtual_services() {
    check("virtual-service", |file| reviews(file.parent().unwrap()));
}

#[test]
fn route_configurations() {
    check("rds", shop);
}

const SPLIT: &str = "\
kind: VirtualService
apiVersion: networking.istio.io/v1
metadata: {name: reviews}
spec:
  http:
  - route:
    - {destination: {host: reviews, subset: v1}, weight: 90}
    - {destination: {host: reviews, subset: v2}, weight: 10}
";

fn rolled_back(text: &str) -> String {
    text.replace("weight: 90", "weight: 100").replace("weight: 10}", "weight: 0}")
}

fn names(directory: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn an_edit_in_between_is_kept() {
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("a.yaml");
    fs::write(&file, SPLIT).unwrap();
    let mut edits = 0;
    let outcome = roll_back_with(&reviews(directory.path()), &INTENT, false, &mut |file| {
        if edits < REPLANS {
            edits += 1;
            let text = fs::read_to_string(file).unwrap();
            fs::write(file, format!("# edit {edits}\n{text}")).unwrap();
        }
    });
    assert_eq!(outcome.unwrap().changes.len(), 1);
    assert_eq!(edits, REPLANS);
    let text = fs::read_to_string(&file).unwrap();
    assert_eq!(text, format!("# edit 3\n# edit 2\n# edit 1\n{}", rolled_back(SPLIT)));
    assert_eq!(names(directory.path()), ["a.yaml"]);
}

#[test]
fn somebody_else_rolls_back_in_between() {
    let directory = TempDir::new().unwrap();
    fs::write(directory.path().join("a.yaml"), SPLIT).unwrap();
    let outcome = roll_back_with(&reviews(directory.path()), &INTENT, false, &mut |file| {
        fs::write(file, rolled_back(SPLIT)).unwrap();
    });
    let outcome = outcome.unwrap();
    assert!(outcome.changes.is_empty() && !outcome.already.is_empty());
}

#[test]
fn edited_every_time() {
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("a.yaml");
    fs::write(&file, SPLIT).unwrap();
    let mut edits = 0;
    let result = roll_back_with(&reviews(directory.path()), &INTENT, false, &mut |file| {
        edits += 1;
        fs::write(file, format!("{SPLIT}# edit {edits}\n")).unwrap();
    });
    assert!(matches!(result, Err(ActuateError::EditedMeanwhile { .. })), "{result:?}");
    assert_eq!(edits, REPLANS + 1);
    assert_eq!(fs::read_to_string(&file).unwrap(), format!("{SPLIT}# edit {edits}\n"));
    assert_eq!(names(directory.path()), ["a.yaml"]);
}

#[test]
fn removed_in_between() {
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("a.yaml");
    fs::write(&file, SPLIT).unwrap();
    let result = roll_back_with(&reviews(directory.path()), &INTENT, false, &mut |file| fs::remove_file(file).unwrap());
    assert!(matches!(result, Err(ActuateError::Write { .. })), "{result:?}");
    assert_eq!(names(directory.path()), [""; 0]);
}

#[test]
fn one_of_two_cannot_be_written() {
    let directory = TempDir::new().unwrap();
    for name in ["a.yaml", "b.yaml", "c.yml"] {
        fs::write(directory.path().join(name), SPLIT).unwrap();
    }
    let outcome = roll_back_with(&reviews(directory.path()), &INTENT, false, &mut |file| {
        if file.ends_with("b.yaml") {
            fs::remove_file(file).unwrap();
        }
    })
    .unwrap();
    let written: Vec<_> = outcome.changes.iter().map(|change| change.file.file_name().unwrap()).collect();
    assert_eq!(written, ["a.yaml", "c.yml"]);
    assert_eq!(outcome.left.len(), 1);
    assert!(outcome.left[0].file.ends_with("b.yaml"));
    assert!(outcome.left[0].reason.starts_with("cannot write"), "{}", outcome.left[0].reason);
}

#[test]
fn a_directory_that_cannot_be_written_to() {
    // Not even root creates files there.
    let replaced = apply::replace(Path::new("/proc/self/cmdline"), b"", b"new");
    assert!(replaced.is_err());
}

#[test]
fn permissions_and_links_stay() {
    let directory = TempDir::new().unwrap();
    let real = TempDir::new().unwrap();
    let file = real.path().join("real.txt");
    fs::write(&file, SPLIT).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
    // Two links to one file: written once.
    symlink(&file, directory.path().join("a.yaml")).unwrap();
    symlink(&file, directory.path().join("b.yml")).unwrap();
    let outcome = roll_back(&reviews(directory.path()), &INTENT, false).unwrap();
    assert_eq!(outcome.changes.len(), 1);
    assert_eq!(fs::read_to_string(&file).unwrap(), rolled_back(SPLIT));
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o7777, 0o640);
    assert!(fs::symlink_metadata(directory.path().join("a.yaml")).unwrap().is_symlink());
    assert_eq!(names(real.path()), ["real.txt"]);
}

#[test]
fn what_cannot_be_read_is_named() {
    let directory = TempDir::new().unwrap();
    let path = |name: &str| directory.path().join(name);
    fs::write(path("a.yaml"), SPLIT).unwrap();
    fs::write(path("big.yaml"), format!("{SPLIT}{}", "#".repeat(1 << 20))).unwrap();
    symlink(path("loop.yaml"), path("loop.yaml")).unwrap();
    fs::write(path("latin.yaml"), b"# caf\xe9\n").unwrap();
    fs::create_dir(path("directory.yaml")).unwrap();
    fs::write(path("other.txt"), SPLIT).unwrap();
    let outcome = roll_back(&reviews(directory.path()), &INTENT, false).unwrap();
    assert_eq!(outcome.changes.len(), 1);
    let left: Vec<_> = outcome.left.iter().map(|left| left.file.file_name().unwrap()).collect();
    assert_eq!(left, ["big.yaml", "latin.yaml", "loop.yaml"]);
    assert_eq!(fs::read_to_string(path("other.txt")).unwrap(), SPLIT);
}

#[test]
fn targets_that_are_not_there() {
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("a.yaml");
    let result = roll_back(&reviews(&file), &INTENT, false);
    assert!(matches!(result, Err(ActuateError::List { .. })), "{result:?}");
    fs::write(&file, SPLIT).unwrap();
    let result = roll_back(&reviews(&file), &INTENT, false);
    assert!(matches!(result, Err(ActuateError::List { .. })), "{result:?}");
    let result = roll_back(&shop(&directory.path().join("b.yaml")), &INTENT, false);
    assert!(matches!(result, Err(ActuateError::NoRoute { ref unread, .. }) if unread.len() == 1), "{result:?}");
}
