//! What the triggers of a ScaledObject say when they are asked now, through
//! the clients and credentials that scaling uses.
//!
//! `GET /apis/explain.rheostat.dev/v1/namespaces/NS/scaledobject/NAME/diagnosis`
//! answers with a [`Diagnosis`]. The questions follow from the ScaledObject
//! alone, so nobody chooses a query; but they reach further than the trigger's
//! own: names and labels beside its selectors, and targets that are down. That
//! is why a right of its own guards them. Nothing is written, and no secret is
//! in the answer.

use api::keda::ScaleTrigger;
use bytes::Bytes;
use decide::scale::resource;
use doctor::ask::{self, MOST, Wanted};
use doctor::seen::{Diagnosis, SelectorSeen, TriggerSeen};
use futures::future::join_all;
use http::{Method, Request, Response, StatusCode};
use percent_encoding::percent_decode_str;
use triggers::prometheus::reply::Element;
use triggers::prometheus::{Config, Prometheus};
use triggers::{Context, Input};

use crate::answer::{refused, respond};
use crate::state::{Key, Shared};
use crate::{EXPLAIN_GROUP, EXPLAIN_VERSION, scalers, target};

/// The ScaledObject whose diagnosis a request asks for, if it asks for one.
pub(crate) fn asked(request: &Request<Bytes>) -> Option<Key> {
    let root = format!("/apis/{EXPLAIN_GROUP}/{EXPLAIN_VERSION}/namespaces/");
    let rest = request.uri().path().strip_prefix(&root)?;
    let parts: Vec<&str> = rest.split('/').collect();
    let [namespace, kind, name, "diagnosis"] = parts[..] else {
        return None;
    };
    let known = decide::explain::Kind::parse(kind).ok();
    if known != Some(decide::explain::Kind::ScaledObject) || request.method() != Method::GET {
        return None;
    }
    let plain = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
    Some((plain(namespace), plain(name)))
}

/// Asks the triggers of one object and answers with what they say.
pub(crate) async fn answer(shared: &Shared, key: &Key) -> Response<Bytes> {
    let Some(object) = shared.object(key) else {
        let (namespace, name) = key;
        let text = format!("the operator knows no ScaledObject {name} in namespace {namespace}");
        return refused(StatusCode::NOT_FOUND, "NotFound", &text);
    };
    let workload = target::find(shared, &object).await.ok();
    let entries = object.spec.triggers.iter().enumerate();
    let asked = entries.map(async |(index, entry)| {
        if let Some(known) = of_resource(index, entry) {
            return known;
        }
        let workload = workload.as_deref();
        let input = scalers::input(shared, &object, entry, index, workload).await;
        diagnose(&entry.trigger_type, &input, &shared.triggers).await
    });
    let diagnosis = Diagnosis {
        asked_by: "the operator".to_owned(),
        triggers: join_all(asked).await,
    };
    match serde_json::to_value(&diagnosis) {
        Ok(value) => respond(StatusCode::OK, &value),
        Err(error) => {
            let code = StatusCode::INTERNAL_SERVER_ERROR;
            refused(code, "InternalError", &error.to_string())
        }
    }
}

/// What is known of a trigger that the HPA reads by itself; nothing of others.
pub fn of_resource(index: usize, entry: &ScaleTrigger) -> Option<TriggerSeen> {
    let why = "the HPA reads it from metrics.k8s.io itself; its condition says how";
    resource::is_resource(entry).then(|| TriggerSeen {
        index,
        kind: entry.trigger_type.clone(),
        not_asked: Some(why.to_owned()),
        ..TriggerSeen::default()
    })
}

/// Asks one trigger: its credential, its answer, and of a Prometheus query the
/// series behind it.
pub async fn diagnose(kind: &str, input: &Input, context: &Context) -> TriggerSeen {
    let mut seen = TriggerSeen {
        index: input.trigger_index,
        kind: kind.to_owned(),
        empty_credentials: input
            .auth_params
            .iter()
            .filter(|(_, value)| value.is_empty())
            .map(|(name, _)| name.clone())
            .collect(),
        ..TriggerSeen::default()
    };
    if kind == "prometheus" {
        prometheus(input, context, &mut seen).await;
        return seen;
    }
    match triggers::build(kind, input, context) {
        Ok(trigger) => {
            seen.metric = trigger.metric_name().to_owned();
            note(&mut seen, trigger.read().await);
        }
        // KEDA reads it; that we cannot says nothing about it.
        Err(error @ triggers::BuildError::NotSupported(_)) => {
            seen.not_asked = Some(error.to_string());
        }
        Err(error) => seen.not_built = Some(error.to_string()),
    }
    seen
}

fn note(seen: &mut TriggerSeen, read: Result<triggers::Reading, triggers::TriggerError>) {
    match read {
        Ok(reading) => {
            seen.value = Some(reading.quantity().as_f64().max(0.0));
            seen.active = reading.active;
        }
        Err(error) => seen.failed = Some(error.to_string()),
    }
}

async fn prometheus(input: &Input, context: &Context, seen: &mut TriggerSeen) {
    let built = Config::parse(input)
        .map_err(triggers::BuildError::from)
        .and_then(|config| Prometheus::new(config, context));
    let trigger = match built {
        Ok(trigger) => trigger,
        Err(error) => {
            seen.not_built = Some(error.to_string());
            return;
        }
    };
    let config = trigger.config();
    seen.metric = config.spec.metric_name.clone();
    seen.server = triggers::go::url::without_password(&config.server_address);
    seen.activation = Some(config.activation_threshold);
    if let Err(why) = trigger.check_credentials().await {
        seen.no_credential = Some(why);
        return;
    }
    note(seen, triggers::Trigger::read(&trigger).await);
    // One that gives no list is told by the read.
    seen.elements = trigger.ask(&config.query).await.ok().map(|e| e.len());
    if seen.elements.is_none() && seen.failed.is_some() {
        // The server does not answer: eight more questions would only wait.
        return;
    }
    for wanted in ask::selectors(&config.query).unwrap_or_default() {
        let found = selector(&trigger, context, &wanted).await;
        let found = found.unwrap_or_else(|why| SelectorSeen {
            failed: Some(why),
            ..SelectorSeen::default()
        });
        seen.selectors.push(SelectorSeen {
            text: wanted.text,
            name: wanted.name,
            ..found
        });
    }
}

/// Looks one selector up, and what there is instead where it selects nothing.
async fn selector(
    trigger: &Prometheus,
    context: &Context,
    wanted: &Wanted,
) -> Result<SelectorSeen, String> {
    let now = context.clock.now().as_millisecond() as f64 / 1_000.0;
    let age = |elements: &[Element]| {
        let newest = elements.iter().map(|e| e.value).reduce(f64::max);
        newest.map(|at| (now - at).max(0.0))
    };
    let mut seen = SelectorSeen::default();
    let found = question(trigger, &wanted.matching()).await?;
    seen.matching = found.first().map_or(0, |element| element.value as u64);
    if seen.matching > 0 {
        seen.age = age(&question(trigger, &wanted.newest()).await?);
        return Ok(seen);
    }
    let named = question(trigger, &wanted.named()).await?;
    seen.named = named.len().min(MOST) as u64;
    seen.age = age(&named);
    if !named.is_empty() {
        let labels: Vec<_> = named.into_iter().map(|element| element.labels).collect();
        seen.matchers = wanted.examine(&labels);
        return Ok(seen);
    }
    // From here on each answer is a hint that some servers do not give.
    let hint = async |query: &str| question(trigger, query).await.unwrap_or_default();
    seen.last_seen = age(&hint(&wanted.last_seen()).await);
    if let Some(query) = wanted.relatives() {
        let names = hint(&query).await;
        let names = names.iter().filter_map(|e| e.labels.get("__name__"));
        seen.near_names = wanted.near_names(names.map(String::as_str));
    }
    let targets = question(trigger, "count(up)").await;
    seen.targets = targets
        .ok()
        .map(|e| e.first().map_or(0, |e| e.value as u64));
    for target in hint("topk(5, up == 0)").await {
        let part = |name: &str| target.labels.get(name).map_or("", String::as_str);
        let down = format!("{} {}", part("job"), part("instance"));
        seen.down.push(down.trim().to_owned());
    }
    Ok(seen)
}

async fn question(trigger: &Prometheus, query: &str) -> Result<Vec<Element>, String> {
    trigger.ask(query).await.map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_diagnosis_of_a_scaled_object_is_meant() {
        let key = |path: &str| {
            let path = format!("/apis/explain.rheostat.dev/v1/namespaces/{path}");
            asked(&Request::get(path).body(Bytes::new()).unwrap())
        };
        let expected = Some(("ml".to_owned(), "a b".to_owned()));
        assert_eq!(key("ml/so/a%20b/diagnosis"), expected);
        assert_eq!(key("ml/scaledobject/a%20b/diagnosis"), expected);
        assert_eq!(key("ml/so/diagnosis"), None);
        assert_eq!(key("ml/deployment/a/diagnosis"), None);
    }
}
