//! Watches: a stream of changes from a version on.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Response, header};
use serde_json::{Value, json};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::filter::Filter;
use super::negotiate::{Form, form};
use super::read::{matching, partial, wait_for_version};
use super::{Call, Target};
use crate::resource::Endpoint;
use crate::status::{Cause, Status};
use crate::store::{ChangeKind, Event, to_bytes};
use crate::value::set_meta;
use crate::{Body, Cluster, printers, value, views};

/// How often a bookmark tells an idle watcher where it stands.
const BOOKMARK: Duration = Duration::from_secs(60);

/// Lets a caller end its watch, put into the request's extensions: for a front
/// door whose clients count another time than the control plane's clock does.
/// Such a watch has no time limit of its own.
#[derive(Clone, Debug, Default)]
pub struct WatchEnd(Arc<Notify>);

impl WatchEnd {
    /// Ends the watch, with a last bookmark where the client wants any.
    pub fn finish(&self) {
        self.0.notify_one();
    }
}

/// Starts a watch.
pub(crate) async fn start(call: &Call<'_>, target: &Target) -> Result<Response<Body>, Status> {
    let wanted = form(call.header("accept"))?;
    super::options::integer(call, "limit")?;
    let asked = super::options::integer(call, "timeoutSeconds")?;
    let filter = Filter::of(call, target)?;
    let initial = initial_events(call)?;
    wait_for_version(call).await?;
    let from = call.query.number("resourceVersion").unwrap_or(0);
    let seconds = match asked.and_then(|s| u64::try_from(s).ok()) {
        Some(s) if s > 0 => s.min(86_400 * 365),
        _ => 1800 + call.cluster.random(1800),
    };
    let now = Instant::now();
    let deadline = match call.end {
        Some(_) => None,
        None => Some(now + Duration::from_secs(seconds)),
    };
    let mut watcher = Watcher {
        wake: call.cluster.with_store(|s| {
            s.shelves
                .entry(target.endpoint.row.name.clone())
                .or_default()
                .wake
                .subscribe()
        }),
        cluster: call.cluster.clone(),
        endpoint: target.endpoint.clone(),
        filter,
        form: wanted,
        include: call.query.get("includeObject").unwrap_or("").to_owned(),
        headed: false,
        cursor: from,
        queue: VecDeque::new(),
        bookmarks: call.query.flag("allowWatchBookmarks"),
        next_bookmark: now + BOOKMARK,
        deadline,
        end: call.end.clone(),
        ended: false,
    };
    match (initial, from) {
        (Some(true), _) => {
            watcher.present();
            watcher.mark(true);
        }
        (Some(false), 0) => watcher.cursor = call.cluster.with_store(|s| s.version),
        (None, 0) => watcher.present(),
        _ => {}
    }
    let stream = futures::stream::unfold(watcher, |mut watcher| async move {
        watcher.next().await.map(|bytes| (bytes, watcher))
    });
    let mut response = Response::new(Body::stream(stream));
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        http::HeaderValue::from_static("application/json"),
    );
    headers.insert(
        header::CACHE_CONTROL,
        http::HeaderValue::from_static("no-cache, private"),
    );
    Ok(response)
}

/// Reads sendInitialEvents and checks what has to come with it.
fn initial_events(call: &Call<'_>) -> Result<Option<bool>, Status> {
    let invalid = |field: &str, message: &str| {
        let cause = Cause {
            reason: "FieldValueForbidden".to_owned(),
            message: message.to_owned(),
            field: field.to_owned(),
        };
        Status::invalid("ListOptions", "meta.k8s.io", "", vec![cause])
    };
    let matching = call.query.get("resourceVersionMatch").unwrap_or("");
    let Some(text) = call.query.get("sendInitialEvents") else {
        if !matching.is_empty() {
            return Err(invalid(
                "resourceVersionMatch",
                "Forbidden: resourceVersionMatch is forbidden for watch unless sendInitialEvents \
                 is provided",
            ));
        }
        return Ok(None);
    };
    if matching != "NotOlderThan" {
        return Err(invalid(
            "resourceVersionMatch",
            "Forbidden: sendInitialEvents requires setting resourceVersionMatch to NotOlderThan",
        ));
    }
    Ok(Some(!matches!(text, "false" | "0")))
}

/// Resolves when a watch's time is up.
async fn over(deadline: Option<Instant>, end: Option<&WatchEnd>) {
    match (deadline, end) {
        (Some(at), _) => tokio::time::sleep_until(at).await,
        (None, Some(end)) => end.0.notified().await,
        (None, None) => std::future::pending().await,
    }
}

struct Watcher {
    cluster: Cluster,
    endpoint: Endpoint,
    filter: Filter,
    form: Form,
    include: String,
    /// Whether the columns of a table were sent.
    headed: bool,
    /// Everything up to this version was looked at.
    cursor: u64,
    queue: VecDeque<Bytes>,
    wake: crate::wake::Receiver,
    bookmarks: bool,
    next_bookmark: Instant,
    deadline: Option<Instant>,
    end: Option<WatchEnd>,
    ended: bool,
}

impl Watcher {
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            if let Some(bytes) = self.queue.pop_front() {
                return Some(bytes);
            }
            if self.ended {
                return None;
            }
            self.wake.mark();
            self.read();
            // After a change of its definition a custom kind is watched anew.
            self.ended |=
                self.endpoint.row.custom.is_some() && !self.endpoint.is_current(&self.cluster);
            if !self.queue.is_empty() || self.ended {
                continue;
            }
            let (deadline, bookmark) = (self.deadline, self.next_bookmark);
            tokio::select! {
                biased;
                () = self.wake.changed() => {}
                () = over(deadline, self.end.as_ref()) => {
                    self.mark(false);
                    self.ended = true;
                }
                () = tokio::time::sleep_until(bookmark) => {
                    self.mark(false);
                }
            }
        }
    }

    /// Sends everything that is there now.
    fn present(&mut self) {
        let row = self.endpoint.row.clone();
        let (objects, version) = self.cluster.with_store(|store| {
            let objects = store
                .shelves
                .get(&*row.name)
                .map(|shelf| matching(&shelf.objects, &self.filter, &row, None))
                .unwrap_or_default();
            (objects, store.version)
        });
        for object in objects {
            self.send("ADDED", &object, None);
        }
        self.cursor = version;
    }

    /// Sends a bookmark, if the client wants any.
    fn mark(&mut self, initial: bool) {
        self.next_bookmark = Instant::now() + BOOKMARK;
        if !self.bookmarks {
            return;
        }
        // What was committed while this watcher slept comes first.
        if !initial {
            self.read();
        }
        let mut object = json!({
            "kind": self.endpoint.row.kind,
            "apiVersion": self.endpoint.api_version(),
            "metadata": {"resourceVersion": self.cursor.to_string()},
        });
        if initial {
            object["metadata"]["annotations"] = json!({"k8s.io/initial-events-end": "true"});
        }
        let object = match self.form {
            Form::Plain => object,
            Form::Partial(version) => partial(&object, version),
            Form::Table(version) => {
                let meta = json!({"resourceVersion": self.cursor.to_string()});
                let mut table =
                    printers::table(&self.cluster, &self.endpoint, &[], version, "", meta);
                // The row carries the bookmark's own metadata, as a one-row table does.
                table["rows"] = json!([{"cells": [], "object": partial(&object, version)}]);
                self.head(&mut table);
                table
            }
        };
        self.queue.push_back(line("BOOKMARK", &to_bytes(&object)));
    }

    /// Queues the changes since the cursor.
    fn read(&mut self) {
        let name = self.endpoint.row.name.clone();
        let cursor = self.cursor;
        let read = self.cluster.with_store(|store| {
            let version = store.version;
            let Some(shelf) = store.shelves.get(&name) else {
                return Ok((vec![], version));
            };
            if cursor < shelf.forgotten {
                return Err(shelf.forgotten);
            }
            let first = shelf.history.partition_point(|e| e.version <= cursor);
            let events: Vec<Arc<Event>> = shelf.history.range(first..).cloned().collect();
            Ok((events, version))
        });
        match read {
            Ok((events, version)) => {
                for event in events {
                    self.pass(&event);
                }
                self.cursor = version;
            }
            Err(oldest) => {
                let message = format!("too old resource version: {cursor} ({oldest})");
                let status = Status::expired(message).to_value();
                self.queue.push_back(line("ERROR", &to_bytes(&status)));
                self.ended = true;
            }
        }
    }

    /// Queues one change, as this watcher's selectors see it.
    fn pass(&mut self, event: &Event) {
        let row = self.endpoint.row.clone();
        let change = &event.change;
        let is = change.kind != ChangeKind::Deleted && self.filter.matches(&row, &change.object);
        let was = change
            .old
            .as_ref()
            .is_some_and(|old| self.filter.matches(&row, old));
        match (was, is) {
            (false, false) => {}
            (false, true) => self.send("ADDED", &change.object, Some(event)),
            (true, true) => self.send("MODIFIED", &change.object, Some(event)),
            (true, false) if change.kind == ChangeKind::Deleted => {
                self.send("DELETED", &change.object, Some(event));
            }
            (true, false) => {
                let Some(old) = &change.old else { return };
                let mut last = Value::clone(old);
                set_meta(
                    &mut last,
                    "resourceVersion",
                    Some(json!(event.version.to_string())),
                );
                self.send("DELETED", &Arc::new(last), None);
            }
        }
    }

    fn send(&mut self, kind: &str, object: &Arc<Value>, event: Option<&Event>) {
        let json = match self.form {
            Form::Plain => match event {
                Some(event)
                    if self.endpoint.is_stored_form()
                        && views::is_current(&self.endpoint.row, object) =>
                {
                    event.json()
                }
                _ => to_bytes(&views::served(&self.endpoint, object)),
            },
            Form::Partial(version) => to_bytes(&partial(object, version)),
            Form::Table(version) => {
                let meta = json!({"resourceVersion": value::resource_version(object)});
                let mut table = printers::table(
                    &self.cluster,
                    &self.endpoint,
                    std::slice::from_ref(object),
                    version,
                    &self.include,
                    meta,
                );
                self.head(&mut table);
                to_bytes(&table)
            }
        };
        self.queue.push_back(line(kind, &json));
    }

    /// Leaves the columns out of all tables but the first.
    fn head(&mut self, table: &mut Value) {
        if self.headed {
            table["columnDefinitions"] = Value::Null;
        }
        self.headed = true;
    }
}

/// One line of a watch.
fn line(kind: &str, object: &Bytes) -> Bytes {
    let mut out = Vec::with_capacity(object.len() + 40);
    out.extend_from_slice(b"{\"type\":\"");
    out.extend_from_slice(kind.as_bytes());
    out.extend_from_slice(b"\",\"object\":");
    out.extend_from_slice(object);
    out.extend_from_slice(b"}\n");
    Bytes::from(out)
}
