//! The loop around an election: IO.

use std::{future::Future, time::Duration};

use k8s_openapi::{api::coordination::v1::Lease, jiff::Timestamp};
use kube::{Api, Client, api::PostParams};
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::{Instant, sleep, timeout},
};

use super::{
    election::{Act, Election, Now},
    pause::{self, Pause},
};
use crate::writers::FIELD_MANAGER;

/// How long a request is waited for: two of them and a pause fit into the time for which a renewal lasts.
const REQUEST: Duration = Duration::from_secs(2);
/// How often an order is tried, each time on what others wrote meanwhile.
const TIMES: usize = 5;
/// Orders of persons that wait.
const ORDERS: usize = 8;

/// Why a pause is not kept.
#[derive(Debug, thiserror::Error)]
pub enum NotKept {
    /// The API server refused, or cannot be reached.
    #[error(transparent)]
    Kube(#[from] kube::Error),
    /// It did not answer.
    #[error("the API server did not answer within {} s", REQUEST.as_secs())]
    Late,
    /// Somebody has deleted it, or nobody has led yet.
    #[error("there is no Lease yet: try again in a few seconds")]
    NoLease,
    /// A fight.
    #[error("others wrote the Lease at the same time, {TIMES} times: try again")]
    Overtaken,
    /// The loop does not run any more.
    #[error("this replica is shutting down")]
    Ended,
}

/// A pause to be kept, or that there is none, and where the answer goes.
struct Order {
    pause: Option<Pause>,
    answer: oneshot::Sender<Result<(), NotKept>>,
}

/// Whether this replica leads: ask right before acting.
///
/// It ends by itself when the leader cannot renew, also when the loop does not run.
#[derive(Clone, Debug)]
pub struct Leadership {
    until: watch::Receiver<Option<Instant>>,
    orders: mpsc::Sender<Order>,
}

impl Leadership {
    /// Whether it leads now.
    pub fn is_leader(&self) -> bool {
        self.until.borrow().is_some_and(|until| Instant::now() < until)
    }

    /// Waits for the next renewal, gain or loss; `false` when the election is over.
    pub async fn changed(&mut self) -> bool {
        self.until.changed().await.is_ok()
    }

    /// Keeps a pause in the Lease, or that there is none, whether or not this replica leads. When this returns it is there, and was told here.
    ///
    /// # Errors
    /// When it could not be written.
    pub async fn pause(&self, pause: Option<Pause>) -> Result<(), NotKept> {
        let (answer, wait) = oneshot::channel();
        self.orders.send(Order { pause, answer }).await.map_err(|_| NotKept::Ended)?;
        wait.await.unwrap_or(Err(NotKept::Ended))
    }
}

/// Takes part in an election until `stop` is ready, and then leaves the Lease to others.
///
/// Errors of the API server are logged and looked past: who cannot renew does not lead, that is all. The future must be
/// polled for the whole time; the handle tells who leads.
///
/// `paused` is told what the Lease says of a pause, when it is read for the first time and whenever that changes. It is waited for: nobody leads
/// by a Lease whose pause is not followed. While the Lease cannot be read, or is not there, what was read last holds.
pub fn campaign<P, F, S>(
    client: Client,
    namespace: &str,
    election: Election,
    paused: P,
    stop: S,
) -> (Leadership, impl Future<Output = ()> + use<P, F, S>)
where
    P: FnMut(Option<Pause>) -> F,
    F: Future<Output = ()>,
    S: Future<Output = ()>,
{
    let (leads, until) = watch::channel(None);
    let (sender, orders) = mpsc::channel(ORDERS);
    let (leases, start) = (Api::namespaced(client, namespace), Instant::now());
    let run = Run { leases, election, start, leads, led: false, paused, known: None, orders };
    (Leadership { until, orders: sender }, run.until(stop))
}

struct Run<P> {
    leases: Api<Lease>,
    election: Election,
    start: Instant,
    leads: watch::Sender<Option<Instant>>,
    /// As it was told last.
    led: bool,
    paused: P,
    /// The pause, once the Lease was read.
    known: Option<Option<Pause>>,
    orders: mpsc::Receiver<Order>,
}

impl<P: FnMut(Option<Pause>) -> F, F: Future<Output = ()>> Run<P> {
    async fn until(mut self, stop: impl Future<Output = ()>) {
        let mut stop = std::pin::pin!(stop);
        loop {
            // A write that was sent and not waited for can only prolong what the Lease says, never what this replica does.
            let wait = tokio::select! {
                wait = self.look() => wait,
                () = &mut stop => break,
            };
            tokio::select! {
                () = sleep(wait) => {}
                Some(order) = self.orders.recv() => tokio::select! {
                    () = self.carry_out(order) => {}
                    () = &mut stop => break,
                },
                () = &mut stop => break,
            }
        }
        let left = self.election.release();
        self.tell();
        if let Some(lease) = left {
            let _ = self.replace(&lease).await.map_err(warn);
        }
    }

    /// Looks once, and says how long to wait until the next time.
    async fn look(&mut self) -> Duration {
        let looked = self.round(None).await;
        self.tell();
        looked.unwrap_or_else(|error| {
            warn(error);
            self.election.look()
        })
    }

    async fn carry_out(&mut self, Order { pause, answer }: Order) {
        let mut kept = Err(NotKept::Overtaken);
        for _ in 0..TIMES {
            kept = self.round(Some(&pause)).await.map(drop);
            self.tell();
            if !matches!(kept, Err(NotKept::Overtaken)) {
                break;
            }
        }
        // Whoever asked may have gone away.
        let _ = answer.send(kept);
    }

    /// Reads the Lease, and writes what is to be written: an order, and what the election says. How long to wait until the next time.
    async fn round(&mut self, order: Option<&Option<Pause>>) -> Result<Duration, NotKept> {
        let look = self.election.look();
        let read = timeout(REQUEST, self.leases.get_opt(self.election.name())).await;
        let mut lease = read.map_err(|_| NotKept::Late)??;
        let wall = Timestamp::now();
        if let Some(lease) = &lease {
            let known = self.known.as_ref().and_then(Option::as_ref);
            self.follow(pause::of(lease, known, wall)).await;
        }
        if order.is_some() && lease.is_none() {
            return Err(NotKept::NoLease);
        }
        // A Lease that somebody deleted is made again with what it said.
        let known = || pause::current(self.known.clone().flatten(), wall);
        let pause = order.cloned().unwrap_or_else(known);
        lease.iter_mut().for_each(|lease| pause::write(lease, pause.as_ref()));
        let act = self.election.step(lease.clone(), Now { clock: self.start.elapsed(), wall });
        self.tell();
        let sent = self.start.elapsed();
        let stored = match (act, lease) {
            // Who does not lead writes orders and nothing else.
            (Act::Wait(_), Some(lease)) if order.is_some() => {
                self.replace(&lease).await?.ok_or(NotKept::Overtaken)?;
                self.follow(pause).await;
                return Ok(look);
            }
            (Act::Wait(wait), _) => return Ok(wait),
            (Act::Create(mut lease), _) => {
                pause::write(&mut lease, pause.as_ref());
                self.create(&lease).await?
            }
            (Act::Replace(lease), _) => self.replace(&lease).await?,
        };
        match stored {
            Some(lease) => {
                self.follow(pause).await;
                self.election.written(lease, sent);
            }
            None if order.is_some() => return Err(NotKept::Overtaken),
            // That another replica was faster is how an election goes.
            None => {}
        }
        Ok(look)
    }

    /// Has it told what the Lease says, if that is not known.
    async fn follow(&mut self, pause: Option<Pause>) {
        if self.known.as_ref() != Some(&pause) {
            (self.paused)(pause.clone()).await;
            self.known = Some(pause);
        }
    }

    async fn create(&self, lease: &Lease) -> Result<Option<Lease>, NotKept> {
        stored(timeout(REQUEST, self.leases.create(&params(), lease)).await)
    }

    async fn replace(&self, lease: &Lease) -> Result<Option<Lease>, NotKept> {
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

/// The Lease as stored; `None` when somebody else has written it meanwhile (409).
fn stored(answer: Result<kube::Result<Lease>, tokio::time::error::Elapsed>) -> Result<Option<Lease>, NotKept> {
    match answer.map_err(|_| NotKept::Late)? {
        Ok(lease) => Ok(Some(lease)),
        Err(kube::Error::Api(status)) if status.code == 409 => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn warn(error: NotKept) {
    tracing::warn!(%error, "the Lease cannot be read and written: serin does not lead until it can");
}

#[cfg(test)]
mod tests;
