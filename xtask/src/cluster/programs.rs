//! The programs of a cluster that are no Debian packages: Kubernetes, its DNS, and Helm. They are built by Go from its modules, and kept in the
//! cache. The sums of the first two's modules are committed; Helm's are the ones that Go's checksum database has for its version.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use crate::generate::root;
use crate::images::{Recipe, digest};
use crate::process::succeed;
use crate::tools::{self, kept};

/// The newest for which Debian 12's containerd is enough: the one after it asks for containerd 2. In kubernetes/go.mod as well.
const KUBERNETES: &str = "1.35.4";

/// Major and minor of that, as a Kubernetes says its version.
const KUBERNETES_MINOR: (&str, &str) = ("1", "35");

/// The one that Kubernetes 1.35 comes with elsewhere. In kubernetes/coredns/go.mod as well.
const COREDNS: &str = "1.13.1";

/// The last line of Helm that most charts are written for.
const HELM: &str = "3.22.0";

/// What keeps a pod's namespaces. Nobody serves images as localhost: it is on the node, or nowhere.
pub(super) const PAUSE_IMAGE: &str = "localhost/tickwire/pause:1";

pub(super) const COREDNS_IMAGE: &str = "localhost/tickwire/coredns:1.13.1";

/// What is called by its name: links to the one program.
const NAMES: [&str; 6] =
    ["kube-apiserver", "kube-controller-manager", "kube-proxy", "kube-scheduler", "kubectl", "kubelet"];

/// Where they are.
#[derive(Debug)]
pub(super) struct Programs {
    /// The folder of Kubernetes' parts and kubectl, each by its name.
    pub(super) kubernetes: PathBuf,
    /// Archives of the images without which a node does nothing.
    pub(super) node_images: [PathBuf; 2],
}

impl Programs {
    /// Takes them from the cache, and first builds what is not there.
    pub(super) fn gather() -> Result<Self> {
        Ok(Self { kubernetes: kubernetes()?, node_images: node_images()? })
    }
}

/// The folder that has kubectl and helm, and nothing else.
pub(super) fn tools() -> Result<PathBuf> {
    let (kubectl, helm) = (kubernetes()?.join("kubectl"), helm()?.join("helm"));
    let name = format!("tools-{}", digest(&[kubectl.display().to_string(), helm.display().to_string()]));
    kept(&name, |folder| {
        symlink(kubectl, folder.join("kubectl"))?;
        Ok(symlink(helm, folder.join("helm"))?)
    })
}

fn kubernetes() -> Result<PathBuf> {
    let source = source();
    let sources = ["go.mod", "go.sum", "main.go"].map(|name| source.join(name));
    kept(&format!("kubernetes-{KUBERNETES}-{}", digest_of_files(&sources)?), |folder| {
        println!("building Kubernetes {KUBERNETES} (once; it takes some minutes) …");
        let (major, minor) = KUBERNETES_MINOR;
        let version = "k8s.io/component-base/version";
        let variables = [
            (format!("{version}.gitVersion"), format!("v{KUBERNETES}")),
            (format!("{version}.gitMajor"), major.to_owned()),
            (format!("{version}.gitMinor"), minor.to_owned()),
        ];
        go_build(&source, ".", &folder.join("kubernetes"), &variables)?;
        for name in NAMES {
            symlink("kubernetes", folder.join(name))?;
        }
        Ok(())
    })
}

fn node_images() -> Result<[PathBuf; 2]> {
    let source = source();
    let sources =
        ["Dockerfile", "go.mod", "pause/main.go", "coredns/go.mod", "coredns/go.sum", "coredns/main.go"]
            .map(|name| source.join(name));
    let folder = kept(&format!("node-images-{}", digest_of_files(&sources)?), |folder| {
        println!("building CoreDNS {COREDNS} (once) …");
        let context = tempfile::tempdir()?;
        go_build(&source, "./pause", &context.path().join("pause"), &[])?;
        go_build(&source.join("coredns"), ".", &context.path().join("coredns"), &[])?;
        for (target, name) in [("pause", PAUSE_IMAGE), ("coredns", COREDNS_IMAGE)] {
            let recipe =
                Recipe { file: &source.join("Dockerfile"), target, context: context.path(), arguments: &[] };
            recipe.archive(name, &folder.join(format!("{target}.tar")))?;
        }
        Ok(())
    })?;
    Ok(["pause.tar", "coredns.tar"].map(|archive| folder.join(archive)))
}

fn helm() -> Result<PathBuf> {
    kept(&format!("helm-{HELM}"), |folder| {
        println!("building Helm {HELM} (once) …");
        let (major, minor) = KUBERNETES_MINOR;
        let variables = [
            ("helm.sh/helm/v3/internal/version.version".to_owned(), format!("v{HELM}")),
            // The Kubernetes that `helm template` and `helm lint` take for granted.
            ("helm.sh/helm/v3/pkg/chartutil.k8sVersionMajor".to_owned(), major.to_owned()),
            ("helm.sh/helm/v3/pkg/chartutil.k8sVersionMinor".to_owned(), minor.to_owned()),
            ("helm.sh/helm/v3/pkg/lint/rules.k8sVersionMajor".to_owned(), major.to_owned()),
            ("helm.sh/helm/v3/pkg/lint/rules.k8sVersionMinor".to_owned(), minor.to_owned()),
        ];
        let mut go = tools::go()?;
        go.args(["install", "-trimpath", "-ldflags", &linker_flags(&variables)]);
        // Of a version, so that it is built with the very requirements that it was released with.
        go.arg(format!("helm.sh/helm/v3/cmd/helm@v{HELM}")).env("GOBIN", folder).current_dir(folder);
        succeed(&mut go)
    })
}

/// Builds a package of the module in this folder. What go.mod and go.sum say is what is built: neither is changed.
fn go_build(module: &Path, package: &str, program: &Path, variables: &[(String, String)]) -> Result<()> {
    let mut go = tools::go()?;
    go.args([
        "build",
        "-mod=readonly",
        "-trimpath",
        "-buildvcs=false",
        "-ldflags",
        &linker_flags(variables),
        "-o",
    ]);
    go.arg(program).arg(package).current_dir(module);
    succeed(&mut go)
}

/// No symbols, and these variables with these values.
fn linker_flags(variables: &[(String, String)]) -> String {
    let mut flags = "-s -w".to_owned();
    for (name, value) in variables {
        flags += &format!(" -X {name}={value}");
    }
    flags
}

/// The folder of the Go modules.
fn source() -> PathBuf {
    root().join("xtask/kubernetes")
}

fn digest_of_files(files: &[PathBuf]) -> Result<String> {
    let read = |file: &PathBuf| fs::read(file).with_context(|| format!("cannot read {}", file.display()));
    Ok(digest(&files.iter().map(read).collect::<Result<Vec<_>>>()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_versions_are_those_of_the_go_modules() {
        let requires =
            |file: &str, line: &str| fs::read_to_string(source().join(file)).unwrap().contains(line);
        assert!(requires("go.mod", &format!("k8s.io/kubernetes v{KUBERNETES}\n")));
        assert!(requires("coredns/go.mod", &format!("github.com/coredns/coredns v{COREDNS}\n")));
        assert!(COREDNS_IMAGE.ends_with(&format!(":{COREDNS}")));
        let (major, minor) = KUBERNETES_MINOR;
        assert!(KUBERNETES.starts_with(&format!("{major}.{minor}.")));
    }
}
