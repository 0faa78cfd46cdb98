use std::{path::Path, process::ExitCode};

use anyhow::Context;
use tokio::signal::unix::{SignalKind, signal};

use super::EXIT_CONFIG;
use crate::{config::Config, server};

/// `Err` holds the exit code: the problems are already told.
pub(super) fn load(file: &Path) -> anyhow::Result<Result<Config, ExitCode>> {
    let text = std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    Ok(Config::parse(&text).map_err(|problems| {
        tell(&format!("{}:\n{problems}", file.display()));
        ExitCode::from(EXIT_CONFIG)
    }))
}

#[allow(clippy::print_stderr, reason = "the answer of a command line tool")]
fn tell(text: &str) {
    eprintln!("{}", text.trim_end());
}

#[allow(clippy::print_stdout, reason = "the answer of a command line tool")]
pub(super) fn check(file: &Path) -> anyhow::Result<ExitCode> {
    match load(file)? {
        Ok(config) => {
            let services = config.services.len();
            let guards = if config.kubernetes.is_some() { ", and those of ReleaseGuards" } else { "" };
            println!("{}: good, {services} service{}{guards}", file.display(), if services == 1 { "" } else { "s" });
            Ok(ExitCode::SUCCESS)
        }
        Err(code) => Ok(code),
    }
}

pub(super) fn serve(file: &Path, nats: Option<String>) -> anyhow::Result<ExitCode> {
    let mut config = match load(file)? {
        Ok(config) => config,
        Err(code) => return Ok(code),
    };
    config.nats = nats.or(config.nats);
    let filter = tracing_subscriber::EnvFilter::try_from_default_env();
    tracing_subscriber::fmt()
        .with_env_filter(filter.unwrap_or_else(|_| "info".into()))
        .with_writer(std::io::stderr)
        .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
        .init();
    let runtime = tokio::runtime::Runtime::new()?;
    let served = runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate())?;
        let stop = async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = tokio::signal::ctrl_c() => {}
            }
        };
        anyhow::Ok(server::serve(config, stop).await?)
    });
    // A write that hangs in the file system must not keep the process.
    runtime.shutdown_background();
    served.map(|()| ExitCode::SUCCESS)
}
