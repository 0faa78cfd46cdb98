//! A TCP proxy whose connection can be cut and healed, to take the aggregator away from Envoy and bring it back.

use std::net::SocketAddr;

use anyhow::{Context, Result};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy},
    net::{
        TcpListener, TcpStream,
        tcp::{ReadHalf, WriteHalf},
    },
    sync::watch,
    task::JoinSet,
};

/// Forwards connections to a target that can change, or be absent. Dropping it closes them.
#[derive(Debug)]
pub struct Proxy {
    /// Where it listens.
    pub address: SocketAddr,
    target: watch::Sender<Option<SocketAddr>>,
    holds: watch::Sender<bool>,
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
        let (holds, held) = watch::channel(false);
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(listener, watched, held));
        Ok(Proxy { address, target, holds, _tasks: tasks })
    }

    /// Breaks every connection, and closes new ones at once.
    pub fn cut(&self) {
        self.target.send_replace(None);
    }

    /// Holds back what the target says, until told not to: it hears everything, and its answers do not arrive.
    pub fn hold(&self, holds: bool) {
        self.holds.send_replace(holds);
    }

    /// Forwards new connections to `target`, and breaks those that led elsewhere.
    pub fn heal(&self, target: SocketAddr) {
        self.target.send_replace(Some(target));
    }
}

async fn accept(listener: TcpListener, target: watch::Receiver<Option<SocketAddr>>, held: watch::Receiver<bool>) {
    let mut connections = JoinSet::new();
    loop {
        if let Ok((stream, _)) = listener.accept().await {
            connections.spawn(forward(stream, target.clone(), held.clone()));
        }
        while connections.try_join_next().is_some() {}
    }
}

async fn forward(mut from: TcpStream, mut target: watch::Receiver<Option<SocketAddr>>, held: watch::Receiver<bool>) {
    let Some(address) = *target.borrow_and_update() else { return };
    let Ok(mut to) = TcpStream::connect(address).await else { return };
    let ((mut asked, answers), (answered, mut questions)) = (from.split(), to.split());
    // Either end may close when it likes. A cut goes first: what is held back then must not get through.
    tokio::select! {
        biased;
        _ = target.changed() => {}
        _ = copy(&mut asked, &mut questions) => {}
        () = answer(answered, answers, held) => {}
    }
}

async fn answer(mut from: ReadHalf<'_>, mut to: WriteHalf<'_>, mut held: watch::Receiver<bool>) {
    let mut bytes = vec![0; 16 << 10];
    while let Ok(read @ 1..) = from.read(&mut bytes).await {
        let is_let_through = held.wait_for(|held| !held).await.is_ok();
        if !is_let_through || to.write_all(bytes.get(..read).unwrap_or_default()).await.is_err() {
            return;
        }
    }
}
