//! The serving certificate: made, kept in a Secret, handed to the API server
//! as the `caBundle` of our APIServices, and renewed.
//!
//! A new certificate comes with an authority of its own, whose key is thrown
//! away. The bundle keeps the authority before it, so that a replica or an API
//! server that is a minute behind goes on trusting.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use clock::Clock;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{DynamicObject, Patch, PatchParams, PostParams};
use kube::{Api, Client};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use serde_json::{Value, json};
use tokio::sync::watch;
use x509_parser::extensions::GeneralName;

use super::callers::FrontTrust;
use super::{Current, ServeOptions};
use crate::io;

/// The Secret of a self-managed certificate.
const SECRET: &str = "rheostat-operator-certs";
/// Days that a certificate is valid, and how many of them are left when the
/// next one is made.
const VALID_DAYS: i64 = 90;
const RENEW_DAYS: i64 = 30;
/// What keeps us from serving is said under this name.
const SERVING: &str = "serving the APIs";
/// How often everything is looked at again.
const LOOK: Duration = Duration::from_secs(60);
/// How often, where something is missing.
const RETRY: Duration = Duration::from_secs(5);

/// Where the serving certificate comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Certificates {
    /// Made and renewed here.
    Own,
    /// `tls.crt` and `tls.key` in a folder that somebody else keeps (such as
    /// cert-manager's volume); the APIServices' bundles are theirs as well.
    Folder(PathBuf),
}

/// What is served with, as text.
#[derive(Clone, PartialEq, Eq)]
struct Pair {
    /// Whom the API server is to trust; empty where others see to it.
    bundle: String,
    chain: String,
    key: String,
}

pub(super) struct Keeper {
    client: Client,
    options: ServeOptions,
    /// Names of our APIServices.
    versions: Vec<String>,
    clock: Clock,
    /// The last thing said about each APIService and about the certificate.
    told: Mutex<BTreeMap<String, String>>,
}

impl Keeper {
    pub(super) fn new(
        client: Client,
        options: ServeOptions,
        versions: Vec<String>,
        clock: Clock,
    ) -> Self {
        Self {
            client,
            options,
            versions,
            clock,
            told: Mutex::default(),
        }
    }

    /// What to serve with at the start, as soon as there is something.
    pub(super) async fn first(&self) -> Current {
        loop {
            match self.look().await {
                Ok((_, current)) => return current,
                Err(why) => self.tell(SERVING, why),
            }
            tokio::time::sleep(RETRY).await;
        }
    }

    /// Looks again and again, and passes on what has changed.
    pub(super) async fn keep(&self, config: watch::Sender<Current>) -> Infallible {
        let mut served = None;
        loop {
            let pause = match self.look().await {
                Ok((seen, current)) => {
                    let settled = self.claim(&seen.0.bundle).await;
                    if served.as_ref() != Some(&seen) {
                        config.send_replace(current);
                        served = Some(seen);
                    }
                    if settled { LOOK } else { RETRY }
                }
                Err(why) => {
                    self.tell(SERVING, why);
                    RETRY
                }
            };
            tokio::time::sleep(pause).await;
        }
    }

    async fn look(&self) -> Result<((Pair, FrontTrust), Current), String> {
        let trust = self.trust().await?;
        let (pair, complaint) = match &self.options.certificates {
            Certificates::Own => (self.own().await?, String::new()),
            Certificates::Folder(folder) => {
                let pair = from_folder(folder).await?;
                let complaint = complaint(&pair, &self.options, self.clock.now());
                let told = |why| format!("{}/tls.crt {why}", folder.display());
                (pair, complaint.map(told).unwrap_or_default())
            }
        };
        let current = Current {
            tls: Arc::new(server_config(&pair, &trust)?),
            trust: Arc::new(trust.clone()),
        };
        self.tell(SERVING, complaint);
        Ok(((pair, trust), current))
    }

    /// Says what is wrong with something, or that nothing is any more; once.
    fn tell(&self, about: &str, complaint: String) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.get(about) == Some(&complaint) {
            return;
        }
        match complaint.as_str() {
            "" => tracing::info!("{about}: in order"),
            why => tracing::warn!("{about}: {why}"),
        }
        told.insert(about.to_owned(), complaint);
    }

    /// Whom the API server wants trusted as its front.
    async fn trust(&self) -> Result<FrontTrust, String> {
        let maps = Api::<ConfigMap>::namespaced(self.client.clone(), "kube-system");
        let name = "extension-apiserver-authentication";
        let map = maps.get_opt(name).await.map_err(|e| {
            let cure = match &e {
                kube::Error::Api(status) if status.code == 403 => {
                    " (bind the operator's service account to the Role \
                     kube-system/extension-apiserver-authentication-reader)"
                }
                _ => "",
            };
            let why = io::message(&e);
            format!("ConfigMap kube-system/{name} could not be read{cure}: {why}")
        })?;
        let trust = FrontTrust::parse(&map.and_then(|m| m.data).unwrap_or_default())?;
        // Without it every request that the API server passes on would be
        // refused as nobody's.
        match trust.ca {
            Some(_) => Ok(trust),
            None => Err(format!(
                "ConfigMap kube-system/{name} names no front-proxy authority: start the API \
                 server with --requestheader-client-ca-file"
            )),
        }
    }

    /// The Secret's certificate, or a new one where it has none that is good.
    async fn own(&self) -> Result<Pair, String> {
        let namespace = self.options.namespace.as_str();
        let secrets = Api::<Secret>::namespaced(self.client.clone(), namespace);
        let failed = |what: &str, e: &kube::Error| {
            format!(
                "Secret {namespace}/{SECRET} could not be {what}: {}",
                io::message(e)
            )
        };
        let kept = secrets
            .get_opt(SECRET)
            .await
            .map_err(|e| failed("read", &e))?;
        let now = self.clock.now();
        let before = kept.as_ref().and_then(pair_of);
        if let Some(pair) = &before
            && is_good(pair, &self.options, now)
        {
            return Ok(pair.clone());
        }
        let (mut pair, until) = make(&self.options, now)?;
        if let Some(old) = before {
            pair.bundle += first_certificate(&old.bundle);
        }
        let mut secret = kept.unwrap_or_default();
        let existed = secret.metadata.resource_version.is_some();
        secret.metadata = ObjectMeta {
            name: Some(SECRET.to_owned()),
            namespace: Some(namespace.to_owned()),
            ..secret.metadata
        };
        let bytes = |text: &str| ByteString(text.as_bytes().to_vec());
        secret.data = Some(BTreeMap::from([
            ("ca.crt".to_owned(), bytes(&pair.bundle)),
            ("tls.crt".to_owned(), bytes(&pair.chain)),
            ("tls.key".to_owned(), bytes(&pair.key)),
        ]));
        let written = match existed {
            true => {
                secrets
                    .replace(SECRET, &PostParams::default(), &secret)
                    .await
            }
            false => secrets.create(&PostParams::default(), &secret).await,
        };
        // Somebody else who was quicker fails this, and is read the next time.
        written.map_err(|e| failed("written", &e))?;
        tracing::info!(%until, "made a serving certificate");
        Ok(pair)
    }

    /// Gives the bundle to those of our APIServices that lead here. Whether
    /// all of them do.
    async fn claim(&self, bundle: &str) -> bool {
        let kind = io::resource("apiregistration.k8s.io", "v1", "APIService", "apiservices");
        let services: Api<DynamicObject> = Api::all_with(self.client.clone(), &kind);
        let ours = (&*self.options.namespace, &*self.options.service);
        let mut settled = true;
        for version in &self.versions {
            let outcome = match services.get_opt(version).await {
                Ok(Some(found)) => {
                    let spec = &found.data["spec"];
                    let service = &spec["service"];
                    let theirs = (&service["namespace"], &service["name"]);
                    match (theirs.0.as_str(), theirs.1.as_str()) {
                        (Some(ns), Some(name)) if (ns, name) == ours => {
                            hand_over(&services, version, spec, bundle).await
                        }
                        (Some(ns), Some(name)) => Err(format!(
                            "it is served by Service {ns}/{name}, so the HPAs' questions go there"
                        )),
                        _ => Err("it names no Service".to_owned()),
                    }
                }
                Ok(None) => Err("there is none, so nobody finds this API".to_owned()),
                Err(error) => Err(io::message(&error)),
            };
            settled &= outcome.is_ok();
            let about = format!("APIService {version}");
            self.tell(&about, outcome.err().unwrap_or_default());
        }
        settled
    }
}

async fn hand_over(
    services: &Api<DynamicObject>,
    version: &str,
    spec: &Value,
    bundle: &str,
) -> Result<(), String> {
    let bundle = BASE64.encode(bundle);
    if bundle.is_empty() || spec["caBundle"].as_str() == Some(&bundle) {
        return Ok(());
    }
    let patch = json!({"spec": {"caBundle": bundle, "insecureSkipTLSVerify": false}});
    let patch = Patch::Merge(patch);
    match services
        .patch(version, &PatchParams::default(), &patch)
        .await
    {
        Ok(_) => Ok(()),
        Err(error) => Err(format!(
            "its caBundle could not be written: {}",
            io::message(&error)
        )),
    }
}

/// A new authority and a certificate of it.
fn make(options: &ServeOptions, now: Timestamp) -> Result<(Pair, Timestamp), String> {
    let until = now + SignedDuration::from_hours(24 * VALID_DAYS);
    let (service, namespace) = (&options.service, &options.namespace);
    let names = vec![
        service.clone(),
        format!("{service}.{namespace}"),
        format!("{service}.{namespace}.svc"),
        format!("{service}.{namespace}.svc.cluster.local"),
        "localhost".to_owned(),
    ];
    let made = || -> Result<Pair, rcgen::Error> {
        let days = |at: Timestamp| {
            let date = at.to_zoned(jiff::tz::TimeZone::UTC).date();
            let part = |n: i8| u8::try_from(n).unwrap_or(1);
            rcgen::date_time_ymd(date.year().into(), part(date.month()), part(date.day()))
        };
        // Clocks differ; midnight before yesterday is past for all of them.
        let (from, to) = (days(now - SignedDuration::from_hours(24)), days(until));
        let ca_key = KeyPair::generate()?;
        let mut ca = CertificateParams::default();
        ca.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        let name = format!("{service}.{namespace} authority");
        ca.distinguished_name.push(DnType::CommonName, name);
        (ca.not_before, ca.not_after) = (from, to);
        let ca_cert = ca.self_signed(&ca_key)?;
        let issuer = Issuer::new(ca, ca_key);
        let key = KeyPair::generate()?;
        let mut leaf = CertificateParams::new(names)?;
        let name = format!("{service}.{namespace}.svc");
        leaf.distinguished_name.push(DnType::CommonName, name);
        (leaf.not_before, leaf.not_after) = (from, to);
        Ok(Pair {
            bundle: ca_cert.pem(),
            chain: leaf.signed_by(&key, &issuer)?.pem(),
            key: key.serialize_pem(),
        })
    };
    let pair = made().map_err(|e| format!("no certificate could be made: {e}"))?;
    Ok((pair, until))
}

/// A Secret's certificate, good or not.
fn pair_of(secret: &Secret) -> Option<Pair> {
    let data = secret.data.as_ref()?;
    let text = |key: &str| String::from_utf8(data.get(key)?.0.clone()).ok();
    Some(Pair {
        bundle: text("ca.crt")?,
        chain: text("tls.crt")?,
        key: text("tls.key")?,
    })
}

/// Whether it can be served with, under our Service's name, for long enough,
/// and whether those who trust the bundle take it.
fn is_good(pair: &Pair, options: &ServeOptions, now: Timestamp) -> bool {
    let renewal = now + SignedDuration::from_hours(24 * RENEW_DAYS);
    complaint(pair, options, renewal).is_none()
        && is_of_its_bundle(pair)
        && server_config(pair, &FrontTrust::default()).is_ok()
}

/// Why an API server would not take the certificate at that time.
fn complaint(pair: &Pair, options: &ServeOptions, at: Timestamp) -> Option<String> {
    let name = format!("{}.{}.svc", options.service, options.namespace);
    let Ok(der) = CertificateDer::from_pem_slice(pair.chain.as_bytes()) else {
        return Some("has no certificate in PEM".to_owned());
    };
    let Ok((_, leaf)) = x509_parser::parse_x509_certificate(&der) else {
        return Some("has a certificate that cannot be read".to_owned());
    };
    let names = leaf.subject_alternative_name().ok().flatten();
    let named = names.is_some_and(|names| {
        let mut all = names.value.general_names.iter();
        all.any(|n| matches!(n, GeneralName::DNSName(n) if *n == name))
    });
    let validity = leaf.validity();
    if !named {
        Some(format!(
            "is not for {name}, the name that the API server asks for: add it to the \
             certificate's DNS names"
        ))
    } else if validity.not_after.timestamp() <= at.as_second() {
        Some(format!(
            "has expired on {}: the API server will not take it until it is renewed",
            validity.not_after
        ))
    } else if validity.not_before.timestamp() > at.as_second() {
        let from = validity.not_before;
        Some(format!(
            "is not valid before {from}: is this machine's clock right?"
        ))
    } else {
        None
    }
}

/// Whether the first authority of the bundle signed the certificate.
fn is_of_its_bundle(pair: &Pair) -> bool {
    let der = |text: &str| CertificateDer::from_pem_slice(text.as_bytes()).ok();
    let (Some(authority), Some(leaf)) = (der(&pair.bundle), der(&pair.chain)) else {
        return false;
    };
    let parse = |der| x509_parser::parse_x509_certificate(der).ok();
    let (Some((_, authority)), Some((_, leaf))) = (parse(&authority), parse(&leaf)) else {
        return false;
    };
    leaf.verify_signature(Some(authority.public_key())).is_ok()
}

fn first_certificate(bundle: &str) -> &str {
    const END: &str = "-----END CERTIFICATE-----";
    let end = bundle.find(END).map_or(bundle.len(), |at| at + END.len());
    &bundle[..end]
}

async fn from_folder(folder: &Path) -> Result<Pair, String> {
    let read = async |name: &str| {
        let path = folder.join(name);
        let text = tokio::fs::read_to_string(&path).await;
        text.map_err(|e| format!("{} cannot be read: {e}", path.display()))
    };
    Ok(Pair {
        bundle: String::new(),
        chain: read("tls.crt").await?,
        key: read("tls.key").await?,
    })
}

fn server_config(pair: &Pair, trust: &FrontTrust) -> Result<ServerConfig, String> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pair.chain.as_bytes()).collect();
    let chain = chain.map_err(|e| format!("the serving certificate is no PEM: {e}"))?;
    let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes())
        .map_err(|e| format!("the serving certificate's key is no PEM key: {e}"))?;
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|e| e.to_string())?;
    let builder = match &trust.ca {
        None => builder.with_no_client_auth(),
        Some(pem) => {
            let mut roots = RootCertStore::empty();
            for root in CertificateDer::pem_slice_iter(pem.as_bytes()) {
                let root = root.map_err(|e| format!("the front-proxy authority: {e}"))?;
                roots
                    .add(root)
                    .map_err(|e| format!("the front-proxy authority: {e}"))?;
            }
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
                .allow_unauthenticated()
                .build()
                .map_err(|e| format!("the front-proxy authority: {e}"))?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    let config = builder.with_single_cert(chain, key);
    let mut config = config.map_err(|e| format!("the serving certificate: {e}"))?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options() -> ServeOptions {
        ServeOptions {
            namespace: "rheostat".to_owned(),
            service: "rheostat-operator".to_owned(),
            certificates: Certificates::Own,
        }
    }

    #[test]
    fn a_made_certificate_serves_its_names_for_ninety_days() {
        let now: Timestamp = "2026-11-28T12:00:00Z".parse().unwrap();
        let (pair, until) = make(&options(), now).unwrap();
        assert_eq!(until.to_string(), "2027-02-26T12:00:00Z");
        let days = |n: i64| now + SignedDuration::from_hours(24 * n);
        assert!(is_good(&pair, &options(), now) && is_good(&pair, &options(), days(58)));
        assert!(
            !is_good(&pair, &options(), days(61)),
            "it is time for the next"
        );
        let renamed = ServeOptions {
            service: "other".to_owned(),
            ..options()
        };
        assert!(!is_good(&pair, &renamed, now));
        let broken = Pair {
            key: "broken".to_owned(),
            ..pair.clone()
        };
        assert!(!is_good(&broken, &options(), now));
        let (other, _) = make(&options(), now).unwrap();
        let foreign = Pair {
            bundle: pair.bundle.clone(),
            ..other
        };
        assert!(!is_good(&foreign, &options(), now));
        let der = CertificateDer::from_pem_slice(pair.chain.as_bytes()).unwrap();
        let (_, leaf) = x509_parser::parse_x509_certificate(&der).unwrap();
        assert_eq!(
            leaf.validity().not_after.to_string(),
            "Feb 26 00:00:00 2027 +00:00"
        );
        let names = leaf.subject_alternative_name().unwrap().unwrap().value;
        let names = format!("{names:?}");
        assert!(
            names.contains("rheostat-operator.rheostat.svc\""),
            "{names}"
        );
    }

    #[test]
    fn a_certificate_that_nobody_takes_is_told() {
        let now: Timestamp = "2026-11-28T12:00:00Z".parse().unwrap();
        let (pair, _) = make(&options(), now).unwrap();
        assert_eq!(complaint(&pair, &options(), now), None);
        let at = |days: i64| now + SignedDuration::from_hours(24 * days);
        let told = |pair: &Pair, days| complaint(pair, &options(), at(days)).unwrap();
        assert!(told(&pair, 91).starts_with("has expired on Feb 26 00:00:00 2027"));
        assert!(told(&pair, -3).starts_with("is not valid before Nov 27"));
        let other = ServeOptions {
            namespace: "other".to_owned(),
            ..options()
        };
        let (foreign, _) = make(&other, now).unwrap();
        assert!(told(&foreign, 0).starts_with("is not for rheostat-operator.rheostat.svc"));
        let none = Pair {
            chain: String::new(),
            ..pair
        };
        assert_eq!(told(&none, 0), "has no certificate in PEM");
    }

    #[test]
    fn a_bundle_keeps_the_authority_before() {
        let (old, _) = make(&options(), Timestamp::UNIX_EPOCH).unwrap();
        let (mut new, _) = make(&options(), Timestamp::UNIX_EPOCH).unwrap();
        new.bundle += first_certificate(&old.bundle);
        new.bundle += first_certificate("");
        assert_eq!(new.bundle.matches("BEGIN CERTIFICATE").count(), 2);
        assert!(new.bundle.starts_with("-----BEGIN"));
        assert!(first_certificate(&new.bundle).len() < new.bundle.len());
    }
}
