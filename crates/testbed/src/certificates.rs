//! The certificates of one control plane, fresh for each: who may ask it, whom
//! its clients trust, and the keys of service accounts' tokens.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use rcgen::{
    BasicConstraints, Certificate, CertificateParams, DnType, IsCa, Issuer, KeyPair, SanType,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

use crate::TestbedError;
use crate::client::Client;

/// First address of the service range, the one of `kubernetes.default`.
const KUBERNETES_SERVICE: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 1);

/// A certificate authority.
pub(crate) struct Authority {
    certificate: Certificate,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate with its key.
pub(crate) struct Identity {
    certificate: Certificate,
    key: KeyPair,
}

fn fail(e: rcgen::Error) -> TestbedError {
    TestbedError::Certificate(e.to_string())
}

impl Authority {
    pub(crate) fn new(name: &str) -> Result<Self, TestbedError> {
        let key = KeyPair::generate().map_err(fail)?;
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let certificate = params.self_signed(&key).map_err(fail)?;
        let issuer = Issuer::new(params, key);
        Ok(Self {
            certificate,
            issuer,
        })
    }

    /// A client's certificate: user `name` in `group`.
    pub(crate) fn client(&self, name: &str, group: Option<&str>) -> Result<Identity, TestbedError> {
        self.sign(CertificateParams::default(), name, group)
    }

    /// The certificate that the programs serve with.
    pub(crate) fn server(&self) -> Result<Identity, TestbedError> {
        let names = [
            "localhost",
            "kubernetes",
            "kubernetes.default",
            "kubernetes.default.svc",
        ];
        let mut params = CertificateParams::new(names.map(str::to_owned)).map_err(fail)?;
        for ip in [Ipv4Addr::LOCALHOST, KUBERNETES_SERVICE] {
            params
                .subject_alt_names
                .push(SanType::IpAddress(IpAddr::V4(ip)));
        }
        self.sign(params, "kube-apiserver", None)
    }

    fn sign(
        &self,
        mut params: CertificateParams,
        name: &str,
        group: Option<&str>,
    ) -> Result<Identity, TestbedError> {
        params.distinguished_name.push(DnType::CommonName, name);
        if let Some(group) = group {
            params
                .distinguished_name
                .push(DnType::OrganizationName, group);
        }
        let key = KeyPair::generate().map_err(fail)?;
        let certificate = params.signed_by(&key, &self.issuer).map_err(fail)?;
        Ok(Identity { certificate, key })
    }

    /// Writes the certificate that clients trust, and says where.
    pub(crate) fn write(&self, folder: &Path, name: &str) -> Result<PathBuf, TestbedError> {
        write(&folder.join(format!("{name}.crt")), &self.certificate.pem())
    }

    /// A kubeconfig for `who`, everything inside.
    pub(crate) fn kubeconfig(&self, port: u16, who: &Identity) -> String {
        let code = |text: String| base64::engine::general_purpose::STANDARD.encode(text);
        format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: testbed\nclusters:\n\
             - name: testbed\n  cluster:\n    server: https://127.0.0.1:{port}\n    \
             certificate-authority-data: {}\nusers:\n- name: testbed\n  user:\n    \
             client-certificate-data: {}\n    client-key-data: {}\ncontexts:\n\
             - name: testbed\n  context: {{cluster: testbed, user: testbed}}\n",
            code(self.certificate.pem()),
            code(who.certificate.pem()),
            code(who.key.serialize_pem()),
        )
    }

    pub(crate) fn https(&self, port: u16, who: &Identity) -> Result<Client, TestbedError> {
        let own = |c: &Certificate| CertificateDer::from(c.der().to_vec());
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(who.key.serialize_der()));
        Client::new(port, own(&self.certificate), own(&who.certificate), key)
    }
}

impl Identity {
    /// Writes certificate and key, and says where.
    pub(crate) fn write(
        &self,
        folder: &Path,
        name: &str,
    ) -> Result<(PathBuf, PathBuf), TestbedError> {
        Ok((
            write(&folder.join(format!("{name}.crt")), &self.certificate.pem())?,
            write(
                &folder.join(format!("{name}.key")),
                &self.key.serialize_pem(),
            )?,
        ))
    }
}

/// Writes the key pair of service accounts' tokens: private, then public.
pub(crate) fn token_keys(folder: &Path) -> Result<(PathBuf, PathBuf), TestbedError> {
    let key = KeyPair::generate().map_err(fail)?;
    Ok((
        write(&folder.join("tokens.key"), &key.serialize_pem())?,
        write(&folder.join("tokens.pub"), &key.public_key_pem())?,
    ))
}

/// Writes a file that only its owner reads.
pub(crate) fn write(path: &Path, text: &str) -> Result<PathBuf, TestbedError> {
    let mut options = OpenOptions::new();
    // A new file always: an old one would keep its mode.
    let mut file = options
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .map_err(TestbedError::io("cannot write", path))?;
    file.write_all(text.as_bytes())
        .map_err(TestbedError::io("cannot write", path))?;
    Ok(path.to_path_buf())
}
