//! The configuration of `serin serve`, as types that cannot be wrong.
//!
//! text -> `yaml` (a tree with lines) -> `read` (keys, ranges, defaults; through `section` and `scalar`) -> [`Config`]
//! or all [`Problems`]. All of it is pure; who calls it reads the file.

mod high_availability;
mod kubernetes;
mod notify;
mod object;
mod problem;
mod read;
mod safety;
mod scalar;
mod section;
mod yaml;

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use serin_history::Retention;
use serin_judge::Policy;
use serin_kubernetes::{object::ObjectRef, release_guard::TargetRef};
use serin_proto::v1::Vantage;

pub use high_availability::LeaseName;
pub use kubernetes::Kubernetes;
pub use problem::{Problem, Problems};
pub(crate) use scalar::{NATS, is_nats};

/// All of `serin.yaml`.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Where filters report and queries are answered (`listen.grpc`).
    pub grpc: SocketAddr,
    /// Where Prometheus scrapes (`listen.metrics`).
    pub metrics: SocketAddr,
    /// Where decisions are kept.
    pub data_dir: PathBuf,
    /// The filter's module to offer; `None` takes the one beside the executable, if it is there.
    pub filter: Option<PathBuf>,
    /// How long 1 s slices are kept in memory.
    pub live_window: Duration,
    /// Servers of the NATS JetStream that keeps everything in place of `data_dir`, separated by commas.
    pub nats: Option<String>,
    /// Where histograms are sent to (`export`).
    pub exporters: Vec<Exporter>,
    /// How long what was counted is kept, and how finely.
    pub retention: Retention,
    /// The services to judge, with distinct names: at least one, unless a cluster is watched.
    pub services: Vec<Service>,
    /// The Lease that tells which of several replicas acts (`high_availability`); `None`: there is one.
    pub lease: Option<LeaseName>,
    /// Which ReleaseGuards are services as well (`kubernetes`); `None`: no cluster is watched.
    pub kubernetes: Option<Kubernetes>,
    /// Who is told of decisions, and of what became of them.
    pub notify: Vec<Receiver>,
    /// How much is written at most.
    pub safety: Safety,
}

/// How much is written at most, of all services together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Safety {
    /// Rollbacks within any hour.
    pub rollbacks_per_hour: u32,
    /// Say what would be written, and write nothing, of no service.
    pub dry_run: bool,
}

/// Someone who is told of decisions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receiver {
    /// In which form.
    pub kind: ReceiverKind,
    /// Where.
    pub address: Address,
}

/// What a receiver takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReceiverKind {
    /// JSON of Serin's own.
    Webhook,
    /// A Slack incoming webhook.
    Slack,
    /// Alerts of Alertmanager's API, version 2.
    Alertmanager,
}

/// Where a receiver is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// Here.
    Url(String),
    /// In this file, which is read each time.
    File(PathBuf),
}

/// A receiver of histograms.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exporter {
    /// What it understands.
    pub receives: Receives,
    /// Its address: `http://…`, or a URL for remote write.
    pub address: String,
    /// How often it is sent histograms.
    pub every: Duration,
}

/// What a receiver of histograms understands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Receives {
    /// OpenTelemetry's protocol over gRPC (`export.otlp`).
    Otlp,
    /// Prometheus's remote write 1.0, with native histograms (`export.remote_write`).
    RemoteWrite,
}

/// One service on trial.
#[derive(Clone, Debug, PartialEq)]
pub struct Service {
    /// As the filter labels it.
    pub name: String,
    /// Where its requests are measured: reports from elsewhere are kept but not judged, so that no request is
    /// judged twice.
    pub vantage: Vantage,
    /// The stable release.
    pub baseline: String,
    /// The release on trial, another one than the baseline.
    pub candidate: String,
    /// The routes to compare, each with its like. Empty: all routes together.
    pub routes: Vec<String>,
    /// Which timing is judged.
    pub timing: Timing,
    /// What counts as a regression, and how sure to be.
    pub policy: Policy,
    /// Whether the candidate's share of the requests is held against its share of the weights.
    pub throughput: bool,
    /// What to do about one.
    pub rollback: Rollback,
}

/// Which of a request's two durations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Timing {
    /// Request sent to the upstream until its response.
    Upstream,
    /// Request received until last byte sent.
    Total,
}

/// What to do about a regression.
#[derive(Clone, Debug, PartialEq)]
pub struct Rollback {
    /// Say what would be written, and write nothing.
    pub dry_run: bool,
    /// Tell of a regression, and write nothing (`action: notify`).
    pub only_tells: bool,
    /// Roll back also when the baseline had no requests: its pods are kept running after a promotion.
    pub without_baseline: bool,
    /// How long the data plane may take until the candidate gets no requests any more.
    pub confirm_within: Duration,
    /// How long weights in a cluster are held against those who write them back, from when they were written first.
    pub hold: Duration,
    /// The files to write. With none, and no object either: decide and say so, write nothing.
    pub targets: Vec<Target>,
    /// The objects in a cluster to write.
    pub objects: Vec<Object>,
    /// The Argo Rollout whose update is aborted.
    pub rollout: Option<Rollout>,
    /// Why the targets may not be written now, and are left out here.
    pub held: Option<String>,
}

/// An Argo Rollout.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rollout {
    /// Where it is.
    pub namespace: String,
    /// What it is called.
    pub name: String,
}

/// A place where the traffic split is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// Istio VirtualService YAML files.
    VirtualServices {
        /// Every `*.yaml` and `*.yml` file directly in it is looked at.
        directory: PathBuf,
        /// The destination host whose weights are changed.
        host: String,
        /// How a release's subset is named.
        subset: Template,
        /// How what was written is committed, where it is.
        git: Option<Git>,
    },
    /// An Envoy RDS file (filesystem dynamic route configuration).
    EnvoyRds {
        /// A YAML or JSON DiscoveryResponse with RouteConfigurations.
        file: PathBuf,
        /// How a release's cluster is named.
        cluster: Template,
    },
}

/// How a rollback is committed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Git {
    /// The author's name.
    pub name: String,
    /// The author's address.
    pub email: String,
    /// Whether it is pushed to the branch's upstream.
    pub push: bool,
    /// How long all of it may take.
    pub timeout: Duration,
}

/// An object in a cluster where the traffic split is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    /// Which one.
    pub object: ObjectRef,
    /// The namespace that short hosts are completed with: its own.
    pub namespace: String,
    /// Which of its weights.
    pub target: TargetRef,
}

/// A name with `{release}` in it once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    before: String,
    after: String,
}

impl Config {
    /// Reads a `serin.yaml`. Relative paths in it stay relative to the working directory.
    ///
    /// # Errors
    /// Everything that is wrong with it at once. Of a text that is not YAML, or exceeds a limit (4 MiB, 32 levels),
    /// only the first thing.
    pub fn parse(text: &str) -> Result<Self, Problems> {
        let mut problems = Vec::new();
        let root = yaml::parse(text).map_err(|problem| problems.push(problem)).ok();
        let config = root.and_then(|root| read::config(root, &mut problems));
        match config {
            Some(config) if problems.is_empty() => Ok(config),
            _ => Err(Problems::new(problems)),
        }
    }
}

impl Target {
    /// How what is written there is committed, and in which directory.
    pub fn git(&self) -> Option<(&Git, &std::path::Path)> {
        match self {
            Target::VirtualServices { git: Some(git), directory, .. } => Some((git, directory)),
            Target::VirtualServices { git: None, .. } | Target::EnvoyRds { .. } => None,
        }
    }
}

impl ReceiverKind {
    /// As in the configuration.
    pub fn word(self) -> &'static str {
        match self {
            ReceiverKind::Webhook => "webhook",
            ReceiverKind::Slack => "slack",
            ReceiverKind::Alertmanager => "alertmanager",
        }
    }

    /// What follows the configured URL.
    pub fn path(self) -> &'static str {
        match self {
            ReceiverKind::Webhook | ReceiverKind::Slack => "",
            ReceiverKind::Alertmanager => "/api/v2/alerts",
        }
    }
}

impl Service {
    /// Whether a trial of the one is also a trial of the other: all but what is done about a regression.
    pub fn is_judged_as(&self, other: &Service) -> bool {
        Service { rollback: other.rollback.clone(), ..self.clone() } == *other
    }
}

impl Rollback {
    /// Whether there is anything to write.
    pub fn has_targets(&self) -> bool {
        !self.targets.is_empty() || !self.objects.is_empty() || self.rollout.is_some()
    }

    /// Decide and say so, write nothing: what a service without a `rollback` section gets.
    fn none() -> Self {
        Rollback {
            dry_run: false,
            only_tells: false,
            without_baseline: false,
            confirm_within: Duration::from_secs(30),
            hold: Duration::from_secs(3_600),
            targets: Vec::new(),
            objects: Vec::new(),
            rollout: None,
            held: None,
        }
    }
}

impl Template {
    /// Just the release.
    fn release() -> Self {
        Template { before: String::new(), after: String::new() }
    }

    /// `None` unless `{release}` is in the text exactly once.
    pub fn parse(text: &str) -> Option<Self> {
        let (before, after) = text.split_once("{release}")?;
        let once = !after.contains("{release}");
        once.then(|| Template { before: before.to_owned(), after: after.to_owned() })
    }

    /// The name for a release.
    pub fn render(&self, release: &str) -> String {
        format!("{}{release}{}", self.before, self.after)
    }
}

#[cfg(test)]
mod tests;
