//! Every file in `envoy-configs/local` is one that Envoy takes, as it is and as the tests and the demo run it.

use std::fs;

use anyhow::Result;
use serde_json::{Value, json};
use support::{
    artifacts,
    bootstrap::{self, Bootstrap},
    envoy,
};

fn bootstraps() -> Vec<String> {
    let files = fs::read_dir(bootstrap::directory()).unwrap();
    let names = files.map(|file| file.unwrap().file_name().into_string().unwrap());
    let names: Vec<String> = names.filter(|name| name != "rds.yaml").collect();
    assert!(names.len() >= 3, "{names:?}");
    names
}

#[test]
fn as_the_tests_run_them() -> Result<()> {
    let dir = tempfile::tempdir()?;
    for name in bootstraps() {
        let bootstrap = Bootstrap::shipped(&name)?;
        let file = dir.path().join(format!("{name}.json"));
        fs::write(&file, bootstrap.json().to_string())?;
        envoy::validate(&file)?;
    }
    Ok(())
}

/// With the one path replaced that depends on where cargo builds.
#[test]
fn as_they_are_shipped() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let filter = artifacts::filter()?;
    for name in bootstraps() {
        let text = fs::read_to_string(bootstrap::directory().join(&name))?;
        let default = "target/wasm32-wasip1/wasm/serin_filter.wasm";
        assert_eq!(text.matches(default).count(), 1, "{name}");
        let file = dir.path().join(&name);
        fs::write(&file, text.replace(default, &filter.display().to_string()))?;
        envoy::validate(&file)?;
    }
    Ok(())
}

#[test]
fn a_mistake_is_noticed() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let mut value: Value = Bootstrap::shipped("sidecar-inbound.yaml")?.json().clone();
    value["static_resources"]["listeners"][0]["no_such_key"] = json!(1);
    let file = dir.path().join("mistake.json");
    fs::write(&file, value.to_string())?;
    assert!(envoy::validate(&file).unwrap_err().to_string().contains("no_such_key"));
    Ok(())
}
