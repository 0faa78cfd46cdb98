//! Whether this replica acts (IO): leader election on a Lease, through [`serin_kubernetes::lease`].

use std::hash::{BuildHasher as _, RandomState};

use k8s_openapi::jiff::Timestamp;
use kube::Client;
use serin_kubernetes::lease::{self, Election, Leadership, NotKept, Timing, campaign};
use tokio::{sync::watch, task::JoinHandle};

use crate::{config::LeaseName, paused, safety::Pause, shell::Handle, time::UnixMicros};

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

    /// Takes part in the election. It does not lead yet. The engine goes by what the Lease says of a pause before it leads.
    pub fn campaign(client: Client, LeaseName { namespace, name }: &LeaseName, engine: Handle) -> (Self, Campaign) {
        let (stop, mut stopped) = watch::channel(false);
        let stopped = async move { drop(stopped.wait_for(|stop| *stop).await) };
        let identity = identity();
        tracing::info!(namespace, name, %identity, "acting only while this Lease is held");
        let election = Election::new(name, &identity, Timing::default());
        let paused = move |pause: Option<lease::Pause>| {
            let engine = engine.clone();
            async move {
                // Without the engine the process is ending.
                let _ = paused::follow(&engine, pause.map(from_lease)).await;
            }
        };
        let (leadership, run) = campaign(client, namespace, election, paused, stopped);
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

    /// Keeps a pause in the Lease, or that there is none any more. When this returns the engine here goes by it.
    ///
    /// # Errors
    /// When it cannot be written there, or there is no Lease because this is the only replica.
    pub async fn pause(&self, pause: Option<Pause>) -> Result<(), NotKept> {
        self.0.as_ref().ok_or(NotKept::NoLease)?.pause(pause.map(to_lease)).await
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

fn from_lease(pause: lease::Pause) -> Pause {
    let micros = |at: Timestamp| UnixMicros(u64::try_from(at.as_microsecond()).unwrap_or_default());
    Pause { since: micros(pause.since), until: pause.until.map(micros), reason: pause.because }
}

fn to_lease(pause: Pause) -> lease::Pause {
    // Of the year 9999 at the most, which is as good as never.
    let time = |at: UnixMicros| {
        let us = i64::try_from(at.0).ok().and_then(|us| Timestamp::from_microsecond(us).ok());
        us.unwrap_or(Timestamp::MAX)
    };
    lease::Pause { since: time(pause.since), until: pause.until.map(time), because: pause.reason }
}

/// Of this process and no other: a container may be started again in its pod. The random part is what the standard library has, the
/// keys of a hash map.
fn identity() -> String {
    let host = std::env::var("HOSTNAME").unwrap_or_else(|_| "serin".to_owned());
    format!("{host}_{:016x}", RandomState::new().hash_one(std::process::id()))
}
