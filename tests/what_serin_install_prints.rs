//! Is what `serin install --print` prints known to the API, and the same as what Kustomize makes of the overlays?

use std::{collections::BTreeSet, fs, process::Command};

use serde_json::Value;
use support::artifacts;

use crate::the_installation_is_sound::{faults, install};

#[test]
fn it_is_known_and_nothing_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let run = |more: &[&str]| {
        let mut command = Command::new(artifacts::serin().unwrap());
        command.current_dir(dir.path()).args(["install", "--image", "example.org/serin:7", "--service", "cart"]);
        command.args(more).output().unwrap()
    };
    let without = run(&[]);
    let said = String::from_utf8_lossy(&without.stderr).into_owned();
    assert!(without.status.code() == Some(2) && said.contains("--print"), "{said}");
    let beside = ["prometheus-operator", "autoscaling", "argo-rollouts", "flagger"].map(|extra| ["--with", extra]);
    for how in ["all-namespaces", "empty-dir", "high-availability", "nats"] {
        let printed = run(&[beside.as_flattened(), &["--with", how, "--print"]].concat());
        assert!(printed.status.success(), "{}", String::from_utf8_lossy(&printed.stderr));
        let documents: Vec<Value> = serde_saphyr::from_multiple(&String::from_utf8(printed.stdout).unwrap()).unwrap();
        for document in documents.iter().filter(|document| document["kind"] != "EnvoyFilter") {
            assert_eq!(faults(document), Vec::<String>::new(), "{document}");
        }
    }
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}

/// Where there is a `kubectl`: its Kustomize makes of an overlay what `serin install --print --with` prints.
#[test]
fn kustomize_makes_the_same() {
    let kustomize = |folder: &str| Command::new("kubectl").arg("kustomize").arg(install().join(folder)).output();
    if kustomize("base").is_err() {
        eprintln!("skipped: there is no kubectl");
        return;
    }
    // The attachment is beside the Kustomizations, what the configuration says is held against the overlays' in `aggregator`, and of the CRD
    // Kustomize writes numbers differently.
    let elsewhere = ["EnvoyFilter", "ConfigMap", "CustomResourceDefinition"];
    let objects = |text: Vec<u8>| -> BTreeSet<String> {
        let mut documents: Vec<Value> = serde_saphyr::from_multiple(&String::from_utf8(text).unwrap()).unwrap();
        // Kustomize puts those that a patch names in front.
        let volumes = documents.iter_mut().filter_map(|document| document.pointer_mut("/spec/template/spec/volumes"));
        volumes.for_each(|volumes| volumes.as_array_mut().unwrap().sort_by_key(|volume| volume["name"].to_string()));
        let others = documents.iter().filter(|document| !elsewhere.contains(&document["kind"].as_str().unwrap()));
        others.map(Value::to_string).collect()
    };
    let printed = |with: &str| {
        let mut command = Command::new(artifacts::serin().unwrap());
        command.args(["install", "--print", "--image", "registry.example.com/serin:0.1.0", "--guard", "shop"]);
        objects(command.args(["--service", "shop", "--with", with]).output().unwrap().stdout)
    };
    let same = |overlay: &str, made: &BTreeSet<String>, printed: &BTreeSet<String>| {
        let (made_only, printed_only): (Vec<_>, Vec<_>) =
            (made.difference(printed).collect(), printed.difference(made).collect());
        assert!(made_only.is_empty() && printed_only.is_empty(), "{overlay}: {made_only:#?} {printed_only:#?}");
    };
    let guarded = objects(kustomize("guarded-namespace").unwrap().stdout);
    for overlay in ["prometheus-operator", "argo-rollouts", "flagger", "empty-dir", "high-availability", "nats"] {
        let mut made = objects(kustomize(&format!("overlays/{overlay}")).unwrap().stdout);
        made.extend(guarded.iter().cloned());
        same(overlay, &made, &printed(overlay));
    }
    same("all-namespaces", &objects(kustomize("overlays/all-namespaces").unwrap().stdout), &printed("all-namespaces"));
}
