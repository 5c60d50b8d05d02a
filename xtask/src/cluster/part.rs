//! The processes of a cluster, and how each is started.

use anyhow::{Context as _, Result};
use clap::ValueEnum;
use rustix::process::{Resource, Rlimit, Signal, getrlimit, setrlimit};

use super::daemon::Daemon;
use super::folder::Folder;
use super::network::{NODE_ADDRESS, SERVICES};
use super::programs::Programs;

/// The name under which the node registers.
pub(super) const NODE: &str = "tickwire";

/// Whose word the tokens of service accounts are.
const ISSUER: &str = "https://kubernetes.default.svc.cluster.local";

/// The ports that everybody knows these by, and 10,000: what else is on a machine hardly has those, and they are below the range of
/// NodePorts and of the ports that the kernel gives away.
pub(super) const APISERVER_PORT: u16 = 16443;
const ETCD_PORT: u16 = 12379;
const ETCD_PEER_PORT: u16 = 12380;
pub(super) const KUBELET_PORT: u16 = 20250;
pub(super) const KUBELET_HEALTH_PORT: u16 = 20248;
pub(super) const PROXY_METRICS_PORT: u16 = 20249;
pub(super) const PROXY_HEALTH_PORT: u16 = 20256;
const CONTROLLERS_PORT: u16 = 20257;
const SCHEDULER_PORT: u16 = 20259;

/// A process of the cluster. They stand in the order in which they are started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Part {
    /// What the API server stores, it stores here.
    Etcd,
    /// The API.
    Apiserver,
    /// Runs containers.
    Containerd,
    /// Gives pods a node.
    Scheduler,
    /// Deployments, endpoints, and what else brings itself about.
    ControllerManager,
    /// Has containers run as the pods of its node say.
    Kubelet,
    /// Makes Services' addresses lead to pods.
    KubeProxy,
}

impl Part {
    /// Its name, in errors and of its files.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Etcd => "etcd",
            Self::Apiserver => "kube-apiserver",
            Self::Containerd => "containerd",
            Self::Scheduler => "kube-scheduler",
            Self::ControllerManager => "kube-controller-manager",
            Self::Kubelet => "kubelet",
            Self::KubeProxy => "kube-proxy",
        }
    }

    /// The ports on which it listens. containerd listens on a socket with a path.
    pub(super) fn ports(self) -> &'static [u16] {
        match self {
            Self::Etcd => &[ETCD_PORT, ETCD_PEER_PORT],
            Self::Apiserver => &[APISERVER_PORT],
            Self::Containerd => &[],
            Self::Scheduler => &[SCHEDULER_PORT],
            Self::ControllerManager => &[CONTROLLERS_PORT],
            Self::Kubelet => &[KUBELET_PORT, KUBELET_HEALTH_PORT],
            Self::KubeProxy => &[PROXY_METRICS_PORT, PROXY_HEALTH_PORT],
        }
    }

    /// Where it can be spoken to. containerd's socket has a path instead.
    pub(super) fn listens_at(self) -> Option<(&'static str, u16)> {
        match self {
            Self::Etcd => Some(("127.0.0.1", ETCD_PORT)),
            Self::Apiserver => Some((NODE_ADDRESS, APISERVER_PORT)),
            Self::Containerd => None,
            Self::Scheduler => Some(("127.0.0.1", SCHEDULER_PORT)),
            Self::ControllerManager => Some(("127.0.0.1", CONTROLLERS_PORT)),
            Self::Kubelet => Some(("127.0.0.1", KUBELET_HEALTH_PORT)),
            Self::KubeProxy => Some(("127.0.0.1", PROXY_HEALTH_PORT)),
        }
    }

    /// Starts it, and leaves it running.
    pub(super) fn start(self, folder: &Folder, programs: &Programs) -> Result<()> {
        raise_file_limit()?;
        let mut arguments = match self {
            Self::Etcd | Self::Containerd => vec![self.name().to_owned()],
            _ => vec![programs.kubernetes.join(self.name()).display().to_string()],
        };
        arguments.extend(self.arguments(folder));
        Daemon::start(&arguments, &folder.log(self))
            .and_then(|daemon| daemon.save(&folder.process(self)))
            .with_context(|| format!("cannot start {}", self.name()))
    }

    pub(super) fn runs(self, folder: &Folder) -> bool {
        Daemon::load(&folder.process(self)).is_some_and(|daemon| daemon.runs())
    }

    /// Ends it, where it runs.
    pub(super) fn end(self, folder: &Folder, signal: Signal) -> Result<()> {
        match Daemon::load(&folder.process(self)) {
            Some(daemon) => daemon.end(signal).with_context(|| format!("cannot end {}", self.name())),
            None => Ok(()),
        }
    }

    fn arguments(self, folder: &Folder) -> Vec<String> {
        let certificate = |name: &str| folder.text(&format!("certificates/{name}.crt"));
        let key = |name: &str| folder.text(&format!("certificates/{name}.key"));
        let setting = |name: &str| folder.text(&format!("settings/{name}"));
        match self {
            Self::Etcd => flags(&[
                ("data-dir", &folder.text("etcd")),
                ("name", NODE),
                // What is thrown away need not survive a power failure.
                ("unsafe-no-fsync", "true"),
                ("listen-client-urls", &format!("https://127.0.0.1:{ETCD_PORT}")),
                ("advertise-client-urls", &format!("https://127.0.0.1:{ETCD_PORT}")),
                ("listen-peer-urls", &format!("https://127.0.0.1:{ETCD_PEER_PORT}")),
                ("initial-advertise-peer-urls", &format!("https://127.0.0.1:{ETCD_PEER_PORT}")),
                ("initial-cluster", &format!("{NODE}=https://127.0.0.1:{ETCD_PEER_PORT}")),
                // Who can write here owns the machine: nobody but the API server, and no peer.
                ("client-cert-auth", "true"),
                ("trusted-ca-file", &certificate("etcd-ca")),
                ("cert-file", &certificate("etcd")),
                ("key-file", &key("etcd")),
                ("peer-client-cert-auth", "true"),
                ("peer-trusted-ca-file", &certificate("etcd-ca")),
                ("peer-cert-file", &certificate("etcd")),
                ("peer-key-file", &key("etcd")),
            ]),
            Self::Apiserver => flags(&[
                ("bind-address", NODE_ADDRESS),
                ("advertise-address", NODE_ADDRESS),
                ("secure-port", &APISERVER_PORT.to_string()),
                ("tls-cert-file", &certificate("apiserver")),
                ("tls-private-key-file", &key("apiserver")),
                ("client-ca-file", &certificate("ca")),
                ("etcd-servers", &format!("https://127.0.0.1:{ETCD_PORT}")),
                ("etcd-cafile", &certificate("etcd-ca")),
                ("etcd-certfile", &certificate("apiserver-etcd-client")),
                ("etcd-keyfile", &key("apiserver-etcd-client")),
                ("service-cluster-ip-range", SERVICES),
                ("service-account-issuer", ISSUER),
                ("service-account-key-file", &folder.text("certificates/service-accounts.pub")),
                ("service-account-signing-key-file", &key("service-accounts")),
                ("authorization-mode", "Node,RBAC"),
                ("enable-admission-plugins", "NodeRestriction"),
                ("allow-privileged", "true"),
                ("kubelet-client-certificate", &certificate("apiserver-kubelet-client")),
                ("kubelet-client-key", &key("apiserver-kubelet-client")),
                ("kubelet-certificate-authority", &certificate("ca")),
                // The node's name leads nowhere outside of the cluster: without this neither logs nor exec work.
                ("kubelet-preferred-address-types", "InternalIP"),
                // What other API servers need, such as one for custom metrics.
                ("requestheader-client-ca-file", &certificate("front-proxy-ca")),
                ("requestheader-allowed-names", "front-proxy-client"),
                ("requestheader-extra-headers-prefix", "X-Remote-Extra-"),
                ("requestheader-group-headers", "X-Remote-Group"),
                ("requestheader-username-headers", "X-Remote-User"),
                ("proxy-client-cert-file", &certificate("front-proxy-client")),
                ("proxy-client-key-file", &key("front-proxy-client")),
                ("enable-aggregator-routing", "true"),
            ]),
            Self::Containerd => flags(&[("config", &setting("containerd.toml"))]),
            Self::Scheduler => flags(&[
                ("kubeconfig", &setting("scheduler.kubeconfig")),
                ("authentication-kubeconfig", &setting("scheduler.kubeconfig")),
                ("authorization-kubeconfig", &setting("scheduler.kubeconfig")),
                ("bind-address", "127.0.0.1"),
                ("secure-port", &SCHEDULER_PORT.to_string()),
                // There is nobody to vote against.
                ("leader-elect", "false"),
            ]),
            Self::ControllerManager => flags(&[
                ("kubeconfig", &setting("controller-manager.kubeconfig")),
                ("authentication-kubeconfig", &setting("controller-manager.kubeconfig")),
                ("authorization-kubeconfig", &setting("controller-manager.kubeconfig")),
                ("bind-address", "127.0.0.1"),
                ("secure-port", &CONTROLLERS_PORT.to_string()),
                ("leader-elect", "false"),
                // Plugins that nobody has; else a folder is made outside of ours.
                ("flex-volume-plugin-dir", &folder.text("kubelet/volume-plugins")),
                ("use-service-account-credentials", "true"),
                ("service-account-private-key-file", &key("service-accounts")),
                ("root-ca-file", &certificate("ca")),
                ("cluster-signing-cert-file", &certificate("ca")),
                ("cluster-signing-key-file", &key("ca")),
                // A third of the default: who tests autoscaling waits for it.
                ("horizontal-pod-autoscaler-sync-period", "5s"),
            ]),
            Self::Kubelet => flags(&[
                ("config", &setting("kubelet.json")),
                ("kubeconfig", &setting("kubelet.kubeconfig")),
                ("hostname-override", NODE),
                ("node-ip", NODE_ADDRESS),
                ("root-dir", &folder.text("kubelet")),
                ("cert-dir", &folder.text("kubelet/pki")),
            ]),
            Self::KubeProxy => flags(&[("config", &setting("kube-proxy.json"))]),
        }
    }
}

fn flags(flags: &[(&str, &str)]) -> Vec<String> {
    flags.iter().map(|(name, value)| format!("--{name}={value}")).collect()
}

/// Containers get the limit of open files that containerd has, and it the one of this command: a shell's is often 1,024.
fn raise_file_limit() -> Result<()> {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })
        .context("cannot raise the limit of open files")
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn no_two_parts_want_the_same_port() {
        let ports: Vec<_> = Part::value_variants().iter().flat_map(|part| part.ports()).collect();
        assert_eq!(ports.iter().collect::<HashSet<_>>().len(), ports.len());
    }
}
