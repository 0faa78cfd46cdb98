use std::{process::ExitCode, time::Duration};

use anyhow::Context;
use tonic::{Status, transport::Channel};

pub(super) fn block_on(command: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<ExitCode> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(command)?;
    Ok(ExitCode::SUCCESS)
}

pub(super) async fn connect(server: &str) -> anyhow::Result<Channel> {
    let channel = Channel::from_shared(format!("http://{server}"))
        .with_context(|| format!("--server {server} is not an address; write for instance 127.0.0.1:9400"))?;
    let connected = channel.connect_timeout(Duration::from_secs(5)).timeout(Duration::from_secs(30)).connect().await;
    connected.with_context(|| format!("cannot reach serin at {server}: is `serin serve` running there?"))
}

/// The message that the server wrote for a person.
pub(super) fn told(status: Status) -> anyhow::Error {
    anyhow::anyhow!("{}", status.message().to_owned())
}
