//! stream.proto and feed.proto to Rust, by protox and prost-build: no protoc needed.

use std::path::Path;

use anyhow::{Context as _, Result};

use super::Generated;

/// The wire's messages, and what comes to servers. One package, and so one module.
const FILES: [&str; 2] = ["tickwire/v1/stream.proto", "tickwire/v1/feed.proto"];

pub(super) fn generate(root: &Path) -> Result<Vec<Generated>> {
    let include = root.join("proto/proto");
    let descriptors = protox::compile(FILES, [&include]).context("the Protobuf files")?;
    let module = prost_build::Module::from_protobuf_package_name("tickwire.v1");
    let mut config = prost_build::Config::new();
    config.format(true).enable_type_names();
    // It has a password: its Debug is written by hand.
    config.skip_debug(["tickwire.v1.Auth"]);
    let requests = descriptors.file.into_iter().map(|file| (module.clone(), file)).collect();
    let mut modules = config.generate(requests).context("cannot generate Rust from the Protobuf files")?;
    let content = modules.remove(&module).context("they declare another package")?.into_bytes();
    Ok(vec![Generated { path: root.join("proto/src/gen/tickwire.v1.rs"), content }])
}
