//! The `serin` binary.

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    match serin::cli::run(serin::cli::Cli::parse()) {
        Ok(code) => code,
        Err(error) => {
            #[allow(clippy::print_stderr, reason = "the answer of a command line tool")]
            {
                eprintln!("serin: {error:#}");
            }
            ExitCode::FAILURE
        }
    }
}
