//! The manifests of `envoy-configs/istio` with a user's names in them (pure): text -> documents -> names set where they belong -> text.

use serde_json::{Value, json};

/// The files, as they are in the repository.
macro_rules! manifest {
    ($name:literal) => {
        include_str!(concat!("../../envoy-configs/istio/", $name))
    };
}

const BASE: [&str; 11] = [
    manifest!("install/base/namespace.yaml"),
    manifest!("install/base/crd-releaseguard.yaml"),
    manifest!("install/base/service-account.yaml"),
    manifest!("install/base/rbac.yaml"),
    manifest!("install/base/config-map.yaml"),
    manifest!("install/base/persistent-volume-claim.yaml"),
    manifest!("install/base/deployment.yaml"),
    manifest!("install/base/service.yaml"),
    manifest!("install/base/network-policy.yaml"),
    manifest!("install/base/authorization-policy.yaml"),
    manifest!("install/base/pod-disruption-budget.yaml"),
];
const GUARDED: &str = manifest!("install/guarded-namespace/rbac.yaml");
/// The names in the files.
const NAMESPACE: &str = "serin-system";
const GUARD: &str = "shop";

/// A user's names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Names {
    /// Where the aggregator runs.
    pub namespace: String,
    /// What it runs.
    pub image: String,
    /// The namespace of the service.
    pub guard: String,
    /// The service, as the filter labels it.
    pub service: String,
    /// Its stable release.
    pub baseline: String,
    /// Its release on trial.
    pub candidate: String,
}

/// Where requests are measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Place {
    /// In the release's own sidecar.
    Inbound,
    /// In the callers' sidecars.
    Outbound,
    /// At a gateway.
    Gateway,
}

/// How the filter is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Attachment {
    /// A fault in it cannot touch a request.
    AccessLogger,
    /// Also tells of requests under way.
    HttpFilter,
}

/// What else is installed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Extra {
    /// A ServiceMonitor and a PrometheusRule
    PrometheusOperator,
    /// A HorizontalPodAutoscaler on the baseline's latency
    Autoscaling,
    /// An AnalysisTemplate, and what its controller and Serin need to talk
    ArgoRollouts,
    /// What its controller needs to ask
    Flagger,
}

/// Why nothing was rendered.
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    /// The files in this build are not YAML, which its tests rule out.
    #[error("a manifest in this build cannot be read: {0}")]
    Read(#[from] serde_saphyr::Error),
    /// Nor can they be written.
    #[error("a manifest cannot be written: {0}")]
    Write(#[from] serde_saphyr::ser::Error),
    /// A configuration of the filter is not JSON.
    #[error("the filter's configuration in this build cannot be read: {0}")]
    Plugin(#[from] serde_json::Error),
}

impl Place {
    fn word(self) -> &'static str {
        match self {
            Place::Inbound => "inbound",
            Place::Outbound => "outbound",
            Place::Gateway => "gateway",
        }
    }
}

impl Extra {
    fn manifests(self) -> &'static [&'static str] {
        match self {
            Extra::PrometheusOperator => &[
                manifest!("install/overlays/prometheus-operator/service-monitor.yaml"),
                manifest!("install/overlays/prometheus-operator/prometheus-rule.yaml"),
            ],
            Extra::Autoscaling => &[manifest!("install/overlays/autoscaling/horizontal-pod-autoscaler.yaml")],
            Extra::ArgoRollouts => &[
                manifest!("install/overlays/argo-rollouts/network-policy.yaml"),
                manifest!("install/overlays/argo-rollouts/rbac.yaml"),
                manifest!("install/overlays/argo-rollouts/analysis-template.yaml"),
            ],
            Extra::Flagger => &[manifest!("install/overlays/flagger/network-policy.yaml")],
        }
    }
}

/// The EnvoyFilter that attaches the filter.
fn envoy_filter(place: Place, attachment: Attachment) -> &'static str {
    match (attachment, place) {
        (Attachment::AccessLogger, Place::Inbound) => manifest!("access-logger-inbound.yaml"),
        (Attachment::AccessLogger, Place::Outbound) => manifest!("access-logger-outbound.yaml"),
        (Attachment::AccessLogger, Place::Gateway) => manifest!("access-logger-gateway.yaml"),
        (Attachment::HttpFilter, Place::Inbound) => manifest!("http-filter-inbound.yaml"),
        (Attachment::HttpFilter, Place::Outbound) => manifest!("http-filter-outbound.yaml"),
        (Attachment::HttpFilter, Place::Gateway) => manifest!("http-filter-gateway.yaml"),
    }
}

/// All documents, for `kubectl apply -f -`.
///
/// # Errors
/// Never in a build whose tests pass.
pub fn render(names: &Names, place: Place, attachment: Attachment, extras: &[Extra]) -> Result<String, InstallError> {
    let extras = extras.iter().flat_map(|extra| extra.manifests().iter().copied());
    let files = BASE.into_iter().chain([GUARDED, envoy_filter(place, attachment)]).chain(extras);
    let mut text = String::new();
    for file in files {
        for mut document in serde_saphyr::from_multiple::<Value>(file)? {
            name(&mut document, names, place)?;
            text.push_str("---\n");
            text.push_str(&serde_saphyr::to_string(&document)?);
        }
    }
    Ok(text)
}

fn name(document: &mut Value, names: &Names, place: Place) -> Result<(), InstallError> {
    let kind = document["kind"].as_str().unwrap_or_default().to_owned();
    let namespaces = [(NAMESPACE, &names.namespace), (GUARD, &names.guard)];
    let rename = |value: &mut Value| {
        let known = namespaces.iter().find(|(known, _)| *value == **known);
        known.into_iter().for_each(|(_, new)| *value = Value::from(new.as_str()));
    };
    document.pointer_mut("/metadata/namespace").into_iter().for_each(rename);
    let subjects = document.pointer_mut("/subjects").and_then(Value::as_array_mut).into_iter().flatten();
    subjects.filter_map(|subject| subject.get_mut("namespace")).for_each(rename);
    let mut set =
        |pointer: &str, value: Value| document.pointer_mut(pointer).into_iter().for_each(|at| *at = value.clone());
    match kind.as_str() {
        "Namespace" => set("/metadata/name", json!(names.namespace)),
        "Deployment" => set("/spec/template/spec/containers/0/image", json!(names.image)),
        "ConfigMap" => set("/data/serin.yaml", json!(serde_saphyr::to_string(&config(names, place))?)),
        "EnvoyFilter" => plugins(document, names)?,
        "AuthorizationPolicy" => {
            let principals = json!([format!("*/ns/{}/sa/serin", names.namespace)]);
            set("/spec/rules/0/from/0/source/notPrincipals", principals);
        }
        "HorizontalPodAutoscaler" => {
            let workload = format!("{}-{}", names.service, names.baseline);
            set("/metadata/name", json!(workload));
            set("/spec/scaleTargetRef/name", json!(workload));
            set("/spec/metrics/0/external/metric/selector/matchLabels/service", json!(names.service));
            set("/spec/metrics/0/external/metric/selector/matchLabels/release", json!(names.baseline));
        }
        "AnalysisTemplate" => {
            let url =
                format!("http://{}:9090/v1/verdict/{{{{args.service}}}}?candidate={{{{args.candidate}}}}", host(names));
            set("/spec/args/0/value", json!(names.service));
            set("/spec/metrics/0/provider/web/url", json!(url));
        }
        _ => {}
    }
    Ok(())
}

fn host(names: &Names) -> String {
    format!("serin.{}.svc.cluster.local", names.namespace)
}

/// One service that is judged and not rolled back, beside those of ReleaseGuards.
fn config(names: &Names, place: Place) -> Value {
    json!({
        "listen": { "grpc": "0.0.0.0:9400", "metrics": "0.0.0.0:9090" },
        "data_dir": "/var/lib/serin",
        "kubernetes": { "namespaces": [names.guard] },
        "services": [{
            "name": names.service, "vantage": place.word(), "baseline": names.baseline, "candidate": names.candidate,
            "rollback": { "dry_run": true },
        }],
    })
}

/// The filter's configurations are JSON in a string.
fn plugins(value: &mut Value, names: &Names) -> Result<(), InstallError> {
    match value {
        Value::Object(map) => {
            if map.get("@type").is_some_and(|kind| kind == "type.googleapis.com/google.protobuf.StringValue")
                && let Some(Value::String(text)) = map.get_mut("value")
            {
                let mut plugin: Value = serde_json::from_str(text)?;
                if let Some(cluster) = plugin.get_mut("cluster") {
                    *cluster = json!(format!("outbound|9400||{}", host(names)));
                    *text = plugin.to_string();
                }
            }
            map.values_mut().try_for_each(|value| plugins(value, names))
        }
        Value::Array(items) => items.iter_mut().try_for_each(|value| plugins(value, names)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn names() -> Names {
        let [namespace, image, guard, service, baseline, candidate] =
            ["canaries", "example.org/serin:7", "retail", "cart", "1.4", "1.5"].map(str::to_owned);
        Names { namespace, image, guard, service, baseline, candidate }
    }

    #[test]
    fn no_name_of_the_files_is_left() {
        let extras = [Extra::PrometheusOperator, Extra::Autoscaling, Extra::ArgoRollouts, Extra::Flagger];
        for place in [Place::Inbound, Place::Outbound, Place::Gateway] {
            for attachment in [Attachment::AccessLogger, Attachment::HttpFilter] {
                let text = render(&names(), place, attachment, &extras).unwrap();
                let documents: Vec<Value> = serde_saphyr::from_multiple(&text).unwrap();
                for document in documents.iter().filter(|document| document["kind"] != "CustomResourceDefinition") {
                    for left in [NAMESPACE, GUARD, "registry.example.com"] {
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
                assert_eq!(documents.len(), 12 + 2 + 1 + 2 + 1 + 4 + 1);
            }
        }
    }

    #[test]
    fn what_is_printed_is_what_is_in_the_files_where_the_names_are_the_same() {
        let [namespace, image, guard, service, baseline, candidate] =
            ["serin-system", "registry.example.com/serin:0.1.0", "shop", "shop", "v1", "v2"].map(str::to_owned);
        let names = Names { namespace, image, guard, service, baseline, candidate };
        let text = render(&names, Place::Inbound, Attachment::AccessLogger, &[Extra::ArgoRollouts]).unwrap();
        let printed: Vec<Value> = serde_saphyr::from_multiple(&text).unwrap();
        let files = BASE.iter().chain([&GUARDED]).chain(Extra::ArgoRollouts.manifests());
        for file in files {
            for document in serde_saphyr::from_multiple::<Value>(file).unwrap() {
                assert!(document["kind"] == "ConfigMap" || printed.contains(&document), "{document}");
            }
        }
    }
}
