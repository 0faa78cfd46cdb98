//! A user's names in a manifest: pure.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{Extra, InstallError, Names, Place};

/// The names in the files.
pub(super) const NAMESPACE: &str = "serin-system";
pub(super) const GUARD: &str = "shop";
pub(super) const GATEWAY: &str = "istio-ingress";

/// Sets them where they belong.
pub(super) fn name(
    document: &mut Value,
    names: &Names,
    place: Place,
    extras: &BTreeSet<Extra>,
) -> Result<(), InstallError> {
    let kind = document["kind"].as_str().unwrap_or_default().to_owned();
    let namespaces = [(NAMESPACE, &names.namespace), (GUARD, &names.guard), (GATEWAY, &names.gateway)];
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
        "ConfigMap" => set("/data/serin.yaml", json!(serde_saphyr::to_string(&config(names, place, extras))?)),
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
            let path = "/v1/verdict/{{args.service}}?candidate={{args.candidate}}";
            let url = format!("http://{}:9090{path}", host(names));
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
fn config(names: &Names, place: Place, extras: &BTreeSet<Extra>) -> Value {
    let mut config = json!({
        "listen": { "grpc": "0.0.0.0:9400", "metrics": "0.0.0.0:9090" },
        "data_dir": "/var/lib/serin",
        "kubernetes": { "namespaces": [names.guard] },
        "services": [{
            "name": names.service, "vantage": place.word(), "baseline": names.baseline, "candidate": names.candidate,
            "rollback": { "dry_run": true },
        }],
    });
    for extra in extras {
        match extra {
            Extra::AllNamespaces => config["kubernetes"] = json!({}),
            Extra::HighAvailability => {
                config["high_availability"] = json!({ "lease": format!("{}/serin", names.namespace) });
            }
            Extra::Nats => config["history"] = json!({ "nats": names.nats }),
            _ => {}
        }
    }
    config
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
