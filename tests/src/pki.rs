//! An authority of a test's own, the certificates that it signs, and a folder in which they lie as in Kubernetes.

use std::fs;
use std::net::IpAddr;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, ExtendedKeyUsagePurpose,
    IsCa, KeyPair, KeyUsagePurpose, SanType, date_time_ymd,
};
use tempfile::TempDir;

/// A day; certificates that do not say otherwise are good for one.
const DAY: Duration = Duration::from_secs(24 * 3600);

/// Signs certificates. All keys are ECDSA over P-256, made anew each time.
#[derive(Debug)]
pub struct Authority {
    certificate: String,
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    /// An authority whose own certificate has this common name.
    ///
    /// # Panics
    ///
    /// Where there are no random numbers.
    #[must_use]
    pub fn new(name: &str) -> Self {
        let mut params = Names::common(name).params();
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let issuer = CertifiedIssuer::self_signed(params, key()).expect("it can sign");
        Self { certificate: issuer.pem(), issuer }
    }

    /// Its own certificate, in PEM: what those trust who trust this authority.
    #[must_use]
    pub fn certificate(&self) -> &str {
        &self.certificate
    }

    /// For a server at these addresses: `authority.server(&["localhost", "127.0.0.1"])`.
    ///
    /// # Panics
    ///
    /// Where a name is not ASCII.
    #[must_use]
    pub fn server(&self, names: impl Into<Names>) -> Pair {
        self.sign(&names.into(), ExtendedKeyUsagePurpose::ServerAuth)
    }

    /// For a client of these names: `authority.client(Names::common("tester"))`.
    ///
    /// # Panics
    ///
    /// As [`server`](Self::server).
    #[must_use]
    pub fn client(&self, names: impl Into<Names>) -> Pair {
        self.sign(&names.into(), ExtendedKeyUsagePurpose::ClientAuth)
    }

    fn sign(&self, names: &Names, usage: ExtendedKeyUsagePurpose) -> Pair {
        let (mut params, key) = (names.params(), key());
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![usage];
        // Python's ssl insists on it, from 3.13 on.
        params.use_authority_key_identifier_extension = true;
        let certificate = params.signed_by(&key, &self.issuer).expect("it can be signed");
        Pair { certificate: certificate.pem(), key: key.serialize_pem() }
    }
}

fn key() -> KeyPair {
    KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).expect("a key can be made")
}

/// Whom a certificate is for, and until when.
#[derive(Clone, Debug)]
pub struct Names {
    common: Option<String>,
    alternatives: Vec<String>,
    not_before: Option<SystemTime>,
    not_after: SystemTime,
}

impl Names {
    /// A common name, and no subject alternative names.
    #[must_use]
    pub fn common(name: &str) -> Self {
        Self { common: Some(name.to_owned()), ..Self::alternatives(&[]) }
    }

    /// Subject alternative names, and no common name. What looks like an IP address, a URI (`spiffe://…`) or an e-mail address is one;
    /// everything else is a DNS name.
    #[must_use]
    pub fn alternatives(names: &[&str]) -> Self {
        let alternatives = names.iter().map(ToString::to_string).collect();
        Self { common: None, alternatives, not_before: None, not_after: SystemTime::now() + DAY }
    }

    /// A common name as well.
    #[must_use]
    pub fn and_common(self, name: &str) -> Self {
        Self { common: Some(name.to_owned()), ..self }
    }

    /// Good until then, to the second. Without this, for a day.
    #[must_use]
    pub fn until(self, not_after: SystemTime) -> Self {
        Self { not_after, ..self }
    }

    /// Good from then on, to the second. Without this, since long ago.
    #[must_use]
    pub fn from(self, not_before: SystemTime) -> Self {
        Self { not_before: Some(not_before), ..self }
    }

    /// Good until yesterday.
    #[must_use]
    pub fn expired(self) -> Self {
        self.until(SystemTime::now() - DAY)
    }

    fn params(&self) -> CertificateParams {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        if let Some(name) = &self.common {
            params.distinguished_name.push(DnType::CommonName, name);
        }
        params.subject_alt_names = self.alternatives.iter().map(|name| alternative(name)).collect();
        let date = |time: SystemTime| {
            date_time_ymd(1970, 1, 1) + time.duration_since(UNIX_EPOCH).expect("a time after 1970")
        };
        params.not_after = date(self.not_after);
        if let Some(not_before) = self.not_before {
            params.not_before = date(not_before);
        }
        params
    }
}

impl<const N: usize> From<&[&str; N]> for Names {
    fn from(alternatives: &[&str; N]) -> Self {
        Self::alternatives(alternatives)
    }
}

fn alternative(name: &str) -> SanType {
    if let Ok(address) = name.parse::<IpAddr>() {
        return SanType::IpAddress(address);
    }
    let ascii = name.try_into().expect("names are ASCII");
    match name {
        _ if name.contains("://") => SanType::URI(ascii),
        _ if name.contains('@') => SanType::Rfc822Name(ascii),
        _ => SanType::DnsName(ascii),
    }
}

/// A certificate and its key, both in PEM.
#[derive(Clone, Debug)]
pub struct Pair {
    /// The certificate; its authority's is not in it.
    pub certificate: String,
    /// The key, in PKCS #8, unencrypted.
    pub key: String,
}

/// A temporary folder with a certificate, its key and an authority's certificate, as a Kubernetes secret of type `kubernetes.io/tls` is mounted:
///
/// ```text
/// ..1767225600.Xa3f9k/   tls.crt  tls.key  ca.crt
/// ..data   → ..1767225600.Xa3f9k
/// tls.crt  → ..data/tls.crt
/// tls.key  → ..data/tls.key
/// ca.crt   → ..data/ca.crt
/// ```
///
/// It is removed when dropped.
#[derive(Debug)]
pub struct Folder {
    root: TempDir,
    paths: [String; 3],
}

/// The names in the folder: of the certificate, the key, and the authority's certificate.
const FILES: [&str; 3] = ["tls.crt", "tls.key", "ca.crt"];

/// What all files are reached through, so that one rename replaces them together.
const DATA: &str = "..data";

impl Folder {
    /// Writes them.
    ///
    /// # Panics
    ///
    /// Where the disk does not take them.
    #[must_use]
    pub fn new(pair: &Pair, authority: &Authority) -> Self {
        let root = tempfile::tempdir().expect("a temporary folder");
        let paths =
            FILES.map(|name| root.path().join(name).into_os_string().into_string().expect("a path in UTF-8"));
        let folder = Self { root, paths };
        folder.swap(pair, authority);
        for (name, path) in FILES.iter().zip(&folder.paths) {
            symlink(Path::new(DATA).join(name), path).expect("a link can be made");
        }
        folder
    }

    /// Replaces all of them at once, as the kubelet does: whoever opens a path finds the old or the new, and never neither.
    ///
    /// # Panics
    ///
    /// As [`new`](Self::new).
    pub fn swap(&self, pair: &Pair, authority: &Authority) {
        let at = |name: &str| self.root.path().join(name);
        let seconds = SystemTime::now().duration_since(UNIX_EPOCH).expect("a time after 1970").as_secs();
        let fresh = tempfile::Builder::new().prefix(&format!("..{seconds}.")).tempdir_in(self.root.path());
        // It goes with the root.
        let fresh = fresh.expect("a temporary folder").keep();
        for (name, content) in FILES.iter().zip([&pair.certificate, &pair.key, &authority.certificate]) {
            fs::write(fresh.join(name), content).expect("a file can be written");
        }
        let old = fs::read_link(at(DATA)).ok();
        symlink(fresh.file_name().expect("it has a name"), at("..data_tmp")).expect("a link can be made");
        fs::rename(at("..data_tmp"), at(DATA)).expect("a link can be replaced");
        if let Some(old) = old {
            fs::remove_dir_all(self.root.path().join(old)).expect("the old files can be removed");
        }
    }

    /// The path of the certificate.
    #[must_use]
    pub fn certificate(&self) -> &str {
        &self.paths[0]
    }

    /// The path of the key.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.paths[1]
    }

    /// The path of the authority's certificate.
    #[must_use]
    pub fn ca(&self) -> &str {
        &self.paths[2]
    }

    /// The flags with which a server shows this certificate.
    #[must_use]
    pub fn server_flags(&self) -> [&str; 4] {
        ["--tls-cert-file", self.certificate(), "--tls-key-file", self.key()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_swap_replaces_all_files_and_leaves_nothing_behind() {
        let (one, two) = (Authority::new("one"), Authority::new("two"));
        let folder = Folder::new(&one.server(&["localhost"]), &one);
        let pair = two.server(&["localhost"]);
        let open = fs::File::open(folder.certificate()).unwrap();
        folder.swap(&pair, &two);
        let read = |path: &str| fs::read_to_string(path).unwrap();
        assert_eq!(read(folder.certificate()), pair.certificate);
        assert_eq!(read(folder.key()), pair.key);
        assert_eq!(read(folder.ca()), two.certificate());
        // Who had the old file open reads the old one.
        assert_ne!(std::io::read_to_string(open).unwrap(), pair.certificate);
        // The three, `..data`, and what it leads to.
        assert_eq!(fs::read_dir(folder.root.path()).unwrap().count(), 5);
    }
}
