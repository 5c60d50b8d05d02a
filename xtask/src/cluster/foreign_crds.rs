//! Other projects' kinds of which Tickwire's resources may be: a cluster that has them is what many users have.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};

use crate::tools;

/// The Go modules in whose zips they are, and there the files or folders.
const MODULES: [(&str, &[&str]); 2] = [
    (
        "github.com/prometheus-operator/prometheus-operator@v0.85.0",
        &[
            "example/prometheus-operator-crd/monitoring.coreos.com_servicemonitors.yaml",
            "example/prometheus-operator-crd/monitoring.coreos.com_prometheusrules.yaml",
        ],
    ),
    ("github.com/cert-manager/cert-manager@v1.21.2", &["deploy/crds"]),
];

/// The YAML files of prometheus-operator's ServiceMonitor and PrometheusRule, and of cert-manager's kinds.
pub(crate) fn foreign_crds() -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for (module, paths) in MODULES {
        let folder = module_folder(module)?;
        for path in paths {
            files.extend(manifests(&folder.join(path))?);
        }
    }
    Ok(files)
}

/// Where Go keeps this module; downloaded where it does not yet.
fn module_folder(module: &str) -> Result<PathBuf> {
    // In a folder without a module of its own, so that no other's requirements are looked at.
    let mut go = tools::go()?;
    go.args(["mod", "download", "-json", module]).current_dir(std::env::temp_dir());
    let output = go.output().context("cannot run go")?;
    ensure!(
        output.status.success(),
        "{module} cannot be had: {}",
        String::from_utf8_lossy(&output.stdout).trim()
    );
    let answer: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    Ok(answer["Dir"].as_str().with_context(|| format!("go does not say where {module} is"))?.into())
}

/// The YAML file, or those of the folder.
fn manifests(path: &Path) -> Result<Vec<PathBuf>> {
    if path.is_file() {
        return Ok(vec![path.to_owned()]);
    }
    let mut files = Vec::new();
    for entry in std::fs::read_dir(path).with_context(|| format!("cannot read {}", path.display()))? {
        let file = entry?.path();
        // A kustomization is none that can be applied by itself.
        if file.extension().is_some_and(|extension| extension == "yaml")
            && !file.ends_with("kustomization.yaml")
        {
            files.push(file);
        }
    }
    files.sort();
    Ok(files)
}
