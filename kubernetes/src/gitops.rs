//! Who may write the old weights back, and what to give them so that they do not: pure.
//!
//! A tool that applies objects from Git finds weights that differ from Git's and mends them. What to put where, so that it
//! leaves weights alone, differs by tool; the snippets here are complete and name the object.

use serde_json::Value;

use crate::{
    json::text,
    object::is_name,
    routes,
    writers::{self, WriterKind},
};

/// What to do about one who writes the same routes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Advice {
    /// Which program.
    pub kind: WriterKind,
    /// Who, and what it does about changed weights, in one sentence or two.
    pub sentence: String,
    /// What to paste, as YAML; `None` where the remedy is not a setting.
    pub snippet: Option<String>,
}

/// What tells a tool besides `managedFields`: annotations and labels that it keeps on its objects.
const MARKS: [(&str, WriterKind, &str); 4] = [
    ("argocd.argoproj.io/tracking-id", WriterKind::ArgoCd, "argocd-controller"),
    ("argocd.argoproj.io/instance", WriterKind::ArgoCd, "argocd-controller"),
    ("kustomize.toolkit.fluxcd.io/name", WriterKind::Flux, "kustomize-controller"),
    ("helm.toolkit.fluxcd.io/name", WriterKind::Flux, "helm-controller"),
];

/// Advice on every program that is known to write the object's routes; nothing about people and Serin itself.
pub fn advise(object: &Value) -> Vec<Advice> {
    let mut found: Vec<(WriterKind, String)> = Vec::new();
    let mut add = |kind: WriterKind, manager: &str| {
        if !found.iter().any(|(_, known)| known == manager) {
            found.push((kind, manager.to_owned()));
        }
    };
    for writer in writers::of_routes(object) {
        // Argo CD goes by several names, of which one is enough.
        let manager = if writer.kind == WriterKind::ArgoCd { "argocd-controller" } else { &writer.manager };
        add(writer.kind, manager);
    }
    let metadata = object.get("metadata").unwrap_or(&Value::Null);
    for (key, kind, manager) in MARKS {
        if ["annotations", "labels"].iter().any(|map| metadata.get(map).is_some_and(|map| map.get(key).is_some())) {
            add(kind, manager);
        }
    }
    found.iter().filter_map(|(kind, manager)| advice(*kind, manager, object)).collect()
}

fn advice(kind: WriterKind, manager: &str, object: &Value) -> Option<Advice> {
    let names = Names::of(object)?;
    let (sentence, snippet) = match kind {
        WriterKind::ArgoCd => (
            "Argo CD applies these routes and writes the weights of Git back, at once with selfHeal. Put this into its \
             Application, so that it leaves weights alone and applies the rest."
                .to_owned(),
            Some(argo_cd(&names)),
        ),
        WriterKind::Flux if manager == "helm-controller" => (
            "Flux applies these routes from a HelmRelease and writes the chart's weights back at every upgrade, and sooner \
             where drift detection is on. Put this into the HelmRelease for the latter, and the weights after a rollback into \
             its values."
                .to_owned(),
            Some(helm(&names)),
        ),
        WriterKind::Flux => (
            "Flux applies these routes and writes the weights of Git back at its next interval. Put this annotation on the \
             object, so that Flux leaves all of it alone, and take it off when the weights in Git are right."
                .to_owned(),
            Some(annotation(&names)),
        ),
        WriterKind::Flagger => (
            "Flagger owns these routes. Give it serin's verdict as a rollback webhook, with action notify here.".to_owned(),
            None,
        ),
        WriterKind::ArgoRollouts => (
            "Argo Rollouts writes these weights. Abort the Rollout, or give it serin's verdict as a metric, with action \
             notify here."
                .to_owned(),
            None,
        ),
        WriterKind::Serin | WriterKind::Kubectl | WriterKind::Other => return None,
    };
    Some(Advice { kind, sentence, snippet })
}

/// What a snippet says of the object.
struct Names<'o> {
    group: &'o str,
    kind: &'o str,
    name: &'o str,
    namespace: &'o str,
    /// Where in `spec` its routes are, and what a list of destinations is called.
    lists: Vec<(String, String)>,
}

impl<'o> Names<'o> {
    /// `None` for what is no object of a known kind, with names as Kubernetes has them: these need no quotes.
    fn of(object: &'o Value) -> Option<Self> {
        let routes = routes::of(object).ok()?;
        let metadata = object.get("metadata")?;
        let (name, namespace) = (text(metadata, "name")?, text(metadata, "namespace")?);
        let (group, _) = text(object, "apiVersion")?.split_once('/')?;
        let mut lists: Vec<(String, String)> = Vec::new();
        for destination in routes.iter().flat_map(|route| &route.destinations) {
            let [_, list, _, destinations, _] = destination.path.as_slice() else { continue };
            let list = (list.clone(), destinations.clone());
            if !lists.contains(&list) {
                lists.push(list);
            }
        }
        let is_right = is_name(name) && is_name(namespace) && !lists.is_empty();
        is_right.then_some(Names { group, kind: text(object, "kind")?, name, namespace, lists })
    }
}

fn argo_cd(names: &Names<'_>) -> String {
    let Names { group, kind, name, namespace, lists } = names;
    let mut snippet = format!(
        "spec:\n  ignoreDifferences:\n  - group: {group}\n    kind: {kind}\n    name: {name}\n    namespace: {namespace}\n    \
         jqPathExpressions:\n"
    );
    for (list, destinations) in lists {
        // A route may have a redirect in place of destinations: `?` passes over it.
        snippet.push_str(&format!("    - .spec.{list}[]?.{destinations}[]?.weight\n"));
    }
    snippet.push_str("  syncPolicy:\n    syncOptions:\n    - RespectIgnoreDifferences=true\n");
    snippet
}

fn helm(names: &Names<'_>) -> String {
    let Names { kind, name, namespace, lists, .. } = names;
    let paths: Vec<String> = lists.iter().map(|(list, _)| format!("/spec/{list}")).collect();
    format!(
        "spec:\n  driftDetection:\n    ignore:\n    - paths: [{}]\n      target:\n        kind: {kind}\n        \
         name: {name}\n        namespace: {namespace}\n",
        paths.join(", ")
    )
}

fn annotation(names: &Names<'_>) -> String {
    let Names { name, namespace, .. } = names;
    format!(
        "metadata:\n  name: {name}\n  namespace: {namespace}\n  annotations:\n    \
         kustomize.toolkit.fluxcd.io/reconcile: disabled\n"
    )
}

#[cfg(test)]
mod tests;
