//! Do the paths that the documents name exist?

use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn documents() -> Vec<PathBuf> {
    let mut documents: Vec<_> =
        ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md"].map(|name| root().join(name)).into();
    for folder in ["docs", "docs/adr"] {
        let entries = std::fs::read_dir(root().join(folder)).unwrap().map(|entry| entry.unwrap().path());
        documents.extend(entries.filter(|path| path.is_file()));
    }
    documents
}

/// Words in backticks, and link targets, that begin with a folder of this repository or end in `.md`.
fn named(text: &str) -> Vec<String> {
    let quoted = text.split('`').skip(1).step_by(2).flat_map(|code| code.split_whitespace());
    let linked = text.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(target, _)| target);
    let folders = std::fs::read_dir(root()).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
    let folders: Vec<_> = folders.filter(|name| !["target", ".venv", "serin-data"].contains(&name.as_str())).collect();
    let ours = |word: &&str| {
        let (first, rest) = word.split_once('/').unwrap_or((word, ""));
        let plain = word.chars().all(|c| c.is_ascii_alphanumeric() || "._-/".contains(c));
        plain
            && (!rest.is_empty() && folders.iter().any(|f| f == first) || !word.contains("//") && word.ends_with(".md"))
    };
    quoted.chain(linked).filter(ours).map(str::to_owned).collect()
}

#[test]
fn documents_name_real_paths() {
    let mut seen = 0;
    for document in documents() {
        let text = std::fs::read_to_string(&document).unwrap();
        for path in named(&text) {
            seen += 1;
            let beside = document.parent().unwrap().join(&path);
            assert!(root().join(&path).exists() || beside.exists(), "{}: {path} does not exist", document.display());
        }
    }
    assert!(seen > 20, "found only {seen} paths: has the way they are written changed?");
}
