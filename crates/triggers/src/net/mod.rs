//! HTTP clients of the real network.

mod proxy;

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_rustls::HttpsConnectorBuilder;
use hyper_util::client::legacy::Client;
use hyper_util::client::proxy::matcher::Matcher;
use hyper_util::rt::TokioExecutor;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use rustls_platform_verifier::Verifier;
use tower::BoxError;

use proxy::Connector;

use crate::{FileReader, HttpClients, HttpService, TlsOptions};

/// Largest answer of a metric source or token authority.
const MAX_ANSWER: usize = 16 << 20;
/// How long a connection is kept for the next poll; KEDA's client keeps it as long.
const IDLE: Duration = Duration::from_secs(90);

/// Makes clients that trust the system's authorities, unless a trigger's
/// settings say more, and go through the proxies that the environment names.
pub fn clients() -> HttpClients {
    Arc::new(|tls| client(tls, Matcher::from_env()))
}

/// Whether the environment wants a proxy on the way to this address.
pub fn proxied(address: &http::Uri) -> bool {
    Matcher::from_env().intercept(address).is_some()
}

/// Reads files of the machine, such as a projected token.
pub fn files() -> FileReader {
    Arc::new(|path| Box::pin(tokio::fs::read(path)))
}

/// One client.
///
/// # Errors
/// When a certificate or key of the settings cannot be used; the text names
/// which, and never shows it.
fn client(tls: &TlsOptions, proxies: Matcher) -> Result<HttpService, String> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier: Arc<dyn ServerCertVerifier> = if tls.insecure {
        Arc::new(Anyone(Arc::clone(&provider)))
    } else {
        let mut extra = Vec::new();
        if let Some(pem) = &tls.ca {
            let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
            extra = found.map_err(|e| format!("the authority (ca) is no PEM certificate: {e}"))?;
            if extra.is_empty() {
                return Err("the authority (ca) holds no PEM certificate".to_owned());
            }
        }
        let verifier = Verifier::new_with_extra_roots(extra, Arc::clone(&provider));
        Arc::new(verifier.map_err(|e| format!("the system's authorities cannot be used: {e}"))?)
    };
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| e.to_string())?
        .dangerous()
        .with_custom_certificate_verifier(verifier);
    let config = match &tls.identity {
        None => builder.with_no_client_auth(),
        Some((cert, key)) => {
            let chain: Result<Vec<_>, _> =
                CertificateDer::pem_slice_iter(cert.as_bytes()).collect();
            let chain = chain.map_err(|e| format!("the client certificate is no PEM: {e}"))?;
            let key = PrivateKeyDer::from_pem_slice(key.as_bytes())
                .map_err(|e| format!("the client key is no PEM key: {e}"))?;
            let with = builder.with_client_auth_cert(chain, key);
            with.map_err(|e| format!("client certificate and key cannot be used: {e}"))?
        }
    };
    let connector = HttpsConnectorBuilder::new()
        .with_tls_config(config)
        .https_or_http()
        .enable_all_versions()
        .wrap_connector(Connector::new(proxies));
    let client: Client<_, Full<Bytes>> = Client::builder(TokioExecutor::new())
        .pool_idle_timeout(IDLE)
        .build(connector);
    Ok(HttpService::new(tower::service_fn(
        move |request: Request<Bytes>| {
            let client = client.clone();
            async move {
                let answer = client.request(request.map(Full::new)).await;
                let (head, body) = answer.map_err(|e| whole(&e))?.into_parts();
                let body = Limited::new(body, MAX_ANSWER).collect().await;
                let body = body.map_err(|e| whole(e.as_ref()))?.to_bytes();
                Ok(Response::from_parts(head, body))
            }
        },
    )))
}

fn whole(error: &(dyn Error + 'static)) -> BoxError {
    api::causes(error).into()
}

/// Takes any server's certificate: `unsafeSsl`.
#[derive(Debug)]
struct Anyone(Arc<CryptoProvider>);

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let known = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, cert, signed, known)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let known = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, cert, signed, known)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tower::ServiceExt as _;

    use super::*;

    fn direct(tls: &TlsOptions) -> Result<HttpService, String> {
        client(tls, Matcher::builder().build())
    }

    async fn ask(uri: &str) -> Result<Response<Bytes>, BoxError> {
        let client = direct(&TlsOptions::default())?;
        let request = Request::builder().uri(uri).body(Bytes::new())?;
        client.oneshot(request).await
    }

    #[tokio::test]
    async fn a_server_is_asked_and_its_answer_is_bounded() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let uri = format!("http://{}/", listener.local_addr().unwrap());
        let serve = async move {
            for length in [2, MAX_ANSWER + 1] {
                let (mut socket, _) = listener.accept().await.unwrap();
                let mut seen = [0; 1024];
                let _ = socket.read(&mut seen).await;
                let head = format!(
                    "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n"
                );
                let _ = socket.write_all(head.as_bytes()).await;
                let _ = socket.write_all(&vec![b'x'; length]).await;
            }
        };
        let asked = async {
            assert_eq!(ask(&uri).await.unwrap().into_body(), "xx");
            let error = ask(&uri).await.unwrap_err().to_string();
            assert!(error.contains("length limit exceeded"), "{error}");
        };
        tokio::join!(serve, asked);
    }

    #[tokio::test]
    async fn an_error_says_what_happened_below() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let uri = format!("http://{}/", listener.local_addr().unwrap());
        drop(listener);
        let error = ask(&uri).await.unwrap_err().to_string();
        assert!(error.contains("Connection refused"), "{error}");
    }

    #[tokio::test]
    async fn a_proxy_is_told_the_whole_address_or_asked_for_a_tunnel() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let proxy = listener.local_addr().unwrap().to_string();
        let heads = async {
            let mut heads = Vec::new();
            for _ in 0..2 {
                let (mut socket, _) = listener.accept().await.unwrap();
                let mut seen = [0; 1024];
                let length = socket.read(&mut seen).await.unwrap();
                let head = String::from_utf8_lossy(&seen[..length]).into_owned();
                heads.push(head.lines().next().unwrap_or_default().to_owned());
                let answer =
                    b"HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
                socket.write_all(answer).await.unwrap();
            }
            heads
        };
        let ask = async |uri: &str| {
            let proxies = Matcher::builder().all(proxy.as_str()).no("here").build();
            let client = client(&TlsOptions::default(), proxies)?;
            let request = Request::builder().uri(uri).body(Bytes::new())?;
            client.oneshot(request).await
        };
        let asked = async {
            assert_eq!(ask("http://far.example/a").await.unwrap().status(), 403);
            let error = ask("https://far.example/b").await.unwrap_err().to_string();
            assert!(error.contains(&format!("proxy {proxy}: ")), "{error}");
        };
        let (heads, ()) = tokio::join!(heads, asked);
        let want = [
            "GET http://far.example/a HTTP/1.1",
            "CONNECT far.example:443 HTTP/1.1",
        ];
        assert_eq!(heads, want);
    }

    #[test]
    fn unusable_settings_are_named_and_not_shown() {
        let settings = TlsOptions {
            identity: Some(("secret".to_owned(), "secret".to_owned())),
            ..TlsOptions::default()
        };
        let error = direct(&settings).unwrap_err();
        assert!(
            error.contains("client") && !error.contains("secret"),
            "{error}"
        );
        let settings = TlsOptions {
            ca: Some("nothing".to_owned()),
            ..TlsOptions::default()
        };
        assert!(
            direct(&settings)
                .unwrap_err()
                .contains("no PEM certificate")
        );
    }
}
