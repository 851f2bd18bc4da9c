//! The scale subresource, for clients and for the autoscaler inside.

use api::selector::LabelSelector;
use http::{Method, Response};
use serde_json::{Value, json};

use super::negotiate::{Form, form};
use super::patch::{Kind, apply_to, kind};
use super::read::fetch;
use super::write::{options, read_body, rename, validation};
use super::{Call, Target, answer};
use crate::crd::ScalePaths;
use crate::resource::{Endpoint, Resource};
use crate::status::{Cause, Status};
use crate::{Body, Cluster, hooks, printers, value, views};

/// Splits `.spec.replicas`.
fn path(text: &str) -> Vec<&str> {
    text.split('.').filter(|p| !p.is_empty()).collect()
}

fn paths(row: &Resource, version: &str) -> Option<ScalePaths> {
    if let Some(custom) = &row.custom {
        return custom.version(version)?.scale.clone();
    }
    row.has_subresource("scale").then(|| ScalePaths {
        spec: ".spec.replicas".to_owned(),
        status: ".status.replicas".to_owned(),
        selector: String::new(),
    })
}

/// The Scale of an object.
pub(crate) fn scale_of(row: &Resource, version: &str, object: &Value) -> Result<Value, Status> {
    let Some(paths) = paths(row, version) else {
        return Err(Status::not_found(&row.name, value::name(object)));
    };
    let spec = value::integer(object, &path(&paths.spec));
    if spec.is_none() && row.custom.is_some() {
        let message = format!("the spec replicas field \"{}\" does not exist", paths.spec);
        return Err(Status::internal(message));
    }
    let mut scale = json!({
        "kind": "Scale", "apiVersion": "autoscaling/v1",
        "metadata": {}, "spec": {}, "status": {"replicas": 0},
    });
    for key in [
        "name",
        "namespace",
        "uid",
        "resourceVersion",
        "creationTimestamp",
    ] {
        if let Some(v) = object["metadata"].get(key) {
            scale["metadata"][key] = v.clone();
        }
    }
    // Zero is what Go leaves out.
    if let Some(replicas) = spec.filter(|r| *r != 0) {
        scale["spec"]["replicas"] = json!(replicas);
    }
    if let Some(replicas) = value::integer(object, &path(&paths.status)) {
        scale["status"]["replicas"] = json!(replicas);
    }
    let selector = if row.custom.is_some() {
        if paths.selector.is_empty() {
            String::new()
        } else {
            value::text(object, &path(&paths.selector)).to_owned()
        }
    } else {
        selector_text(&object["spec"]["selector"])
    };
    if !selector.is_empty() {
        scale["status"]["selector"] = json!(selector);
    }
    Ok(scale)
}

/// A label selector as text.
pub(crate) fn selector_text(selector: &Value) -> String {
    if selector.is_null() {
        return String::new();
    }
    // A replication controller's selector is a plain map.
    let structured =
        selector.get("matchLabels").is_some() || selector.get("matchExpressions").is_some();
    let selector = if structured {
        selector.clone()
    } else {
        json!({"matchLabels": selector})
    };
    serde_json::from_value::<LabelSelector>(selector)
        .ok()
        .and_then(|s| s.to_selector().ok())
        .map(|s| s.to_string())
        .unwrap_or_default()
}

/// Writes wished-for replicas into an object.
fn set_replicas(
    row: &Resource,
    version: &str,
    object: &mut Value,
    replicas: i64,
) -> Result<(), Status> {
    if replicas < 0 {
        let cause = Cause {
            reason: "FieldValueInvalid".to_owned(),
            message: format!("Invalid value: {replicas}: must be greater than or equal to 0"),
            field: "spec.replicas".to_owned(),
        };
        return Err(Status::invalid(
            "Scale",
            "autoscaling",
            value::name(object),
            vec![cause],
        ));
    }
    let Some(paths) = paths(row, version) else {
        return Err(Status::not_found(&row.name, value::name(object)));
    };
    let mut keys = path(&paths.spec);
    let Some(last) = keys.pop() else {
        return Ok(());
    };
    value::map_mut(object, &keys).insert(last.to_owned(), json!(replicas));
    Ok(())
}

impl Cluster {
    /// Reads the Scale of an object.
    pub fn scale(&self, resource: &str, ns: &str, name: &str) -> Result<Value, Status> {
        let row = self.row(resource)?;
        let object = self.get(&row.name, ns, name)?;
        scale_of(&row, &row.version, &views::current(&row, &object))
    }
}

fn show(
    call: &Call<'_>,
    endpoint: &Endpoint,
    object: &Value,
    wanted: Form,
) -> Result<Response<Body>, Status> {
    let shown = views::at_version(&endpoint.row, &endpoint.version, object);
    let scale = scale_of(&endpoint.row, &endpoint.version, &shown)?;
    Ok(match wanted {
        Form::Table(version) => {
            answer::json(200, &printers::scale_table(call.cluster, &scale, version))
        }
        _ => answer::json(200, &scale),
    })
}

/// GET, PUT and PATCH of /scale.
pub(crate) fn handle(call: &Call<'_>, target: &Target) -> Result<Response<Body>, Status> {
    let wanted = form(call.header("accept"))?;
    let endpoint = &target.endpoint;
    let row = &endpoint.row;
    let old = fetch(call.cluster, target)?;
    let shown = views::at_version(row, &endpoint.version, &old);
    // A custom object without the field has no Scale to read, but one to write.
    let mut based = shown.clone().into_owned();
    if call.method != Method::GET
        && let Some(paths) = paths(row, &endpoint.version)
        && value::at(&based, &path(&paths.spec)).is_none()
    {
        set_replicas(row, &endpoint.version, &mut based, 0)?;
    }
    let current = scale_of(row, &endpoint.version, &based)?;
    let mut applied = false;
    let wish = match call.method {
        Method::GET => return show(call, endpoint, &old, wanted),
        Method::PUT => read_body(call)?.0,
        Method::PATCH => match kind(call, target) {
            // Scale itself is a built-in kind, whatever it belongs to.
            Err(_)
                if call
                    .header("content-type")
                    .contains("strategic-merge-patch") =>
            {
                apply_to(
                    Kind::Merge,
                    ("autoscaling", "v1", "Scale"),
                    &current,
                    &call.body,
                )?
            }
            Err(status) => return Err(status),
            Ok(Kind::Apply) => {
                applied = true;
                super::apply::read(call)?.0
            }
            Ok(kind) => apply_to(kind, ("autoscaling", "v1", "Scale"), &current, &call.body)?,
        },
        _ => return Err(Status::method_not_allowed()),
    };
    let wish = typed(call, target, wish)?;
    let version = value::resource_version(&wish);
    if !version.is_empty() && version != value::resource_version(&old) {
        return Err(Status::modified(&endpoint.name(), target.name()));
    }
    let uid = value::uid(&wish);
    if !uid.is_empty() && uid != value::uid(&old) {
        let why = format!(
            "Precondition failed: UID in precondition: {uid}, UID in object meta: {}",
            value::uid(&old)
        );
        return Err(Status::conflict(&endpoint.name(), target.name(), &why));
    }
    let replicas = value::integer(&wish, &["spec", "replicas"]).unwrap_or(0);
    let mut options = options(call, endpoint, "scale");
    let mut new = shown.into_owned();
    if applied {
        let mut applied = json!({
            "apiVersion": endpoint.api_version(), "kind": row.kind,
            "metadata": {"name": target.name()},
        });
        set_replicas(row, &endpoint.version, &mut applied, replicas)?;
        new = crate::schema::server_side_apply(
            hooks::schema(endpoint).get(),
            Some(&new),
            &applied,
            &options.manager,
            "scale",
            call.query.flag("force"),
            // An entry of a scale has no time.
            "",
        )
        .map_err(super::apply::refused)?;
        options.applied = true;
    } else {
        set_replicas(row, &endpoint.version, &mut new, replicas)?;
    }
    let written = call
        .cluster
        .update_row(row, &old, new, &options)
        .map_err(|s| rename(s, target))?;
    show(call, endpoint, &written.object, wanted)
}

/// Reads a Scale as the typed object it is, whatever kind it belongs to.
fn typed(call: &Call<'_>, target: &Target, mut wish: Value) -> Result<Value, Status> {
    for (key, wanted) in [("apiVersion", "autoscaling/v1"), ("kind", "Scale")] {
        match value::text(&wish, &[key]) {
            "" if wish.is_object() => wish[key] = json!(wanted),
            given if given == wanted => {}
            given => {
                return Err(Status::bad_request(format!(
                    "the {key} in the data ({given}) does not match the expected {key} ({wanted})"
                )));
            }
        }
    }
    let gvk = ("autoscaling", "v1", "Scale");
    let (mut wish, _) = crate::schema::decode_check(gvk, wish, vec![], validation(call))
        .map_err(|e| Status::bad_request(e.to_string()))?;
    super::write::same_name(target, &mut wish)?;
    Ok(wish)
}
