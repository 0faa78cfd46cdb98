use serin_proto::v1::{ClearRequest, control_client::ControlClient};

use super::client;

#[allow(clippy::print_stdout, reason = "the answer of a command line tool")]
pub(super) async fn run(service: String, release: String, server: String) -> anyhow::Result<()> {
    let mut control = ControlClient::new(client::connect(&server).await?);
    let request = ClearRequest { service: service.clone(), release: release.clone() };
    control.clear(request).await.map_err(client::told)?;
    println!("{service}: {release} may take traffic again and is judged anew. Its weight is yours to set.");
    Ok(())
}
