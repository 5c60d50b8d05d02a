//! The image of a NATS server: what the tests in the cluster feed fleets from.

use std::fs;

use anyhow::Result;

use super::{Recipe, digest};
use crate::cluster::Folder;
use crate::generate::root;
use crate::tools;

/// Its name. Nobody serves images as localhost: it is on the node, or nowhere.
const IMAGE: &str = "localhost/tickwire/nats:1";

/// Puts it onto the node, unless the node has it.
pub(crate) fn load(folder: &Folder) -> Result<()> {
    let program = tools::nats_server()?;
    let file = root().join("xtask/nats/Dockerfile");
    let state = digest(&[fs::read(&file)?, program.display().to_string().into_bytes()]);
    let loaded = folder.path("nats-image");
    if fs::read_to_string(&loaded).is_ok_and(|loaded| loaded == state) {
        return Ok(());
    }
    let context = tempfile::tempdir()?;
    fs::copy(program, context.path().join("nats-server"))?;
    let archive = context.path().join("image.tar");
    let recipe = Recipe { file: &file, target: "nats", context: context.path(), arguments: &[] };
    recipe.archive(IMAGE, &archive)?;
    folder.import([&archive])?;
    Ok(fs::write(&loaded, state)?)
}
