//! Does the Dockerfile, which no test builds, still fit the workspace that it builds and the Deployment that runs its image?

use std::{collections::BTreeSet, fs, path::PathBuf};

use serde_json::{Value, json};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn text(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn manifest(path: &str) -> Value {
    serde_saphyr::from_multiple(&text(&format!("envoy-configs/istio/install/base/{path}"))).unwrap().remove(0)
}

/// Its instructions, each in one line and without comments.
struct Dockerfile(Vec<String>);

impl Dockerfile {
    fn read() -> Self {
        let text = text("Dockerfile");
        let code = text.lines().filter(|line| !line.trim_start().starts_with('#')).collect::<Vec<_>>().join("\n");
        let instructions = code.replace("\\\n", " ");
        Dockerfile(instructions.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect())
    }

    /// What comes after each of these.
    fn all<'a>(&'a self, instruction: &str) -> Vec<&'a str> {
        self.0.iter().filter_map(|line| line.strip_prefix(instruction)?.strip_prefix(' ')).collect()
    }

    fn one<'a>(&'a self, instruction: &str) -> &'a str {
        let all = self.all(instruction);
        assert_eq!(all.len(), 1, "{instruction}: {all:?}");
        all[0]
    }

    fn list(&self, instruction: &str) -> Value {
        serde_json::from_str(self.one(instruction)).unwrap()
    }

    /// The commands that build.
    fn commands(&self) -> Vec<&str> {
        self.all("RUN").iter().flat_map(|run| run.split(" && ")).collect()
    }
}

/// The word after this one.
fn after<'a>(command: &'a str, word: &str) -> Option<&'a str> {
    command.split(' ').skip_while(|found| *found != word).nth(1)
}

fn workload() -> (Value, Value) {
    let deployment = manifest("deployment.yaml");
    let pod = deployment["spec"]["template"]["spec"].clone();
    let container = pod["containers"][0].clone();
    (pod, container)
}

#[test]
fn it_builds_what_there_is() {
    let (file, cargo, makefile) = (Dockerfile::read(), text("Cargo.toml"), text("Makefile"));
    let rust = cargo.lines().find_map(|line| line.strip_prefix("rust-version = ")).unwrap().trim_matches('"');
    assert_eq!(file.all("FROM"), [format!("rust:{rust}-alpine AS build").as_str(), "scratch"]);
    let target = makefile.lines().find_map(|line| line.strip_prefix("WASM_TARGET := ")).unwrap();
    let commands = file.commands();
    assert!(commands.contains(&format!("rustup target add {target}").as_str()), "{commands:?}");
    let builds: Vec<&str> = commands.iter().copied().filter(|command| command.starts_with("cargo build")).collect();
    let mut made = BTreeSet::new();
    for build in &builds {
        assert!(build.contains(" --locked"), "{build}");
        let (folder, package) = match after(build, "-p").unwrap() {
            "serin" => ("aggregator", "serin"),
            "serin-filter" => ("filter", "serin_filter.wasm"),
            other => panic!("nobody knows where {other} is"),
        };
        let name = format!("name = \"{}\"", after(build, "-p").unwrap());
        assert!(text(&format!("{folder}/Cargo.toml")).lines().any(|line| line == name), "{folder} is not {name}");
        let profile = after(build, "--profile").unwrap_or("release");
        assert!(build.contains("--release") || cargo.contains(&format!("[profile.{profile}]")), "{build}");
        let place = after(build, "--target").map_or(String::new(), |target| format!("{target}/"));
        made.insert(format!("target/{place}{profile}/{package}"));
    }
    let copy = commands.iter().find(|command| command.starts_with("cp target/")).unwrap();
    let mut copied: BTreeSet<String> = copy.split(' ').skip(1).map(str::to_owned).collect();
    assert!(copied.remove("/out/usr/bin/"), "{copy}");
    assert_eq!(copied, made);
    // As `make filter` does.
    let filter = makefile.lines().find_map(|line| line.strip_prefix("FILTER := ")).unwrap();
    assert!(made.contains(&filter.replace("$(WASM_TARGET)", target)), "{filter}");
    // Whose module it offers by itself is the one beside it.
    assert_eq!(file.list("ENTRYPOINT"), json!(["/usr/bin/serin"]));
}

#[test]
fn it_runs_as_the_deployment_runs_it() {
    let (file, (pod, container)) = (Dockerfile::read(), workload());
    let security = &pod["securityContext"];
    assert_eq!(file.one("USER"), format!("{}:{}", security["runAsUser"], security["runAsGroup"]));
    assert_eq!(security["runAsGroup"], security["fsGroup"]);
    let ports: Vec<String> =
        container["ports"].as_array().unwrap().iter().map(|port| port["containerPort"].to_string()).collect();
    assert_eq!(file.one("EXPOSE").split(' ').collect::<Vec<_>>(), ports);
    assert_eq!(file.list("CMD"), container["args"]);
    assert!(container.get("command").is_none());
    let service = manifest("service.yaml");
    let offered = service["spec"]["ports"].as_array().unwrap().iter().map(|port| port["port"].to_string());
    assert_eq!(offered.collect::<Vec<_>>(), ports);
    let config = manifest("config-map.yaml")["data"]["serin.yaml"].as_str().unwrap().to_owned();
    let config = serin::config::Config::parse(&config).unwrap();
    assert_eq!([config.grpc.port(), config.metrics.port()].map(|port| port.to_string()).as_slice(), ports);
}

/// Without a volume as well it has a place to write, and the configuration is where it is looked for.
#[test]
fn its_folders_are_the_ones_that_are_mounted() {
    let (file, (_, container)) = (Dockerfile::read(), workload());
    let at = |name: &str| {
        let mount = container["volumeMounts"].as_array().unwrap().iter().find(|mount| mount["name"] == name);
        mount.unwrap()["mountPath"].as_str().unwrap().to_owned()
    };
    let owned: Vec<&str> = file.all("COPY").into_iter().filter(|copy| copy.contains("--chown=")).collect();
    assert_eq!(owned, [format!("--from=build --chown={} /own/ /", file.one("USER"))]);
    let commands = file.commands();
    let made = commands.iter().find(|command| command.starts_with("mkdir -p ")).unwrap();
    assert!(made.split(' ').any(|folder| folder == format!("/own{}", at("data"))), "{made}");
    assert!(made.split(' ').filter(|folder| folder.starts_with("/own")).count() == 1, "{made}");
    assert!(file.one("CMD").contains(&format!("{}/serin.yaml", at("config"))));
}

/// What is left out of the context is what was built or installed here.
#[test]
fn the_context_is_the_repository() {
    let ignored = text(".dockerignore");
    assert_eq!(
        ignored.lines().collect::<BTreeSet<_>>(),
        BTreeSet::from(["**/target", "**/serin-data", ".venv", ".git"])
    );
}
