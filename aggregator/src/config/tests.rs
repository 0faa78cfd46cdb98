use proptest::prelude::*;
use serin_judge::Metric;
use serin_kubernetes::release_guard::TargetKind;
use serin_sketch::Micros;

use super::*;

const EXAMPLE: &str = include_str!("../../serin.example.yaml");

/// The least that a file can say.
const SMALLEST: &str = "services: [{name: shop, vantage: inbound, baseline: v1, candidate: v2}]";

fn problems(text: &str) -> String {
    Config::parse(text).unwrap_err().to_string()
}

#[test]
fn the_smallest_file_has_the_defaults() {
    let config = Config::parse(SMALLEST).unwrap();
    let service = Service {
        name: "shop".to_owned(),
        vantage: Vantage::Inbound,
        baseline: "v1".to_owned(),
        candidate: "v2".to_owned(),
        routes: Vec::new(),
        timing: Timing::Upstream,
        policy: Policy::new(0.1, 0.001, 0.05, 1_800).unwrap(),
        throughput: false,
        rollback: Rollback {
            dry_run: false,
            only_tells: false,
            without_baseline: false,
            confirm_within: Duration::from_secs(30),
            hold: Duration::from_secs(3_600),
            targets: Vec::new(),
            objects: Vec::new(),
            rollout: None,
            held: None,
        },
    };
    let want = Config {
        grpc: "127.0.0.1:9400".parse().unwrap(),
        metrics: "127.0.0.1:9090".parse().unwrap(),
        data_dir: PathBuf::from("./serin-data"),
        filter: None,
        live_window: Duration::from_secs(900),
        nats: None,
        lease: None,
        exporters: Vec::new(),
        retention: Retention::default(),
        notify: Vec::new(),
        kubernetes: None,
        safety: Safety { rollbacks_per_hour: 10, dry_run: false },
        services: vec![service],
    };
    assert_eq!(config, want);
}

fn in_the_cluster() -> Object {
    let subset = Some("{release}".to_owned());
    let (name, host) = ("shop".to_owned(), "shop".to_owned());
    let target = TargetRef { kind: TargetKind::VirtualService, name, host, subset };
    Object { object: target.object("shop").unwrap(), namespace: "shop".to_owned(), target }
}

/// Each from both sides.
#[test]
fn an_object_in_the_cluster_has_the_rules_of_a_release_guards_target() {
    let good = "{kind: VirtualService, namespace: ns, name: shop, host: shop}";
    let parse =
        |object: &str| Config::parse(&SMALLEST.replace("v2}", &format!("v2, rollback: {{kubernetes: {object}}}}}")));
    assert!(parse(good).is_ok(), "{:?}", parse(good));
    assert!(parse("{kind: HTTPRoute, namespace: ns, name: shop, host: 'shop-{release}'}").is_ok());
    for (bad, said) in [
        (good.replace("VirtualService", "Ingress"), "GRPCRoute"),
        (good.replace("VirtualService", "HTTPRoute"), "no subsets"),
        (good.replace("name: shop", "name: ../shop"), "a name of 1 to 253"),
        (good.replace("namespace: ns, ", ""), "namespace"),
        (good.replace("host: shop", "host: 's-{release}', subset: '{release}'"), "one of the two"),
        (good.replace("host: shop", "host: shop, subset: v1"), "{release}"),
        (good.replace("host: shop", "host: shop, weight: 1"), "weight"),
    ] {
        let problems = parse(&bad).unwrap_err().to_string();
        assert!(problems.contains(said), "{bad}: {problems}");
    }
}

#[test]
fn the_example_says_the_defaults_and_all_targets() {
    let example = Config::parse(EXAMPLE).unwrap();
    let default = Config::parse(SMALLEST).unwrap();
    let service = Service {
        vantage: Vantage::Gateway,
        routes: vec!["checkout".to_owned()],
        rollback: Rollback {
            targets: vec![
                Target::VirtualServices {
                    directory: PathBuf::from("./manifests"),
                    host: "shop".to_owned(),
                    subset: Template::parse("{release}").unwrap(),
                    git: None,
                },
                Target::EnvoyRds {
                    file: PathBuf::from("./rds.yaml"),
                    cluster: Template::parse("shop-{release}").unwrap(),
                },
            ],
            objects: vec![in_the_cluster()],
            ..default.services[0].rollback.clone()
        },
        ..default.services[0].clone()
    };
    assert_eq!(example, Config { services: vec![service], ..default });
}

#[test]
fn values_that_are_not_the_defaults_are_taken() {
    let config = Config::parse(
        r#"
listen: { grpc: "[::1]:0", metrics: 0.0.0.0:80 }
data_dir: /var/lib/serin
live_window: 1h
services:
  - name: "1.20"
    vantage: outbound
    baseline: "1"
    candidate: "2"
    timing: total
    judge: { regression: 2.5%, false_rollback: 1 %, false_pass: 50%, trial: 1h30m }
    rollback:
      dry_run: true
      confirm_within: 1 minute
      hold: 30m
      envoy_rds: { file: rds.yaml }
"#,
    )
    .unwrap();
    let service = &config.services[0];
    assert_eq!((config.grpc, config.metrics), ("[::1]:0".parse().unwrap(), "0.0.0.0:80".parse().unwrap()));
    assert_eq!((config.data_dir, config.live_window), (PathBuf::from("/var/lib/serin"), Duration::from_secs(3_600)));
    assert_eq!((service.name.as_str(), service.vantage, service.timing), ("1.20", Vantage::Outbound, Timing::Total));
    assert_eq!(service.policy, Policy::new(0.025, 0.01, 0.5, 5_400).unwrap());
    let cluster = Template::parse("{release}").unwrap();
    let want = Rollback {
        only_tells: false,
        without_baseline: false,
        dry_run: true,
        confirm_within: Duration::from_secs(60),
        hold: Duration::from_secs(1_800),
        targets: vec![Target::EnvoyRds { file: PathBuf::from("rds.yaml"), cluster }],
        objects: Vec::new(),
        rollout: None,
        held: None,
    };
    assert_eq!(service.rollback, want);
}

#[test]
fn a_lease_is_named_with_its_namespace_and_is_not_for_several_aggregators() {
    let parse = |more: &str| Config::parse(&format!("{SMALLEST}\n{more}\n"));
    let lease = parse("high_availability: {lease: serin-system/serin}").unwrap().lease.unwrap();
    assert_eq!((lease.namespace.as_str(), lease.name.as_str()), ("serin-system", "serin"));
    for (bad, said) in [
        ("high_availability: {lease: serin}", "NAMESPACE/NAME"),
        ("high_availability: {lease: a/b/c}", "NAMESPACE/NAME"),
        ("high_availability: {lease: ../serin}", "NAMESPACE/NAME"),
        ("high_availability: {}", "lease"),
        (
            "high_availability: {lease: a/b}\nhistory: {nats: 'nats://a:4222'}",
            "every aggregator acts on what it judges",
        ),
    ] {
        let problems = parse(bad).unwrap_err().to_string();
        assert!(problems.contains(said), "{bad}: {problems}");
    }
}

/// Each limit from both sides: (where, the last value that is taken, the first that is not).
#[test]
fn limits_are_where_they_are_said_to_be() {
    let (longest, too_long) = ("n".repeat(256), "n".repeat(257));
    let cases = [
        ("live_window", "1m", "59.999s"),
        ("live_window", "1h", "3600.001s"),
        ("services[0].rollback.hold", "1m", "59s"),
        ("services[0].rollback.hold", "720h", "721h"),
        ("services[0].rollback.confirm_within", "1s", "999ms"),
        ("services[0].rollback.confirm_within", "60m", "61m"),
        ("services[0].judge.regression", "1%", "0.99%"),
        ("services[0].judge.regression", "1000%", "1000.01%"),
        ("services[0].judge.false_rollback", "10%", "10.001%"),
        ("services[0].judge.false_rollback", "0.0000001%", "0%"),
        ("services[0].judge.false_pass", "50%", "50.01%"),
        ("services[0].judge.trial", "60s", "59s"),
        ("services[0].judge.trial", "720h", "720h1s"),
        ("services[0].name", &longest, &too_long),
        ("listen.grpc", "127.0.0.1:65535", "127.0.0.1:65536"),
    ];
    for (path, taken, refused) in cases {
        let file = |value: &str| {
            let at = |key: &str, default: &str| if path.ends_with(key) { value.to_owned() } else { default.to_owned() };
            format!(
                "listen: {{ grpc: '{}' }}\nlive_window: {}\nservices:\n  - name: {}\n    vantage: inbound\n    \
                 baseline: v1\n    candidate: v2\n    judge: {{ regression: {}, false_rollback: {}, false_pass: {}, \
                 trial: {} }}\n    rollback: {{ confirm_within: {}, hold: {} }}\n",
                at("listen.grpc", "[::1]:1"),
                at("live_window", "15m"),
                at(".name", "shop"),
                at(".regression", "10%"),
                at(".false_rollback", "0.1%"),
                at(".false_pass", "5%"),
                at(".trial", "30m"),
                at(".confirm_within", "30s"),
                at(".hold", "1h"),
            )
        };
        assert_eq!(Config::parse(&file(taken)).err(), None, "{path}: {taken}");
        let problems = Config::parse(&file(refused)).unwrap_err();
        assert_eq!(problems.iter().map(Problem::path).collect::<Vec<_>>(), [path], "{refused}");
    }
}

#[test]
fn limits_and_kayentas_thresholds_are_policies() {
    let judge = |judge: &str| Config::parse(&SMALLEST.replace("v2}", &format!("v2, judge: {judge}}}")));
    let config = judge("{thresholds: {pass: 0.03, marginal: 0.2}, limits: {p95: 200ms, p99: 500ms}}").unwrap();
    let want = Policy::new(0.2, 0.001, 0.05, 1_800).and_then(|p| p.with_pass(0.03)).unwrap();
    let want = want.with_limit(Metric::P95, Micros(200_000)).and_then(|p| p.with_limit(Metric::P99, Micros(500_000)));
    assert_eq!(config.services[0].policy, want.unwrap());
    for (wrong, message) in [
        ("{limits: {p99: 500}}", "services[0].judge.limits.p99: the number 500 is not allowed: write a duration"),
        (
            "{limits: {p99: 20m}}",
            "services[0].judge.limits.p99: `20m` is not allowed: a limit must be from 1 ms to 10 min",
        ),
        ("{limits: {p90: 1s}}", "services[0].judge.limits.p90: unknown key `p90`"),
        (
            "{thresholds: {pass: 0.3, marginal: 0.2}}",
            "services[0].judge.thresholds.pass: the number 0.3 is not allowed: pass must be",
        ),
        (
            "{thresholds: {pass: 5%, marginal: 0.2}}",
            "services[0].judge.thresholds.pass: `5%` is not allowed: write a fraction",
        ),
        ("{regression: 10%, thresholds: {pass: 0.05, marginal: 0.1}}", "services[0].judge.thresholds: "),
    ] {
        let problems = judge(wrong).unwrap_err().to_string();
        assert!(problems.contains(message), "{wrong}: {problems}");
    }
}

/// JSON is YAML: a canary configuration's metrics, as they are, within a file of JSON.
#[test]
fn a_canary_configurations_metrics_are_read_from_json() {
    let json = r#"{"services": [{"name": "shop", "vantage": "inbound", "baseline": "v1", "candidate": "v2", "judge": {
        "metrics": [{"name": "p99", "thresholds": {"pass": 0.05, "marginal": 0.2}}, {"name": "p50", "thresholds": {"pass": 0.01, "marginal": 0.03}}],
        "guard": "1h", "throughput": "judged"}}]}"#;
    let service = Config::parse(json).unwrap().services.remove(0);
    let want = Policy::default().with_thresholds(Metric::P99, 0.05, 0.2);
    let want = want.and_then(|p| p.with_thresholds(Metric::P50, 0.01, 0.03)).and_then(|p| p.with_guard(3_600));
    assert_eq!((service.policy, service.throughput), (want.unwrap(), true));
    let judge = |judge: &str| Config::parse(&SMALLEST.replace("v2}", &format!("v2, judge: {judge}}}")));
    for (wrong, message) in [
        (
            "{metrics: [{name: p90, thresholds: {pass: 0.05, marginal: 0.2}}]}",
            "metrics[0].name: `p90` is not allowed: write `p50`",
        ),
        ("{metrics: [{name: p99}]}", "metrics[0].thresholds: missing"),
        (
            "{metrics: [{name: p99, thresholds: {pass: 0.3, marginal: 0.2}}]}",
            "metrics[0].thresholds.pass: the number 0.3",
        ),
        ("{metrics: p99}", "judge.metrics: `p99` is not allowed: write a list of metrics"),
        ("{throughput: yes}", "judge.throughput: "),
        ("{guard: 48h}", "judge.guard: `48h` is not allowed: guard must be at most"),
    ] {
        let problems = judge(wrong).unwrap_err().to_string();
        assert!(problems.contains(message), "{wrong}: {problems}");
    }
}

#[test]
fn how_long_what_was_counted_is_kept() {
    let with = |history: &str| Config::parse(&format!("history: {history}\n{SMALLEST}"));
    let tier = |resolution_s, hours: u64| serin_history::Tier { resolution_s, keep_s: hours * 3_600 };
    let want = Retention::new(900, tier(10, 6), tier(60, 720)).unwrap();
    assert_eq!(with("{ten_seconds: 6h, minutes: 720h}").unwrap().retention, want);
    let servers = "nats://10.0.0.1:4222,tls://user:pw@nats.example";
    assert_eq!(with(&format!("{{nats: '{servers}'}}")).unwrap().nats.as_deref(), Some(servers));
    for (wrong, message) in [
        ("{nats: 10.0.0.1:4222}", "history.nats: `10.0.0.1:4222` is not allowed: write NATS servers, such as nats://"),
        ("{nats: 'nats://a:4222,'}", "history.nats: `nats://a:4222,` is not allowed"),
        ("{ten_seconds: 48h, minutes: 24h}", "history: the finer must be kept for less time than the coarser"),
        ("{minutes: 30m}", "history.minutes: `30m` is not allowed: write a duration from 1h to 9600h"),
        ("{hours: 3h}", "history.hours: unknown key `hours`"),
    ] {
        let problems = with(wrong).unwrap_err().to_string();
        assert!(problems.contains(message), "{wrong}: {problems}");
    }
}

#[test]
fn services_may_share_a_policy_by_an_anchor() {
    let config = Config::parse(
        "services:
  - { name: a, vantage: inbound, baseline: v1, candidate: v2, judge: &strict { regression: 5% } }
  - { name: b, vantage: inbound, baseline: v1, candidate: v2, judge: *strict }",
    )
    .unwrap();
    assert_eq!(config.services[0].policy, config.services[1].policy);
}

#[test]
fn every_problem_of_a_thoroughly_wrong_file_is_told_at_once() {
    insta::assert_snapshot!(problems(
        r#"listen:
  grcp: 127.0.0.1:9400
  metrics: localhost:9090
data_dir: ""
live_window: 30
colour: blue
services:
  - name: shop
    vantage: everywhere
    baseline: 1.20
    candidate: v2
    routes: [checkout, 7, checkout]
    timing: downstream
    judge: { regresion: 10%, regression: 0.1%, false_rollback: 0.1, false_pass: .nan%, trial: 2s }
    rollback:
      dry_run: yes
      confirm_within: 2h
      virtual_services: { directory: ./manifests, subset: {release} }
      envoy_rds: ./rds.yaml
      webhook: { url: http://127.0.0.1 }
  - name: shop
    vantage: inbound
    baseline: v1
    candidate: v1
    judge: { trial: 90.5s, false_pass: -5% }
    rollback: { envoy_rds: { file: rds.yaml, cluster: "shop-v2" } }
  - just a name
  - vantage:
"#
    ), @r#"
line 2: listen.grcp: unknown key `grcp`; did you mean `grpc`?
line 3: listen.metrics: `localhost:9090` is not allowed: write an IP address and a port, such as 127.0.0.1:9400 or "[::1]:9400"
line 4: data_dir: an empty text is not allowed: write a path
line 5: live_window: the number 30 is not allowed: write a duration with its unit, such as 30s, 5m or 1h30m
line 6: colour: unknown key `colour`; the keys here are listen, data_dir, filter, live_window, history, high_availability, kubernetes, export, services, notify, safety
line 9: services[0].vantage: `everywhere` is not allowed: write `inbound`, `outbound` or `gateway`
line 10: services[0].baseline: the number 1.2 is not allowed: write text of 1 to 256 bytes (in quotes if it looks like a number)
line 12: services[0].routes[1]: the number 7 is not allowed: write text of 1 to 256 bytes (in quotes if it looks like a number)
line 12: services[0].routes[2]: `checkout` is already used by an earlier route: name every route once
line 13: services[0].timing: `downstream` is not allowed: write `upstream` or `total`
line 14: services[0].judge.regresion: unknown key `regresion`; did you mean `regression`?
line 14: services[0].judge.regression: `0.1%` is not allowed: regression must be from 1% to 1000%, not 0.1%
line 14: services[0].judge.false_rollback: the number 0.1 is not allowed: write a percentage, such as 10% or 0.1%
line 14: services[0].judge.false_pass: `.nan%` is not allowed: write a percentage, such as 10% or 0.1%
line 14: services[0].judge.trial: `2s` is not allowed: trial must be from 60 s to 2,592,000 s (30 days), not 2 s
line 16: services[0].rollback.dry_run: `yes` is not allowed: write `true` or `false`
line 17: services[0].rollback.confirm_within: `2h` is not allowed: write a duration from 1s to 1h
line 18: services[0].rollback.virtual_services.host: missing: write text of 1 to 256 bytes (in quotes if it looks like a number)
line 18: services[0].rollback.virtual_services.subset: a mapping is not allowed: write text with {release} in it once, in quotes, such as "shop-{release}"
line 19: services[0].rollback.envoy_rds: `./rds.yaml` is not allowed: write a mapping: `key: value` lines
line 20: services[0].rollback.webhook: unknown key `webhook`; the keys here are dry_run, action, without_baseline, confirm_within, hold, virtual_services, envoy_rds, kubernetes, argo_rollout
line 21: services[1].name: `shop` is already used by services[0]: every service has one entry
line 24: services[1].candidate: `v1` is already used by the baseline: name the release on trial
line 25: services[1].judge.trial: `90.5s` is not allowed: write a duration in whole seconds
line 25: services[1].judge.false_pass: `-5%` is not allowed: write a percentage, such as 10% or 0.1%
line 26: services[1].rollback.envoy_rds.cluster: `shop-v2` is not allowed: write text with {release} in it once, in quotes, such as "shop-{release}"
line 27: services[2]: `just a name` is not allowed: write a mapping: `key: value` lines
line 28: services[3].name: missing: write text of 1 to 256 bytes (in quotes if it looks like a number)
line 28: services[3].baseline: missing: write text of 1 to 256 bytes (in quotes if it looks like a number)
line 28: services[3].candidate: missing: write text of 1 to 256 bytes (in quotes if it looks like a number)
line 28: services[3].vantage: missing: write `inbound`, `outbound` or `gateway`
"#);
}

#[test]
fn whole_files_that_cannot_be_read() {
    let too_long = format!("# {}", "x".repeat(4 << 20));
    let too_deep = "[".repeat(1_000);
    let too_many = format!("services: [{}]", "{},".repeat(1_001));
    let bomb = (1..9).fold("a0: &a0 [x]\n".to_owned(), |bomb, i| {
        bomb + &format!("a{i}: &a{i} [{}]\n", vec![format!("*a{}", i - 1); 9].join(","))
    });
    let listing = [
        "",
        "# nothing but a comment",
        "services: []",
        "- services",
        "services:\n  - name: [",
        "services: 1\nservices: 2",
        "\"a\\nb\": 1\n\"a\\nb\": 2",
        "services: 1\n---\nservices: 2",
        "listen: { grpc: 127.0.0.1:9090 }\nservices: *unknown",
        "listen: { grpc: 127.0.0.1:9090 }",
        "\u{0}",
        &too_long,
        &too_deep,
        &too_many,
        &bomb,
    ]
    .map(problems)
    .join("\n---\n");
    insta::assert_snapshot!(listing, @r#"
line 1: services: missing: write a list of at least one service: `- name: ...` lines
---
line 1: services: missing: write a list of at least one service: `- name: ...` lines
---
line 1: services: missing: write a list of at least one service: `- name: ...` lines
---
line 1, column 1: a list is not allowed: write a mapping: `key: value` lines
---
line 2, column 11: not valid YAML: unclosed bracket '['
---
line 2, column 1: `services` is here for the second time: keep one
---
line 2, column 1: `a\nb` is here for the second time: keep one
---
line 2, column 1: a second document begins here: keep one `---`
---
line 2, column 11: not valid YAML: alias references unknown anchor
---
line 1: services: missing: write a list of at least one service: `- name: ...` lines
line 1: listen.metrics: `127.0.0.1:9090` is already used by listen.grpc: use another port
---
line 1, column 1: not valid YAML: unexpected character: `\u{0}'
---
line 1, column 1: the file has 4194306 bytes; at most 4194304 are read
---
line 1, column 33: not valid YAML: recursion limit exceeded
---
line 1: services: 1001 services are too many: at most 1000
---
line 7, column 10: not valid YAML: alias replay limit exceeded: total_replayed_events=250001 > 250000
"#);
}

/// Texts of the right shape but for one value: what a slip of the hand makes of a good file.
fn almost_right() -> impl Strategy<Value = String> {
    (any::<prop::sample::Index>(), ".{0,12}").prop_map(|(at, what)| {
        let lines: Vec<&str> = EXAMPLE.lines().collect();
        let at = at.index(lines.len());
        let changed = lines.iter().enumerate().map(|(i, line)| match line.split_once(':') {
            Some((key, _)) if i == at => format!("{key}: {what}\n"),
            _ => format!("{line}\n"),
        });
        changed.collect()
    })
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(text in prop_oneof!["\\PC{0,200}", "[\\[\\]{}:,&*<!|>%\"' \n\ta-z0-9-]{0,200}", almost_right()]) {
        if let Err(problems) = Config::parse(&text) {
            // One line each, whatever the text had in it.
            prop_assert!(problems.iter().len() > 0);
            prop_assert_eq!(problems.to_string().lines().count(), problems.iter().len());
        }
    }

    #[test]
    fn problems_are_in_the_order_of_the_file(text in almost_right()) {
        if let Err(problems) = Config::parse(&text) {
            prop_assert!(problems.iter().is_sorted_by_key(Problem::line));
        }
    }

    #[test]
    fn percentages_are_the_nearest_fractions(hundredths in 100u32..=100_000) {
        let text = SMALLEST.replace("v2}", &format!("v2, judge: {{regression: {}.{:02}%}}}}", hundredths / 100, hundredths % 100));
        let config = Config::parse(&text).unwrap();
        prop_assert_eq!(config.services[0].policy.regression(), f64::from(hundredths) / 10_000.0);
    }
}

#[test]
fn histograms_are_exported() {
    let with = |otlp: &str| Config::parse(&format!("{SMALLEST}\nexport: {{otlp: {otlp}}}"));
    let exporter = |receives, address: &str, every_s| Exporter {
        receives,
        address: address.to_owned(),
        every: Duration::from_secs(every_s),
    };
    let otlp = |address: &str, every_s| vec![exporter(Receives::Otlp, address, every_s)];
    assert_eq!(with("{endpoint: 'http://10.0.0.9:4317'}").unwrap().exporters, otlp("http://10.0.0.9:4317", 10));
    assert_eq!(with("{endpoint: 'http://agent:4317', every: 1m}").unwrap().exporters, otlp("http://agent:4317", 60));
    let url = "https://mimir.example/api/v1/push";
    let write = Config::parse(&format!("{SMALLEST}\nexport: {{remote_write: {{url: '{url}', every: 15s}}}}"));
    assert_eq!(write.unwrap().exporters, [exporter(Receives::RemoteWrite, url, 15)]);
    for wrong in ["https://vendor.example:4317", "10.0.0.9:4317", "http://", "agent"] {
        let said = with(&format!("{{endpoint: '{wrong}'}}")).unwrap_err().to_string();
        let want =
            format!("export.otlp.endpoint: `{wrong}` is not allowed: write an address such as http://127.0.0.1:4317");
        assert!(said.contains(&want), "{said}");
    }
    let said = with("{every: 10ms}").unwrap_err().to_string();
    assert!(said.contains("export.otlp.endpoint: missing") && said.contains("export.otlp.every: `10ms`"), "{said}");
}
