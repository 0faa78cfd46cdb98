use serde_json::{Value, json};
use serin_kubernetes::{gitops, object::ObjectRef, release_guard::TargetKind, writers};

use super::*;

fn object(writers: &[(&str, &str)]) -> Value {
    let entry = |(manager, time): &(&str, &str)| json!({ "manager": manager, "time": time, "fieldsV1": { "f:spec": { "f:http": {} } } });
    let route =
        |subset: &str, weight: u32| json!({ "destination": { "host": "shop", "subset": subset }, "weight": weight });
    json!({
        "apiVersion": "networking.istio.io/v1", "kind": "VirtualService",
        "metadata": {
            "name": "shop", "namespace": "shop-ns",
            "managedFields": writers.iter().map(entry).collect::<Vec<_>>(),
        },
        "spec": { "http": [{ "route": [route("v1", 90), route("v2", 10)] }] },
    })
}

fn look(writers: &[(&str, &str)]) -> Look {
    let object = object(writers);
    let name = ObjectRef::new(TargetKind::VirtualService, "shop-ns", "shop").unwrap();
    Look { object: name, is_right: false, writers: writers::of_routes(&object), advice: gitops::advise(&object) }
}

#[test]
fn who_and_how_often_with_what_to_paste_once() {
    let argo = look(&[("argocd-controller", "2026-01-01T00:00:02Z"), ("serin", "2026-01-01T00:00:01Z")]);
    let mut fight = Fight::new("shop", "v2");
    let said = fight.back(&argo, 1).unwrap();
    insta::assert_snapshot!(said, @r"
    VirtualService shop-ns/shop: the old weights were written back by argocd-controller (Argo CD) once; writing the rollback again
    Argo CD applies these routes and writes the weights of Git back, at once with selfHeal. Put this into its Application, so that it leaves weights alone and applies the rest.
    spec:
      ignoreDifferences:
      - group: networking.istio.io
        kind: VirtualService
        name: shop
        namespace: shop-ns
        jqPathExpressions:
        - .spec.http[]?.route[]?.weight
      syncPolicy:
        syncOptions:
        - RespectIgnoreDifferences=true
    ");
    assert_eq!(fight.back(&argo, 1), None, "a write that failed is tried again, nobody wrote it back");
    let again = fight.back(&argo, 2).unwrap();
    assert!(again.contains("2 times") && !again.contains("ignoreDifferences"), "{again}");
    let both = look(&[("kubectl-edit", "2026-01-01T00:00:03Z"), ("argocd-controller", "2026-01-01T00:00:02Z")]);
    let over = fight.over(&both, 3, Duration::from_secs(5_400));
    let want = "VirtualService shop-ns/shop: held for 1h 30m (rollback.hold) while the old weights were written back by argocd-controller (Argo CD) \
                2 times, kubectl-edit once; from now on the weights are left to others\nArgo CD";
    assert!(over.starts_with(want) && over.contains("ignoreDifferences"), "{over}");
}

#[test]
fn a_person_is_told_what_to_do() {
    let said = |writers: &[(&str, &str)]| Fight::new("shop", "v2").back(&look(writers), 1).unwrap();
    insta::assert_snapshot!(said(&[("kubectl-edit", "2026-01-01T00:00:02Z"), ("serin", "2026-01-01T00:00:01Z")]), @r"
    VirtualService shop-ns/shop: the old weights were written back by kubectl-edit once; writing the rollback again
    Whoever wants v2 to get requests again runs `serin clear shop v2`: it lifts the condemnation, so that the weights are left as they are and v2 is judged anew.
    ");
    assert!(said(&[("a-pipeline", "2026-01-01T00:00:02Z")]).contains("`serin clear shop v2`"));
    let both = said(&[("argocd-controller", "2026-01-01T00:00:02Z"), ("kubectl-edit", "2026-01-01T00:00:01Z")]);
    assert!(both.contains("ignoreDifferences") && !both.contains("serin clear"), "{both}");
}

#[test]
fn who_is_not_named_and_how_many_are_told_apart() {
    let mut fight = Fight::new("shop", "v2");
    let said = fight.back(&look(&[("serin", "2026-01-01T00:00:01Z")]), 1).unwrap();
    assert!(said.contains("someone whom managedFields do not name once; writing"), "{said}");
    for times in 2..100 {
        let manager = format!("manager-{times}");
        fight.back(&look(&[(manager.as_str(), "2026-01-01T00:00:02Z")]), times);
    }
    let said = fight.back(&look(&[("last", "")]), 100).unwrap();
    assert!(said.contains("by others 92 times, "), "{said}");
}
