//! When two host names of Istio mean the same service: pure.

/// The full name of a host that is written in an object of this namespace.
///
/// As Istio does, a name without a dot is completed with the object's namespace and `svc.cluster.local`
/// (`ResolveShortnameToFQDN`). `service.namespace` and `service.namespace.svc`, which Istio itself leaves as they are,
/// are completed as well: a target written so means that service. Any other name means itself.
pub(crate) fn full(host: &str, namespace: &str) -> String {
    let labels: Vec<&str> = host.split('.').collect();
    match labels.as_slice() {
        [service] if is_name(service) => format!("{service}.{namespace}.svc.cluster.local"),
        [service, namespace] | [service, namespace, "svc"] if is_name(service) => {
            format!("{service}.{namespace}.svc.cluster.local")
        }
        _ => host.to_owned(),
    }
}

fn is_name(service: &str) -> bool {
    !service.is_empty() && !service.starts_with('*')
}

#[cfg(test)]
mod tests {
    use super::full;

    #[test]
    fn names_of_one_service() {
        let check = |a, a_in, b, b_in, same| assert_eq!(full(a, a_in) == full(b, b_in), same, "{a} {a_in} {b} {b_in}");
        check("shop", "prod", "shop", "prod", true);
        check("shop", "prod", "shop", "test", false);
        check("shop", "prod", "shop.prod.svc.cluster.local", "test", true);
        check("shop", "test", "shop.prod.svc.cluster.local", "test", false);
        check("shop.prod", "test", "shop", "prod", true);
        check("shop.prod", "test", "shop.prod.svc", "other", true);
        check("shop.example.com", "a", "shop.example.com", "b", true);
        check("*", "a", "*.a.svc.cluster.local", "a", false);
        check("", "a", ".a.svc.cluster.local", "a", false);
    }
}
