//! Is a ReleaseGuard in the cluster the same policy as an entry of serin.yaml, read by the same parser?

use anyhow::{Context, Result};
use serde_json::json;
use serin::config::Config;
use serin_kubernetes::release_guard::ReleaseGuard;

#[test]
fn the_example_is_read_as_a_service() -> Result<()> {
    let text = include_str!("../kubernetes/examples/release-guard.yaml");
    let guard: ReleaseGuard = serde_saphyr::from_str(text)?;
    let pair = guard.spec.pair().context("the example names both releases")?;
    let config = json!({ "services": [guard.spec.service(&pair)] }).to_string();
    let service =
        Config::parse(&config).map_err(|problems| anyhow::anyhow!("{problems}\n{config}"))?.services.remove(0);
    assert_eq!(
        (service.name, service.baseline, service.candidate),
        (guard.spec.service, pair.baseline, pair.candidate)
    );
    Ok(())
}

/// What people copy.
#[test]
fn the_example_of_the_documentation_is_one() -> Result<()> {
    let text = include_str!("../docs/kubernetes.md");
    let blocks = text.split("```yaml\n").skip(1).filter_map(|rest| rest.split("```").next());
    let block = blocks.into_iter().find(|block| block.contains("kind: ReleaseGuard")).context("no example")?;
    let guard: ReleaseGuard = serde_saphyr::from_str(block)?;
    let example: ReleaseGuard = serde_saphyr::from_str(include_str!("../kubernetes/examples/release-guard.yaml"))?;
    assert_eq!((guard.spec.rules, guard.spec.hold), (example.spec.rules, example.spec.hold));
    Ok(())
}
