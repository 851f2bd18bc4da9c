//! GET of one object and of lists.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::Response;
use serde::Serialize;
use serde::ser::{SerializeMap as _, SerializeSeq as _};
use serde_json::{Map, Value, json};

use super::filter::Filter;
use super::negotiate::{Form, form};
use super::{Call, Target, answer, options};
use crate::status::{Cause, Status};
use crate::store::{ChangeKind, Key, Shelf};
use crate::{Body, Cluster, printers, value, views};

/// GET of one object.
pub(crate) fn one(call: &Call<'_>, target: &Target) -> Result<Response<Body>, Status> {
    let wanted = form(call.header("accept"))?;
    let object = fetch(call.cluster, target)?;
    Ok(show(call, target, 200, &object, wanted))
}

/// The stored object that a request names.
pub(crate) fn fetch(cluster: &Cluster, target: &Target) -> Result<Arc<Value>, Status> {
    cluster
        .get(&target.endpoint.row.name, target.ns(), target.name())
        .map_err(|_| Status::not_found(&target.endpoint.name(), target.name()))
}

/// An answer that shows one object.
pub(crate) fn show(
    call: &Call<'_>,
    target: &Target,
    code: u16,
    object: &Arc<Value>,
    wanted: Form,
) -> Response<Body> {
    match wanted {
        Form::Plain => answer::json(code, &*views::served(&target.endpoint, object)),
        Form::Partial(version) => answer::json(code, &partial(object, version)),
        Form::Table(version) => {
            let meta = json!({"resourceVersion": value::resource_version(object)});
            let table = printers::table(
                call.cluster,
                &target.endpoint,
                std::slice::from_ref(object),
                version,
                call.query.get("includeObject").unwrap_or(""),
                meta,
            );
            answer::json(code, &table)
        }
    }
}

/// An object's metadata alone.
pub(crate) fn partial(object: &Value, version: &str) -> Value {
    json!({
        "kind": "PartialObjectMetadata",
        "apiVersion": format!("meta.k8s.io/{version}"),
        "metadata": object["metadata"],
    })
}

/// One page of a list.
pub(crate) struct Page {
    pub items: Vec<Arc<Value>>,
    pub version: u64,
    pub next: String,
    pub remaining: Option<usize>,
}

/// GET of a list.
pub(crate) async fn list(call: &Call<'_>, target: &Target) -> Result<Response<Body>, Status> {
    let wanted = form(call.header("accept"))?;
    options::integer(call, "timeoutSeconds")?;
    let filter = Filter::of(call, target)?;
    wait_for_version(call).await?;
    let page = page(call, target, &filter)?;
    let mut meta = Map::new();
    meta.insert(
        "resourceVersion".to_owned(),
        json!(page.version.to_string()),
    );
    if !page.next.is_empty() {
        meta.insert("continue".to_owned(), json!(page.next));
    }
    if let Some(remaining) = page.remaining {
        meta.insert("remainingItemCount".to_owned(), json!(remaining));
    }
    let endpoint = &target.endpoint;
    Ok(match wanted {
        Form::Table(version) => {
            let include = call.query.get("includeObject").unwrap_or("");
            let meta = Value::Object(meta);
            let table =
                printers::table(call.cluster, endpoint, &page.items, version, include, meta);
            answer::json(200, &table)
        }
        Form::Partial(version) => {
            let items: Vec<Value> = page.items.iter().map(|o| partial(o, version)).collect();
            answer::json(
                200,
                &json!({
                    "kind": "PartialObjectMetadataList",
                    "apiVersion": format!("meta.k8s.io/{version}"),
                    "metadata": meta, "items": items,
                }),
            )
        }
        Form::Plain => {
            let list = List {
                kind: &endpoint.row.list_kind,
                api_version: endpoint.api_version(),
                meta: &meta,
                items: page
                    .items
                    .iter()
                    .map(|o| views::served(endpoint, o))
                    .collect(),
                // Lists of built-in kinds leave out what the list says already.
                bare: endpoint.row.custom.is_none(),
            };
            answer::json(200, &list)
        }
    })
}

struct List<'a> {
    kind: &'a str,
    api_version: String,
    meta: &'a Map<String, Value>,
    items: Vec<std::borrow::Cow<'a, Value>>,
    bare: bool,
}

impl Serialize for List<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(4))?;
        map.serialize_entry("kind", self.kind)?;
        map.serialize_entry("apiVersion", &self.api_version)?;
        map.serialize_entry("metadata", self.meta)?;
        map.serialize_entry("items", &Items(&self.items, self.bare))?;
        map.end()
    }
}

struct Items<'a>(&'a [std::borrow::Cow<'a, Value>], bool);

impl Serialize for Items<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut seq = serializer.serialize_seq(Some(self.0.len()))?;
        for item in self.0 {
            match item.as_object() {
                Some(map) if self.1 => seq.serialize_element(&Bare(map))?,
                _ => seq.serialize_element(item)?,
            }
        }
        seq.end()
    }
}

struct Bare<'a>(&'a Map<String, Value>);

impl Serialize for Bare<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for (key, value) in self.0 {
            if key != "kind" && key != "apiVersion" {
                map.serialize_entry(key, value)?;
            }
        }
        map.end()
    }
}

/// Waits for a version that lies ahead, for three seconds at most.
pub(crate) async fn wait_for_version(call: &Call<'_>) -> Result<(), Status> {
    let Some(text) = call.query.get("resourceVersion").filter(|t| !t.is_empty()) else {
        return Ok(());
    };
    let wanted: u64 = text.parse().map_err(|_| {
        Status::invalid(
            "ListOptions",
            "meta.k8s.io",
            "",
            vec![Cause {
                reason: "FieldValueInvalid".to_owned(),
                message: format!("Invalid value: \"{text}\": must be a decimal number"),
                field: "resourceVersion".to_owned(),
            }],
        )
    })?;
    let (mut wake, mut current) = call.cluster.with_store(|s| (s.wake.subscribe(), s.version));
    let deadline = tokio::time::Instant::now() + Duration::from_secs(3);
    while current < wanted {
        if tokio::time::timeout_at(deadline, wake.changed())
            .await
            .is_err()
        {
            let mut status = Status::new(
                504,
                "Timeout",
                format!("Timeout: Too large resource version: {wanted}, current: {current}"),
            );
            status.causes.push(Cause {
                reason: "ResourceVersionTooLarge".to_owned(),
                message: "Too large resource version".to_owned(),
                field: String::new(),
            });
            status.retry_after = Some(1);
            return Err(status);
        }
        current = call.cluster.with_store(|s| s.version);
    }
    Ok(())
}

/// The state of a kind at an earlier version, undone from its history.
fn rewind(shelf: &Shelf, to: u64) -> Option<BTreeMap<Key, Arc<Value>>> {
    if to < shelf.forgotten {
        return None;
    }
    let mut objects = shelf.objects.clone();
    for event in shelf.history.iter().rev().take_while(|e| e.version > to) {
        let object = &event.change.object;
        let key = (
            value::namespace(object).to_owned(),
            value::name(object).to_owned(),
        );
        match (&event.change.kind, &event.change.old) {
            (ChangeKind::Added, _) | (_, None) => objects.remove(&key),
            (_, Some(old)) => objects.insert(key, old.clone()),
        };
    }
    Some(objects)
}

fn expired() -> Status {
    Status::expired(
        "The provided continue parameter is too old to display a consistent list result. You can \
         start a new list without the continue parameter, or use the continue token in this \
         response to retrieve the remainder of the results.",
    )
}

/// The part of a list that a request asks for.
pub(crate) fn page(call: &Call<'_>, target: &Target, filter: &Filter) -> Result<Page, Status> {
    let row = &target.endpoint.row;
    let limit = super::options::integer(call, "limit")?
        .and_then(|l| usize::try_from(l).ok())
        .filter(|l| *l > 0);
    let mut after: Option<Key> = None;
    let mut at: Option<u64> = None;
    if let Some(token) = call.query.get("continue").filter(|t| !t.is_empty()) {
        let bad = || Status::bad_request("continue key is not valid");
        let bytes = URL_SAFE_NO_PAD.decode(token).map_err(|_| bad())?;
        let token: Value = serde_json::from_slice(&bytes).map_err(|_| bad())?;
        at = Some(token["rv"].as_u64().ok_or_else(bad)?);
        after = Some((
            token["ns"].as_str().ok_or_else(bad)?.to_owned(),
            token["name"].as_str().ok_or_else(bad)?.to_owned(),
        ));
    } else if call.query.get("resourceVersionMatch") == Some("Exact") {
        at = call.query.number("resourceVersion");
    }
    call.cluster.with_store(|store| {
        let version = at.unwrap_or(store.version);
        let Some(shelf) = store.shelves.get(&*row.name) else {
            return Ok(Page {
                items: vec![],
                version,
                next: String::new(),
                remaining: None,
            });
        };
        let rewound = match at {
            Some(at) if at < store.version => Some(rewind(shelf, at).ok_or_else(expired)?),
            _ => None,
        };
        let objects = rewound.as_ref().unwrap_or(&shelf.objects);
        let matching = matching(objects, filter, row, after.as_ref());
        let Some(limit) = limit.filter(|l| *l < matching.len()) else {
            return Ok(Page {
                items: matching,
                version,
                next: String::new(),
                remaining: None,
            });
        };
        let last = &matching[limit - 1];
        let token = json!({
            "rv": version, "ns": value::namespace(last), "name": value::name(last),
        });
        let remaining = (!filter.selects()).then(|| matching.len() - limit);
        let mut items = matching;
        items.truncate(limit);
        let next = URL_SAFE_NO_PAD.encode(token.to_string());
        Ok(Page {
            items,
            version,
            next,
            remaining,
        })
    })
}

/// The objects that a filter lets through, in order.
pub(crate) fn matching(
    objects: &BTreeMap<Key, Arc<Value>>,
    filter: &Filter,
    row: &crate::resource::Resource,
    after: Option<&Key>,
) -> Vec<Arc<Value>> {
    use std::ops::Bound;
    // One named object needs no walk.
    if let (Some(name), true) = (&filter.name, filter.namespace.is_some() || !row.namespaced) {
        let key = (filter.namespace.clone().unwrap_or_default(), name.clone());
        return objects
            .get(&key)
            .filter(|o| after.is_none_or(|a| *a < key) && filter.matches(row, o))
            .cloned()
            .into_iter()
            .collect();
    }
    let first = match (after, &filter.namespace) {
        (Some(key), _) => Bound::Excluded(key.clone()),
        (None, Some(ns)) if row.namespaced => Bound::Included((ns.clone(), String::new())),
        _ => Bound::Unbounded,
    };
    objects
        .range((first, Bound::Unbounded))
        .take_while(|((ns, _), _)| {
            !row.namespaced || filter.namespace.as_ref().is_none_or(|wanted| wanted == ns)
        })
        .filter(|(_, object)| filter.matches(row, object))
        .map(|(_, object)| object.clone())
        .collect()
}
