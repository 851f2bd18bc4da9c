//! Reviews: whoever reaches this server may do everything; who speaks for someone else may not.

use http::{Method, Response};
use serde_json::{Value, json};

use super::write::read_body;
use super::{Call, Target, answer};
use crate::status::Status;
use crate::{Body, value};

/// Whether a target is a review, which is answered and not stored.
pub(crate) fn is_review(target: &Target) -> bool {
    matches!(
        target.endpoint.group.as_str(),
        "authorization.k8s.io" | "authentication.k8s.io"
    )
}

/// Whom a request speaks for, and whether that is an administrator.
fn user(call: &Call<'_>) -> (Value, bool) {
    let name = call.header("impersonate-user");
    if name.is_empty() {
        let groups = ["system:masters", "system:authenticated"];
        return (json!({"username": "admin", "groups": groups}), true);
    }
    let mut groups: Vec<&str> = call
        .headers
        .get_all("impersonate-group")
        .iter()
        .filter_map(|v| v.to_str().ok())
        .collect();
    let admin = groups.contains(&"system:masters");
    let account = name
        .strip_prefix("system:serviceaccount:")
        .and_then(|r| r.split_once(':'));
    let own = account.map(|(ns, _)| format!("system:serviceaccounts:{ns}"));
    if let Some(own) = &own {
        groups.push("system:serviceaccounts");
        groups.push(own);
    }
    groups.push("system:authenticated");
    (json!({"username": name, "groups": groups}), admin)
}

/// What anyone at all may do.
fn everyones_rules() -> Value {
    let health = ["/healthz", "/livez", "/readyz", "/version", "/version/"];
    let discovery = [
        "/api",
        "/api/*",
        "/apis",
        "/apis/*",
        "/healthz",
        "/livez",
        "/openapi",
        "/openapi/*",
        "/readyz",
        "/version",
        "/version/",
    ];
    let issuer = [
        "/.well-known/openid-configuration",
        "/.well-known/openid-configuration/",
        "/openid/v1/jwks",
        "/openid/v1/jwks/",
    ];
    json!({
        "resourceRules": [
            {
                "verbs": ["get", "list", "watch"], "apiGroups": ["certificates.k8s.io"],
                "resources": ["clustertrustbundles"],
            },
            {
                "verbs": ["create"], "apiGroups": ["authorization.k8s.io"],
                "resources": ["selfsubjectaccessreviews", "selfsubjectrulesreviews"],
            },
            {
                "verbs": ["create"], "apiGroups": ["authentication.k8s.io"],
                "resources": ["selfsubjectreviews"],
            },
        ],
        "nonResourceRules": [
            {"verbs": ["get"], "nonResourceURLs": health},
            {"verbs": ["get"], "nonResourceURLs": discovery},
            {"verbs": ["get"], "nonResourceURLs": issuer},
        ],
        "incomplete": false,
    })
}

/// Whether a question is about one of the things that anyone may do.
fn anyone_may(spec: &Value) -> bool {
    let resource = value::text(spec, &["resourceAttributes", "resource"]);
    let verb = value::text(spec, &["resourceAttributes", "verb"]);
    let path = value::text(spec, &["nonResourceAttributes", "path"]);
    (verb == "create" && resource.starts_with("selfsubject"))
        || (resource == "clustertrustbundles" && matches!(verb, "get" | "list" | "watch"))
        || [
            "/api", "/apis", "/openapi", "/healthz", "/livez", "/readyz", "/version",
        ]
        .iter()
        .any(|p| path == *p || path.starts_with(&format!("{p}/")))
}

/// POST of a review.
pub(crate) fn review(call: &Call<'_>, target: &Target) -> Result<Response<Body>, Status> {
    if call.method != Method::POST || target.name.is_some() {
        return Err(Status::method_not_allowed());
    }
    let (mut body, _) = read_body(call)?;
    if !body.is_object() {
        return Err(Status::bad_request("the body is not a JSON object"));
    }
    let kind = target.endpoint.row.kind.as_str();
    let given = value::text(&body, &["kind"]);
    if !given.is_empty() && given != kind {
        return Err(Status::bad_request(format!(
            "a {given} was sent where a {kind} is expected"
        )));
    }
    body["kind"] = json!(kind);
    body["apiVersion"] = json!(target.endpoint.api_version());
    if !body["metadata"].is_object() {
        body["metadata"] = json!({});
    }
    let (user, admin) = user(call);
    let status = match kind {
        "SelfSubjectRulesReview" if admin => json!({
            "resourceRules": [{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}],
            "nonResourceRules": [{"verbs": ["*"], "nonResourceURLs": ["*"]}],
            "incomplete": false,
        }),
        "SelfSubjectRulesReview" => everyones_rules(),
        "SelfSubjectReview" => {
            body["metadata"]["creationTimestamp"] = json!(value::time(call.cluster.now()));
            json!({"userInfo": user})
        }
        "TokenReview" => json!({"authenticated": true, "user": user}),
        "SelfSubjectAccessReview" => json!({"allowed": admin || anyone_may(&body["spec"])}),
        // Asked about someone else: the administrator, or one of whom nothing is known.
        _ => {
            let groups = value::strings(&body, &["spec", "groups"]);
            let admin = groups.contains(&"system:masters")
                || value::text(&body, &["spec", "user"]) == "admin";
            json!({"allowed": admin || anyone_may(&body["spec"])})
        }
    };
    body["status"] = status;
    Ok(answer::json(201, &body))
}
