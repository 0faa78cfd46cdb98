//! The loop around an election: IO.

use std::{future::Future, time::Duration};

use k8s_openapi::{api::coordination::v1::Lease, jiff::Timestamp};
use kube::{Api, Client, api::PostParams};
use tokio::{
    sync::watch,
    time::{Instant, sleep, timeout},
};

use super::election::{Act, Election, Now};
use crate::writers::FIELD_MANAGER;

/// How long a request is waited for: two of them and a pause fit into the time for which a renewal lasts.
const REQUEST: Duration = Duration::from_secs(2);

/// Whether this replica leads: ask right before acting.
///
/// It ends by itself when the leader cannot renew, also when the loop does not run.
#[derive(Clone, Debug)]
pub struct Leadership(watch::Receiver<Option<Instant>>);

impl Leadership {
    /// Whether it leads now.
    pub fn is_leader(&self) -> bool {
        self.0.borrow().is_some_and(|until| Instant::now() < until)
    }

    /// Waits for the next renewal, gain or loss; `false` when the election is over.
    pub async fn changed(&mut self) -> bool {
        self.0.changed().await.is_ok()
    }
}

/// Takes part in an election until `stop` is ready, and then leaves the Lease to others.
///
/// Errors of the API server are logged and looked past: who cannot renew does not lead, that is all. The future must be
/// polled for the whole time; the handle tells who leads.
pub fn campaign<S: Future<Output = ()>>(
    client: Client,
    namespace: &str,
    election: Election,
    stop: S,
) -> (Leadership, impl Future<Output = ()> + use<S>) {
    let (leads, leadership) = watch::channel(None);
    let run = Run { leases: Api::namespaced(client, namespace), election, start: Instant::now(), leads, led: false };
    (Leadership(leadership), run.until(stop))
}

struct Run {
    leases: Api<Lease>,
    election: Election,
    start: Instant,
    leads: watch::Sender<Option<Instant>>,
    /// As it was told last.
    led: bool,
}

impl Run {
    async fn until(mut self, stop: impl Future<Output = ()>) {
        let mut stop = std::pin::pin!(stop);
        loop {
            // A write that was sent and not waited for can only prolong what the Lease says, never what this replica does.
            let wait = tokio::select! {
                wait = self.round() => wait,
                () = &mut stop => break,
            };
            self.tell();
            tokio::select! {
                () = sleep(wait) => {}
                () = &mut stop => break,
            }
        }
        let left = self.election.release();
        self.tell();
        if let Some(lease) = left {
            self.replace(&lease).await;
        }
    }

    /// Looks once, and says how long to wait until the next time.
    async fn round(&mut self) -> Duration {
        let look = self.election.look();
        let name = self.election.name().to_owned();
        let lease = match timeout(REQUEST, self.leases.get_opt(&name)).await {
            Ok(Ok(lease)) => lease,
            Ok(Err(error)) => {
                tracing::warn!(%error, name, "the Lease cannot be read: serin does not lead until it can");
                return look;
            }
            Err(_) => {
                tracing::warn!(name, "the Lease could not be read in time: serin does not lead until it can");
                return look;
            }
        };
        let act = self.election.step(lease, Now { clock: self.start.elapsed(), wall: Timestamp::now() });
        self.tell();
        let sent = self.start.elapsed();
        let stored = match act {
            Act::Wait(wait) => return wait,
            Act::Create(lease) => self.create(&lease).await,
            Act::Replace(lease) => self.replace(&lease).await,
        };
        if let Some(lease) = stored {
            self.election.written(lease, sent);
        }
        look
    }

    async fn create(&self, lease: &Lease) -> Option<Lease> {
        stored(timeout(REQUEST, self.leases.create(&params(), lease)).await)
    }

    async fn replace(&self, lease: &Lease) -> Option<Lease> {
        stored(timeout(REQUEST, self.leases.replace(self.election.name(), &params(), lease)).await)
    }

    fn tell(&mut self) {
        let until = self.election.leads_until().map(|until| self.start + until);
        let leads = until.is_some_and(|until| Instant::now() < until);
        if leads != self.led {
            self.led = leads;
            tracing::info!(leads, "the leadership of this replica changed");
        }
        self.leads.send_replace(until);
    }
}

fn params() -> PostParams {
    PostParams { dry_run: false, field_manager: Some(FIELD_MANAGER.to_owned()) }
}

/// The Lease as stored. That another replica was faster (409) is how an election goes.
fn stored(answer: Result<kube::Result<Lease>, tokio::time::error::Elapsed>) -> Option<Lease> {
    match answer {
        Ok(Ok(lease)) => Some(lease),
        Ok(Err(kube::Error::Api(status))) if status.code == 409 => None,
        Ok(Err(error)) => {
            tracing::warn!(%error, "the Lease cannot be written: serin does not lead until it can");
            None
        }
        Err(_) => {
            tracing::warn!("the Lease could not be written in time: serin does not lead until it can");
            None
        }
    }
}

#[cfg(test)]
mod tests;
