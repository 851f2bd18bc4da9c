//! What the API server, KEDA's webhook or KEDA's operator refuse, in their
//! words: asked of the same functions that refuse it in a cluster.

use api::pointer::of_path;
use api::yaml::Span;
use cluster::schema::{self, Cause};
use decide::scale::admission::{self, Surroundings};
use decide::scale::hpa_spec::{self, MetricSpec};
use decide::scale::resource;
use serde_json::Value;
use triggers::{BuildError, Input, PodIdentity};

use super::{Context, input_of, plural};
use crate::finding::Severity;
use crate::model::{Object, Scaled};

const ID: (&str, Severity) = ("spec-value", Severity::Error);

pub(super) fn check(cx: &mut Context<'_>) {
    let model = cx.model;
    let mut stored: Vec<bool> = Vec::new();
    for object in &model.objects {
        let fine = match object.group {
            "keda.sh" => of_schema(cx, object),
            "autoscaling" if object.kind == "HorizontalPodAutoscaler" => of_hpa(cx, object),
            _ => true,
        };
        stored.push(fine);
    }
    let is_stored = |object: &Object<'_>| stored[object.index];
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
fn of_schema(cx: &mut Context<'_>, object: &Object<'_>) -> bool {
    let Some(schema) = cx.schema(object.kind) else {
        return true;
    };
    let mut copy = object.value.clone();
    // As the API server does before it validates.
    schema.prune(&mut copy);
    schema.default(&mut copy);
    let errors = schema.validate(&copy, None);
    for error in &errors {
        // Follows from the others.
        if error.field == "<nil>" {
            continue;
        }
        let pointer = of_path(&error.field);
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
        let span = object.at(&of_path(&error.field));
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
    let mut specs = Vec::new();
    for (n, (pointer, trigger)) in triggers.iter().enumerate() {
        if scaled.is_job && !trigger.metric_type.is_empty() {
            let text = "Cannot set metricType in ScaledJob triggers";
            let span = object.at(&format!("{pointer}/metricType"));
            refused(cx, object, span, text, "KEDA");
            continue;
        }
        match metric(cx, scaled, n) {
            Ok(spec) => specs.push(spec),
            Err(message) => {
                let span = object.at(&place_of(object, pointer, &message));
                refused(cx, object, span, &message, "KEDA");
            }
        }
    }
    let failed = triggers.len() - specs.len();
    if failed == 0 && !scaled.is_job {
        of_generated_hpa(cx, scaled, &specs);
    } else if !specs.is_empty() && !scaled.is_job {
        let last = cx.out.len() - 1;
        cx.out[last].message.push_str(&format!(
            "; no HPA is made, so the other {} of this object {} not read either",
            plural(specs.len() as i64, "trigger"),
            if specs.len() == 1 { "is" } else { "are" }
        ));
    }
}

/// A trigger's metric in the HPA, or why KEDA makes none.
fn metric(cx: &Context<'_>, scaled: &Scaled<'_>, n: usize) -> Result<MetricSpec, String> {
    let trigger = &scaled.spec.spec.triggers[n];
    let kind = trigger.trigger_type.as_str();
    if resource::is_resource(trigger) {
        return resource::parse(trigger).map_err(|e| e.to_string());
    }
    match triggers::parse(kind, &input(cx, scaled, n)) {
        Ok(spec) => Ok(spec.for_hpa()),
        // Of a type that cannot be read yet only the place is known.
        Err(BuildError::NotSupported(_)) => Ok(MetricSpec::External {
            name: format!("s{n}-{kind}"),
            metric_type: "AverageValue".to_owned(),
            target: "1".to_owned(),
        }),
        Err(error) => Err(error.to_string()),
    }
}

/// The HPA that KEDA makes, as the API server sees it.
fn of_generated_hpa(cx: &mut Context<'_>, scaled: &Scaled<'_>, specs: &[MetricSpec]) {
    let object = &scaled.object;
    let (group, version, kind) = scaled.spec.spec.scale_target_ref.gvk();
    let target = api::keda::Gvkr {
        group,
        version,
        kind,
        ..api::keda::Gvkr::default()
    };
    let mut hpa = match hpa_spec::hpa_for(&scaled.spec, specs, &target, "") {
        Ok(plan) => plan.hpa,
        Err(error) => {
            let span = object.at(&field_of(&error.to_string()));
            refused(cx, object, span, &error.to_string(), "KEDA");
            return;
        }
    };
    // The API server fills these in or KEDA knows them; they are not in the
    // manifest.
    hpa["metadata"]["namespace"] = Value::from("default");
    if let Some(metadata) = hpa["metadata"].as_object_mut() {
        metadata.remove("ownerReferences");
        metadata.remove("labels");
    }
    let gvk = ("autoscaling", "v2", "HorizontalPodAutoscaler");
    schema::apply_defaults(gvk, &mut hpa);
    for error in schema::validate(gvk, &hpa, None) {
        let pointer = of_path(&error.field);
        let place = if let Some(rest) = pointer.strip_prefix("/spec/behavior") {
            format!("/spec/advanced/horizontalPodAutoscalerConfig/behavior{rest}")
        } else if let Some(rest) = pointer.strip_prefix("/spec/metrics/") {
            match rest.split('/').next() {
                Some(n) if pointer.ends_with("/type") => format!("/spec/triggers/{n}/metricType"),
                Some(n) => format!("/spec/triggers/{n}/metadata"),
                None => "/spec/triggers".to_owned(),
            }
        } else if pointer == "/metadata/name" {
            "/spec/advanced/horizontalPodAutoscalerConfig/name".to_owned()
        } else {
            pointer
        };
        refused(
            cx,
            object,
            object.at(&place),
            &error.to_string(),
            "the API server, given the HPA that KEDA makes of this,",
        );
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

/// What the trigger is built from; credentials count as there where nothing
/// among the documents says that they are not.
fn input(cx: &Context<'_>, scaled: &Scaled<'_>, n: usize) -> Input {
    let trigger = &scaled.spec.spec.triggers[n];
    let mut input = input_of(scaled, n);
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
    let Some((_, auth)) = found else {
        return input.with_any_credentials();
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
        input = input.with_any_credentials();
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
