//! The explanations API: why a replica count is what it is, now and at a past
//! moment.
//!
//! `GET /apis/explain.rheostat.dev/v1/namespaces/NS/KIND/NAME?at=TIME` answers
//! with a [`decide::explain::Account`] as JSON. The group is served like the
//! external metrics, through the API server, so that a client needs nothing but
//! its kubeconfig (docs/adr/0005-explanations-api.md).

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use clock::Clock;
use decide::explain::{
    Explanation, History, Kind, Limits, Missing, Object, Question, Record, Workload, account,
    moment,
};
use http::{Method, Request, Response, StatusCode};
use percent_encoding::percent_decode_str;
use serde_json::{Value, json};

use crate::answer::{refused, respond};
use crate::{Handler, Report};

/// The group of the explanations API.
pub const EXPLAIN_GROUP: &str = "explain.rheostat.dev";
/// Its version.
pub const EXPLAIN_VERSION: &str = "v1";

/// The kept explanations. Cheap to clone; clones share what is kept.
#[derive(Clone)]
pub struct Explanations {
    history: Arc<Mutex<History>>,
    clock: Clock,
}

impl std::fmt::Debug for Explanations {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Explanations")
    }
}

impl Explanations {
    /// Keeps as much as `limits` says.
    pub fn new(clock: Clock, limits: Limits) -> Self {
        Self {
            history: Arc::new(Mutex::new(History::new(limits))),
            clock,
        }
    }

    fn history(&self) -> MutexGuard<'_, History> {
        self.history.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps a record.
    pub fn add(&self, record: Record) {
        self.history().add(record);
    }

    /// Workloads whose pods were last said to wait for a node.
    pub fn waiting(&self) -> Vec<Object> {
        self.history().waiting().cloned().collect()
    }

    /// Everything that is kept, in order of time.
    pub fn records(&self) -> Vec<Record> {
        self.history().records().cloned().collect()
    }

    /// Keeps what the operator decides, as [`crate::Options::on_decision`].
    pub fn report(&self) -> Report {
        let kept = self.clone();
        Arc::new(move |object, time, explanation| {
            let target = &object.spec.scale_target_ref;
            kept.add(Record {
                time,
                object: Object {
                    kind: "ScaledObject".to_owned(),
                    namespace: object.metadata.namespace.clone(),
                    name: object.metadata.name.clone(),
                },
                target: Workload {
                    kind: target.gvk().2,
                    name: target.name.clone(),
                },
                explanation: Explanation::ScaledObject(explanation.clone()),
            });
        })
    }

    /// The handler of the group's paths.
    pub fn handler(&self) -> Handler {
        let kept = self.clone();
        Arc::new(move |request| Box::pin(std::future::ready(kept.answer(&request))))
    }

    /// Answers one request.
    fn answer(&self, request: &Request<Bytes>) -> Response<Bytes> {
        let root = format!("/apis/{EXPLAIN_GROUP}/{EXPLAIN_VERSION}");
        let path = request.uri().path().strip_prefix(&root).unwrap_or("");
        let decoded: Vec<String> = path
            .split('/')
            .skip(1)
            .map(|part| percent_decode_str(part).decode_utf8_lossy().into_owned())
            .collect();
        let parts: Vec<&str> = decoded.iter().map(String::as_str).collect();
        if request.method() != Method::GET {
            let text = "explanations are only read";
            return refused(StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowed", text);
        }
        let (namespace, kind, name) = match parts[..] {
            // No resource is listed: nothing here is an object that kubectl
            // could get by its kind.
            [] => return respond(StatusCode::OK, &discovery()),
            ["namespaces", namespace, kind, name] => (namespace, kind, name),
            _ => {
                let text = format!("want {root}/namespaces/NAMESPACE/KIND/NAME");
                return refused(StatusCode::NOT_FOUND, "NotFound", &text);
            }
        };
        let kind = match Kind::parse(kind) {
            Ok(kind) => kind,
            Err(why) => return refused(StatusCode::NOT_FOUND, "NotFound", &why),
        };
        let now = self.clock.now();
        let at = match at(request.uri().query().unwrap_or("")) {
            None => None,
            Some(text) => match moment(&text, now) {
                Ok(at) => Some(at),
                Err(why) => return refused(StatusCode::BAD_REQUEST, "BadRequest", &why),
            },
        };
        let question = Question {
            kind,
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            at,
        };
        let answer = account(self.history().records(), &question, now);
        match answer.map(serde_json::to_value) {
            Ok(Ok(account)) => respond(StatusCode::OK, &account),
            Ok(Err(error)) => {
                let code = StatusCode::INTERNAL_SERVER_ERROR;
                refused(code, "InternalError", &error.to_string())
            }
            Err(missing @ (Missing::Range { .. } | Missing::Yet { .. })) => {
                let text = missing.to_string();
                refused(StatusCode::BAD_REQUEST, "BadRequest", &text)
            }
            Err(missing) if missing.names_another() => {
                refused(StatusCode::NOT_FOUND, "NotFound", &missing.to_string())
            }
            Err(missing) => {
                let text = format!(
                    "{missing}; a ScaledObject or an HPA must point to it, and the first \
                     decision comes with its next evaluation"
                );
                refused(StatusCode::NOT_FOUND, "NotFound", &text)
            }
        }
    }
}

/// The moment asked for.
fn at(query: &str) -> Option<String> {
    let text = query.split('&').find_map(|pair| pair.strip_prefix("at="))?;
    let text = text.replace('+', " ");
    Some(percent_decode_str(&text).decode_utf8_lossy().into_owned())
}

fn discovery() -> Value {
    json!({"kind": "APIResourceList", "apiVersion": "v1",
        "groupVersion": format!("{EXPLAIN_GROUP}/{EXPLAIN_VERSION}"), "resources": []})
}
