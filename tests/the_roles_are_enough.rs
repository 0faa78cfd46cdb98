//! Are the Roles that `serin install` prints all that Serin needs, and no more than they say? Only a real API server tells: `make test-cluster`
//! installs what is printed, but for its pods, and runs `serin serve` with the configuration and the token that they would have.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::{
    authentication::v1::{TokenRequest, TokenRequestSpec},
    authorization::v1::{SelfSubjectRulesReview, SelfSubjectRulesReviewSpec},
    core::v1::ServiceAccount,
};
use kube::{
    Api, Client, Config,
    api::{ApiResource, DeleteParams, DynamicObject, GroupVersionKind, Patch, PatchParams, PostParams},
    config::{KubeConfigOptions, Kubeconfig},
};
use serde_json::{Value, json};
use serin_kubernetes::connect;
use support::{artifacts, poll, serin::Serin};
use tempfile::TempDir;

use crate::{
    a_rollback_in_the_cluster::{gateway, virtual_service},
    two_replicas_one_acts::leads,
};

/// A regression is found in about ten seconds, and the first look of a watch may come before its Role.
const SOON: Duration = Duration::from_secs(60);
const CRD: &str = "releaseguards.serin.dev";

/// What one rule allows: verb, group, resource, name.
type Allowed = BTreeSet<[String; 4]>;

struct Installation {
    admin: Client,
    /// Where Serin runs, and what it guards.
    own: String,
    guarded: String,
    documents: Vec<Value>,
    dir: TempDir,
}

impl Installation {
    async fn new() -> Result<Self> {
        let own = format!("serin-test-own-{}", std::process::id());
        let guarded = format!("serin-test-guarded-{}", std::process::id());
        let mut command = Command::new(artifacts::serin()?);
        command.args(["install", "--print", "--image", "example.org/serin:7", "--service", "shop"]);
        command.args(["--with", "high-availability", "--namespace", &own, "--guard", &guarded]);
        let printed = String::from_utf8(command.output()?.stdout)?;
        let documents = serde_saphyr::from_multiple(&printed)?;
        let admin = connect::client(Config::infer().await?)?;
        Ok(Installation { admin, own, guarded, documents, dir: tempfile::tempdir()? })
    }

    /// Everything is taken away afterwards, whatever happened; the CRD if it was not there.
    async fn run(&self) -> Result<()> {
        let crds = self.api("apiextensions.k8s.io/v1", "CustomResourceDefinition", None)?;
        let was_there = crds.get_opt(CRD).await?.is_some();
        let result = self.all(was_there).await;
        // One by one, since a bare API server has nobody who empties a namespace.
        let ours = [self.routes(), self.guard(), self.nobody()];
        for document in self.documents.iter().chain(&ours).rev().filter(|document| document["metadata"]["name"] != CRD)
        {
            self.delete(document).await?;
        }
        self.delete(&self.guarded_namespace()).await?;
        if !was_there {
            crds.delete(CRD, &DeleteParams::default()).await.context("cannot delete the CRD")?;
        }
        result
    }

    async fn all(&self, has_crd: bool) -> Result<()> {
        self.apply(&self.guarded_namespace()).await?;
        for document in self.documents.iter().filter(|document| !(has_crd && document["metadata"]["name"] == CRD)) {
            self.apply(document).await?;
        }
        let (kubeconfig, client) = self.identity("serin").await?;
        self.what_it_does_is_allowed(&kubeconfig).await.context("what it does is allowed")?;
        self.no_more_is_allowed(client).await.context("no more is allowed")
    }

    async fn what_it_does_is_allowed(&self, kubeconfig: &Path) -> Result<()> {
        self.apply(&self.routes()).await.context("are Istio's CRDs installed?")?;
        let guard = self.guard();
        let is_known = async || Ok(self.apply(&guard).await.ok());
        poll::until("the cluster to know ReleaseGuards", SOON, is_known).await?;
        let log = self.dir.path().join("log");
        let mut serin = Serin::start_in(&self.configuration()?, &log, &[], &[("KUBECONFIG", kubeconfig)]).await?;
        leads(&serin).await?;
        let feed = tokio::spawn(gateway(serin.grpc));
        let guards = self.api("serin.dev/v1alpha1", "ReleaseGuard", Some(&self.guarded))?;
        let rolled_back = async || {
            let guard = guards.get("shop").await?.data;
            let conditions = guard.pointer("/status/conditions").and_then(Value::as_array).cloned().unwrap_or_default();
            Ok(conditions.iter().any(|found| found["type"] == "RolledBack" && found["status"] == "True").then_some(()))
        };
        let told = poll::until("the status to tell of the rollback", SOON, rolled_back).await;
        feed.abort();
        told.with_context(|| serin.process.log())?;
        let routes = self.api("networking.istio.io/v1", "VirtualService", Some(&self.guarded))?.get("shop").await?;
        ensure!(routes.data.pointer("/spec/http/0/route/0/weight") == Some(&json!(100)), "{:?}", routes.data);
        let events = self.api("events.k8s.io/v1", "Event", Some(&self.guarded))?.list(&Default::default()).await?;
        ensure!(events.items.iter().any(|event| event.data["reason"] == "Written"), "no event of the rollback");
        serin.process.stop();
        let said = serin.process.log();
        ensure!(!said.to_lowercase().contains("forbidden") && !said.contains("(403)"), "{said}");
        Ok(())
    }

    /// Compared with what somebody may do whom no Role is about.
    async fn no_more_is_allowed(&self, client: Client) -> Result<()> {
        self.apply(&self.nobody()).await?;
        let (_, nobody) = self.identity("nobody").await?;
        for namespace in [self.own.as_str(), &self.guarded, "default", "kube-system"] {
            let all = allowed(&client, namespace).await?;
            let anybody = allowed(&nobody, namespace).await?;
            let of_roles: Allowed = all.difference(&anybody).cloned().collect();
            assert_eq!(of_roles, self.granted(namespace), "in {namespace}");
        }
        Ok(())
    }

    fn guarded_namespace(&self) -> Value {
        json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": self.guarded } })
    }

    fn routes(&self) -> Value {
        let mut routes = virtual_service();
        routes["metadata"] = json!({ "name": "shop", "namespace": self.guarded });
        routes
    }

    fn guard(&self) -> Value {
        json!({
            "apiVersion": "serin.dev/v1alpha1", "kind": "ReleaseGuard",
            "metadata": { "name": "shop", "namespace": self.guarded },
            "spec": {
                "service": "shop", "vantage": "gateway", "baseline": "v1", "candidate": "v2",
                "targets": [{ "kind": "VirtualService", "name": "shop", "host": "shop" }],
            },
        })
    }

    fn nobody(&self) -> Value {
        json!({ "apiVersion": "v1", "kind": "ServiceAccount", "metadata": { "name": "nobody", "namespace": self.own } })
    }

    /// By the Roles of a namespace.
    fn granted(&self, namespace: &str) -> Allowed {
        let roles = self.documents.iter().filter(|document| document["kind"] == "Role");
        let here = roles.filter(|role| role["metadata"]["namespace"] == namespace);
        here.flat_map(|role| role["rules"].as_array().cloned().unwrap_or_default())
            .flat_map(|rule| each(&rule))
            .collect()
    }

    /// As the pod would have it, but for where it listens and writes, and without the service that is judged without a ReleaseGuard.
    fn configuration(&self) -> Result<PathBuf> {
        let map = self.documents.iter().find(|document| document["kind"] == "ConfigMap").context("no ConfigMap")?;
        let mut config: Value = serde_saphyr::from_str(map["data"]["serin.yaml"].as_str().context("no serin.yaml")?)?;
        config["listen"] = json!({ "grpc": "127.0.0.1:0", "metrics": "127.0.0.1:0" });
        config["data_dir"] = json!(self.dir.path().join("data"));
        config.as_object_mut().and_then(|config| config.remove("services")).context("no services")?;
        let file = self.dir.path().join("serin.yaml");
        fs::write(&file, serde_saphyr::to_string(&config)?)?;
        Ok(file)
    }

    /// A kubeconfig with nothing but the token of a ServiceAccount, and a client with it.
    async fn identity(&self, name: &str) -> Result<(PathBuf, Client)> {
        let accounts: Api<ServiceAccount> = Api::namespaced(self.admin.clone(), &self.own);
        let spec = TokenRequestSpec { expiration_seconds: Some(3_600), ..TokenRequestSpec::default() };
        let request = TokenRequest { spec: Some(spec), ..TokenRequest::default() };
        let answer = accounts.create_token_request(name, &PostParams::default(), &request).await?;
        let token = answer.status.context("no token")?.token;
        let of_admin = Kubeconfig::read()?;
        let context = of_admin.contexts.iter().find(|context| Some(&context.name) == of_admin.current_context.as_ref());
        let context = context.and_then(|context| context.context.as_ref()).context("no current context")?;
        let cluster = of_admin.clusters.iter().find(|cluster| cluster.name == context.cluster).context("no cluster")?;
        let config = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "test", "clusters": [cluster],
            "users": [{ "name": "test", "user": { "token": token } }],
            "contexts": [{ "name": "test", "context": { "cluster": context.cluster, "user": "test" } }],
        });
        let file = self.dir.path().join(format!("{name}.kubeconfig"));
        fs::write(&file, config.to_string())?;
        let read = Kubeconfig::read_from(&file)?;
        let config = Config::from_custom_kubeconfig(read, &KubeConfigOptions::default()).await?;
        Ok((file, connect::client(config)?))
    }

    async fn apply(&self, document: &Value) -> Result<()> {
        let (api, name) = self.named(document)?;
        let params = PatchParams::apply("serin-test").validation_strict();
        let applied = api.patch(name, &params, &Patch::Apply(document)).await;
        applied.with_context(|| format!("{} {name}", document["kind"])).map(drop)
    }

    async fn delete(&self, document: &Value) -> Result<()> {
        let (api, name) = self.named(document)?;
        match api.delete(name, &DeleteParams::default()).await {
            Err(kube::Error::Api(why)) if why.code == 404 => Ok(()),
            deleted => deleted.with_context(|| format!("cannot delete {} {name}", document["kind"])).map(drop),
        }
    }

    fn named<'a>(&self, document: &'a Value) -> Result<(Api<DynamicObject>, &'a str)> {
        let word = |pointer: &str| document.pointer(pointer).and_then(Value::as_str);
        let (version, kind) = (word("/apiVersion").context("no version")?, word("/kind").context("no kind")?);
        Ok((self.api(version, kind, word("/metadata/namespace"))?, word("/metadata/name").context("no name")?))
    }

    fn api(&self, version: &str, kind: &str, namespace: Option<&str>) -> Result<Api<DynamicObject>> {
        let (group, version) = version.split_once('/').unwrap_or(("", version));
        let kind = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind));
        Ok(match namespace {
            Some(namespace) => Api::namespaced_with(self.admin.clone(), namespace, &kind),
            None => Api::all_with(self.admin.clone(), &kind),
        })
    }
}

async fn allowed(client: &Client, namespace: &str) -> Result<Allowed> {
    let spec = SelfSubjectRulesReviewSpec { namespace: Some(namespace.to_owned()) };
    let review = SelfSubjectRulesReview { spec, ..SelfSubjectRulesReview::default() };
    let reviews: Api<SelfSubjectRulesReview> = Api::all(client.clone());
    let answer = reviews.create(&PostParams::default(), &review).await?;
    let status = answer.status.context("no rules")?;
    ensure!(!status.incomplete, "the cluster does not know all rules: {:?}", status.evaluation_error);
    status
        .resource_rules
        .iter()
        .map(|rule| Ok(each(&serde_json::to_value(rule)?)))
        .collect::<Result<Vec<_>>>()
        .map(|rules| rules.into_iter().flatten().collect())
}

/// All that a rule allows, one by one.
fn each(rule: &Value) -> Allowed {
    let words = |key: &str| -> Vec<String> {
        let words = rule.get(key).and_then(Value::as_array).into_iter().flatten();
        words.filter_map(|word| word.as_str().map(str::to_owned)).collect()
    };
    let names = words("resourceNames");
    let names = if names.is_empty() { vec![String::new()] } else { names };
    let mut all = Allowed::new();
    for verb in words("verbs") {
        for group in words("apiGroups") {
            for resource in words("resources") {
                all.extend(names.iter().map(|name| [verb.clone(), group.clone(), resource.clone(), name.clone()]));
            }
        }
    }
    all
}

#[tokio::test]
#[ignore = "it needs a cluster: make test-cluster"]
async fn and_no_more_on_the_cluster_of_kubeconfig() -> Result<()> {
    Installation::new().await?.run().await
}
