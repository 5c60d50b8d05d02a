//! Who the parts are to each other: keys, and certificates by authorities of the cluster's own.
//!
//! Three authorities, as in any cluster: the cluster's, which says who somebody is to the API; the front proxy's, whose word on who asks an
//! aggregated API server takes; and etcd's. One for all would let every user of the API into etcd.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;

use anyhow::{Context as _, Result};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose,
};

use super::folder::Folder;
use super::network::{API_SERVICE_ADDRESS, NODE_ADDRESS};
use super::part::NODE;
use super::settings;

/// Kubernetes' group that may do anything.
const MASTERS: &str = "system:masters";

/// The names by which the API server is called, in the cluster and from here.
const API_NAMES: [&str; 8] = [
    "kubernetes",
    "kubernetes.default",
    "kubernetes.default.svc",
    "kubernetes.default.svc.cluster.local",
    "localhost",
    "127.0.0.1",
    NODE_ADDRESS,
    API_SERVICE_ADDRESS,
];

/// Who has a kubeconfig: the file's name, the user's, and the group.
const USERS: [(&str, &str, Option<&str>); 5] = [
    ("admin", "admin", Some(MASTERS)),
    ("scheduler", "system:kube-scheduler", None),
    ("controller-manager", "system:kube-controller-manager", None),
    ("kube-proxy", "system:kube-proxy", None),
    // What the Node authorizer knows a node by.
    ("kubelet", "system:node:tickwire", Some("system:nodes")),
];

/// Writes the keys, the certificates, and a kubeconfig for each user.
pub(super) fn write(folder: &Folder) -> Result<()> {
    let cluster = Authority::new(folder, "ca")?;
    let front_proxy = Authority::new(folder, "front-proxy-ca")?;
    let etcd = Authority::new(folder, "etcd-ca")?;

    cluster.server("apiserver", &API_NAMES)?;
    cluster.server("kubelet", &[NODE, NODE_ADDRESS])?;
    etcd.server("etcd", &["127.0.0.1"])?;

    cluster.client("apiserver-kubelet-client", "kube-apiserver-kubelet-client", Some(MASTERS))?;
    front_proxy.client("front-proxy-client", "front-proxy-client", None)?;
    etcd.client("apiserver-etcd-client", "kube-apiserver", None)?;

    let service_accounts = key()?;
    secret(folder, "certificates/service-accounts.key", &service_accounts.serialize_pem())?;
    secret(folder, "certificates/service-accounts.pub", &service_accounts.public_key_pem())?;

    for (file, user, group) in USERS {
        // Not the file alone: the kubelet has a certificate as a server, too.
        let pair = format!("{file}-user");
        cluster.client(&pair, user, group)?;
        secret(folder, &format!("settings/{file}.kubeconfig"), &settings::kubeconfig(folder, &pair))?;
    }
    Ok(())
}

/// Both in PEM.
struct Pair {
    certificate: String,
    key: String,
}

/// Signs certificates, and puts them into the cluster's folder.
struct Authority<'a> {
    folder: &'a Folder,
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl<'a> Authority<'a> {
    fn new(folder: &'a Folder, name: &str) -> Result<Self> {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, format!("tickwire-cluster-{name}"));
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let issuer = CertifiedIssuer::self_signed(params, key()?).context("cannot sign an authority")?;
        let authority = Self { folder, issuer };
        authority.write(
            name,
            &Pair { certificate: authority.issuer.pem(), key: authority.issuer.key().serialize_pem() },
        )?;
        Ok(authority)
    }

    /// For a server with these names and addresses.
    fn server(&self, file: &str, names: &[&str]) -> Result<()> {
        self.write(file, &self.sign(file, None, names, ExtendedKeyUsagePurpose::ServerAuth)?)
    }

    /// For a client that is this user, of this group.
    fn client(&self, file: &str, user: &str, group: Option<&str>) -> Result<()> {
        self.write(file, &self.sign(user, group, &[], ExtendedKeyUsagePurpose::ClientAuth)?)
    }

    fn sign(
        &self,
        user: &str,
        group: Option<&str>,
        names: &[&str],
        usage: ExtendedKeyUsagePurpose,
    ) -> Result<Pair> {
        let names: Vec<_> = names.iter().map(ToString::to_string).collect();
        let mut params = CertificateParams::new(names).context("a name cannot be one of a certificate")?;
        params.distinguished_name.remove(DnType::CommonName);
        params.distinguished_name.push(DnType::CommonName, user);
        if let Some(group) = group {
            params.distinguished_name.push(DnType::OrganizationName, group);
        }
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![usage];
        let key = key()?;
        let certificate =
            params.signed_by(&key, &self.issuer).with_context(|| format!("cannot sign for {user}"))?;
        Ok(Pair { certificate: certificate.pem(), key: key.serialize_pem() })
    }

    fn write(&self, file: &str, pair: &Pair) -> Result<()> {
        secret(self.folder, &format!("certificates/{file}.crt"), &pair.certificate)?;
        secret(self.folder, &format!("certificates/{file}.key"), &pair.key)
    }
}

fn key() -> Result<KeyPair> {
    KeyPair::generate().context("cannot make a key")
}

/// A file that only its owner can read.
fn secret(folder: &Folder, name: &str, content: &str) -> Result<()> {
    let path = folder.path(name);
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&path)
        .and_then(|mut file| file.write_all(content.as_bytes()))
        .with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kubelet_is_the_user_that_its_nodes_name_makes_it() {
        assert!(
            USERS.iter().any(|(file, user, _)| *file == "kubelet" && *user == format!("system:node:{NODE}"))
        );
    }
}
