//! The operator's process: settings, logs, signals, and the operator.

use std::process::ExitCode;

use clap::Parser as _;
use tickwire_operator::settings::{Command, Settings};
use tickwire_operator::{check, logs, run};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// EX_USAGE of sysexits.h: the settings cannot be right.
const BAD_SETTINGS: u8 = 64;

fn main() -> ExitCode {
    let settings = match Settings::try_parse() {
        Ok(settings) => settings,
        Err(error) => {
            // To standard output where it was asked for, else to standard error.
            let asked_for = !error.use_stderr();
            let _printed = error.print();
            return if asked_for { ExitCode::SUCCESS } else { BAD_SETTINGS.into() };
        }
    };
    if let Err(error) = logs::init(&settings) {
        eprintln!("tickwire-operator: {error}");
        return BAD_SETTINGS.into();
    }
    match execute(settings) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("tickwire-operator: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn execute(settings: Settings) -> anyhow::Result<()> {
    // Fails only where there is one already; then it is used.
    let _installed = rustls::crypto::ring::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        if let Some(Command::Check { url, within }) = &settings.command {
            return Ok(check::check(url, *within).await?);
        }
        let stop = CancellationToken::new();
        let (mut terminate, mut interrupt) =
            (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        let mut running = std::pin::pin!(run::run(settings, stop.clone()));
        loop {
            tokio::select! {
                ended = &mut running => return Ok(ended?),
                // Either may be dropped when the other comes: signals are kept until they are received.
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            if stop.is_cancelled() {
                tracing::warn!("told to stop again: ends at once");
                return Ok(());
            }
            tracing::info!("told to stop");
            stop.cancel();
        }
    })
}
