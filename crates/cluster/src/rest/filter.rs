//! Label and field selectors of a request.

use api::selector::{FieldSelector, Selector};
use serde_json::Value;

use super::{Call, Target};
use crate::resource::Resource;
use crate::status::Status;
use crate::value;

/// Which objects a list, watch or collection deletion is about.
#[derive(Clone, Debug)]
pub(crate) struct Filter {
    pub namespace: Option<String>,
    /// A name that the objects must have, for a direct look-up.
    pub name: Option<String>,
    pub labels: Selector,
    pub fields: FieldSelector,
}

impl Filter {
    /// Reads labelSelector and fieldSelector.
    pub fn of(call: &Call<'_>, target: &Target) -> Result<Self, Status> {
        let labels = Selector::parse(call.query.get("labelSelector").unwrap_or(""))
            .map_err(|e| Status::bad_request(e.to_string()))?;
        let fields = FieldSelector::parse(call.query.get("fieldSelector").unwrap_or(""))
            .map_err(|e| Status::bad_request(e.to_string()))?;
        let row = &target.endpoint.row;
        let nothing = Value::Null;
        for requirement in &fields.requirements {
            if field(row, &nothing, &requirement.field).is_none() {
                return Err(Status::bad_request(format!(
                    "field label not supported: {}",
                    requirement.field
                )));
            }
        }
        let named = fields
            .requirements
            .iter()
            .find(|r| r.equal && r.field == "metadata.name")
            .map(|r| r.value.clone());
        if let (Some(a), Some(b)) = (&named, &target.name)
            && a != b
        {
            return Err(Status::bad_request(format!(
                "fieldSelector metadata.name doesn't match requested name: {a} != {b}"
            )));
        }
        Ok(Self {
            namespace: target.namespace.clone(),
            name: target.name.clone().or(named),
            labels,
            fields,
        })
    }

    /// Whether a selector (beyond the namespace) is in force.
    pub fn selects(&self) -> bool {
        !self.labels.is_empty() || !self.fields.is_empty()
    }

    /// Whether an object, in its stored form, is meant.
    pub fn matches(&self, row: &Resource, object: &Value) -> bool {
        if let Some(ns) = &self.namespace
            && row.namespaced
            && value::namespace(object) != ns
        {
            return false;
        }
        if let Some(name) = &self.name
            && value::name(object) != name
        {
            return false;
        }
        if !self.labels.is_empty() && !self.labels.matches_json(&object["metadata"]["labels"]) {
            return false;
        }
        self.fields.is_empty()
            || self
                .fields
                .matches(|f| field(row, object, f).unwrap_or_default())
    }
}

/// Fields that a selector may name, by kind.
fn allowed(resource: &str) -> &'static [&'static str] {
    match resource {
        "pods" => &[
            "spec.nodeName",
            "spec.restartPolicy",
            "spec.schedulerName",
            "spec.serviceAccountName",
            "spec.hostNetwork",
            "status.phase",
            "status.podIP",
            "status.podIPs",
            "status.nominatedNodeName",
        ],
        "nodes" => &["spec.unschedulable"],
        "events" => &[
            "involvedObject.kind",
            "involvedObject.namespace",
            "involvedObject.name",
            "involvedObject.uid",
            "involvedObject.apiVersion",
            "involvedObject.resourceVersion",
            "involvedObject.fieldPath",
            "reason",
            "reportingComponent",
            "source",
            "type",
        ],
        "namespaces" => &["status.phase"],
        "secrets" => &["type"],
        "services" => &["spec.clusterIP", "spec.type"],
        "replicasets.apps" | "replicationcontrollers" => &["status.replicas"],
        "jobs.batch" => &["status.successful"],
        "certificatesigningrequests.certificates.k8s.io"
        | "clustertrustbundles.certificates.k8s.io" => &["spec.signerName"],
        "podcertificaterequests.certificates.k8s.io" => {
            &["spec.signerName", "spec.podName", "spec.nodeName"]
        }
        "resourceslices.resource.k8s.io" => &["spec.nodeName", "spec.driver", "spec.pool.name"],
        _ => &[],
    }
}

/// The text of a field, or `None` where the kind does not offer it.
fn field(row: &Resource, object: &Value, name: &str) -> Option<String> {
    match name {
        "metadata.name" => return Some(value::name(object).to_owned()),
        "metadata.namespace" => return Some(value::namespace(object).to_owned()),
        _ => {}
    }
    let name = match name.strip_prefix("regarding.") {
        Some(rest) if &*row.name == "events" => format!("involvedObject.{rest}"),
        _ => name.to_owned(),
    };
    if let Some(custom) = &row.custom {
        let offered = custom.versions.iter().any(|v| {
            v.selectable
                .iter()
                .any(|path| path.trim_start_matches('.') == name)
        });
        if !offered {
            return None;
        }
    } else if !allowed(&row.name).contains(&name.as_str()) {
        return None;
    }
    if &*row.name == "events" && name == "source" {
        let component = value::text(object, &["source", "component"]);
        let text = if component.is_empty() {
            value::text(object, &["reportingComponent"])
        } else {
            component
        };
        return Some(text.to_owned());
    }
    let path: Vec<&str> = name.split('.').collect();
    Some(match value::at(object, &path) {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Bool(b)) => b.to_string(),
        Some(Value::Number(n)) => n.to_string(),
        _ if matches!(name.as_str(), "spec.unschedulable" | "spec.hostNetwork") => {
            "false".to_owned()
        }
        _ => String::new(),
    })
}
