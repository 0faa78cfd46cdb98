//! The demo: two releases of a service behind a real Envoy with the filter, and `serin` watching. After a while one
//! thing changes (`SCENARIO`), and what `serin` does about it is shown as it happens. Ends by itself, with exit
//! code 0 only if the right thing happened, and `target/demo/result.json`.

use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};

mod outcome;
mod scenario;
mod screen;
mod stage;
mod story;
mod timeline;

use scenario::Scenario;

/// Shows `serin` watch a release.
#[derive(Parser)]
struct Arguments {
    /// What happens to the releases.
    #[arg(long, env = "SCENARIO", value_enum, default_value_t = Scenario::Regressed)]
    scenario: Scenario,
    /// Requests per second.
    #[arg(long, default_value_t = 500.0)]
    rate: f64,
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    // Dropping the show stops everything that it started.
    let ended = tokio::select! {
        ended = story::run(arguments.scenario, arguments.rate) => ended,
        interrupted = interrupt() => interrupted.and_then(|name| Err(anyhow::anyhow!("{name}: stopped everything"))),
    };
    match ended {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            screen::failure(&error);
            ExitCode::FAILURE
        }
    }
}

async fn interrupt() -> Result<&'static str> {
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    Ok(tokio::select! {
        _ = interrupt.recv() => "interrupted",
        _ = terminate.recv() => "terminated",
    })
}
