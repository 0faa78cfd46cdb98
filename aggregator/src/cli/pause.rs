use std::time::Duration;

use serin_proto::v1::{PauseRequest, ResumeRequest, control_client::ControlClient};

use super::client;

#[allow(clippy::print_stdout, reason = "the answer of a command line tool")]
pub(super) async fn pause(reason: Option<String>, within: Option<Duration>, server: String) -> anyhow::Result<()> {
    let mut control = ControlClient::new(client::connect(&server).await?);
    // Less than a second would be no end.
    let for_s = within.map_or(0, |within| within.as_secs().max(1));
    let request = PauseRequest { for_s, reason: reason.unwrap_or_default() };
    control.pause(request).await.map_err(client::told)?;
    println!("Paused: decisions are made, nothing is written until `serin resume`, or the end that was given.");
    Ok(())
}

#[allow(clippy::print_stdout, reason = "the answer of a command line tool")]
pub(super) async fn resume(server: String) -> anyhow::Result<()> {
    let mut control = ControlClient::new(client::connect(&server).await?);
    control.resume(ResumeRequest {}).await.map_err(client::told)?;
    println!("Resumed: what was held back and is still condemned is written.");
    Ok(())
}
