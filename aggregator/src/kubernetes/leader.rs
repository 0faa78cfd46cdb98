//! Whether this replica acts (IO): leader election on a Lease, through [`serin_kubernetes::lease`].

use std::hash::{BuildHasher as _, RandomState};

use kube::Client;
use serin_kubernetes::lease::{Election, Leadership, Timing, campaign};
use tokio::{sync::watch, task::JoinHandle};

use crate::config::LeaseName;

/// Whether this replica leads: ask right before acting. One that has no others leads always.
#[derive(Clone, Debug)]
pub struct Leader(Option<Leadership>);

/// Takes part in the election as long as it lives.
pub struct Campaign {
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Leader {
    /// The only replica.
    pub fn alone() -> Self {
        Leader(None)
    }

    /// Takes part in the election. It does not lead yet.
    pub fn campaign(client: Client, LeaseName { namespace, name }: &LeaseName) -> (Self, Campaign) {
        let (stop, mut stopped) = watch::channel(false);
        let stopped = async move { drop(stopped.wait_for(|stop| *stop).await) };
        let identity = identity();
        tracing::info!(namespace, name, %identity, "acting only while this Lease is held");
        let election = Election::new(name, &identity, Timing::default());
        let (leadership, run) = campaign(client, namespace, election, stopped);
        (Leader(Some(leadership)), Campaign { stop, task: tokio::spawn(run) })
    }

    /// Whether it leads now.
    pub fn is_leader(&self) -> bool {
        self.0.as_ref().is_none_or(Leadership::is_leader)
    }

    /// Whether there are other replicas.
    pub fn is_one_of_several(&self) -> bool {
        self.0.is_some()
    }

    /// Waits for the next renewal, gain or loss; for ever where there is none.
    pub async fn changed(&mut self) {
        let is_over = match &mut self.0 {
            Some(leadership) => !leadership.changed().await,
            None => true,
        };
        if is_over {
            std::future::pending::<()>().await;
        }
    }
}

impl Campaign {
    /// Leaves the Lease to others, who then need not wait until it is out of date.
    pub async fn leave(self) {
        self.stop.send_replace(true);
        // It ends with a request that is given up after two seconds.
        drop(self.task.await);
    }
}

/// Of this process and no other: a container may be started again in its pod. The random part is what the standard library has, the
/// keys of a hash map.
fn identity() -> String {
    let host = std::env::var("HOSTNAME").unwrap_or_else(|_| "serin".to_owned());
    format!("{host}_{:016x}", RandomState::new().hash_one(std::process::id()))
}
