//! Events.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{Printer, since};
use crate::value::{at, integer, name, text};

pub(super) const EVENTS: Printer = (
    &[
        ("Last Seen", "string", 0),
        ("Type", "string", 0),
        ("Reason", "string", 0),
        ("Object", "string", 0),
        ("Subobject", "string", 1),
        ("Source", "string", 1),
        ("Message", "string", 0),
        ("First Seen", "string", 1),
        ("Count", "string", 1),
        ("Name", "string", 1),
    ],
    cells,
);

fn cells(event: &Value, now: Timestamp) -> Vec<Value> {
    let first = match text(event, &["firstTimestamp"]) {
        "" => since(text(event, &["eventTime"]), now),
        time => since(time, now),
    };
    let mut last = match text(event, &["lastTimestamp"]) {
        "" => first.clone(),
        time => since(time, now),
    };
    let mut count = integer(event, &["count"]).unwrap_or(0);
    if let Some(series) = at(event, &["series"]) {
        last = since(text(series, &["lastObservedTime"]), now);
        count = integer(series, &["count"]).unwrap_or(0);
    } else if count == 0 {
        count = 1;
    }
    let kind = text(event, &["involvedObject", "kind"]).to_lowercase();
    let object = match text(event, &["involvedObject", "name"]) {
        "" => kind,
        name => format!("{kind}/{name}"),
    };
    let or = |path: &[&str], other: &str| match text(event, path) {
        "" => text(event, &[other]).to_owned(),
        found => found.to_owned(),
    };
    let component = or(&["source", "component"], "reportingComponent");
    let host = or(&["source", "host"], "reportingInstance");
    let source = if host.is_empty() {
        component
    } else {
        format!("{component}, {host}")
    };
    vec![
        json!(last),
        json!(text(event, &["type"])),
        json!(text(event, &["reason"])),
        json!(object),
        json!(text(event, &["involvedObject", "fieldPath"])),
        json!(source),
        json!(text(event, &["message"]).trim()),
        json!(first),
        json!(count),
        json!(name(event)),
    ]
}
