//! Applying manifests through the API, as `kubectl apply` does for new
//! objects and `kubectl apply --server-side` for known ones.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use http::Request;
use kube::Client;
use serde_json::{Value, json};

const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// What became of one object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// `kind/name`, lower case.
    pub object: String,
    /// Whether it is new.
    pub created: bool,
}

/// Why a file could not be applied.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// The file cannot be opened.
    #[error("cannot read {path}")]
    File {
        /// The file.
        path: PathBuf,
        /// The system's answer.
        source: std::io::Error,
    },
    /// The folder has no manifests.
    #[error("{0} holds no .yaml, .yml or .json file")]
    Empty(PathBuf),
    /// It is no YAML.
    #[error("{path}")]
    Yaml {
        /// The file.
        path: PathBuf,
        /// Line, column and reason.
        source: api::yaml::YamlError,
    },
    /// An object lacks its kind or name, or the API has no such kind or refused
    /// it.
    #[error("{path}:{line}: {why}")]
    Object {
        /// The file.
        path: PathBuf,
        /// First line of the document.
        line: usize,
        /// What is wrong.
        why: String,
    },
}

/// Applies files through one client, remembering what it learned of kinds.
pub struct Applier {
    client: Client,
    /// By apiVersion and kind: collection name and whether it is namespaced.
    kinds: BTreeMap<(String, String), (String, bool)>,
}

impl Applier {
    /// An applier on `client`.
    pub fn new(client: Client) -> Self {
        Self {
            client,
            kinds: BTreeMap::new(),
        }
    }

    /// Applies every object of the file, or of the folder's `.yaml`, `.yml`
    /// and `.json` files in order of their names.
    ///
    /// # Errors
    /// At the first object that fails; those before it stay applied.
    pub async fn apply(&mut self, path: &Path) -> Result<Vec<Outcome>, ApplyError> {
        let cannot = |path: &Path, source| ApplyError::File {
            path: path.to_path_buf(),
            source,
        };
        let mut files = vec![path.to_path_buf()];
        if path.is_dir() {
            files.clear();
            for entry in std::fs::read_dir(path).map_err(|e| cannot(path, e))? {
                files.push(entry.map_err(|e| cannot(path, e))?.path());
            }
            files.retain(|p| is_manifest(p));
            files.sort();
            if files.is_empty() {
                return Err(ApplyError::Empty(path.to_path_buf()));
            }
        }
        let mut outcomes = Vec::new();
        for file in files {
            let text = std::fs::read_to_string(&file).map_err(|e| cannot(&file, e))?;
            let documents =
                api::yaml::parse_documents(&text).map_err(|source| ApplyError::Yaml {
                    path: file.clone(),
                    source,
                })?;
            for document in documents {
                outcomes.push(
                    self.apply_object(document.value, &file, document.line)
                        .await?,
                );
            }
        }
        Ok(outcomes)
    }

    async fn apply_object(
        &mut self,
        mut object: Value,
        file: &Path,
        line: usize,
    ) -> Result<Outcome, ApplyError> {
        let wrong = |why: String| ApplyError::Object {
            path: file.to_path_buf(),
            line,
            why,
        };
        let refused = |error: kube::Error| wrong(said(&error));
        let text = |value: &Value, what: &str| {
            value
                .as_str()
                .map(str::to_owned)
                .ok_or_else(|| wrong(format!("{what} is not set")))
        };
        let api_version = text(&object["apiVersion"], "apiVersion")?;
        let kind = text(&object["kind"], "kind")?;
        let name = text(&object["metadata"]["name"], "metadata.name")?;
        let (plural, namespaced) = self
            .collection(&api_version, &kind)
            .await
            .map_err(refused)?
            .ok_or_else(|| {
                wrong(format!(
                    "no matches for kind \"{kind}\" in version \"{api_version}\""
                ))
            })?;
        let root = root(&api_version);
        let collection = if namespaced {
            let namespace = object["metadata"]["namespace"]
                .as_str()
                .unwrap_or("default");
            format!("{root}/namespaces/{namespace}/{plural}")
        } else {
            format!("{root}/{plural}")
        };
        let outcome = |created| Outcome {
            object: format!("{}/{name}", kind.to_lowercase()),
            created,
        };

        let found: Result<Value, _> = self
            .send("GET", &format!("{collection}/{name}"), "", None)
            .await;
        match found {
            Err(kube::Error::Api(status)) if status.code == 404 => {
                let applied = format!("{object}\n");
                // Where annotations are no map, the API says so better.
                let metadata = object["metadata"].as_object_mut();
                let annotations = metadata
                    .map(|metadata| metadata.entry("annotations").or_insert_with(|| json!({})));
                if let Some(annotations) = annotations.and_then(Value::as_object_mut) {
                    annotations.insert(LAST_APPLIED.to_owned(), json!(applied));
                }
                let path = format!(
                    "{collection}?fieldManager=kubectl-client-side-apply&fieldValidation=Strict"
                );
                self.send("POST", &path, "application/json", Some(&object))
                    .await
                    .map_err(refused)?;
                Ok(outcome(true))
            }
            Err(other) => Err(refused(other)),
            Ok(_) => {
                let path = format!(
                    "{collection}/{name}?fieldManager=kubectl&fieldValidation=Strict&force=true"
                );
                let kind = "application/apply-patch+yaml";
                self.send("PATCH", &path, kind, Some(&object))
                    .await
                    .map_err(refused)?;
                Ok(outcome(false))
            }
        }
    }

    /// The collection of a kind, or `None` where the API has none.
    async fn collection(
        &mut self,
        api_version: &str,
        kind: &str,
    ) -> Result<Option<(String, bool)>, kube::Error> {
        let key = (api_version.to_owned(), kind.to_owned());
        if let Some(found) = self.kinds.get(&key) {
            return Ok(Some(found.clone()));
        }
        let list = match self.send("GET", &root(api_version), "", None).await {
            Ok(list) => list,
            Err(kube::Error::Api(status)) if status.code == 404 => return Ok(None),
            Err(other) => return Err(other),
        };
        let resources = list["resources"].as_array().map_or(&[][..], Vec::as_slice);
        let found = resources.iter().find(|r| {
            r["kind"] == kind && r["name"].as_str().is_some_and(|name| !name.contains('/'))
        });
        let found = found.map(|r| {
            let name = r["name"].as_str().unwrap_or_default().to_owned();
            (name, r["namespaced"].as_bool().unwrap_or(false))
        });
        if let Some(found) = &found {
            self.kinds.insert(key, found.clone());
        }
        Ok(found)
    }

    async fn send(
        &self,
        method: &str,
        path: &str,
        content_type: &str,
        body: Option<&Value>,
    ) -> Result<Value, kube::Error> {
        let mut request = Request::builder().method(method).uri(path);
        if !content_type.is_empty() {
            request = request.header(http::header::CONTENT_TYPE, content_type);
        }
        let body = body.map_or_else(Vec::new, |value| value.to_string().into_bytes());
        let request = request.body(body).map_err(kube::Error::HttpError)?;
        self.client.request(request).await
    }
}

/// What an API answered, without what the client adds around it.
pub(super) fn said(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => status.message.clone(),
        other => other.to_string(),
    }
}

fn root(api_version: &str) -> String {
    if api_version.contains('/') {
        format!("/apis/{api_version}")
    } else {
        format!("/api/{api_version}")
    }
}

fn is_manifest(path: &Path) -> bool {
    path.extension()
        .is_some_and(|ext| ext == "yaml" || ext == "yml" || ext == "json")
}
