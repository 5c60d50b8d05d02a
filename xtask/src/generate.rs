//! `cargo xtask generate`: everything that is generated and committed, from one command, so that CI can compare.

mod crd;
mod protobuf;
mod tables;
mod vectors;

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

/// A file as it should be.
struct Generated {
    path: PathBuf,
    content: Vec<u8>,
}

/// Writes every generated file, or with `check` says which differ.
pub(crate) fn run(check: bool) -> Result<()> {
    let root = root();
    let mut files = Vec::new();
    files.extend(protobuf::generate(&root)?);
    files.extend(vectors::generate(&root)?);
    files.extend(tables::generate(&root)?);
    files.extend(crd::generate(&root)?);

    let mut stale = Vec::new();
    for Generated { path, content } in &files {
        if std::fs::read(path).ok().as_ref() == Some(content) {
            continue;
        }
        let shown = path.strip_prefix(&root).unwrap_or(path).display().to_string();
        if !check {
            if let Some(folder) = path.parent() {
                std::fs::create_dir_all(folder)?;
            }
            std::fs::write(path, content).with_context(|| format!("cannot write {shown}"))?;
            println!("wrote {shown}");
        }
        stale.push(shown);
    }
    if check && !stale.is_empty() {
        bail!("not as generated: {}; run `cargo xtask generate` and commit the result", stale.join(", "));
    }
    println!("{} generated files are as they should be", files.len());
    Ok(())
}

/// The repository's root folder.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().map(Path::to_path_buf).unwrap_or_default()
}
