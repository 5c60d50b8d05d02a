//! The repository's own commands.

mod generate;

use anyhow::Result;
use clap::{Parser, Subcommand};

/// The repository's own commands.
#[derive(Parser)]
#[command(bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Write the generated files anew: Protobuf types, golden vectors, the tables in docs/.
    Generate {
        /// Write nothing; fail where a file differs from what would be written.
        #[arg(long)]
        check: bool,
    },
}

fn main() -> Result<()> {
    match Cli::parse().command {
        Command::Generate { check } => generate::run(check),
    }
}
