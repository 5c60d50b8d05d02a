//! The server's process: configuration, traces, logs, signals, and the server.

use std::process::ExitCode;

use anyhow::Context as _;
use tickwire_server::Server;
use tickwire_server::config::{Config, ConfigError};
use tickwire_server::traces::Traces;
use tickwire_server::{file_limit, logs};
use tokio::signal::unix::{SignalKind, signal};

/// EX_USAGE of sysexits.h: the configuration cannot be right.
const BAD_CONFIGURATION: u8 = 64;

fn main() -> ExitCode {
    let config = match Config::read() {
        Ok(config) => config,
        Err(ConfigError::Asked(text)) => {
            print!("{text}");
            return ExitCode::SUCCESS;
        }
        Err(error) => {
            eprintln!("tickwire-server: {error}");
            return BAD_CONFIGURATION.into();
        }
    };
    let traces = match Traces::from_env() {
        Ok(traces) => traces,
        Err(error) => {
            eprintln!("tickwire-server: {:#}", anyhow::Error::from(error));
            return BAD_CONFIGURATION.into();
        }
    };
    let ended = run(config, traces.as_ref());
    // After the runtime: the last spans are sent, which blocks.
    drop(traces);
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("tickwire-server: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(config: Config, traces: Option<&Traces>) -> anyhow::Result<()> {
    let (filter, format) = &config.log;
    let log = logs::init(filter, *format, traces).context("cannot set logging up")?;
    if let Some(traces) = traces {
        traces.announce();
    }
    match file_limit::raise() {
        Some(files) if files < config.limits.max_connections as u64 => {
            tracing::info!(
                files,
                max_connections = config.limits.max_connections,
                "limit of open files; below MAX_CONNECTIONS"
            );
        }
        Some(files) => tracing::info!(files, "limit of open files"),
        None => tracing::info!("open files are not limited"),
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let (mut terminate, mut interrupt) =
            (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        // A feed may have to be waited for; nobody is connected then.
        let server = tokio::select! {
            started = Server::start(config, log) => started?,
            _ = terminate.recv() => return Ok(()),
            _ = interrupt.recv() => return Ok(()),
        };
        let stopper = server.stopper();
        let signals = async {
            loop {
                // Either may be dropped when the other comes: signals are kept until they are received.
                tokio::select! {
                    _ = terminate.recv() => {}
                    _ = interrupt.recv() => {}
                }
                stopper.stop();
            }
        };
        tokio::select! {
            ended = server.run() => ended?,
            () = signals => {}
        }
        anyhow::Ok(())
    })
}
