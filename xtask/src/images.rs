//! The images of this workspace, and how they come onto the node of our own cluster: built from the Dockerfile that everybody uses, with
//! the programs that cargo has just built, and without a registry.

mod base;
mod nats;
mod recipe;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};
use ring::digest::{SHA256, digest as sha256};

use crate::cluster::Folder;
use crate::generate::root;
use crate::process::{cargo, succeed};
use crate::tools;

pub(crate) use nats::load as load_nats;
pub(crate) use recipe::Recipe;

/// The version that an image has, and the workspace.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The programs that are in images.
const PROGRAMS: [&str; 3] = ["tickwire-server", "tickwire", "tickwire-operator"];

/// What a node takes an image without a registry's name for.
const REGISTRY: &str = "docker.io";

/// Images that are on the node, by the names that a pod may say.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub(crate) server: String,
    /// The same server as of another version: what an upgrade goes to.
    pub(crate) server_next: String,
    pub(crate) operator: String,
    /// Another one where any of them is another.
    pub(crate) digest: String,
}

/// An image to be: the Dockerfile's target, and its version.
struct Wanted {
    target: &'static str,
    version: String,
}

impl Wanted {
    fn name(&self) -> String {
        format!("tickwire/{}:{}", self.target, self.version)
    }
}

/// Builds the programs and, where they are others than those that the node has, the images, and puts these onto the node.
pub(crate) fn load(folder: &Folder) -> Result<Loaded> {
    let wanted = |target, version: String| Wanted { target, version };
    let images = [
        wanted("server", VERSION.to_owned()),
        wanted("server", format!("{VERSION}-next")),
        wanted("operator", VERSION.to_owned()),
    ];
    let programs = compile()?;
    let state = state(&programs)?;
    let loaded = folder.path("images");
    if fs::read_to_string(&loaded).is_ok_and(|loaded| loaded == state) {
        println!("the node has these images already");
    } else {
        build_and_import(folder, &programs, &images)?;
        fs::write(&loaded, &state)?;
    }
    let [server, server_next, operator] = images.map(|image| image.name());
    Ok(Loaded { server, server_next, operator, digest: state })
}

fn build_and_import(folder: &Folder, programs: &[PathBuf], images: &[Wanted]) -> Result<()> {
    base::provide()?;
    let context = tempfile::tempdir()?;
    strip(programs, &context.path().join("compiled"))?;
    for image in images {
        let start = std::time::Instant::now();
        let archive = context.path().join("image.tar");
        let recipe = Recipe {
            file: &root().join("Dockerfile"),
            target: image.target,
            context: context.path(),
            // The last is for the stage that is left out, but asked for all the same.
            arguments: &[
                ("BINARIES", "compiled"),
                ("VERSION", &image.version),
                ("TARGETARCH", std::env::consts::ARCH),
            ],
        };
        recipe.archive(&format!("{REGISTRY}/{}", image.name()), &archive)?;
        folder.import([&archive])?;
        println!("{:>6.1} s  {}", start.elapsed().as_secs_f64(), image.name());
    }
    Ok(())
}

/// Has cargo build the programs, as it builds them for the tests of the workspace. Answers where they are.
fn compile() -> Result<Vec<PathBuf>> {
    succeed(cargo().args(["build", "--locked", "--workspace", "--bins"]))?;
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from);
    Ok(PROGRAMS.iter().map(|program| target.join("debug").join(program)).collect())
}

/// Copies programs without what only a debugger reads, which is most of them.
fn strip(programs: &[PathBuf], folder: &Path) -> Result<()> {
    tools::debian("strip", "binutils")?;
    fs::create_dir_all(folder)?;
    for program in programs {
        let name = program.file_name().context("a program has a name")?;
        succeed(Command::new("strip").arg("-o").arg(folder.join(name)).arg(program))?;
    }
    Ok(())
}

/// All that the images are made of.
fn state(programs: &[PathBuf]) -> Result<String> {
    let mut inputs = vec![fs::read(root().join("Dockerfile"))?, base::NAME.into()];
    for program in programs {
        inputs.push(fs::read(program).with_context(|| format!("cannot read {}", program.display()))?);
    }
    Ok(digest(&inputs))
}

/// A name for these contents: two lists of contents that differ have different names.
pub(crate) fn digest<T: AsRef<[u8]>>(contents: &[T]) -> String {
    /// Of 32 bytes, as many as nobody will ever see twice by chance.
    const KEPT: usize = 8;
    let each: Vec<u8> =
        contents.iter().flat_map(|content| sha256(&SHA256, content.as_ref()).as_ref().to_vec()).collect();
    sha256(&SHA256, &each).as_ref()[..KEPT].iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contents_that_are_cut_differently_have_another_digest() {
        assert_ne!(digest(&["ab", "c"]), digest(&["a", "bc"]));
        assert_eq!(digest(&["ab", "c"]), digest(&["ab", "c"]));
    }
}
