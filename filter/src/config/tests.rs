use super::*;
use crate::labels::Source;

fn problems(json: &str) -> Vec<String> {
    Config::parse(json.as_bytes()).unwrap_err().iter().map(Problem::to_string).collect()
}

fn counting(json: &str) -> Counting {
    match Config::parse(json.as_bytes()).unwrap() {
        Config::Counting(counting) => *counting,
        Config::Exceptions => panic!("{json}"),
    }
}

fn node_label(key: &str) -> Source {
    Source::NodeMetadata(vec!["LABELS".to_owned(), key.to_owned()])
}

#[test]
fn the_shortest_configuration_has_the_defaults() {
    let config = counting(r#"{"cluster": "serin", "vantage": "inbound"}"#);
    assert_eq!(config.attachment, Attachment::AccessLog);
    assert_eq!((config.interval_ms, config.sorted, config.streams.is_empty()), (1_000, false, true));
    assert_eq!(config.sources.service, node_label("app"));
    assert_eq!(config.sources.release, node_label("version"));
    assert_eq!(config.sources.route, Source::RouteName);
    assert_eq!(config.sources.pod, Source::NodeId);

    let config = counting(r#"{"cluster": "serin", "vantage": "gateway"}"#);
    assert_eq!(config.sources.service, Source::Host);
    assert_eq!(config.sources.release, Source::Subset);
    assert_eq!(config.sources.pod, Source::None);
}

#[test]
fn every_key_is_read() {
    let json = br#"{"cluster": "c", "vantage": "outbound", "attachment": "http_filter", "interval_ms": 2000.0,
        "service": {"fixed": "shop"}, "release": {"cluster_after": "shop-"}, "route": "virtual_host",
        "pod": "upstream_address", "outcomes": "sorted", "streams": ["/shop.v1.Shop/Watch"], "retries": "counted",
        "methods": "told"}"#;
    let want = Counting {
        cluster: "c".to_owned(),
        vantage: Vantage::Outbound,
        attachment: Attachment::HttpFilter,
        sorted: true,
        sources: Sources {
            service: Source::Fixed("shop".to_owned()),
            release: Source::ClusterAfter("shop-".to_owned()),
            route: Source::VirtualHost,
            pod: Source::UpstreamAddress,
            methods: true,
        },
        streams: Templates::parse(vec!["/shop.v1.Shop/Watch".to_owned()]).unwrap(),
        retries: true,
        interval_ms: 2_000,
    };
    assert_eq!(Config::parse(json), Ok(Config::Counting(Box::new(want))));
}

#[test]
fn every_problem_is_named_with_its_path_and_a_remedy() {
    let json = r#"{"vantage": "sideways", "attachment": 7, "interval_ms": 500, "service": "hots",
        "release": {"fixed": ""}, "retries": true, "methods": 1, "route": {"fixed": "a", "node_label": "b"}, "pod": {"prefix": "x"}, "clutser": "serin"}"#;
    let got = problems(json);
    let starts = [
        "cluster: is missing: write",
        "vantage: \"sideways\" is not a vantage: write",
        "attachment: 7 is not an attachment: write",
        "service: \"hots\" is not a source of a label: write",
        "route: [\"fixed\", \"node_label\"] are not exactly one key: write",
        "release.fixed: \"\" is not a text: write",
        "pod.prefix: unknown key: write",
        "methods: 1 is not what to do with methods: write",
        "retries: true is not what to do with retries: write",
        "interval_ms: 500 is out of range: write",
        "clutser: unknown key (its value is \"serin\"): remove it",
    ];
    assert_eq!(got.len(), starts.len(), "{got:#?}");
    for (got, start) in got.iter().zip(starts) {
        assert!(got.starts_with(start), "{got}\n{start}");
    }
}

#[test]
fn every_source_with_arguments_is_read() {
    let texts = |texts: &[&str]| texts.iter().map(|t| (*t).to_owned()).collect::<Vec<_>>();
    let cases = [
        (r#"{"node_label": "version"}"#, node_label("version")),
        (r#"{"node_metadata": ["a/b", "c"]}"#, Source::NodeMetadata(texts(&["a/b", "c"]))),
        (r#"{"host_metadata": ["envoy.lb", "version"]}"#, Source::HostMetadata(texts(&["envoy.lb", "version"]))),
        (r#"{"response_header": "X-Release"}"#, Source::ResponseHeader("x-release".to_owned())),
        (r#""grpc_method""#, Source::GrpcMethod),
        (
            r#"{"path_templates": ["/users/{id}"]}"#,
            Source::PathTemplates(Templates::parse(texts(&["/users/{id}"])).unwrap()),
        ),
    ];
    for (json, want) in cases {
        let config = format!(r#"{{"cluster": "c", "vantage": "inbound", "release": {json}}}"#);
        assert_eq!(counting(&config).sources.release, want, "{json}");
    }
    let wrong = [
        (r#"{"node_metadata": []}"#, "release.node_metadata: [] is not a list"),
        (r#"{"node_metadata": ["a", 1]}"#, "release.node_metadata: [\"a\",1] is not a list"),
        (r#"{"response_header": 1}"#, "release.response_header: 1 is not a text"),
        (r#"{"path_templates": ["/a", "b"]}"#, "release.path_templates: \"b\" is not a path template"),
    ];
    for (json, start) in wrong {
        let got = problems(&format!(r#"{{"cluster": "c", "vantage": "inbound", "release": {json}}}"#));
        assert!(got.len() == 1 && got[0].starts_with(start), "{got:?}");
    }
}

#[test]
fn an_exceptions_logger_needs_and_takes_nothing_else() {
    assert_eq!(Config::parse(br#"{"attachment": "exceptions"}"#), Ok(Config::Exceptions));
    let got = problems(r#"{"attachment": "exceptions", "cluster": "serin"}"#);
    assert!(got.len() == 1 && got[0].starts_with("cluster: unknown key"), "{got:?}");
    let got = problems(r#"{"cluster": "c", "vantage": "gateway", "outcomes": "guessed"}"#);
    assert!(got.len() == 1 && got[0].starts_with("outcomes: \"guessed\" is no way"), "{got:?}");
}

#[test]
fn what_is_not_an_object_is_refused() {
    let cases = [
        ("", "the plugin configuration is missing"),
        ("{", "the plugin configuration is not JSON (EOF"),
        ("[1]", "the plugin configuration [1] is not an object"),
    ];
    for (json, start) in cases {
        let got = problems(json);
        assert!(got.len() == 1 && got[0].starts_with(start), "{got:?}");
    }
}

#[test]
fn only_a_pod_may_be_none() {
    assert_eq!(problems(r#"{"cluster": "c", "vantage": "gateway", "route": "none"}"#).len(), 1);
    let config = counting(r#"{"cluster": "c", "vantage": "inbound", "pod": "none"}"#);
    assert_eq!(config.sources.pod, Source::None);
}

#[test]
fn cluster_names_have_a_limit() {
    for (name, good) in [("c".repeat(332), true), ("c".repeat(333), false), (String::new(), false), ("é".into(), false)]
    {
        let json = format!(r#"{{"cluster": "{name}", "vantage": "gateway"}}"#);
        assert_eq!(Config::parse(json.as_bytes()).is_ok(), good, "{name}");
    }
}
