//! The question "does it serve?": one GET over TLS with a client certificate.
//! kubectl would do, at a third of a second of a core for each try.

use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use crate::TestbedError;

const TIMEOUT: Duration = Duration::from_secs(5);

pub(crate) struct Client {
    config: Arc<ClientConfig>,
    address: SocketAddr,
}

impl Client {
    pub(crate) fn new(
        port: u16,
        authority: CertificateDer<'static>,
        certificate: CertificateDer<'static>,
        key: PrivateKeyDer<'static>,
    ) -> Result<Self, TestbedError> {
        let fail = |e: rustls::Error| TestbedError::Certificate(e.to_string());
        let mut roots = RootCertStore::empty();
        roots.add(authority).map_err(fail)?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(fail)?
            .with_root_certificates(roots)
            .with_client_auth_cert(vec![certificate], key)
            .map_err(fail)?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        Ok(Self {
            config: Arc::new(config),
            address,
        })
    }

    /// The status line's code.
    pub(crate) fn get(&self, path: &str) -> io::Result<u16> {
        let socket = TcpStream::connect_timeout(&self.address, TIMEOUT)?;
        socket.set_read_timeout(Some(TIMEOUT))?;
        socket.set_write_timeout(Some(TIMEOUT))?;
        let name = ServerName::IpAddress(self.address.ip().into());
        let session = ClientConnection::new(self.config.clone(), name).map_err(io::Error::other)?;
        let mut stream = StreamOwned::new(session, socket);
        write!(
            stream,
            "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        )?;
        let mut head = [0_u8; 12];
        stream.read_exact(&mut head)?;
        let code = std::str::from_utf8(&head[9..]).ok();
        code.and_then(|c| c.parse().ok())
            .ok_or_else(|| io::Error::other("not an HTTP answer"))
    }
}
