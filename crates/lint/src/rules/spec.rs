//! What the API server, KEDA's webhook or KEDA's operator refuse, in their
//! words: asked of the same functions that refuse it in a cluster.

use std::collections::BTreeMap;

use api::yaml::Span;
use cluster::schema::{self, Cause, Structural};
use decide::scale::admission::{self, Surroundings};
use decide::scale::resource;
use serde_json::Value;
use triggers::{BuildError, Input, MetricType, PodIdentity};

use super::fields::{pointer_of, schema_of};
use super::{Context, plural};
use crate::finding::Severity;
use crate::model::{Object, Scaled};

const ID: (&str, Severity) = ("spec-value", Severity::Error);

pub(super) fn check(cx: &mut Context<'_>) {
    let model = cx.model;
    let mut schemas: BTreeMap<&str, Structural> = BTreeMap::new();
    let mut stored: Vec<bool> = Vec::new();
    for object in &model.objects {
        let fine = match object.group {
            "keda.sh" => of_schema(cx, object, &mut schemas),
            "autoscaling" if object.kind == "HorizontalPodAutoscaler" => of_hpa(cx, object),
            _ => true,
        };
        stored.push(fine);
    }
    let is_stored = |object: &Object<'_>| {
        let at = model.objects.iter().position(|o| o.is(object));
        at.is_none_or(|at| stored[at])
    };
    for scaled in &model.scaled {
        if is_stored(&scaled.object) && webhook(cx, scaled) {
            of_triggers(cx, scaled);
        }
    }
    for (object, auth) in &model.authentications {
        if is_stored(object)
            && let Err(message) = admission::trigger_authentication(auth)
        {
            let field = match message.contains("oauth2") {
                true => "/spec/oauth2",
                false => "/spec/podIdentity",
            };
            refused(cx, object, object.key(field), &message, "KEDA's webhook");
        }
    }
}

fn refused(cx: &mut Context<'_>, object: &Object<'_>, span: Span, message: &str, by: &str) {
    cx.report(
        ID,
        object,
        span,
        format!("{by} refuses this: {message}"),
        "Correct the value; until then nothing is scaled by it.",
    );
}

/// The CRD's schema and rules; whether the object would be stored.
fn of_schema<'a>(
    cx: &mut Context<'_>,
    object: &Object<'a>,
    schemas: &mut BTreeMap<&'a str, Structural>,
) -> bool {
    if !schemas.contains_key(object.kind) {
        let Some(schema) = schema_of(object.kind) else {
            return true;
        };
        schemas.insert(object.kind, Structural::compile(&schema));
    }
    let schema = &schemas[object.kind];
    let mut copy = object.value.clone();
    // As the API server does before it validates.
    schema.prune(&mut copy);
    schema.default(&mut copy);
    let errors = schema.validate(&copy);
    for error in &errors {
        // Follows from the others.
        if error.field == "<nil>" {
            continue;
        }
        let pointer = pointer_of(&error.field);
        let span = match error.cause {
            Cause::Required => object.key(&pointer),
            _ => object.at(&pointer),
        };
        refused(cx, object, span, &error.to_string(), "the API server");
    }
    errors.is_empty()
}

fn of_hpa(cx: &mut Context<'_>, object: &Object<'_>) -> bool {
    let version = object.get("/apiVersion").as_str().unwrap_or("");
    let version = version.rsplit('/').next().unwrap_or("");
    let gvk = ("autoscaling", version, object.kind);
    if version != "v2" || !schema::is_builtin(gvk) {
        return true;
    }
    let mut copy = object.value.clone();
    if object.namespace.is_empty() {
        copy["metadata"]["namespace"] = Value::from("default");
    }
    schema::apply_defaults(gvk, &mut copy);
    let errors = schema::validate(gvk, &copy, None);
    for error in &errors {
        let span = object.at(&pointer_of(&error.field));
        refused(cx, object, span, &error.to_string(), "the API server");
    }
    errors.is_empty()
}

/// KEDA's webhook; whether it lets the object pass.
fn webhook(cx: &mut Context<'_>, scaled: &Scaled<'_>) -> bool {
    let workload = cx.workload(scaled).map(|w| w.object.value.clone());
    let around = Surroundings {
        // Without the workload its requests cannot be looked at.
        dry_run: workload.is_none(),
        workload,
        ..Surroundings::default()
    };
    let answer = match scaled.is_job {
        true => decide::scale::checks::triggers(&scaled.spec.spec.triggers).map(|()| Vec::new()),
        false => admission::scaled_object(&scaled.spec, &around),
    };
    let Err(message) = answer else {
        return true;
    };
    let object = &scaled.object;
    refused(cx, object, object.at(&field_of(&message)), &message, "KEDA");
    false
}

/// The field that a refusal of KEDA is about.
fn field_of(message: &str) -> String {
    const FIELDS: &[(&str, &str)] = &[
        ("IdleReplicaCount", "/spec/idleReplicaCount"),
        ("MinReplicaCount=", "/spec/minReplicaCount"),
        ("minReplica is 0", "/spec/minReplicaCount"),
        ("scaledobject name", "/metadata/name"),
        ("HPA name", "/metadata/name"),
        ("fallback", "/spec/fallback"),
        ("FailureThreshold", "/spec/fallback"),
        ("ScalingModifiers", "/spec/advanced/scalingModifiers"),
    ];
    let found = FIELDS.iter().find(|(part, _)| message.contains(part));
    found
        .map_or("/spec/triggers", |(_, field)| field)
        .to_owned()
}

fn of_triggers(cx: &mut Context<'_>, scaled: &Scaled<'_>) {
    let object = &scaled.object;
    let triggers: Vec<_> = scaled.triggers().collect();
    let mut failed = 0;
    for (n, (pointer, trigger)) in triggers.iter().enumerate() {
        let kind = trigger.trigger_type.as_str();
        if scaled.is_job && !trigger.metric_type.is_empty() {
            let text = "Cannot set metricType in ScaledJob triggers";
            let span = object.at(&format!("{pointer}/metricType"));
            refused(cx, object, span, text, "KEDA");
            continue;
        }
        let result = if resource::is_resource(trigger) {
            resource::parse(trigger)
                .map(drop)
                .map_err(|e| e.to_string())
        } else if kind == "prometheus" {
            match triggers::parse(kind, &input(cx, scaled, n)) {
                Ok(spec) => match spec.metric_type {
                    MetricType::Other(text) => Err(format!(
                        "unknown metric type: {text}, allowed values are 'Value' or \
                         'AverageValue'"
                    )),
                    _ => Ok(()),
                },
                Err(BuildError::NotSupported(_)) => Ok(()),
                Err(error) => Err(error.to_string()),
            }
        } else if triggers::is_known(kind) {
            Ok(())
        } else {
            Err(BuildError::UnknownType(kind.to_owned()).to_string())
        };
        if let Err(message) = result {
            failed += 1;
            let span = object.at(&place_of(object, pointer, &message));
            refused(cx, object, span, &message, "KEDA");
        }
    }
    if failed > 0 && failed < triggers.len() {
        let last = cx.out.len() - 1;
        let others = triggers.len() - failed;
        cx.out[last].message.push_str(&format!(
            "; no HPA is made, so the other {} of this object {} not read either",
            plural(others as i64, "trigger"),
            if others == 1 { "is" } else { "are" }
        ));
    }
}

/// The field of a trigger that a message names in quotes.
fn place_of(object: &Object<'_>, pointer: &str, message: &str) -> String {
    if message.contains("metric type") {
        return format!("{pointer}/metricType");
    }
    if message.starts_with("no scaler found") {
        return format!("{pointer}/type");
    }
    let named = message.split('"').skip(1).step_by(2);
    let known = named
        .flat_map(|name| name.split(','))
        .map(|name| format!("{pointer}/metadata/{name}"))
        .find(|p| object.has(p));
    known.unwrap_or_else(|| format!("{pointer}/metadata"))
}

/// Every parameter that a credential can bring.
const CREDENTIALS: &[&str] = &[
    "bearerToken",
    "username",
    "password",
    "cert",
    "key",
    "ca",
    "customAuthHeader",
    "customAuthValue",
    "oauthTokenURI",
    "clientID",
    "clientSecret",
    "apiKey",
];

/// What the trigger is built from; credentials count as there where nothing
/// among the documents says that they are not.
fn input(cx: &Context<'_>, scaled: &Scaled<'_>, n: usize) -> Input {
    let trigger = &scaled.spec.spec.triggers[n];
    let mut input = Input {
        metadata: trigger.metadata.clone(),
        metric_type: Some(trigger.metric_type.clone()),
        trigger_index: n,
        ..Input::default()
    };
    let Some(reference) = &trigger.authentication_ref else {
        return input;
    };
    let wanted = match reference.is_cluster() {
        true => "ClusterTriggerAuthentication",
        false => "TriggerAuthentication",
    };
    let found = cx.model.authentications.iter().find(|(object, _)| {
        object.kind == wanted
            && object.name == reference.name
            && (reference.is_cluster() || object.beside(&scaled.object))
    });
    let everything = || {
        let all = CREDENTIALS.iter();
        all.map(|name| ((*name).to_owned(), "given elsewhere".to_owned()))
            .collect()
    };
    let Some((_, auth)) = found else {
        input.auth_params = everything();
        return input;
    };
    let spec = &auth.spec;
    let elsewhere = [
        &spec.bound_service_account_token,
        &spec.hashi_corp_vault,
        &spec.azure_key_vault,
        &spec.gcp_secret_manager,
        &spec.aws_secret_manager,
        &spec.oauth2,
    ];
    if elsewhere.iter().any(|store| store.is_some()) || !spec.file_path.is_empty() {
        input.auth_params = everything();
    } else {
        let refs = spec
            .secret_target_ref
            .iter()
            .chain(&spec.config_map_target_ref);
        let names = refs
            .map(|r| r.parameter.clone())
            .chain(spec.env.iter().map(|e| e.parameter.clone()));
        input.auth_params = names
            .map(|name| (name, "given elsewhere".to_owned()))
            .collect();
        // Modes may stand in a Secret; their names are then not known here.
        for key in ["authModes", "authMode"] {
            input.auth_params.remove(key);
        }
    }
    if let Some(identity) = &spec.pod_identity {
        input.pod_identity = PodIdentity::of(&identity.provider);
    }
    input
}
