//! Kubernetes' error answers: what went wrong, in the words clients test for.

use serde_json::{Value, json};

/// One cause inside an `Invalid` or `Conflict` answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cause {
    /// Machine-readable reason, e.g. `FieldValueInvalid`.
    pub reason: String,
    /// What is wrong, for people.
    pub message: String,
    /// The field, e.g. `spec.replicas`.
    pub field: String,
}

/// What a failure is about; read as fields of [`Status`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Details {
    /// Name of the object in question.
    pub name: String,
    /// API group of the object in question.
    pub group: String,
    /// Plural resource (or Kind, for `Invalid`).
    pub kind: String,
    /// UID of the object in question.
    pub uid: String,
    /// Details, field by field.
    pub causes: Vec<Cause>,
    /// Seconds after which to try again.
    pub retry_after: Option<u64>,
}

/// A failure as the Kubernetes API reports it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Status {
    /// HTTP status code.
    pub code: u16,
    /// Machine-readable reason; empty where Kubernetes has none.
    pub reason: String,
    /// What went wrong, for people.
    pub message: String,
    /// Apart, so that a result stays small where nothing fails.
    details: Box<Details>,
}

impl std::ops::Deref for Status {
    type Target = Details;

    fn deref(&self) -> &Details {
        &self.details
    }
}

impl std::ops::DerefMut for Status {
    fn deref_mut(&mut self) -> &mut Details {
        &mut self.details
    }
}

/// Splits `deployments.apps` into its plural and its group.
pub(crate) fn split(resource: &str) -> (&str, &str) {
    resource.split_once('.').unwrap_or((resource, ""))
}

impl Status {
    /// A bare failure.
    pub fn new(code: u16, reason: &str, message: impl Into<String>) -> Self {
        Self {
            code,
            reason: reason.to_owned(),
            message: message.into(),
            details: Box::default(),
        }
    }

    fn of(mut self, resource: &str, name: &str) -> Self {
        let (plural, group) = split(resource);
        self.kind = plural.to_owned();
        self.group = group.to_owned();
        self.name = name.to_owned();
        self
    }

    /// `deployments.apps "web" not found`
    pub fn not_found(resource: &str, name: &str) -> Self {
        Self::new(404, "NotFound", format!("{resource} \"{name}\" not found")).of(resource, name)
    }

    /// `deployments.apps "web" already exists`
    pub fn already_exists(resource: &str, name: &str) -> Self {
        Self::new(
            409,
            "AlreadyExists",
            format!("{resource} \"{name}\" already exists"),
        )
        .of(resource, name)
    }

    /// A write that lost a race, with the reason in `why`.
    pub fn conflict(resource: &str, name: &str, why: &str) -> Self {
        let message = format!("Operation cannot be fulfilled on {resource} \"{name}\": {why}");
        Self::new(409, "Conflict", message).of(resource, name)
    }

    /// A write against an old resourceVersion.
    pub fn modified(resource: &str, name: &str) -> Self {
        let why = "the object has been modified; please apply your changes to the latest version \
                   and try again";
        Self::conflict(resource, name, why)
    }

    /// An object that does not pass validation. `kind` is the Kind, `group` its API group.
    pub fn invalid(kind: &str, group: &str, name: &str, causes: Vec<Cause>) -> Self {
        let texts: Vec<String> = causes
            .iter()
            .map(|c| {
                if c.field.is_empty() {
                    c.message.clone()
                } else {
                    format!("{}: {}", c.field, c.message)
                }
            })
            .collect();
        let detail = match texts.as_slice() {
            [one] => one.clone(),
            many => format!("[{}]", many.join(", ")),
        };
        let qualified = if group.is_empty() {
            kind.to_owned()
        } else {
            format!("{kind}.{group}")
        };
        let mut status = Self::new(
            422,
            "Invalid",
            format!("{qualified} \"{name}\" is invalid: {detail}"),
        );
        status.kind = kind.to_owned();
        status.group = group.to_owned();
        status.name = name.to_owned();
        status.causes = causes;
        status
    }

    /// A request that cannot be understood.
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(400, "BadRequest", message)
    }

    /// `pods "web" is forbidden: WHY`
    pub fn forbidden(resource: &str, name: &str, why: &str) -> Self {
        let message = if name.is_empty() {
            format!("{resource} is forbidden: {why}")
        } else {
            format!("{resource} \"{name}\" is forbidden: {why}")
        };
        Self::new(403, "Forbidden", message).of(resource, name)
    }

    /// A verb that the resource does not have.
    pub fn method_not_allowed() -> Self {
        Self::new(
            405,
            "MethodNotAllowed",
            "the server does not allow this method on the requested resource",
        )
    }

    /// A kind that is not served.
    pub(crate) fn no_such_resource() -> Self {
        Self::new(
            404,
            "NotFound",
            "the server could not find the requested resource",
        )
    }

    /// A watch or list position that is no longer kept.
    pub fn expired(message: impl Into<String>) -> Self {
        Self::new(410, "Expired", message)
    }

    /// A body in a form the server does not read.
    pub fn unsupported_media_type(message: impl Into<String>) -> Self {
        Self::new(415, "UnsupportedMediaType", message)
    }

    /// The server's own failure.
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(
            500,
            "InternalError",
            format!("Internal error occurred: {}", message.into()),
        )
    }

    /// Something Kubernetes can do and this control plane cannot.
    pub fn not_implemented(message: impl Into<String>) -> Self {
        Self::new(501, "NotImplemented", message)
    }

    /// True for a missing object.
    pub fn is_not_found(&self) -> bool {
        self.code == 404
    }

    /// True for a lost race (not for an existing name).
    pub fn is_conflict(&self) -> bool {
        self.code == 409 && self.reason == "Conflict"
    }

    /// True for a name that is taken.
    pub fn is_already_exists(&self) -> bool {
        self.reason == "AlreadyExists"
    }

    /// The answer's body.
    pub fn to_value(&self) -> Value {
        let mut out = json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": self.message, "code": self.code,
        });
        if !self.reason.is_empty() {
            out["reason"] = json!(self.reason);
        }
        let mut details = serde_json::Map::new();
        for (key, text) in [
            ("name", &self.name),
            ("group", &self.group),
            ("kind", &self.kind),
            ("uid", &self.uid),
        ] {
            if !text.is_empty() {
                details.insert(key.to_owned(), json!(text));
            }
        }
        if !self.causes.is_empty() {
            let causes: Vec<Value> = self
                .causes
                .iter()
                .map(|c| {
                    let mut cause = json!({"message": c.message});
                    if !c.reason.is_empty() {
                        cause["reason"] = json!(c.reason);
                    }
                    if !c.field.is_empty() {
                        cause["field"] = json!(c.field);
                    }
                    cause
                })
                .collect();
            details.insert("causes".to_owned(), json!(causes));
        }
        if let Some(seconds) = self.retry_after {
            details.insert("retryAfterSeconds".to_owned(), json!(seconds));
        }
        if !details.is_empty() {
            out["details"] = Value::Object(details);
        }
        out
    }
}
