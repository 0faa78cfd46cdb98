use std::time::Duration;

use anyhow::Context;
use tonic::{Status, transport::Channel};

pub(super) fn block_on<T>(command: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(command)
}

/// For answers that come within half a minute.
pub(super) async fn connect(server: &str) -> anyhow::Result<Channel> {
    dial(server, Some(Duration::from_secs(30))).await
}

/// For answers that go on and on.
pub(super) async fn endless(server: &str) -> anyhow::Result<Channel> {
    dial(server, None).await
}

async fn dial(server: &str, within: Option<Duration>) -> anyhow::Result<Channel> {
    let channel = Channel::from_shared(format!("http://{server}"))
        .with_context(|| format!("--server {server} is not an address; write for instance 127.0.0.1:9400"))?;
    let channel = channel.connect_timeout(Duration::from_secs(5));
    let channel = within.into_iter().fold(channel, |channel, within| channel.timeout(within));
    let connected = channel.connect().await;
    connected.with_context(|| format!("cannot reach serin at {server}: is `serin serve` running there?"))
}

/// The message that the server wrote for a person.
pub(super) fn told(status: Status) -> anyhow::Error {
    anyhow::anyhow!("{}", status.message().to_owned())
}
