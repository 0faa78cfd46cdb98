use std::{io::Write, path::PathBuf, time::Duration};

use anyhow::Context;
use prost::Message;
use serin_proto::v1::{ReadRecordingRequest, query_client::QueryClient, read_recording_request::Of};

use super::client;
use crate::recording::file;

#[allow(clippy::print_stderr, reason = "the answer of a command line tool")]
pub(super) async fn run(service: String, out: PathBuf, stop: Option<Duration>, server: String) -> anyhow::Result<()> {
    let mut query = QueryClient::new(client::endless(&server).await?);
    let request = ReadRecordingRequest { of: Some(Of::Service(service.clone())) };
    let mut parts = query.read_recording(request).await.map_err(client::told)?.into_inner();
    let create = || format!("cannot write {}", out.display());
    let mut to = std::fs::File::create_new(&out).with_context(create)?;
    to.write_all(file::HEAD).with_context(create)?;
    eprintln!("recording {service} to {}; it ends with its trial, or with Ctrl-C", out.display());
    let stop = async {
        match stop {
            Some(stop) => tokio::time::sleep(stop).await,
            None => std::future::pending().await,
        }
    };
    tokio::pin!(stop);
    let mut seconds = 0u64;
    loop {
        let part = tokio::select! {
            part = parts.message() => part.map_err(client::told)?,
            () = &mut stop => None,
            _ = tokio::signal::ctrl_c() => None,
        };
        let Some(part) = part else { break };
        let mut bytes = Vec::new();
        file::write_part(&mut bytes, &part.encode_to_vec());
        // Whole parts at once, so that a recording that is broken off can be read.
        to.write_all(&bytes).with_context(create)?;
        seconds += 1;
    }
    to.sync_all().with_context(create)?;
    eprintln!("{} seconds are in {}: `serin replay {}`", seconds.saturating_sub(1), out.display(), out.display());
    Ok(())
}
