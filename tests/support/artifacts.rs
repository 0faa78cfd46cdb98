//! Where the things under test are.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};

/// The root of the repository.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."))
}

/// The Envoy binary: `$ENVOY`, else the one in the repository's `.venv`.
///
/// # Errors
/// When there is none.
pub fn envoy() -> Result<PathBuf> {
    if let Some(path) = from_env("ENVOY")? {
        return Ok(path);
    }
    let lib = root().join(".venv/lib");
    let versions = fs::read_dir(&lib).into_iter().flatten().flatten().map(|entry| entry.path());
    versions.map(|python| python.join("site-packages/envoy/_bin/envoy")).find(|path| path.is_file()).with_context(
        || {
            format!(
                "no Envoy under {}: `make demo` and `make test` install it; or set ENVOY=/path/to/envoy",
                lib.display()
            )
        },
    )
}

/// The NATS server: `$NATS_SERVER`, else the one in the repository's `.venv`.
///
/// # Errors
/// When there is none.
pub fn nats() -> Result<PathBuf> {
    if let Some(path) = from_env("NATS_SERVER")? {
        return Ok(path);
    }
    let path = root().join(".venv/bin/nats-server");
    if !path.is_file() {
        bail!("{} is missing: `make test` installs it; or set NATS_SERVER=/path/to/nats-server", path.display());
    }
    Ok(path)
}

/// The filter: `$SERIN_FILTER`, else the one in the target directory.
///
/// # Errors
/// When it was not built.
pub fn filter() -> Result<PathBuf> {
    if let Some(path) = from_env("SERIN_FILTER")? {
        return Ok(path);
    }
    let path = target()?.join("wasm32-wasip1/wasm/serin_filter.wasm");
    if !path.is_file() {
        bail!(
            "{} is missing: build it with `cargo build -p serin-filter --profile wasm --target wasm32-wasip1`, \
             or set SERIN_FILTER=/path/to/serin_filter.wasm",
            path.display()
        );
    }
    Ok(path)
}

/// The filter that traps where a request's header `x-serin-trap` asks for it.
///
/// # Errors
/// When it was not built.
pub fn trapping_filter() -> Result<PathBuf> {
    let path = target()?.join("trap/wasm32-wasip1/wasm/serin_filter.wasm");
    if !path.is_file() {
        bail!("{} is missing: build it with `make filter-trap`", path.display());
    }
    Ok(path)
}

/// The `serin` binary: `$SERIN`, else the newest of those in the target directory.
///
/// # Errors
/// When it was not built.
pub fn serin() -> Result<PathBuf> {
    if let Some(path) = from_env("SERIN")? {
        return Ok(path);
    }
    let target = target()?;
    let built = ["debug", "release"].map(|profile| target.join(profile).join("serin"));
    let newest = built.into_iter().filter_map(|path| Some((fs::metadata(&path).ok()?.modified().ok()?, path))).max();
    newest.map(|(_, path)| path).with_context(|| {
        format!(
            "no `serin` under {}: build it with `cargo build -p serin`, or set SERIN=/path/to/serin",
            target.display()
        )
    })
}

/// The target directory that the running program was built into.
fn target() -> Result<PathBuf> {
    let program = env::current_exe().context("cannot tell where this program is")?;
    let profile = program.ancestors().find(|dir| dir.ends_with("debug") || dir.ends_with("release"));
    let target = profile.and_then(Path::parent).map(Path::to_owned);
    target.with_context(|| format!("{} is not in a target directory", program.display()))
}

fn from_env(name: &str) -> Result<Option<PathBuf>> {
    match env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from) {
        Some(path) if !path.is_file() => bail!("{name}={} is not a file", path.display()),
        path => Ok(path.map(|path| path.canonicalize().unwrap_or(path))),
    }
}
