//! When two host names of Istio mean the same service: pure.

/// Whether two destination hosts mean the same service in a document of this namespace.
///
/// As Istio does, a name without a dot is completed with the document's namespace and `svc.cluster.local`
/// (`ResolveShortnameToFQDN`). `service.namespace` and `service.namespace.svc`, which Istio itself leaves as they are,
/// are completed as well: a target written so means that service. Any other name means itself.
pub(super) fn same(a: &str, b: &str, namespace: &str) -> bool {
    a == b || full(a, namespace) == full(b, namespace)
}

fn full(host: &str, namespace: &str) -> String {
    let labels: Vec<&str> = host.split('.').collect();
    match labels.as_slice() {
        [service] if !service.starts_with('*') => format!("{service}.{namespace}.svc.cluster.local"),
        [service, namespace] | [service, namespace, "svc"] if !service.starts_with('*') => {
            format!("{service}.{namespace}.svc.cluster.local")
        }
        _ => host.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::same;

    #[test]
    fn names_of_one_service() {
        let check = |a, b, namespace, expected| {
            assert_eq!(same(a, b, namespace), expected, "{a} {b} in {namespace}");
            assert_eq!(same(b, a, namespace), expected, "{b} {a} in {namespace}");
        };
        check("shop", "shop", "default", true);
        check("shop", "shop.default.svc.cluster.local", "default", true);
        check("shop", "shop.default.svc.cluster.local", "prod", false);
        check("shop", "shop.prod", "prod", true);
        check("shop.prod", "shop.prod.svc.cluster.local", "default", true);
        check("shop.prod", "shop.prod.svc", "default", true);
        check("shop.prod", "shop", "default", false);
        check("shop", "cart", "default", false);
        check("shop.example.com", "shop.example.com", "default", true);
        check("shop.prod.svc.example.com", "shop.prod.svc.cluster.local", "prod", false);
        check("*", "*.default.svc.cluster.local", "default", false);
        check("", "shop", "default", false);
    }
}
