use std::{fs, os::unix::fs::PermissionsExt as _};

use tempfile::TempDir;

use super::*;
use crate::{
    actuate::{self, Intent},
    config::{Target, Template},
};

const MANIFEST: &str = "\
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: shop}
spec:
  hosts: [shop]
  http:
  - route:
    - {destination: {host: shop, subset: v1}, weight: 90}
    - {destination: {host: shop, subset: v2}, weight: 10}
";

/// A bare remote, a checkout for Serin, and one for a colleague.
struct Rig {
    dir: TempDir,
}

impl Rig {
    fn new() -> Self {
        let rig = Rig { dir: tempfile::tempdir().unwrap() };
        let top = rig.dir.path();
        git(top, &["init", "--quiet", "--bare", "--initial-branch=main", "remote"]);
        git(top, &["clone", "--quiet", "remote", "serin"]);
        git(&rig.at("serin"), &["checkout", "--quiet", "-B", "main"]);
        fs::create_dir(rig.at("serin/manifests")).unwrap();
        fs::write(rig.at("serin/manifests/shop.yaml"), MANIFEST).unwrap();
        git(&rig.at("serin"), &["add", "."]);
        git(&rig.at("serin"), &["commit", "--quiet", "-m", "first"]);
        git(&rig.at("serin"), &["push", "--quiet", "-u", "origin", "main"]);
        git(top, &["clone", "--quiet", "remote", "colleague"]);
        rig
    }

    fn at(&self, path: &str) -> PathBuf {
        self.dir.path().join(path)
    }

    fn roll_back(&self, push: bool) -> Result<String, String> {
        let [name, email] = ["Serin", "serin@example.org"].map(str::to_owned);
        let git = Git { name, email, push, timeout: Duration::from_secs(20) };
        let directory = self.at("serin/manifests");
        let subset = Template::parse("{release}").unwrap();
        let target = Target::VirtualServices { directory: directory.clone(), host: "shop".into(), subset, git: None };
        let intent = Intent { baseline: "v1", candidate: "v2" };
        let done = roll_back(&git, &directory, "Roll back v2\n\np99 slower: 1.44x", || {
            actuate::roll_back(&target, &intent, false)
        });
        done.map(|(_, done)| done).map_err(|error| actuate::chain(&error))
    }

    /// Of the remote, the newest first.
    fn pushed(&self) -> String {
        git(&self.at("remote"), &["log", "--format=%an <%ae> %s: %b", "main"])
    }

    fn colleague(&self, file: &str, text: &str) {
        fs::write(self.at("colleague").join(file), text).unwrap();
        git(&self.at("colleague"), &["add", "."]);
        git(&self.at("colleague"), &["commit", "--quiet", "-m", "meanwhile"]);
        git(&self.at("colleague"), &["push", "--quiet"]);
    }

    fn hook(&self, path: &str) {
        fs::write(self.at(path), "#!/bin/sh\necho 'freeze until Monday' >&2\nexit 1\n").unwrap();
        fs::set_permissions(self.at(path), fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn manifest(&self) -> String {
        fs::read_to_string(self.at("serin/manifests/shop.yaml")).unwrap()
    }
}

fn git(directory: &Path, arguments: &[&str]) -> String {
    let mut command = Command::new("git");
    command.arg("-C").arg(directory).args(["-c", "user.name=A", "-c", "user.email=a@example.org"]).args(arguments);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

#[test]
fn a_rollback_is_committed_and_pushed_once() {
    let rig = Rig::new();
    // Something else that somebody staged stays out of the commit.
    fs::write(rig.at("serin/other.txt"), "x").unwrap();
    git(&rig.at("serin"), &["add", "other.txt"]);
    let done = rig.roll_back(true).unwrap();
    assert!(done.starts_with("; committed as ") && done.ends_with("; pushed"), "{done}");
    assert!(
        rig.pushed().starts_with("Serin <serin@example.org> Roll back v2: p99 slower: 1.44x\n"),
        "{}",
        rig.pushed()
    );
    let changed = git(&rig.at("remote"), &["show", "--format=", "--name-only", "main"]);
    assert_eq!(changed, "manifests/shop.yaml");
    assert!(rig.manifest().contains("v2}, weight: 0}"), "{}", rig.manifest());
    assert_eq!(rig.roll_back(true).as_deref(), Ok(""));
}

#[test]
fn without_push_it_stays_here_and_is_pushed_when_that_is_wanted() {
    let rig = Rig::new();
    rig.roll_back(false).unwrap();
    assert!(!rig.pushed().contains("Roll back"));
    assert_eq!(rig.roll_back(true).as_deref(), Ok("; pushed"));
    assert!(rig.pushed().contains("Roll back"));
}

#[test]
fn a_remote_that_is_ahead_is_caught_up_with() {
    let rig = Rig::new();
    rig.colleague("readme.txt", "hello");
    rig.roll_back(true).unwrap();
    let pushed = rig.pushed();
    let subjects: Vec<&str> = pushed.lines().filter(|line| !line.is_empty()).collect();
    assert!(subjects[0].contains("Roll back v2") && subjects.iter().any(|line| line.contains("meanwhile")), "{pushed}");
}

#[test]
fn a_conflict_is_said_and_nothing_is_left_half_done() {
    let rig = Rig::new();
    rig.colleague(
        "manifests/shop.yaml",
        &MANIFEST.replace("weight: 90", "weight: 80").replace("weight: 10", "weight: 20"),
    );
    let error = rig.roll_back(true).unwrap_err();
    assert!(error.contains("conflicts with what was pushed meanwhile"), "{error}");
    let status = git(&rig.at("serin"), &["status"]);
    assert!(!status.contains("rebase") && status.contains("nothing to commit"), "{status}");
    assert!(!rig.pushed().contains("Roll back"));
}

#[test]
fn a_hook_that_refuses_the_commit_leaves_the_files_as_they_were() {
    let rig = Rig::new();
    rig.hook("serin/.git/hooks/pre-commit");
    let error = rig.roll_back(true).unwrap_err();
    assert!(error.contains("not committed, the files are as they were: freeze until Monday"), "{error}");
    assert_eq!(rig.manifest(), MANIFEST);
    fs::remove_file(rig.at("serin/.git/hooks/pre-commit")).unwrap();
    rig.roll_back(true).unwrap();
}

#[test]
fn a_remote_that_refuses_the_push_is_said_and_tried_again() {
    let rig = Rig::new();
    rig.hook("remote/hooks/pre-receive");
    let error = rig.roll_back(true).unwrap_err();
    assert!(error.contains("was not pushed") && error.contains("freeze until Monday"), "{error}");
    fs::remove_file(rig.at("remote/hooks/pre-receive")).unwrap();
    assert_eq!(rig.roll_back(true).as_deref(), Ok("; pushed"));
}

#[test]
fn what_is_not_ready_is_not_touched() {
    let rig = Rig::new();
    let dirty = format!("{MANIFEST}# mine\n");
    fs::write(rig.at("serin/manifests/shop.yaml"), &dirty).unwrap();
    let error = rig.roll_back(true).unwrap_err();
    assert!(error.contains("has changes that are not committed, nothing was written"), "{error}");
    assert_eq!(rig.manifest(), dirty);
    fs::remove_dir_all(rig.at("serin/.git")).unwrap();
    let error = rig.roll_back(true).unwrap_err();
    assert!(error.contains("is not a checked-out Git repository"), "{error}");
}
