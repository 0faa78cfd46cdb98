//! Who writes an object's routes, from `metadata.managedFields`: pure.

use std::fmt;

use serde_json::Value;

use crate::json::{items, text};

/// The field manager under which Serin writes.
pub const FIELD_MANAGER: &str = "serin";

/// Someone who owns a field of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Writer {
    /// The field manager's name.
    pub manager: String,
    /// Which program goes by that name.
    pub kind: WriterKind,
    /// When it last wrote, as RFC 3339 text in UTC to the second; empty when it is not said.
    pub time: String,
}

/// A program that is known to write routes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriterKind {
    /// Serin itself.
    Serin,
    /// Argo CD.
    ArgoCd,
    /// Flux, with the kustomize or the helm controller.
    Flux,
    /// Flagger.
    Flagger,
    /// Argo Rollouts.
    ArgoRollouts,
    /// A person with kubectl, or a pipeline.
    Kubectl,
    /// Any other.
    Other,
}

impl WriterKind {
    /// The program behind a field manager's name.
    fn of(manager: &str) -> Self {
        match manager {
            FIELD_MANAGER => WriterKind::Serin,
            "argocd-controller" | "argocd-application-controller" | "argocd-server" => WriterKind::ArgoCd,
            "kustomize-controller" | "helm-controller" => WriterKind::Flux,
            "flagger" => WriterKind::Flagger,
            "rollouts-controller" | "argo-rollouts" => WriterKind::ArgoRollouts,
            _ if manager == "kubectl" || manager.starts_with("kubectl-") => WriterKind::Kubectl,
            _ => WriterKind::Other,
        }
    }
}

impl fmt::Display for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let program = match self.kind {
            WriterKind::ArgoCd => " (Argo CD)",
            WriterKind::Flux => " (Flux)",
            WriterKind::Flagger => " (Flagger)",
            WriterKind::ArgoRollouts => " (Argo Rollouts)",
            WriterKind::Serin | WriterKind::Kubectl | WriterKind::Other => "",
        };
        write!(f, "{}{program}", self.manager)
    }
}

/// The lists of routes: of a VirtualService and of the Gateway API's routes. A list has one owner as a whole, who wrote it last: so a real
/// kube-apiserver (1.36) does with the CRDs of Istio 1.30 and of the Gateway API 1.6.
const ROUTES: [&str; 4] = ["f:http", "f:tcp", "f:tls", "f:rules"];

/// Everyone who owns a list of routes of the object, the latest first.
pub fn of_routes(object: &Value) -> Vec<Writer> {
    let metadata = object.get("metadata").unwrap_or(&Value::Null);
    let mut writers: Vec<Writer> = items(metadata, "managedFields")
        .filter(|(_, entry)| text(entry, "subresource").unwrap_or_default().is_empty())
        .filter(|(_, entry)| {
            let spec = entry.pointer("/fieldsV1/f:spec").unwrap_or(&Value::Null);
            ROUTES.iter().any(|routes| spec.get(routes).is_some())
        })
        .map(|(_, entry)| {
            let manager = text(entry, "manager").unwrap_or_default();
            let time = text(entry, "time").unwrap_or_default().to_owned();
            Writer { manager: manager.to_owned(), kind: WriterKind::of(manager), time }
        })
        .collect();
    // Kubernetes writes these times in one form, in which the order of the texts is the order in time.
    writers.sort_by(|a, b| b.time.cmp(&a.time));
    writers
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn entry(manager: &str, time: &str, fields: &Value) -> Value {
        json!({ "manager": manager, "operation": "Update", "time": time, "fieldsType": "FieldsV1", "fieldsV1": fields })
    }

    #[test]
    fn owners_of_routes_latest_first() {
        let http = json!({ "f:spec": { "f:http": {} } });
        let mut status = entry("pilot", "2026-01-04T00:00:00Z", &http);
        status["subresource"] = json!("status");
        let object = json!({ "metadata": { "managedFields": [
            entry("kubectl-client-side-apply", "2026-01-01T00:00:00Z", &json!({ "f:spec": { "f:hosts": {} } })),
            entry("argocd-controller", "2026-01-01T00:00:00Z", &http),
            entry("rollouts-controller", "2026-01-03T00:00:00Z", &http),
            entry("someone", "2026-01-02T00:00:00Z", &json!({ "f:spec": { "f:rules": {} } })),
            status,
        ] } });
        let writers = of_routes(&object);
        let shown: Vec<String> = writers.iter().map(ToString::to_string).collect();
        assert_eq!(shown, ["rollouts-controller (Argo Rollouts)", "someone", "argocd-controller (Argo CD)"]);
        assert_eq!(of_routes(&json!({})), []);
    }

    #[test]
    fn programs_by_name() {
        let check = |manager, kind| assert_eq!(WriterKind::of(manager), kind, "{manager}");
        check("serin", WriterKind::Serin);
        check("kustomize-controller", WriterKind::Flux);
        check("helm-controller", WriterKind::Flux);
        check("flagger", WriterKind::Flagger);
        check("kubectl-edit", WriterKind::Kubectl);
        check("kubectlx", WriterKind::Other);
    }
}
