//! Manifests: the policies and the workloads that they scale.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use api::yaml;
use cluster::schema::{
    FieldError, FieldValidation, Structural, apply_defaults, decode_check, validate,
};
use serde_json::Value;

use crate::error::{InputError, Read};

/// A ScaledObject or HorizontalPodAutoscaler as written.
#[derive(Clone, Debug)]
pub struct PolicySource {
    /// File and line.
    pub place: String,
    /// The object.
    pub object: Value,
}

/// A workload that a policy may scale.
#[derive(Clone, Debug)]
pub struct Target {
    /// File and line.
    pub place: String,
    /// The object.
    pub object: Value,
}

/// Everything that some files hold.
#[derive(Clone, Debug, Default)]
pub struct Manifests {
    /// Policies in order of appearance.
    pub policies: Vec<PolicySource>,
    /// Workloads by kind, namespace and name.
    pub targets: BTreeMap<(String, String, String), Target>,
}

/// Namespace of an object; `default` where it names none.
pub(crate) fn namespace(object: &Value) -> &str {
    match object["metadata"]["namespace"].as_str() {
        Some(name) if !name.is_empty() => name,
        _ => "default",
    }
}

pub(crate) fn name(object: &Value) -> &str {
    object["metadata"]["name"].as_str().unwrap_or("")
}

pub(crate) fn kind(object: &Value) -> &str {
    object["kind"].as_str().unwrap_or("")
}

impl Manifests {
    /// Reads one file's text and adds what it holds. Kinds that have no part
    /// in scaling are passed over.
    pub fn add(&mut self, file: &str, text: &str) -> Read<()> {
        let documents = yaml::parse_documents(text)
            .map_err(|e| InputError::new(format!("{file}:{}:{}", e.line, e.column), e.message))?;
        for document in documents {
            let place = format!("{file}:{}", document.line);
            match document.value["kind"].as_str() {
                Some("List") => {
                    for item in document.value["items"].as_array().into_iter().flatten() {
                        self.take(&place, item.clone())?;
                    }
                }
                _ => self.take(&place, document.value)?,
            }
        }
        Ok(())
    }

    fn take(&mut self, place: &str, object: Value) -> Read<()> {
        let fail = |problem: String| Err(InputError::new(place, problem));
        let (Some(version), Some(kind)) = (object["apiVersion"].as_str(), object["kind"].as_str())
        else {
            return fail(
                "this is no Kubernetes object: apiVersion and kind are missing".to_owned(),
            );
        };
        let (group, version) = version.split_once('/').unwrap_or(("", version));
        match (group, kind) {
            ("keda.sh", "ScaledObject") => {
                check(place, &object)?;
                self.policy(place, object)
            }
            ("autoscaling", "HorizontalPodAutoscaler") => {
                if version != "v2" {
                    return fail(format!(
                        "autoscaling/{version} is not read; write it as autoscaling/v2"
                    ));
                }
                check(place, &object)?;
                self.policy(place, object)
            }
            ("apps", "Deployment" | "StatefulSet" | "ReplicaSet") => {
                strict(place, (group, version, kind), &object)?;
                self.target(place, kind.to_owned(), object)
            }
            _ if object["spec"]["template"]["spec"]["containers"].is_array() => {
                self.target(place, kind.to_owned(), object)
            }
            _ => Ok(()),
        }
    }

    fn policy(&mut self, place: &str, object: Value) -> Read<()> {
        let key = |o: &Value| {
            (
                kind(o).to_owned(),
                namespace(o).to_owned(),
                name(o).to_owned(),
            )
        };
        if let Some(twin) = self
            .policies
            .iter()
            .find(|p| key(&p.object) == key(&object))
        {
            return Err(InputError::new(
                place,
                format!(
                    "{} {} is at {} already; keep one, or give the other with --compare",
                    kind(&object),
                    name(&object),
                    twin.place
                ),
            ));
        }
        self.policies.push(PolicySource {
            place: place.to_owned(),
            object,
        });
        Ok(())
    }

    fn target(&mut self, place: &str, kind: String, object: Value) -> Read<()> {
        let key = (
            kind,
            namespace(&object).to_owned(),
            name(&object).to_owned(),
        );
        let target = Target {
            place: place.to_owned(),
            object,
        };
        match self.targets.get(&key) {
            Some(twin) if twin.object != target.object => Err(InputError::new(
                place,
                format!(
                    "{} {} is at {} already, with another content",
                    key.0, key.2, twin.place
                ),
            )),
            _ => {
                self.targets.insert(key, target);
                Ok(())
            }
        }
    }
}

/// The one version of HorizontalPodAutoscalers that is read.
pub(crate) const HPA: (&str, &str, &str) = ("autoscaling", "v2", "HorizontalPodAutoscaler");

/// Refuses a policy that the API server would refuse: unknown fields, values
/// that the schema does not allow, rules of the kind.
pub(crate) fn check(place: &str, object: &Value) -> Read<()> {
    let fail = |problem: String| Err(InputError::new(place, problem));
    let faults = if kind(object) == "ScaledObject" {
        let schema = scaled_object_schema();
        let unknown = schema.unknown(&mut object.clone());
        let unknown = unknown.map_err(|problem| InputError::new(place, problem))?;
        if let Some(first) = unknown.first() {
            return fail(format!(
                "unknown field {first}; remove it or correct its name"
            ));
        }
        schema.validate(object, None)
    } else {
        let mut whole = strict(place, HPA, object)?;
        whole["metadata"]["namespace"] = Value::from(namespace(object));
        hpa_faults(whole)
    };
    match faults.first() {
        Some(fault) => fail(format!("the API server would refuse it: {fault}")),
        None => Ok(()),
    }
}

/// What the API server would refuse of a HorizontalPodAutoscaler that has a
/// name and a namespace.
pub(crate) fn hpa_faults(mut hpa: Value) -> Vec<FieldError> {
    apply_defaults(HPA, &mut hpa);
    validate(HPA, &hpa, None)
}

/// The schema of ScaledObjects, compiled once.
fn scaled_object_schema() -> &'static Structural {
    static SCHEMA: OnceLock<Structural> = OnceLock::new();
    SCHEMA.get_or_init(|| Structural::compile(&scaled_object_openapi()))
}

pub(crate) fn scaled_object_openapi() -> Value {
    api::keda::openapi("ScaledObject").unwrap_or_default()
}

fn strict(place: &str, gvk: (&str, &str, &str), object: &Value) -> Read<Value> {
    decode_check(gvk, object.clone(), Vec::new(), FieldValidation::Strict)
        .map(|(decoded, _)| decoded)
        .map_err(|e| InputError::new(place, e.message))
}
