use std::time::Duration;

use async_nats::jetstream::{
    Context, ErrorCode,
    context::{ContextBuilder, CreateStreamError, CreateStreamErrorKind},
    kv,
    object_store::{self, ObjectStore},
    stream::{self, Stream},
};
use backon::{ConstantBuilder, Retryable};
use serin_history::Retention;

use super::{names, roll_up::Tier};

/// How long NATS may take to answer: an election of a new leader takes a few seconds.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// Publications of the same message within this time are one.
const DUPLICATE_WINDOW: Duration = Duration::from_secs(120);
/// A cluster that elects a leader just now is asked again, for half a minute.
const ASK_AGAIN: Duration = Duration::from_secs(1);
const ASK_TIMES: usize = 30;
/// How much longer than the live window reports stay in the log: a partition that nobody took meanwhile is rolled up then.
const LOG_LONGER: Duration = Duration::from_secs(2 * 3_600);
/// Copies of everything where the servers are a cluster of at least three.
const REPLICAS: usize = 3;

/// Why there is no cluster.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// Nobody answers there.
    #[error(
        "cannot connect to NATS at {servers}: {source}; check the address, and that nats-server runs there with JetStream (-js)"
    )]
    Connect {
        /// As configured.
        servers: String,
        /// Why not.
        source: async_nats::ConnectError,
    },
    /// It cannot be used.
    #[error(
        "NATS at {servers} cannot keep {what}: {reason}; it needs JetStream, an account that may use it, and three servers or just one"
    )]
    Prepare {
        /// As configured.
        servers: String,
        /// A stream or a bucket.
        what: &'static str,
        /// Why not.
        reason: String,
    },
}

/// What is kept in NATS.
#[derive(Clone)]
pub struct Nats {
    pub(super) client: async_nats::Client,
    pub(super) jetstream: Context,
    pub(super) reports: Stream,
    rolled_up: [Stream; 2],
    pub(super) work: kv::Store,
    pub(super) decisions: kv::Store,
    pub(super) recordings: ObjectStore,
}

impl Nats {
    /// Connects to one of these servers (`nats://a:4222,b:4222`), and makes the streams and buckets that are not there.
    ///
    /// # Errors
    /// When nobody answers, or it has no JetStream.
    pub async fn connect(servers: &str, retention: Retention) -> Result<Self, ClusterError> {
        let addresses: Vec<&str> = servers.split(',').collect();
        let options = async_nats::ConnectOptions::new().name("serin").request_timeout(Some(ANSWER_WITHIN));
        let client = options
            .connect(addresses)
            .await
            .map_err(|source| ClusterError::Connect { servers: servers.to_owned(), source })?;
        let jetstream = ContextBuilder::new().timeout(ANSWER_WITHIN).ack_timeout(ANSWER_WITHIN).build(client.clone());
        let prepared = (|| prepare(client.clone(), jetstream.clone(), retention))
            .retry(ConstantBuilder::default().with_delay(ASK_AGAIN).with_max_times(ASK_TIMES))
            .notify(|Failed { what, reason }, _| tracing::warn!("NATS cannot keep {what} yet: {reason}; trying again"));
        prepared.await.map_err(|Failed { what, reason }| ClusterError::Prepare {
            servers: servers.to_owned(),
            what,
            reason,
        })
    }

    /// Where a tier is kept.
    pub(super) fn rolled_up(&self, tier: Tier) -> &Stream {
        let [tens, minutes] = &self.rolled_up;
        match tier {
            Tier::Tens => tens,
            Tier::Minutes => minutes,
        }
    }

    /// Our address as NATS sees it, with this port.
    pub(super) fn own_address(&self, port: u16) -> String {
        let ip = self.client.server_info().client_ip;
        if ip.contains(':') { format!("[{ip}]:{port}") } else { format!("{ip}:{port}") }
    }

    /// A name that is unique for ever, fit for a key.
    pub(super) fn new_name(&self) -> String {
        self.client.new_inbox().chars().filter(char::is_ascii_alphanumeric).collect()
    }
}

struct Failed {
    what: &'static str,
    reason: String,
}

/// Says what could not be made.
fn failed<E: std::error::Error>(what: &'static str) -> impl Fn(E) -> Failed {
    move |error| {
        let mut reason = error.to_string();
        let mut source = error.source();
        while let Some(deeper) = source {
            reason = format!("{reason}: {deeper}");
            source = deeper.source();
        }
        Failed { what, reason }
    }
}

async fn prepare(client: async_nats::Client, jetstream: Context, retention: Retention) -> Result<Nats, Failed> {
    let log = |name: &str, subjects: &str, max_age: Duration, num_replicas| stream::Config {
        name: name.to_owned(),
        subjects: vec![subjects.to_owned()],
        max_age,
        num_replicas,
        duplicate_window: DUPLICATE_WINDOW,
        storage: stream::StorageType::File,
        compression: Some(stream::Compression::S2),
        ..stream::Config::default()
    };
    let [fine, coarse] = retention.tiers().map(|tier| Duration::from_secs(tier.keep_s));
    let kept = Duration::from_secs(retention.live_s()) + LOG_LONGER;
    let reports = |replicas| jetstream.get_or_create_stream(log(names::REPORTS, "serin.reports.*", kept, replicas));
    let (reports, num_replicas) = match reports(REPLICAS).await {
        Err(error) if is_no_cluster(&error) => {
            tracing::warn!("NATS is one server and no cluster of three: everything is kept once, and is lost with it");
            (reports(1).await, 1)
        }
        made => (made, REPLICAS),
    };
    let reports = reports.map_err(failed("the log of reports"))?;
    let [tens, minutes] =
        [(names::ROLLED_UP[0], "serin.tens.*", fine), (names::ROLLED_UP[1], "serin.minutes.*", coarse)].map(
            |(name, subjects, max_age)| jetstream.get_or_create_stream(log(name, subjects, max_age, num_replicas)),
        );
    let (tens, minutes) = (tens.await, minutes.await);
    let rolled_up = [tens.map_err(failed("ten seconds"))?, minutes.map_err(failed("minutes"))?];
    let bucket = |bucket: &str| kv::Config { bucket: bucket.to_owned(), num_replicas, ..kv::Config::default() };
    let work = keys(&jetstream, "who judges what", bucket(names::WORK)).await?;
    let decisions = keys(&jetstream, "decisions", bucket(names::DECISIONS)).await?;
    let recordings = match jetstream.get_object_store(names::RECORDINGS).await {
        Ok(store) => store,
        Err(_) => {
            let bucket = names::RECORDINGS.to_owned();
            let config = object_store::Config { bucket, num_replicas, ..object_store::Config::default() };
            jetstream.create_object_store(config).await.map_err(failed("recordings"))?
        }
    };
    Ok(Nats { client, jetstream, reports, rolled_up, work, decisions, recordings })
}

fn is_no_cluster(error: &CreateStreamError) -> bool {
    let kind = error.kind();
    matches!(kind, CreateStreamErrorKind::JetStream(error) if error.error_code() == ErrorCode::STREAM_REPLICAS_NOT_SUPPORTED)
}

/// One that is there is taken as it is, as are the streams: their retention and replicas may have been changed on purpose.
async fn keys(jetstream: &Context, what: &'static str, config: kv::Config) -> Result<kv::Store, Failed> {
    match jetstream.get_key_value(config.bucket.clone()).await {
        Ok(store) => Ok(store),
        Err(_) => jetstream.create_key_value(config).await.map_err(failed(what)),
    }
}
