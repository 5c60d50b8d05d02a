//! The `tickwire` command line.

mod cli;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use cli::{bench, hash_password, publish, subscribe};

/// Ticks over TCP: subscribe to a Tickwire server, feed one, or measure one.
#[derive(Debug, Parser)]
#[command(name = "tickwire", version, max_term_width = 110)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

/// Each is described where its arguments are: a sentence here would take the place of all that is said there.
#[derive(Debug, Subcommand)]
enum Command {
    Subscribe(subscribe::Args),
    Publish(publish::Args),
    Bench(bench::Args),
    HashPassword(hash_password::Args),
}

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Subscribe(args) => subscribe::run(args),
        Command::Publish(args) => publish::run(args),
        Command::Bench(args) => bench::run(args),
        Command::HashPassword(args) => hash_password::run(args),
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
