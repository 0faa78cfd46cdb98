//! The `serin` binary.

use std::process::ExitCode;

use clap::Parser;

/// A third of what taking in reports takes is allocation, in glibc's twice that (ADR 20).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

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
