//! `cargo xtask demo`: the main job, seen.

pub(crate) mod kubernetes;

use std::process::Command;
use std::time::Duration;

use anyhow::Result;

use crate::process::{PASSWORD, Server, build, succeed};

/// Eight symbols at a pace that eyes can follow, drained without the delay that load balancers need.
const FLAGS: [&str; 8] =
    ["--feed-rate", "12", "--drain-delay", "0s", "--drain-window", "0s", "--ring-retention", "1m"];

pub(crate) fn run(period: Option<Duration>) -> Result<()> {
    let folder = build("dev")?;
    let server = Server::start(&folder, &FLAGS, &[])?;
    println!(
        "\na server with a made-up feed serves at {}, its metrics are at http://{}/metrics",
        server.address, server.admin
    );
    println!("a subscriber of your own, meanwhile, in another terminal:");
    println!(
        "  STREAM_PASS={PASSWORD} cargo run -p tickwire-client -- subscribe --address {} --mode second\n",
        server.address
    );
    let mut subscriber = Command::new(folder.join("tickwire"));
    subscriber
        .args(["subscribe", "--mode", "tick", "--address", &server.address])
        .env("STREAM_PASS", PASSWORD);
    if let Some(period) = period {
        subscriber.args(["--for", &humantime::format_duration(period).to_string()]);
    }
    succeed(&mut subscriber)?;
    server.stop(false)?;
    println!("\nthe server was told to stop (SIGTERM), drained, and ended with status 0");
    Ok(())
}
