//! A certificate authority and a server certificate for one run of the lab.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, SanType};
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

use super::FrontError;

/// What the front door needs: the server's side, and what clients trust.
pub(super) struct Identity {
    pub config: Arc<ServerConfig>,
    pub ca_pem: String,
    /// The bearer token of the kubeconfig's user.
    pub token: String,
}

/// Makes a fresh identity for the given address.
///
/// # Errors
/// When a key cannot be made, which only a broken random source explains.
pub(super) fn identity(host: IpAddr) -> Result<Identity, FrontError> {
    let fail = |e: &dyn std::fmt::Display| FrontError::Certificate(e.to_string());
    let ca_key = KeyPair::generate().map_err(|e| fail(&e))?;
    let mut ca = CertificateParams::default();
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    ca.distinguished_name
        .push(DnType::CommonName, "rheostat-lab-ca");
    let ca_cert = ca.self_signed(&ca_key).map_err(|e| fail(&e))?;
    let issuer = Issuer::new(ca, ca_key);

    let key = KeyPair::generate().map_err(|e| fail(&e))?;
    let mut leaf = CertificateParams::new(vec!["localhost".to_owned(), "kubernetes".to_owned()])
        .map_err(|e| fail(&e))?;
    for ip in [host, IpAddr::V4(Ipv4Addr::LOCALHOST)] {
        leaf.subject_alt_names.push(SanType::IpAddress(ip));
    }
    leaf.distinguished_name
        .push(DnType::CommonName, "rheostat-lab");
    let cert = leaf.signed_by(&key, &issuer).map_err(|e| fail(&e))?;

    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut secret = [0_u8; 24];
    provider
        .secure_random
        .fill(&mut secret)
        .map_err(|_| FrontError::Certificate("no random numbers".to_owned()))?;
    let private = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| fail(&e))?
        .with_no_client_auth()
        .with_single_cert(vec![cert.der().clone()], private)
        .map_err(|e| fail(&e))?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Identity {
        config: Arc::new(config),
        ca_pem: ca_cert.pem(),
        token: secret.iter().map(|b| format!("{b:02x}")).collect(),
    })
}
