//! Does the filter import only what is on the allow-list? A missing import would keep Envoy from loading it, and
//! an import of randomness or clocks would mean that code crept in that is not meant to run there.

use std::{collections::BTreeSet, path::Path};

use wasmparser::{Parser, Payload};

#[test]
fn the_filter_imports_only_what_envoy_gives() {
    let wasm = std::fs::read(support::artifacts::filter().unwrap()).unwrap();
    let list = Path::new(env!("CARGO_MANIFEST_DIR")).join("../filter/allowed-imports.txt");
    let list = std::fs::read_to_string(list).unwrap();
    let allowed: BTreeSet<&str> = list.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).collect();
    let mut imported = BTreeSet::new();
    for payload in Parser::new(0).parse_all(&wasm) {
        if let Payload::ImportSection(section) = payload.unwrap() {
            for import in section.into_imports() {
                let import = import.unwrap();
                imported.insert(format!("{}.{}", import.module, import.name));
            }
        }
    }
    assert!(imported.contains("env.proxy_log"), "is this the filter? It imports {imported:?}");
    let more: Vec<_> = imported.iter().filter(|import| !allowed.contains(import.as_str())).collect();
    assert!(more.is_empty(), "the filter imports what filter/allowed-imports.txt does not list: {more:?}");
    let unused: Vec<_> = allowed.iter().filter(|import| !imported.contains(**import)).collect();
    assert!(unused.is_empty(), "filter/allowed-imports.txt lists what the filter does not import: {unused:?}");
}
