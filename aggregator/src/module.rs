//! The filter's module for those who fetch it: `/filter.wasm` and its SHA-256 (IO at the start; what is served never
//! changes while this process runs).

use std::{
    env, fs, io,
    path::{Path, PathBuf},
};

use axum::{
    Router,
    body::Bytes,
    http::{StatusCode, header},
    response::IntoResponse,
    routing::get,
};
use sha2::{Digest, Sha256};

/// The largest module taken: the filter has 0.3 MB, and a build with debug information 3 MB.
const BYTES_MAX: u64 = 8 << 20;
const MAGIC: &[u8] = b"\0asm";
/// Beside the executable, where the configuration does not say another place.
const NAME: &str = "serin_filter.wasm";
const ABSENT: &str = "this serin has no filter to offer: put serin_filter.wasm beside its executable, or name the file as \
                      `filter` in serin.yaml, and restart it\n";

/// Why the configured module cannot be offered.
#[derive(Debug, thiserror::Error)]
pub enum ModuleError {
    /// It is not there, for instance.
    #[error("filter: cannot read {path}: {source}; correct the path or leave `filter` out")]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// It is something else.
    #[error(
        "filter: {path} is not a WebAssembly module of at most 8 MiB: name the serin_filter.wasm that `make build` makes"
    )]
    NotAModule {
        /// Which file.
        path: PathBuf,
    },
}

/// A filter module that was read.
#[derive(Clone, Debug)]
pub struct Module {
    /// Where it was.
    pub path: PathBuf,
    /// Its SHA-256 in hexadecimal.
    pub sha256: String,
    bytes: Bytes,
}

impl Module {
    /// Reads the configured module, or else the one beside this executable, of which there need be none.
    ///
    /// # Errors
    /// When it cannot be read or is no module.
    pub fn load(configured: Option<&Path>) -> Result<Option<Self>, ModuleError> {
        if let Some(path) = configured {
            return Self::read(path).map(Some);
        }
        let beside = env::current_exe().ok().and_then(|program| Some(program.parent()?.join(NAME)));
        beside.filter(|path| path.is_file()).map(|path| Self::read(&path)).transpose()
    }

    fn read(path: &Path) -> Result<Self, ModuleError> {
        let failed = |source| ModuleError::Read { path: path.to_owned(), source };
        let not_a_module = || ModuleError::NotAModule { path: path.to_owned() };
        if fs::metadata(path).map_err(failed)?.len() > BYTES_MAX {
            return Err(not_a_module());
        }
        let bytes = fs::read(path).map_err(failed)?;
        if !bytes.starts_with(MAGIC) {
            return Err(not_a_module());
        }
        let sha256 = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(Module { path: path.to_owned(), sha256, bytes: bytes.into() })
    }
}

/// Answers `/filter.wasm`, and `/filter.wasm.sha256` in the form of `sha256sum`.
pub fn routes(module: Option<Module>) -> Router {
    let (wasm, sum) = (module.clone(), module);
    let wasm = move || async move {
        let Some(module) = wasm else { return (StatusCode::NOT_FOUND, ABSENT).into_response() };
        let tag = format!("\"{}\"", module.sha256);
        let headers = [(header::CONTENT_TYPE, "application/wasm".to_owned()), (header::ETAG, tag)];
        (headers, module.bytes).into_response()
    };
    let sum = move || async move {
        match sum {
            Some(module) => format!("{}  filter.wasm\n", module.sha256).into_response(),
            None => (StatusCode::NOT_FOUND, ABSENT).into_response(),
        }
    };
    Router::new().route("/filter.wasm", get(wasm)).route("/filter.wasm.sha256", get(sum))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_is_read_with_its_sum() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f.wasm");
        fs::write(&path, b"\0asm\x01\0\0\0").unwrap();
        let module = Module::load(Some(&path)).unwrap().unwrap();
        // `printf '\0asm\001\0\0\0' | sha256sum`
        assert_eq!(module.sha256, "93a44bbb96c751218e4c00d479e4c14358122a389acca16205b1e4d0dc5f9476");
    }

    #[test]
    fn what_is_no_module_is_refused_with_its_path() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f.wasm");
        assert!(matches!(Module::load(Some(&path)), Err(ModuleError::Read { .. })));
        fs::write(&path, b"#!/bin/sh").unwrap();
        let error = Module::load(Some(&path)).unwrap_err().to_string();
        assert!(error.contains("f.wasm is not a WebAssembly module"), "{error}");
        fs::File::create(&path).unwrap().set_len(BYTES_MAX + 1).unwrap();
        assert!(matches!(Module::load(Some(&path)), Err(ModuleError::NotAModule { .. })));
    }
}
