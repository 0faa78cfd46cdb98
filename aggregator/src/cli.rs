//! The command line.

mod clear;
mod client;
mod compare;
mod decisions;
mod doctor;
mod explain;
mod export;
mod gate;
mod install;
mod pause;
mod plan;
mod proxies;
mod record;
mod replay;
mod serve;
mod text;

use std::{path::PathBuf, process::ExitCode, time::Duration};

use clap::{Parser, Subcommand};

use crate::{config, time::UnixMicros};

/// EX_USAGE of sysexits.h: the configuration is wrong.
const EXIT_CONFIG: u8 = 64;

/// Watches the latency of every release and takes a bad one out of traffic.
#[derive(Debug, Parser)]
#[command(name = "serin", version)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Take in reports, judge releases, roll bad ones back
    Serve {
        /// The configuration (YAML)
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
        /// Share the work with other aggregators through this NATS JetStream, in place of a data_dir; as history.nats in the
        /// configuration
        #[arg(long, value_name = "nats://HOST:PORT,...", value_parser = nats)]
        history: Option<String>,
    },
    /// Report every problem of a configuration; exit code 64 when there is one
    Check {
        /// The configuration (YAML)
        file: PathBuf,
    },
    /// Show both releases of a service side by side
    Compare {
        /// As it is called in the configuration
        service: String,
        /// How far back, within the live window; all of it unless given
        #[arg(long, value_name = "DURATION", value_parser = duration)]
        window: Option<Duration>,
        #[command(flatten)]
        server: Server,
    },
    /// List decisions with what was done about them, newest first
    Decisions {
        /// Of this service only
        service: Option<String>,
        #[command(flatten)]
        server: Server,
    },
    /// Verify everything that a data_dir holds, while serin is stopped; exit code 1 when something is damaged
    Doctor {
        /// As data_dir in the configuration
        #[arg(default_value = "./serin-data")]
        data_dir: PathBuf,
    },
    /// Write what was counted of a service to a file: for the HdrHistogram tools, or for data frames
    Export(export::Options),
    /// Show the evidence of a decision, and judge it again from what was recorded; exit code 1 when the verdict is another one
    Explain {
        /// Its number, as in `serin decisions`
        decision: u64,
        #[command(flatten)]
        server: Server,
    },
    /// For pipelines: wait for the verdict; exit code 0 healthy, 1 regressed or condemned, 2 undecided, with the sentence
    Gate {
        /// As it is called in the configuration
        service: String,
        /// Wait until this release is the candidate; without it the verdict of whichever is
        #[arg(long, value_name = "RELEASE")]
        candidate: Option<String>,
        /// For a label that is used again: only of a trial that began since then, which is a time or how long ago
        #[arg(long, value_name = "TIME|DURATION", value_parser = gate::since)]
        since: Option<UnixMicros>,
        /// How long to wait; also for a serin that cannot be reached
        #[arg(long, value_name = "DURATION", default_value = "10m", value_parser = duration)]
        timeout: Duration,
        #[command(flatten)]
        server: Server,
    },
    /// Print the manifests that install serin in a cluster with Istio
    Install(install::Options),
    /// Write what the judge is fed of a service's trial to a file, from the trial's first second on
    Record {
        /// As it is called in the configuration
        service: String,
        /// The file, which must not exist
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
        /// Stop after this long; at the trial's end unless given
        #[arg(long = "for", value_name = "DURATION", value_parser = duration)]
        stop: Option<Duration>,
        #[command(flatten)]
        server: Server,
    },
    /// Judge recordings again, with their own policy or another one: what would have been rolled back, and when
    Replay(replay::Options),
    /// List the proxies that report: what their filters counted, and what Envoy says itself
    Proxies {
        #[command(flatten)]
        server: Server,
    },
    /// Say how soon a regression would be found, and health be proven, before a rollout begins
    Plan(plan::Options),
    /// Have no rollback written, of any service, until `serin resume`; judging and deciding go on
    Pause {
        /// Why, for those who see it
        reason: Option<String>,
        /// Resume by itself after this long
        #[arg(long = "for", value_name = "DURATION", value_parser = duration)]
        within: Option<Duration>,
        #[command(flatten)]
        server: Server,
    },
    /// End a pause: what was held back and is still condemned is written
    Resume {
        #[command(flatten)]
        server: Server,
    },
    /// Lift the condemnation of a release, so that it may take traffic and be judged anew
    Clear {
        /// As it is called in the configuration
        service: String,
        /// The condemned release
        release: String,
        #[command(flatten)]
        server: Server,
    },
}

#[derive(Debug, clap::Args)]
struct Server {
    /// Where `serin serve` listens (listen.grpc)
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9400", env = "SERIN_SERVER")]
    server: String,
}

fn nats(text: &str) -> Result<String, String> {
    if config::is_nats(text) { Ok(text.to_owned()) } else { Err(format!("write {}", config::NATS)) }
}

fn duration(text: &str) -> Result<Duration, String> {
    let parsed = text.parse::<jiff::SignedDuration>().map_err(|e| format!("{e}; write for instance 5m or 30s"))?;
    Duration::try_from(parsed).map_err(|_| "must not be negative".to_owned())
}

/// Runs the command that was given.
///
/// # Errors
/// When it cannot be carried out; the message is for the user.
pub fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    match cli.command {
        Command::Serve { config, history } => serve::serve(&config, history),
        Command::Check { file } => serve::check(&file),
        Command::Compare { service, window, server } => done(compare::run(service, window, server.server)),
        Command::Decisions { service, server } => done(decisions::run(service, server.server)),
        Command::Doctor { data_dir } => doctor::run(&data_dir),
        Command::Export(options) => done(export::run(options)),
        Command::Explain { decision, server } => client::block_on(explain::run(decision, server.server)),
        Command::Gate { service, candidate, since, timeout, server } => {
            client::block_on(gate::run(gate::Asked { service, candidate, since }, timeout, server.server))
        }
        Command::Install(options) => install::run(options).map(|()| ExitCode::SUCCESS),
        Command::Record { service, out, stop, server } => done(record::run(service, out, stop, server.server)),
        Command::Replay(options) => replay::run(&options),
        Command::Proxies { server } => done(proxies::run(server.server)),
        Command::Plan(options) => plan::run(&options).map(|()| ExitCode::SUCCESS),
        Command::Pause { reason, within, server } => done(pause::pause(reason, within, server.server)),
        Command::Resume { server } => done(pause::resume(server.server)),
        Command::Clear { service, release, server } => done(clear::run(service, release, server.server)),
    }
}

fn done(command: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<ExitCode> {
    client::block_on(command).map(|()| ExitCode::SUCCESS)
}
