use std::{collections::BTreeMap, fs, path::Path};

use clap::ValueEnum as _;

use super::{
    naming::{GATEWAY, GUARD, NAMESPACE},
    *,
};
use crate::config::Config;

fn names() -> Names {
    let [namespace, image, guard, gateway, service, baseline, candidate, nats] =
        ["canaries", "example.org/serin:7", "retail", "edge", "cart", "1.4", "1.5", "nats://n:1"].map(str::to_owned);
    Names { namespace, image, guard, gateway, service, baseline, candidate, nats }
}

/// Those of the files.
fn same_names() -> Names {
    let [namespace, image, guard, gateway, service, baseline, candidate, nats] = [
        "serin-system",
        "registry.example.com/serin:0.1.0",
        "shop",
        "istio-ingress",
        "shop",
        "v1",
        "v2",
        "nats://nats.nats.svc.cluster.local:4222",
    ]
    .map(str::to_owned);
    Names { namespace, image, guard, gateway, service, baseline, candidate, nats }
}

fn printed(names: &Names, extras: &[Extra]) -> Vec<Value> {
    let text = render(names, Place::Inbound, Attachment::AccessLogger, extras).unwrap();
    serde_saphyr::from_multiple(&text).unwrap()
}

fn config(documents: &[Value]) -> Config {
    let map = documents.iter().find(|document| document["kind"] == "ConfigMap").unwrap();
    Config::parse(map["data"]["serin.yaml"].as_str().unwrap()).unwrap()
}

#[test]
fn no_name_of_the_files_is_left() {
    let extras = [Extra::PrometheusOperator, Extra::Autoscaling, Extra::ArgoRollouts, Extra::Flagger, Extra::Nats];
    for place in [Place::Inbound, Place::Outbound, Place::Gateway] {
        for attachment in [Attachment::AccessLogger, Attachment::HttpFilter] {
            let text = render(&names(), place, attachment, &extras).unwrap();
            let documents: Vec<Value> = serde_saphyr::from_multiple(&text).unwrap();
            for document in documents.iter().filter(|document| document["kind"] != "CustomResourceDefinition") {
                for left in [NAMESPACE, GUARD, GATEWAY, "registry.example.com"] {
                    assert!(!document.to_string().contains(left), "{left} in {document}");
                }
            }
            let of = |kind: &str| documents.iter().find(|document| document["kind"] == kind).unwrap();
            let config = Config::parse(of("ConfigMap")["data"]["serin.yaml"].as_str().unwrap()).unwrap();
            let service = &config.services[0];
            assert_eq!((service.baseline.as_str(), service.candidate.as_str()), ("1.4", "1.5"));
            assert!(service.rollback.dry_run && service.rollback.targets.is_empty());
            assert_eq!(config.kubernetes.unwrap().namespaces, ["retail"]);
            let cluster = "outbound|9400||serin.canaries.svc.cluster.local";
            assert!(of("EnvoyFilter").to_string().contains(cluster));
            assert_eq!(documents.len(), 12 + 2 + 1 + 2 + 1 + 4 + 1 + 1 - 1);
        }
    }
}

#[test]
fn what_is_printed_is_what_is_in_the_files_where_the_names_are_the_same() {
    let printed = printed(&same_names(), &[Extra::ArgoRollouts]);
    let files = BASE.iter().chain([&GUARDED]).chain(Extra::ArgoRollouts.manifests());
    for file in files {
        for document in serde_saphyr::from_multiple::<Value>(file).unwrap() {
            assert!(document["kind"] == "ConfigMap" || printed.contains(&document), "{document}");
        }
    }
}

/// Each overlay is an extra, which stands on the same, adds the same files and applies the same patches.
#[test]
fn extras_are_the_overlays() {
    let overlays = Path::new(env!("CARGO_MANIFEST_DIR")).join("../envoy-configs/istio/install/overlays");
    let word = |extra: Extra| extra.to_possible_value().unwrap().get_name().to_owned();
    let mut left: BTreeMap<String, Extra> =
        Extra::value_variants().iter().map(|extra| (word(*extra), *extra)).collect();
    for folder in fs::read_dir(overlays).unwrap().map(|entry| entry.unwrap().path()) {
        let name = folder.file_name().unwrap().to_str().unwrap();
        let extra = left.remove(name).unwrap_or_else(|| panic!("{name} cannot be had with `serin install`"));
        let text = fs::read_to_string(folder.join("kustomization.yaml")).unwrap();
        let kustomization: Value = serde_saphyr::from_str(&text).unwrap();
        let list = |key: &str| kustomization.get(key).and_then(Value::as_array).cloned().unwrap_or_default();
        let (bases, resources): (Vec<Value>, Vec<Value>) =
            list("resources").into_iter().partition(|path| path.as_str().unwrap().starts_with("../"));
        let patches = list("patches").into_iter().map(|patch| patch["path"].clone());
        let texts = |paths: &mut dyn Iterator<Item = Value>| -> BTreeSet<String> {
            let paths = paths.filter(|path| path != "config-map.yaml");
            paths.map(|path| fs::read_to_string(folder.join(path.as_str().unwrap())).unwrap()).collect()
        };
        let owned = |files: &[&str]| files.iter().map(|file| (*file).to_owned()).collect::<BTreeSet<String>>();
        assert_eq!(texts(&mut resources.into_iter()), owned(extra.manifests()), "{name}");
        assert_eq!(texts(&mut patches.into_iter()), owned(extra.patches()), "{name}");
        let under = bases.first().map_or("../../base".to_owned(), |base| base.as_str().unwrap().to_owned());
        assert_eq!(
            under,
            extra.needs().map_or("../../base".to_owned(), |needs| format!("../{}", word(needs))),
            "{name}"
        );
        if let Ok(map) = fs::read_to_string(folder.join("config-map.yaml")) {
            let printed = Config { services: Vec::new(), ..config(&printed(&same_names(), &[extra])) };
            assert_eq!(config(&[serde_saphyr::from_str(&map).unwrap()]), printed, "{name}");
        }
    }
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn patches_are_applied() {
    let names = names();
    let with = |extras: &[Extra]| {
        let printed = printed(&names, extras);
        let of = |kind: &str| printed.iter().find(|document| document["kind"] == kind).cloned();
        let config = config(&printed);
        (of("Deployment").unwrap(), of("PersistentVolumeClaim"), of("PodDisruptionBudget"), config)
    };
    let (deployment, claim, budget, config) = with(&[]);
    assert_eq!((&deployment["spec"]["replicas"], config.lease, config.nats), (&Value::from(1), None, None));
    assert!(claim.is_some() && budget.is_some());
    let (deployment, claim, budget, config) = with(&[Extra::HighAvailability, Extra::AllNamespaces]);
    let lease = config.lease.unwrap();
    assert_eq!((lease.namespace.as_str(), lease.name.as_str()), ("canaries", "serin"));
    assert_eq!(config.kubernetes.unwrap().namespaces, [""; 0]);
    assert_eq!((&deployment["spec"]["replicas"], claim, budget), (&Value::from(2), None, None));
    let (deployment, claim, budget, config) = with(&[Extra::Nats, Extra::EmptyDir, Extra::Nats]);
    assert_eq!((&deployment["spec"]["replicas"], claim), (&Value::from(3), None));
    assert_eq!(deployment["spec"]["strategy"]["type"], "RollingUpdate");
    let data = &deployment["spec"]["template"]["spec"]["volumes"][1];
    assert_eq!(*data, serde_json::json!({ "name": "data", "emptyDir": { "sizeLimit": "16Mi" } }));
    assert!(budget.is_some());
    assert_eq!(config.nats.as_deref(), Some("nats://n:1"));
}

#[test]
fn a_lease_and_nats_exclude_each_other() {
    let extras = [Extra::HighAvailability, Extra::Nats];
    let refused = render(&names(), Place::Inbound, Attachment::AccessLogger, &extras).unwrap_err().to_string();
    assert_eq!(refused, "high-availability and nats exclude each other: choose one of them");
}
