//! Thin calls into the schema rules, so that the pipeline names each in one place.

use jiff::Timestamp;
use serde_json::Value;

use crate::cluster::WriteOptions;
use crate::resource::{Endpoint, Resource};
use crate::schema::{self, FieldValidation, Schema};
use crate::status::{Cause, Status};
use crate::value;

/// A custom kind's schema, read for use.
pub(crate) use crate::schema::Structural;

/// Reads a custom kind's schema.
pub(crate) fn structural(schema: &Value) -> Option<Structural> {
    schema.is_object().then(|| Structural::compile(schema))
}

/// The schema of a custom kind in a version.
pub(crate) fn structural_of<'a>(row: &'a Resource, version: &str) -> Option<&'a Structural> {
    row.custom.as_ref()?.version(version)?.structural.as_ref()
}

fn gvk(row: &Resource) -> schema::Gvk<'_> {
    (&row.group, &row.version, &row.kind)
}

/// Fills in the defaults of a kind.
pub(crate) fn apply_defaults(row: &Resource, version: &str, object: &mut Value) {
    if row.custom.is_some() {
        if let Some(structural) = structural_of(row, version) {
            structural.default(object);
        }
    } else {
        schema::apply_defaults(gvk(row), object);
    }
}

/// What is wrong with an object.
pub(crate) fn validate(
    row: &Resource,
    version: &str,
    object: &Value,
    old: Option<&Value>,
) -> Vec<Cause> {
    let errors = if row.custom.is_some() {
        structural_of(row, version)
            .map(|s| s.validate(object, old))
            .unwrap_or_default()
    } else {
        schema::validate(gvk(row), object, old)
    };
    errors
        .iter()
        .map(|e| Cause {
            reason: e.cause.reason().to_owned(),
            message: e.body(),
            field: e.field.clone(),
        })
        .collect()
}

/// Drops unknown fields, or refuses them; the texts are warnings.
pub(crate) fn decode(
    endpoint: &Endpoint,
    mut body: Value,
    duplicates: Vec<String>,
    mode: FieldValidation,
) -> Result<(Value, Vec<String>), Status> {
    let row = &endpoint.row;
    let gvk = (
        endpoint.group.as_str(),
        endpoint.version.as_str(),
        row.kind.as_str(),
    );
    let refused = |e: schema::DecodeError| Status::bad_request(e.to_string());
    if row.custom.is_none() {
        return schema::decode_check(gvk, body, duplicates, mode).map_err(refused);
    }
    let mut findings = duplicates;
    if let Some(structural) = structural_of(row, &endpoint.version) {
        let found = structural
            .read(&mut body)
            .map_err(|why| refused(schema::decode::cannot_be_handled(gvk, &why)))?;
        findings.extend(found);
    }
    let warnings = match mode {
        FieldValidation::Strict if !findings.is_empty() => {
            return Err(Status::bad_request(format!(
                "{} in version \"{}\" cannot be handled as a {}: strict decoding error: {}",
                row.kind,
                endpoint.version,
                row.kind,
                findings.join(", ")
            )));
        }
        FieldValidation::Ignore => Vec::new(),
        _ => findings,
    };
    Ok((body, warnings))
}

/// Holds the schema of an endpoint for as long as a call into the rules takes.
pub(crate) struct SchemaOf<'a> {
    endpoint: &'a Endpoint,
    empty: Structural,
}

/// The schema of an endpoint.
pub(crate) fn schema(endpoint: &Endpoint) -> SchemaOf<'_> {
    SchemaOf {
        endpoint,
        empty: Structural::compile(&Value::Object(serde_json::Map::new())),
    }
}

impl SchemaOf<'_> {
    /// As the rules take it.
    pub fn get(&self) -> Schema<'_> {
        let (endpoint, row) = (self.endpoint, &self.endpoint.row);
        match &row.custom {
            None => Schema::Builtin((&endpoint.group, &endpoint.version, &row.kind)),
            Some(custom) => Schema::Custom(
                custom
                    .version(&endpoint.version)
                    .and_then(|v| v.structural.as_ref())
                    .unwrap_or(&self.empty),
            ),
        }
    }
}

/// Records who wrote which fields.
pub(crate) fn track(
    row: &std::sync::Arc<Resource>,
    old: Option<&Value>,
    new: &mut Value,
    options: &WriteOptions,
    now: Timestamp,
) {
    let endpoint = Endpoint {
        row: row.clone(),
        group: row.group.clone(),
        version: options.version_of(row).to_owned(),
    };
    schema::update_managed_fields(
        schema(&endpoint).get(),
        old,
        new,
        &options.manager,
        options.subresource,
        &value::time(now),
    );
}

/// Whether two managedFields differ in times at most.
pub(crate) fn same_owners(a: Option<&Value>, b: Option<&Value>) -> bool {
    let empty = Vec::new();
    let (a, b) = (
        a.and_then(Value::as_array).unwrap_or(&empty),
        b.and_then(Value::as_array).unwrap_or(&empty),
    );
    let alike = |x: &Value, y: &Value| match (x.as_object(), y.as_object()) {
        (Some(x), Some(y)) => {
            x.len() == y.len() && x.iter().all(|(k, v)| k == "time" || y.get(k) == Some(v))
        }
        _ => x == y,
    };
    a.len() == b.len() && a.iter().zip(b).all(|(x, y)| alike(x, y))
}
