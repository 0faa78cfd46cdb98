use super::*;

const ISTIO: &str = "outbound|80|v2|reviews.default.svc.cluster.local";

/// The pod label of a request, read from its only source.
fn read(source: Source, answer: impl Fn(&Attribute) -> Option<&'static [u8]>) -> String {
    let fixed = || Source::Fixed("x".into());
    let sources = Sources { service: fixed(), route: fixed(), release: fixed(), pod: source, methods: false };
    let metadata = |path: &[String]| (path == ["LABELS", "version"]).then(|| b"v3".to_vec());
    let labels = Labels::new(sources, "node-1", metadata);
    let values: Vec<_> = labels.attributes().iter().map(answer).collect();
    let mut key = Vec::new();
    labels.write_key(Outcome::Success, &values, &mut key);
    series(0, &key).pod
}

#[test]
fn the_method_comes_before_the_route() {
    let sources = Sources { methods: true, ..Sources::of_vantage(Vantage::Gateway) };
    let labels = Labels::new(sources, "node-1", |_| None);
    let answer = |asked: &Attribute| match asked {
        Attribute::RequestHeader(":method") => Some(b"POST".as_slice()),
        asked if *asked == property(&["xds", "route_name"]) => Some(b"checkout".as_slice()),
        _ => None,
    };
    let values: Vec<_> = labels.attributes().iter().map(answer).collect();
    let mut key = Vec::new();
    labels.write_key(Outcome::Success, &values, &mut key);
    assert_eq!(series(0, &key).route, "POST checkout");
}

fn metadata(path: &[&str]) -> Source {
    Source::NodeMetadata(path.iter().map(|part| (*part).to_owned()).collect())
}

#[test]
fn labels_come_from_their_source() {
    let cases = [
        (Source::Fixed("shop".into()), ISTIO, "shop"),
        (Source::Cluster, "shop-v2", "shop-v2"),
        (Source::ClusterAfter("shop-".into()), "shop-v2", "v2"),
        (Source::ClusterAfter("shop-".into()), "cart-v2", "unknown"),
        (Source::ClusterAfter("shop-".into()), "shop-", "unknown"),
        (Source::Subset, ISTIO, "v2"),
        (Source::Subset, "outbound|80||reviews.default.svc.cluster.local", "unknown"),
        (Source::Host, ISTIO, "reviews.default.svc.cluster.local"),
        (Source::Host, "PassthroughCluster", "unknown"),
        (Source::Host, "a|b|c|d|e", "unknown"),
        (Source::None, ISTIO, ""),
        (Source::NodeId, ISTIO, "node-1"),
        (metadata(&["LABELS", "version"]), ISTIO, "v3"),
        (metadata(&["LABELS", "absent"]), ISTIO, "unknown"),
    ];
    for (source, cluster, want) in cases {
        let answer = |asked: &Attribute| {
            assert_eq!(*asked, Attribute::Property(b"xds\0cluster_name".to_vec()));
            Some(cluster.as_bytes())
        };
        assert_eq!(read(source.clone(), answer), want, "{source:?} of {cluster}");
    }
}

#[test]
fn each_source_asks_for_its_attribute() {
    let cases = [
        (Source::RouteName, "xds\0route_name"),
        (Source::VirtualHost, "xds\0virtual_host_name"),
        (Source::UpstreamAddress, "upstream\0address"),
        (
            Source::HostMetadata(vec!["envoy.lb".into(), "version".into()]),
            "xds\0upstream_host_metadata\0filter_metadata\0envoy.lb\0version",
        ),
    ];
    for (source, path) in cases {
        let answer = |asked: &Attribute| (*asked == Attribute::Property(path.into())).then_some(&b"found"[..]);
        assert_eq!(read(source.clone(), answer), "found");
        assert_eq!(read(source, |_| None), "unknown");
    }
    let header = Source::ResponseHeader("x-release".into());
    assert_eq!(read(header, |a| (*a == Attribute::ResponseHeader("x-release".into())).then_some(&b"v9"[..])), "v9");
}

#[test]
fn a_grpc_method_is_the_path_of_a_grpc_call() {
    for (content_type, want) in [("application/grpc+proto", "/shop.v1.Shop/Get"), ("application/grpc-web", "unknown")] {
        let answer = |asked: &Attribute| match asked {
            Attribute::RequestHeader(":path") => Some(&b"/shop.v1.Shop/Get?x"[..]),
            _ => Some(content_type.as_bytes()),
        };
        assert_eq!(read(Source::GrpcMethod, answer), want);
    }
    let templates = Templates::parse(vec!["/users/{id}".into()]).unwrap();
    for (path, want) in [("/users/7", "/users/{id}"), ("/carts/7", "unknown")] {
        assert_eq!(read(Source::PathTemplates(templates.clone()), |_| Some(path.as_bytes())), want);
    }
}

#[test]
fn only_what_is_needed_is_read_and_each_once() {
    let inbound = Labels::new(Sources::of_vantage(Vantage::Inbound), "n", |_| None);
    assert_eq!(inbound.attributes(), [Attribute::Property(b"xds\0route_name".to_vec())]);
    // Service and release are parts of one name.
    let gateway = Labels::new(Sources::of_vantage(Vantage::Gateway), "n", |_| None);
    assert_eq!(gateway.attributes().len(), 2);
}
