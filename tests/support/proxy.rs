//! A TCP proxy whose connection can be cut and healed, to take the aggregator away from Envoy and bring it back.

use std::net::SocketAddr;

use anyhow::{Context, Result};
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinSet,
};

/// Forwards connections to a target that can change, or be absent. Dropping it closes them.
#[derive(Debug)]
pub struct Proxy {
    /// Where it listens.
    pub address: SocketAddr,
    target: watch::Sender<Option<SocketAddr>>,
    _tasks: JoinSet<()>,
}

impl Proxy {
    /// Starts it; without a target it closes every connection at once.
    ///
    /// # Errors
    /// When no port can be had.
    pub async fn start(target: Option<SocketAddr>) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await.context("cannot listen on loopback")?;
        let address = listener.local_addr()?;
        let (target, watched) = watch::channel(target);
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(listener, watched));
        Ok(Proxy { address, target, _tasks: tasks })
    }

    /// Breaks every connection, and closes new ones at once.
    pub fn cut(&self) {
        self.target.send_replace(None);
    }

    /// Forwards new connections to `target`, and breaks those that led elsewhere.
    pub fn heal(&self, target: SocketAddr) {
        self.target.send_replace(Some(target));
    }
}

async fn accept(listener: TcpListener, target: watch::Receiver<Option<SocketAddr>>) {
    let mut connections = JoinSet::new();
    loop {
        if let Ok((stream, _)) = listener.accept().await {
            connections.spawn(forward(stream, target.clone()));
        }
        while connections.try_join_next().is_some() {}
    }
}

async fn forward(mut from: TcpStream, mut target: watch::Receiver<Option<SocketAddr>>) {
    let Some(address) = *target.borrow_and_update() else { return };
    let Ok(mut to) = TcpStream::connect(address).await else { return };
    tokio::select! {
        // Either end may close when it likes.
        _ = copy_bidirectional(&mut from, &mut to) => {}
        _ = target.changed() => {}
    }
}
