//! `serin serve` (IO): opens what the configuration names, wires the parts together and runs until told to stop.

use std::{collections::BTreeSet, net::SocketAddr, sync::Arc, time::Duration};

use axum::Router;
use serin_proto::{
    envoy_metrics::metrics_service_server::MetricsServiceServer,
    raw::ingest_server::IngestServer,
    v1::{FILE_DESCRIPTOR_SET, control_server::ControlServer, query_server::QueryServer},
};
use tokio::{
    net::TcpListener,
    sync::{mpsc, watch},
    task::JoinSet,
};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{server::NamedService, transport::Server};
use tonic_health::{ServingStatus, server::HealthReporter};

use crate::{
    absence,
    actuator::Actuator,
    cluster::{Cluster, ClusterError},
    config::Config,
    engine::{Effect, Engine},
    envoy_metrics::{self, EnvoyMetrics},
    export::{self, NoAuthorities},
    gates, health,
    historian::{self, Past, Store},
    history::{Decisions, History, HistoryError},
    ingest::{Ingest, validate::MESSAGE_BYTES_MAX},
    kubernetes::{self, NoCluster, hold, leader::Leader},
    module::{self, Module, ModuleError},
    notify::{self, Notifier, NotifyError},
    paused::{Keeper, PauseFile},
    query::Query,
    scrape::Scraped,
    shell::{Abroad, Handle, Shell, now},
    weigher,
};

/// A peer that does not answer a ping for this long is gone (its node died, or a network was cut).
const KEEPALIVE: Duration = Duration::from_secs(20);
/// How long decisions under way may take to be written when told to stop.
const FINISH: Duration = Duration::from_secs(5);

/// Why `serin serve` ended.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// There is no NATS to share the work through.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// Decisions cannot be read.
    #[error(transparent)]
    History(#[from] HistoryError),
    /// The filter's module cannot be offered.
    #[error(transparent)]
    Module(#[from] ModuleError),
    /// Nobody can be sent histograms.
    #[error(transparent)]
    Export(#[from] NoAuthorities),
    /// Nobody can be told of decisions.
    #[error(transparent)]
    Notify(#[from] NotifyError),
    /// The configuration names objects of one that cannot be reached.
    #[error(transparent)]
    Kubernetes(#[from] NoCluster),
    /// A port is taken, for instance.
    #[error("cannot listen on {address} ({key}): {source}; choose another address or stop what uses it")]
    Listen {
        /// In the configuration.
        key: &'static str,
        /// Which one.
        address: SocketAddr,
        /// Why not.
        source: std::io::Error,
    },
    /// A listener failed while it was served.
    #[error("serving gRPC failed: {0}")]
    Grpc(#[from] tonic::transport::Error),
    /// A listener failed while it was served.
    #[error("serving metrics failed: {0}")]
    Metrics(std::io::Error),
    /// The descriptors of `serin.v1` do not load.
    #[error("gRPC reflection: {0}")]
    Reflection(#[from] tonic_reflection::server::Error),
    /// A task ended on its own.
    #[error("an internal task stopped: {0}")]
    Task(#[from] tokio::task::JoinError),
}

/// Serves until `stop` is ready.
///
/// # Errors
/// When it cannot start, or a listener fails.
pub async fn serve(config: Config, stop: impl Future<Output = ()>) -> Result<(), ServeError> {
    let module = Module::load(config.filter.as_deref())?;
    let Kept { engine, first, past, decisions, shared, paused } = match &config.nats {
        Some(servers) => in_cluster(servers, &config).await?,
        None => on_disk(&config)?,
    };
    let kubernetes = kubernetes::cluster(&config).await?;
    let grpc = listen("listen.grpc", config.grpc).await?;
    let scrape = listen("listen.metrics", config.metrics).await?;
    let notifier = Notifier::start(&config.notify, now())?;
    let (storing_now, storing) = watch::channel(true);
    let (keeping_now, keeping) = watch::channel(past.is_open());
    let (reports, kept) = mpsc::unbounded_channel();
    let (orders, receiver) = mpsc::unbounded_channel();
    let ordering = orders.clone();
    let (cluster, abroad) = shared.unzip();
    let (shell, handle) = Shell::new(engine, orders, reports, abroad);
    let (weighing, controlled) = (kubernetes.clone(), kubernetes.clone().zip(config.kubernetes.clone()));
    let (leader, campaign) = match kubernetes.clone().zip(config.lease.as_ref()) {
        Some((reached, lease)) => {
            let (leader, campaign) = Leader::campaign(reached.client().clone(), lease, handle.clone());
            (leader, Some(campaign))
        }
        None => (Leader::alone(), None),
    };
    kubernetes.clone().map(|reached| tokio::spawn(kubernetes::ask(reached, kubernetes::kinds(&config))));
    let holding = kubernetes.clone().map(|reached| hold::run(reached, handle.clone(), leader.clone()));
    let actuator = Actuator::new(Arc::clone(&decisions), kubernetes, storing_now, notifier.clone(), leader.clone());
    let actuator = tokio::spawn(actuator.run(receiver, handle.clone()));
    tokio::spawn(notify::stand::run(notifier.clone(), handle.clone(), leader.clone()));

    tracing::info!("listening grpc={} metrics={}", local(&grpc, config.grpc), local(&scrape, config.metrics));
    if let Some(Module { path, sha256, .. }) = &module {
        tracing::info!("offering {} at /filter.wasm with sha256 {sha256}", path.display());
    }
    let mut tasks: JoinSet<Result<(), ServeError>> = JoinSet::new();
    tasks.spawn(async move {
        shell.run(first).await;
        Ok(())
    });
    tokio::spawn(historian::run(Arc::clone(&past), kept, handle.clone(), keeping_now));
    let configured: BTreeSet<String> = config.services.iter().map(|service| service.name.clone()).collect();
    tokio::spawn(weigher::run(handle.clone(), weighing, configured.clone()));
    holding.map(tokio::spawn);
    if let Some((reached, watched)) = controlled {
        tokio::spawn(kubernetes::control(reached, watched, configured, handle.clone(), leader.clone()));
    }
    let paused = if leader.is_one_of_several() { Keeper::Lease(leader.clone()) } else { paused };
    let exported = export::start(config.exporters, &handle)?;
    let (forward, guards) = (cluster.as_ref().map(Cluster::forward), config.kubernetes.is_some());
    let query = Query::new(handle.clone(), ordering, decisions, past, forward.clone(), paused, guards);
    if let Some(cluster) = cluster {
        let (address, live_window, handle) = (local(&grpc, config.grpc), config.live_window, handle.clone());
        tasks.spawn(async move {
            cluster.run(address, live_window, handle).await;
            Ok(())
        });
    }
    tasks.spawn(serve_grpc(grpc, handle.clone(), query, storing.clone()));
    let healthy = health::routes(handle.clone(), storing, keeping.clone(), leader.clone());
    let others = module::routes(module).merge(gates::routes(handle.clone(), guards)).merge(healthy);
    let scraped = Scraped { engine: handle, keeping, leader, exported, notifier, forward };
    tasks.spawn(serve_http(scrape, scraped.routes().merge(others)));
    let ended = tokio::select! {
        ended = tasks.join_next() => ended.unwrap_or(Ok(Ok(()))),
        () = stop => Ok(Ok(())),
    };
    tasks.shutdown().await;
    // With the engine gone the orders end; what was decided is still written.
    if tokio::time::timeout(FINISH, actuator).await.is_err() {
        tracing::error!("stopped while a rollback was being written: it is taken up again at the next start");
    }
    if let Some(campaign) = campaign {
        campaign.leave().await;
    }
    ended?
}

/// What an aggregator begins with, and where it keeps what it does.
struct Kept {
    engine: Engine,
    first: Vec<Effect>,
    past: Arc<dyn Past>,
    decisions: Arc<dyn Decisions>,
    shared: Option<(Cluster, mpsc::Sender<Abroad>)>,
    paused: Keeper,
}

fn on_disk(config: &Config) -> Result<Kept, ServeError> {
    let history = Arc::new(History::open(&config.data_dir)?);
    let store = Arc::new(Store::open(&config.data_dir, config.retention));
    let (mut engine, mut first) = Engine::new(config, history.decisions()?, now());
    // Before anything is judged. Where there is a Lease, that one tells, before this replica leads.
    let paused = PauseFile::new(&config.data_dir);
    if config.lease.is_none() {
        engine.pause(paused.read(now()));
    }
    let from = now().minus(config.live_window);
    let last = historian::newest_second(&store);
    first.extend(engine.restore(historian::remembered(&store, from.second(), now().second() + 1), now()));
    if let Some(said) = last.and_then(|last| absence::said(&engine, last, config.kubernetes.is_some(), now())) {
        tracing::warn!("{said}");
    }
    Ok(Kept { engine, first, past: store, decisions: history, shared: None, paused: Keeper::File(paused) })
}

/// Decisions, and what was counted, come with the partitions that are taken.
async fn in_cluster(servers: &str, config: &Config) -> Result<Kept, ServeError> {
    let (cluster, abroad) = Cluster::join(servers, config.retention).await?;
    let (engine, first) = Engine::new(config, Vec::new(), now());
    let (past, decisions) = (Arc::new(cluster.log()), cluster.decisions());
    let paused = Keeper::Shared(Arc::clone(&decisions));
    Ok(Kept { engine: engine.shared(), first, past, decisions, shared: Some((cluster, abroad)), paused })
}

async fn listen(key: &'static str, address: SocketAddr) -> Result<TcpListener, ServeError> {
    TcpListener::bind(address).await.map_err(|source| ServeError::Listen { key, address, source })
}

fn local(listener: &TcpListener, configured: SocketAddr) -> SocketAddr {
    listener.local_addr().unwrap_or(configured)
}

async fn serve_grpc(
    listener: TcpListener,
    engine: Handle,
    query: Query,
    storing: watch::Receiver<bool>,
) -> Result<(), ServeError> {
    let (health, health_service) = tonic_health::server::health_reporter();
    let query_service = QueryServer::new(query.clone());
    let control = ControlServer::new(query);
    let proxies = MetricsServiceServer::new(EnvoyMetrics::new(engine.clone()));
    let proxies = proxies.max_decoding_message_size(envoy_metrics::MESSAGE_BYTES_MAX);
    let ingest = IngestServer::new(Ingest::new(engine)).max_decoding_message_size(MESSAGE_BYTES_MAX);
    tokio::spawn(tell_health(health, storing));
    let reflection = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .build_v1()?;
    let server = Server::builder()
        .http2_keepalive_interval(Some(KEEPALIVE))
        .http2_keepalive_timeout(Some(KEEPALIVE))
        .add_service(health_service)
        .add_service(reflection)
        .add_service(query_service)
        .add_service(control)
        .add_service(proxies)
        .add_service(ingest);
    Ok(server.serve_with_incoming(TcpListenerStream::new(listener)).await?)
}

/// gRPC health of every service, and of the whole (the empty name): whether decisions can be kept. It ends with the
/// process.
async fn tell_health(health: HealthReporter, mut storing: watch::Receiver<bool>) {
    let services = ["", QueryServer::<Query>::NAME, ControlServer::<Query>::NAME, IngestServer::<Ingest>::NAME];
    loop {
        let status = if *storing.borrow_and_update() { ServingStatus::Serving } else { ServingStatus::NotServing };
        for service in services {
            health.set_service_status(service, status).await;
        }
        if storing.changed().await.is_err() {
            return;
        }
    }
}

async fn serve_http(listener: TcpListener, routes: Router) -> Result<(), ServeError> {
    axum::serve(listener, routes).await.map_err(ServeError::Metrics)
}
