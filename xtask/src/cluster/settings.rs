//! The files that parts read their settings from. What Kubernetes reads as YAML is written as JSON, which is YAML.

use std::fs;

use anyhow::{Context as _, Result};
use serde_json::json;

use super::folder::Folder;
use super::network::{DNS_ADDRESS, NODE_ADDRESS, PODS};
use super::part::{APISERVER_PORT, KUBELET_HEALTH_PORT, KUBELET_PORT, PROXY_HEALTH_PORT, PROXY_METRICS_PORT};
use super::programs::PAUSE_IMAGE;

/// Where Debian has the CNI plugins.
const CNI_PLUGINS: &str = "/usr/lib/cni";

pub(super) fn write(folder: &Folder) -> Result<()> {
    put(folder, "settings/containerd.toml", &containerd(folder))?;
    put(folder, "cni/10-tickwire.conflist", &format!("{:#}", cni(folder)))?;
    put(folder, "settings/kubelet.json", &format!("{:#}", kubelet(folder)))?;
    put(folder, "settings/kube-proxy.json", &format!("{:#}", kube_proxy(folder)))
}

fn put(folder: &Folder, name: &str, content: &str) -> Result<()> {
    fs::write(folder.path(name), content).with_context(|| format!("cannot write {name}"))
}

/// How this user comes to the API. It names the files of its certificate and key.
pub(super) fn kubeconfig(folder: &Folder, user: &str) -> String {
    let certificates = |file: &str| folder.text(&format!("certificates/{file}"));
    let config = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "tickwire",
        "clusters": [{"name": "tickwire", "cluster": {
            "server": format!("https://{NODE_ADDRESS}:{APISERVER_PORT}"),
            "certificate-authority": certificates("ca.crt"),
        }}],
        "users": [{"name": user, "user": {
            "client-certificate": certificates(&format!("{user}.crt")),
            "client-key": certificates(&format!("{user}.key")),
        }}],
        "contexts": [{"name": "tickwire", "context": {"cluster": "tickwire", "user": user}}],
    });
    format!("{config:#}")
}

/// All that it keeps is in the cluster's folder, and none of it where another containerd of this machine would look.
fn containerd(folder: &Folder) -> String {
    let path = |name| folder.text(name);
    format!(
        r#"version = 2
root = "{root}"
state = "{state}"
# Snapshotters for file systems that are not there.
disabled_plugins = ["io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.zfs"]

[grpc]
address = "{socket}"

[plugins."io.containerd.internal.v1.opt"]
path = "{opt}"

[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "{PAUSE_IMAGE}"
# Where root may not lower its own OOM score, runc ends without this: "can't get final child's PID from pipe: EOF".
restrict_oom_score_adj = true
netns_mounts_under_state_dir = true

[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"

[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
Root = "{runc}"

[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "{CNI_PLUGINS}"
conf_dir = "{cni}"
"#,
        root = path("containerd"),
        state = path("containerd-run"),
        socket = folder.containerd_socket().display(),
        opt = path("opt"),
        runc = path("runc"),
        cni = path("cni"),
    )
}

/// Each pod is at the end of a wire of its own, and the machine routes between them. On a bridge, a reply from one pod to another would not
/// pass the packet filter that has to give it back the Service's address, unless the kernel filters bridges too.
fn cni(folder: &Folder) -> serde_json::Value {
    json!({
        "cniVersion": "0.4.0",
        "name": "tickwire-pods",
        "plugins": [
            {
                "type": "ptp",
                "ipMasq": true,
                "ipam": {
                    "type": "host-local",
                    "ranges": [[{"subnet": PODS}]],
                    "routes": [{"dst": "0.0.0.0/0"}],
                    "dataDir": folder.text("addresses"),
                },
            },
            {"type": "portmap", "capabilities": {"portMappings": true}},
        ],
    })
}

fn kubelet(folder: &Folder) -> serde_json::Value {
    json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": NODE_ADDRESS,
        "port": KUBELET_PORT,
        "healthzBindAddress": "127.0.0.1",
        "healthzPort": KUBELET_HEALTH_PORT,
        "authentication": {
            "anonymous": {"enabled": false},
            "webhook": {"enabled": true},
            "x509": {"clientCAFile": folder.text("certificates/ca.crt")},
        },
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": folder.text("certificates/kubelet.crt"),
        "tlsPrivateKeyFile": folder.text("certificates/kubelet.key"),
        "clusterDNS": [DNS_ADDRESS],
        "clusterDomain": "cluster.local",
        // The cluster asks nobody outside of it, so that it behaves the same wherever it runs.
        "resolvConf": "",
        "containerRuntimeEndpoint": format!("unix://{}", folder.containerd_socket().display()),
        "podLogsDir": folder.text("pod-logs"),
        "volumePluginDir": folder.text("kubelet/volume-plugins"),
        // What is there without systemd, too.
        "cgroupDriver": "cgroupfs",
        "failCgroupV1": false,
        "failSwapOn": false,
        // How long a pod may have yesterday's Secrets: a minute by default, and tests wait for it.
        "syncFrequency": "10s",
        // Images cannot be had again from anywhere: none is thrown away, and no pod, because the machine's disk is rather full.
        "imageGCHighThresholdPercent": 100,
        "evictionHard": {"memory.available": "100Mi", "nodefs.available": "1%", "imagefs.available": "1%"},
    })
}

fn kube_proxy(folder: &Folder) -> serde_json::Value {
    json!({
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": "iptables",
        "clientConnection": {"kubeconfig": folder.text("settings/kube-proxy.kubeconfig")},
        "hostnameOverride": super::part::NODE,
        "clusterCIDR": PODS,
        "healthzBindAddress": format!("127.0.0.1:{PROXY_HEALTH_PORT}"),
        "metricsBindAddress": format!("127.0.0.1:{PROXY_METRICS_PORT}"),
        // Not on the machine's own addresses: a NodePort is for who tests here.
        "nodePortAddresses": ["127.0.0.0/8", format!("{NODE_ADDRESS}/32")],
        // The machine's connection tracking stays as it is.
        "conntrack": {"maxPerCore": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"},
    })
}
