//! The cloud config of `externalgrpc`, in the cluster autoscaler's own form.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};

/// How long a call may take where the config does not say.
const PATIENCE: Duration = Duration::from_secs(5);
const KEYS: [&str; 5] = ["address", "key", "cert", "cacert", "grpc_timeout"];

/// Where a cloud's server is and how it is spoken to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CloudConfig {
    /// `HOST:PORT`.
    pub address: String,
    /// How long a call may take.
    pub timeout: Duration,
    /// Files of the mutual TLS; without them the connection is plain.
    pub tls: Option<TlsFiles>,
}

/// PEM files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// Our certificate.
    pub cert: PathBuf,
    /// Its key.
    pub key: PathBuf,
    /// The authority of the server's certificate.
    pub cacert: PathBuf,
}

impl CloudConfig {
    /// Reads a cloud config: `address`, `cert`, `key`, `cacert` and
    /// `grpc_timeout`, as the cluster autoscaler takes them.
    ///
    /// # Errors
    /// Names the key and what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let config = api::yaml::parse(text).map_err(|error| error.to_string())?;
        let Value::Object(entries) = &config else {
            return Err("it is no mapping; write address: HOST:PORT".to_owned());
        };
        if let Some(key) = entries.keys().find(|key| !KEYS.contains(&key.as_str())) {
            return Err(format!("unknown key {key}; known are {}", KEYS.join(", ")));
        }
        let text = |key: &str| match entries.get(key) {
            None | Some(Value::Null) => Ok(""),
            Some(Value::String(text)) => Ok(text.as_str()),
            Some(_) => Err(format!("{key} is no text")),
        };
        let address = text("address")?;
        if address
            .rsplit_once(':')
            .is_none_or(|(_, port)| port.parse::<u16>().is_err())
        {
            return Err(format!("address \"{address}\" is not HOST:PORT"));
        }
        let timeout = match text("grpc_timeout")? {
            "" => PATIENCE,
            span => api::duration::span(span).map_err(|why| format!("grpc_timeout: {why}"))?,
        };
        let path = |key: &str| match text(key)? {
            // Not repeated: it may be the key itself.
            path if path.contains('\n') => Err(format!("{key} is the path of a PEM file")),
            "" => Err(format!(
                "{key} is missing: cert, key and cacert belong together"
            )),
            path => Ok(PathBuf::from(path)),
        };
        let plain = ["cert", "key", "cacert"]
            .iter()
            .all(|key| text(key).is_ok_and(str::is_empty));
        let tls = match plain {
            true => None,
            false => Some(TlsFiles {
                cert: path("cert")?,
                key: path("key")?,
                cacert: path("cacert")?,
            }),
        };
        Ok(Self {
            address: address.to_owned(),
            timeout,
            tls,
        })
    }

    /// A connection that is made when it is used, and made again after a loss.
    ///
    /// # Errors
    /// Where a file cannot be read or is no PEM.
    pub fn channel(&self) -> Result<Channel, String> {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        let url = format!("{scheme}://{}", self.address);
        let endpoint = Endpoint::from_shared(url).map_err(|error| error.to_string())?;
        let mut endpoint = endpoint.connect_timeout(self.timeout);
        if let Some(files) = &self.tls {
            let read = |path: &Path| {
                let text = std::fs::read(path);
                text.map_err(|error| format!("{} cannot be read: {error}", path.display()))
            };
            let own = Identity::from_pem(read(&files.cert)?, read(&files.key)?);
            let tls = ClientTlsConfig::new()
                .identity(own)
                .ca_certificate(Certificate::from_pem(read(&files.cacert)?));
            let ready = endpoint.tls_config(tls);
            endpoint = ready.map_err(|error| api::causes(&error))?;
        }
        Ok(endpoint.connect_lazy())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_config_is_read_as_the_autoscaler_reads_it() {
        let plain = CloudConfig::parse("address: \"cloud:8086\"\n").unwrap();
        assert_eq!((plain.timeout, plain.tls), (PATIENCE, None));
        let text = "address: cloud:8086\ncert: a\nkey: b\ncacert: c\ngrpc_timeout: 10s\n";
        let secure = CloudConfig::parse(text).unwrap();
        assert_eq!(secure.timeout, Duration::from_secs(10));
        assert_eq!(secure.tls.unwrap().cacert, Path::new("c"));
    }

    #[test]
    fn what_is_wrong_is_named() {
        let why = |text| CloudConfig::parse(text).unwrap_err();
        assert_eq!(why("address: cloud"), "address \"cloud\" is not HOST:PORT");
        assert_eq!(why(""), "it is no mapping; write address: HOST:PORT");
        assert!(why("adress: c:1").starts_with("unknown key adress; known are address"));
        let half = why("address: c:1\ncert: a\nkey: b");
        assert_eq!(
            half,
            "cacert is missing: cert, key and cacert belong together"
        );
        let pasted = "address: c:1\ncert: a\ncacert: c\nkey: |\n  -----BEGIN\n  secret\n";
        assert_eq!(why(pasted), "key is the path of a PEM file");
        assert!(why("address: c:1\ngrpc_timeout: soon").starts_with("grpc_timeout: \"soon\""));
    }
}
