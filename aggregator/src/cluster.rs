//! Several aggregators that share one NATS JetStream (IO, but for `claims`, `message` and `roll_up`).
//!
//! ```text
//! ingest -> engine -> historian -> Log: reports, split by partition, to the log   (a quorum has them, then they are acknowledged)
//!                                        | each partition is read by the one aggregator that has claimed it
//! claims (pure), work (IO) -> partition: log -> engine (judges), and -> roll_up (pure) -> 10 s for a day, 60 s for fifteen
//! actuator -> Agreed: decisions by compare-and-set; forward: questions to the aggregator that has the answer
//! ```
//!
//! Nothing is shared but what is in NATS, so any aggregator may die at any time: what it had taken in and not yet written, filters send again
//! to another one; what it judged, another one judges from the same reports.

mod agreed;
mod claims;
mod connect;
mod forward;
mod log;
mod message;
mod names;
mod partition;
mod past;
mod roll_up;
mod verdicts;
mod work;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use serin_history::Retention;
use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
};

use crate::{
    partition::Partition,
    shell::{Abroad, Handle},
};
use partition::Partitioned;
use work::{Held, Worker};

pub use agreed::Agreed;
pub use connect::ClusterError;
use connect::Nats;
pub use forward::Forward;
pub(crate) use forward::{forwarded, is_forwarded};
pub use log::Log;

/// What is under way to other aggregators; what finds no room is left out.
const ABROAD: usize = 1_024;

/// One of several aggregators.
pub struct Cluster {
    nats: Nats,
    member: String,
    held: Held,
    again: mpsc::UnboundedReceiver<Partition>,
    agreed: Arc<Agreed>,
    abroad: mpsc::Receiver<Abroad>,
}

impl Cluster {
    /// Connects to NATS (`nats://a:4222,b:4222`). What is to be told to the others goes to the sender.
    ///
    /// # Errors
    /// When nobody answers there, or it cannot be used.
    pub async fn join(servers: &str, retention: Retention) -> Result<(Self, mpsc::Sender<Abroad>), ClusterError> {
        let nats = Nats::connect(servers, retention).await?;
        let member = nats.new_name();
        let (held, again) = Held::new(&member);
        let (sender, abroad) = mpsc::channel(ABROAD);
        let agreed = Arc::new(Agreed::new(nats.clone(), held.clone()));
        Ok((Cluster { nats, member, held, again, agreed, abroad }, sender))
    }

    /// Where what is counted is kept.
    pub fn log(&self) -> Log {
        Log::new(self.nats.clone(), self.member.clone())
    }

    /// Where decisions are kept.
    pub fn decisions(&self) -> Arc<Agreed> {
        Arc::clone(&self.agreed)
    }

    /// The way to those who judge what is not judged here.
    pub fn forward(&self) -> Forward {
        Forward::new(self.held.clone())
    }

    /// Takes its share of the work, until it is dropped. `grpc`: where questions are answered.
    pub async fn run(self, grpc: SocketAddr, live_window: Duration, engine: Handle) {
        let Cluster { nats, member, held, again, agreed, abroad } = self;
        let address = if grpc.ip().is_unspecified() { nats.own_address(grpc.port()) } else { grpc.to_string() };
        tracing::info!(%member, %address, "sharing the work through NATS");
        let (ready_now, mut ready) = watch::channel(false);
        let mut tasks = JoinSet::new();
        tasks.spawn(verdicts::tell(nats.clone(), abroad));
        tasks.spawn(verdicts::listen(nats.clone(), engine.clone()));
        tasks.spawn(Arc::clone(&agreed).follow(engine.clone(), ready_now));
        // A partition is taken with the decisions about it.
        if ready.wait_for(|ready| *ready).await.is_err() {
            return;
        }
        let with = Partitioned { nats, agreed, engine, live_window };
        Worker::new(member, address, held, with).run(again).await;
    }
}
