//! `kubernetes`: ReleaseGuards in a cluster as services. Pure.

use std::collections::BTreeSet;

use serin_kubernetes::object::ObjectRef;
use serin_kubernetes::release_guard::TargetKind;

use super::{problem::Fault, scalar, section::Section};

/// Each has up to five watches of its own, and an API server takes some hundred requests at a time. Beyond it, watch all.
const MAX_NAMESPACES: usize = 50;
const NAMESPACES: &str = "a list of at most 50 namespaces, such as [shop, till]; without any: all namespaces";
const NAMESPACE: &str = "a name of 1 to 63 of a-z, 0-9 and `-`, with a letter or digit at both ends";

/// Which ReleaseGuards are services.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Kubernetes {
    /// Those of these namespaces; empty: of all.
    pub namespaces: Vec<String>,
}

/// `None`: no cluster is watched.
pub(super) fn read(file: &mut Section<'_>) -> Option<Kubernetes> {
    file.section("kubernetes", |section| {
        let mut seen = BTreeSet::new();
        let namespaces = section.values("namespaces", NAMESPACES, |node| {
            let name = scalar::label(node).map_err(|_| Fault::not(&node.value, NAMESPACE))?;
            let is_label = name.len() <= 63 && !name.contains('.');
            if !is_label || ObjectRef::new(TargetKind::VirtualService, &name, &name).is_err() {
                return Err(Fault::not(&node.value, NAMESPACE));
            }
            if !seen.insert(name.clone()) {
                let by = "an earlier namespace".to_owned();
                return Err(Fault::Taken { shown: name, by, remedy: "name every namespace once" });
            }
            if seen.len() > MAX_NAMESPACES {
                return Err(Fault::not(&node.value, NAMESPACES));
            }
            Ok(name)
        });
        Some(Kubernetes { namespaces })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn parse(section: &str) -> Result<Config, String> {
        Config::parse(section).map_err(|problems| problems.to_string())
    }

    #[test]
    fn with_a_cluster_there_need_be_no_services() {
        let namespaces = |text: &str| parse(text).unwrap().kubernetes.map(|kubernetes| kubernetes.namespaces);
        assert_eq!(namespaces("kubernetes: {}"), Some(vec![]));
        assert_eq!(namespaces("kubernetes: {namespaces: []}\nservices: []"), Some(vec![]));
        let two = Some(vec!["shop".to_owned(), "till".to_owned()]);
        assert_eq!(namespaces("kubernetes: {namespaces: [shop, till]}\nservices:"), two);
        let service = "services: [{name: shop, vantage: inbound, baseline: v1, candidate: v2}]";
        assert_eq!(namespaces(service), None);
        assert_eq!(parse(&format!("kubernetes: {{}}\n{service}")).unwrap().services.len(), 1);
    }

    #[test]
    fn what_is_wrong_with_it_is_said() {
        let check = |text: &str, said: &str| {
            let problems = parse(text).unwrap_err();
            assert!(problems.contains(said), "{text}: {problems}");
        };
        check("kubernetes:\n", "services: missing: write a list of at least one service");
        check("kubernetes: true", "kubernetes: `true` is not allowed: write a mapping");
        check("kubernetes: {namespace: shop}", "unknown key `namespace`; did you mean `namespaces`?");
        check("kubernetes: {namespaces: shop}", "kubernetes.namespaces: `shop` is not allowed: write a list");
        check(
            "kubernetes: {namespaces: [Shop]}",
            "kubernetes.namespaces[0]: `Shop` is not allowed: write a name of 1 to 63",
        );
        check("kubernetes: {namespaces: [a.b]}", "a name of 1 to 63");
        check(
            "kubernetes: {namespaces: [a, a]}",
            "kubernetes.namespaces[1]: `a` is already used by an earlier namespace",
        );
        let many = (0..=MAX_NAMESPACES).map(|at| format!("n{at}")).collect::<Vec<_>>().join(", ");
        check(&format!("kubernetes: {{namespaces: [{many}]}}"), "at most 50");
        check("kubernetes: {}\nservices: {}", "services: a mapping is not allowed");
    }
}
