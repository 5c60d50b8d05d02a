//! The repository's own commands.

mod bench;
mod cluster;
mod demo;
mod fuzz;
mod generate;
mod images;
mod picture;
mod process;
mod replay;
mod test;
mod tools;

use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};

/// The repository's own commands.
#[derive(Parser)]
#[command(bin_name = "cargo xtask", max_term_width = 110)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Build and run a server with a made-up feed, and a subscriber whose ticks one sees.
    Demo {
        /// End after so long, such as 10s; without it, at Ctrl-C.
        #[arg(long = "for", value_name = "DURATION", value_parser = humantime::parse_duration)]
        period: Option<Duration>,
        /// On Kubernetes: a cluster of this machine's own, the chart, and a StreamServer.
        #[arg(long)]
        kubernetes: bool,
    },
    /// Run every check and test.
    Test {
        /// Only these parts.
        #[arg(value_name = "PART")]
        parts: Vec<test::Part>,
        /// Fail where this part cannot be run here, instead of saying so.
        #[arg(long, value_name = "PART")]
        require: Vec<test::Part>,
    },
    /// Fuzz whatever reads a stranger's bytes, guided by coverage.
    Fuzz {
        /// Only these.
        #[arg(value_name = "TARGET")]
        targets: Vec<fuzz::Target>,
        /// How many inputs each gets.
        #[arg(long, default_value_t = 2_000_000)]
        runs: u64,
        /// Write what was found into fuzz/corpus, and leave there only what is needed to reach as much.
        #[arg(long)]
        minimize: bool,
    },
    /// A throwaway Kubernetes on this machine.
    Cluster {
        #[command(subcommand)]
        what: cluster::What,
    },
    /// Print where nats-server is, which some tests run; build it where it is not.
    NatsServer,
    /// Write the generated files anew: Protobuf types, golden vectors, the tables in docs/.
    Generate {
        /// Write nothing; fail where a file differs from what would be written.
        #[arg(long)]
        check: bool,
    },
    /// Measure: docs/PERFORMANCE.md says what its figures mean.
    Bench {
        /// What to measure.
        what: bench::What,
        /// How often; the medians count.
        #[arg(long, default_value_t = 5)]
        runs: usize,
        /// Clients, where it is not the measurement that decides.
        #[arg(long)]
        clients: Option<usize>,
        /// How long each run lasts.
        #[arg(long = "for", value_name = "DURATION", value_parser = humantime::parse_duration)]
        period: Option<Duration>,
        /// feed: trades a second.
        #[arg(long, default_value_t = 100_000)]
        rate: u32,
        /// feed: symbols that are traded. Each client subscribes to one of them, or to all where it is 1.
        #[arg(long, default_value_t = 100)]
        symbols: u32,
    },
    /// Replay a CSV of trades through a server, and check that what comes out is what is in the file.
    Replay {
        /// A CSV with the header time,symbol,price,size, times in UTC.
        file: std::path::PathBuf,
    },
    /// Draw the picture in README.md from a run of the demo.
    Picture,
    /// The reading side of the floor that `bench delivery` measures against.
    #[command(hide = true)]
    FloorReader { address: std::net::SocketAddr, connections: usize, hello: Option<std::path::PathBuf> },
    /// One of the strangers of `bench hostile`.
    #[command(hide = true)]
    Attack {
        kind: bench::hostile::Attack,
        address: std::net::SocketAddr,
        ca: std::path::PathBuf,
        seconds: u64,
    },
}

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Demo { period, kubernetes: false } => demo::run(period),
        Command::Demo { period, kubernetes: true } => demo::kubernetes::run(period),
        Command::Test { parts, require } => test::run(&parts, &require),
        Command::Fuzz { targets, runs, minimize } => {
            fuzz::run(&targets, fuzz::Size { runs, seed: None, minimize, locked: false })
        }
        Command::Cluster { what } => cluster::run(&what),
        Command::NatsServer => tools::nats_server().map(|program| println!("{}", program.display())),
        Command::Generate { check } => generate::run(check),
        Command::Bench { what, runs, clients, period, rate, symbols } => {
            bench::run(what, &bench::Size { runs, clients, period, rate, symbols })
        }
        Command::Replay { file } => replay::run(&file),
        Command::Picture => picture::run(),
        Command::FloorReader { address, connections, hello } => {
            bench::floor::read(address, connections, hello.as_deref())
        }
        Command::Attack { kind, address, ca, seconds } => bench::hostile::attack(kind, address, &ca, seconds),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}
