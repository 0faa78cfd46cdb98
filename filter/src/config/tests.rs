use super::*;

fn problems(json: &str) -> Vec<String> {
    Config::parse(json.as_bytes()).unwrap_err().iter().map(Problem::to_string).collect()
}

#[test]
fn the_shortest_configuration_has_the_defaults() {
    let config = Config::parse(br#"{"cluster": "serin", "vantage": "inbound"}"#).unwrap();
    assert_eq!(config.attachment, Attachment::AccessLog);
    assert_eq!(config.interval_ms, 1_000);
    assert_eq!(config.sources.service, Source::NodeLabel("app".to_owned()));
    assert_eq!(config.sources.release, Source::NodeLabel("version".to_owned()));
    assert_eq!(config.sources.route, Source::RouteName);
    assert_eq!(config.sources.pod, Source::NodeId);

    let config = Config::parse(br#"{"cluster": "serin", "vantage": "gateway"}"#).unwrap();
    assert_eq!(config.sources.service, Source::Host);
    assert_eq!(config.sources.release, Source::Subset);
    assert_eq!(config.sources.pod, Source::None);
}

#[test]
fn every_key_is_read() {
    let json = br#"{"cluster": "c", "vantage": "outbound", "attachment": "http_filter", "interval_ms": 2000.0,
        "service": {"fixed": "shop"}, "release": {"cluster_after": "shop-"}, "route": "virtual_host",
        "pod": "upstream_address"}"#;
    let want = Config {
        cluster: "c".to_owned(),
        vantage: Vantage::Outbound,
        attachment: Attachment::HttpFilter,
        sources: Sources {
            service: Source::Fixed("shop".to_owned()),
            release: Source::ClusterAfter("shop-".to_owned()),
            route: Source::VirtualHost,
            pod: Source::UpstreamAddress,
        },
        interval_ms: 2_000,
    };
    assert_eq!(Config::parse(json), Ok(want));
}

#[test]
fn every_problem_is_named_with_its_path_and_a_remedy() {
    let json = r#"{"vantage": "sideways", "attachment": 7, "interval_ms": 500, "service": "hots",
        "release": {"fixed": ""}, "route": {"fixed": "a", "node_label": "b"}, "pod": {"prefix": "x"}, "clutser": "serin"}"#;
    let got = problems(json);
    let starts = [
        "cluster: is missing: write",
        "vantage: \"sideways\" is not a vantage: write",
        "attachment: 7 is not an attachment: write",
        "service: \"hots\" is not a source of a label: write",
        "route: [\"fixed\", \"node_label\"] are not exactly one key: write",
        "release.fixed: \"\" is not a text: write",
        "pod.prefix: unknown key: write",
        "interval_ms: 500 is out of range: write",
        "clutser: unknown key (its value is \"serin\"): remove it",
    ];
    assert_eq!(got.len(), starts.len(), "{got:#?}");
    for (got, start) in got.iter().zip(starts) {
        assert!(got.starts_with(start), "{got}\n{start}");
    }
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
    let config = Config::parse(br#"{"cluster": "c", "vantage": "inbound", "pod": "none"}"#).unwrap();
    assert_eq!(config.sources.pod, Source::None);
}

#[test]
fn cluster_names_have_a_limit() {
    for (name, good) in [("c".repeat(120), true), ("c".repeat(121), false), (String::new(), false), ("é".into(), false)]
    {
        let json = format!(r#"{{"cluster": "{name}", "vantage": "gateway"}}"#);
        assert_eq!(Config::parse(json.as_bytes()).is_ok(), good, "{name}");
    }
}
