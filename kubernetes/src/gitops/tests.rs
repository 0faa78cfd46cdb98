use serde_json::json;

use super::*;

fn object(metadata: Value) -> Value {
    let mut object = json!({
        "apiVersion": "networking.istio.io/v1", "kind": "VirtualService",
        "spec": {
            "http": [{ "redirect": {} }, { "route": [{ "destination": { "host": "shop" } }] }],
            "tls": [{ "route": [{ "destination": { "host": "shop" } }] }],
        },
    });
    object["metadata"] = metadata;
    object["metadata"]["name"] = "shop".into();
    object["metadata"]["namespace"] = "prod".into();
    object
}

fn managed_by(managers: &[&str]) -> Value {
    let entry = |manager: &&str| json!({ "manager": manager, "fieldsV1": { "f:spec": { "f:http": {} } } });
    json!({ "managedFields": managers.iter().map(entry).collect::<Vec<_>>() })
}

fn kinds(object: &Value) -> Vec<WriterKind> {
    advise(object).into_iter().map(|advice| advice.kind).collect()
}

#[test]
fn who_writes_back() {
    let check = |metadata: Value, expected: &[WriterKind]| assert_eq!(kinds(&object(metadata)), expected);
    check(json!({}), &[]);
    check(managed_by(&["kubectl-edit", "serin", "somebody"]), &[]);
    check(managed_by(&["argocd-controller", "argocd-application-controller"]), &[WriterKind::ArgoCd]);
    check(managed_by(&["serin", "kustomize-controller"]), &[WriterKind::Flux]);
    check(managed_by(&["flagger"]), &[WriterKind::Flagger]);
    check(managed_by(&["rollouts-controller", "argocd-controller"]), &[WriterKind::ArgoRollouts, WriterKind::ArgoCd]);
    // After a rollback Serin owns the routes, but the tool is still there.
    let mut metadata = managed_by(&["serin"]);
    metadata["annotations"] =
        json!({ "argocd.argoproj.io/tracking-id": "shop:networking.istio.io/VirtualService:prod/shop" });
    check(metadata, &[WriterKind::ArgoCd]);
    check(json!({ "labels": { "helm.toolkit.fluxcd.io/name": "shop" } }), &[WriterKind::Flux]);
    check(json!({ "labels": { "kustomize.toolkit.fluxcd.io/name": "shop" } }), &[WriterKind::Flux]);
}

fn snippet(object: &Value) -> (String, Value) {
    let advice = advise(object);
    let snippet = advice[0].snippet.clone().unwrap();
    let read = serde_saphyr::from_str(&snippet).unwrap();
    (snippet, read)
}

#[test]
fn snippets_are_complete() {
    let (text, read) = snippet(&object(managed_by(&["argocd-controller"])));
    let expected = "\
spec:
  ignoreDifferences:
  - group: networking.istio.io
    kind: VirtualService
    name: shop
    namespace: prod
    jqPathExpressions:
    - .spec.http[]?.route[]?.weight
    - .spec.tls[]?.route[]?.weight
  syncPolicy:
    syncOptions:
    - RespectIgnoreDifferences=true
";
    assert_eq!(text, expected);
    assert_eq!(read["spec"]["syncPolicy"]["syncOptions"], json!(["RespectIgnoreDifferences=true"]));

    let (_, read) = snippet(&object(managed_by(&["helm-controller"])));
    let target = json!({ "kind": "VirtualService", "name": "shop", "namespace": "prod" });
    let ignore = json!([{ "paths": ["/spec/http", "/spec/tls"], "target": target }]);
    assert_eq!(read, json!({ "spec": { "driftDetection": { "ignore": ignore } } }));

    let (_, read) = snippet(&object(managed_by(&["kustomize-controller"])));
    let annotations = json!({ "kustomize.toolkit.fluxcd.io/reconcile": "disabled" });
    assert_eq!(read, json!({ "metadata": { "name": "shop", "namespace": "prod", "annotations": annotations } }));

    let mut route = object(managed_by(&["argocd-controller"]));
    route["apiVersion"] = "gateway.networking.k8s.io/v1".into();
    route["kind"] = "HTTPRoute".into();
    route["spec"] = json!({ "rules": [{ "backendRefs": [{ "name": "shop", "weight": 1 }] }] });
    let (text, _) = snippet(&route);
    assert!(text.contains("group: gateway.networking.k8s.io\n"), "{text}");
    assert!(text.contains("- .spec.rules[]?.backendRefs[]?.weight\n"), "{text}");
}

/// What people read is what Serin says.
#[test]
fn the_documentation_has_the_same_snippets() {
    let docs = include_str!("../../../docs/kubernetes.md");
    let virtual_service = |manager: &str, lists: &[&str]| {
        let mut object = object(managed_by(&[manager]));
        let route = json!([{ "route": [{ "destination": { "host": "shop" } }] }]);
        object["spec"] =
            lists.iter().map(|list| ((*list).to_owned(), route.clone())).collect::<serde_json::Map<_, _>>().into();
        object
    };
    let gateway_api = |manager: &str, kind: &str| {
        let mut object = object(managed_by(&[manager]));
        object["apiVersion"] = "gateway.networking.k8s.io/v1".into();
        object["kind"] = kind.into();
        object["spec"] = json!({ "rules": [{ "backendRefs": [{ "name": "shop", "weight": 1 }] }] });
        object
    };
    let documented = |mut object: Value| {
        object["metadata"]["namespace"] = "shop".into();
        let (text, _) = snippet(&object);
        assert!(docs.contains(&format!("```yaml\n{text}```\n")), "docs/kubernetes.md has no\n{text}");
    };
    documented(virtual_service("argocd-controller", &["http"]));
    documented(virtual_service("argocd-controller", &["tcp", "tls"]));
    documented(gateway_api("argocd-controller", "HTTPRoute"));
    documented(virtual_service("kustomize-controller", &["http"]));
    documented(virtual_service("helm-controller", &["http"]));
    documented(gateway_api("helm-controller", "HTTPRoute"));
    // Said to be alike.
    let of = |kind: &str| snippet(&gateway_api("argocd-controller", kind)).0;
    assert_eq!(of("GRPCRoute"), of("HTTPRoute").replace("HTTPRoute", "GRPCRoute"));
}

#[test]
fn nothing_is_said_of_what_is_no_route() {
    let mut odd = object(managed_by(&["argocd-controller"]));
    odd["metadata"]["name"] = "shop\nspec: {}".into();
    assert_eq!(advise(&odd), []);
    let mut odd = object(managed_by(&["argocd-controller"]));
    odd["kind"] = "Deployment".into();
    assert_eq!(advise(&odd), []);
    assert_eq!(advise(&Value::Null), []);
}
