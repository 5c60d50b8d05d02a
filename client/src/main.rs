//! The `tickwire` command line.

mod cli;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use cli::{bench, subscribe};

/// Ticks over TCP: subscribe to a Tickwire server, or measure one.
#[derive(Debug, Parser)]
#[command(name = "tickwire", version, max_term_width = 110)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Print ticks, a line each.
    Subscribe(subscribe::Args),
    /// Connect many clients, and tell how the server does.
    Bench(bench::Args),
}

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Subscribe(args) => subscribe::run(args),
        Command::Bench(args) => bench::run(args),
    };
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("tickwire: {error:#}");
            ExitCode::FAILURE
        }
    }
}
