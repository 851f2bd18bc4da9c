//! Managed fields and server-side apply: who owns which fields, who may change them.

use super::Schema;
use super::fieldset::{FieldSet, display};
use super::walk::{self, View};
use serde_json::{Value, json};

/// More update managers than this are folded into one.
const MAX_UPDATE_MANAGERS: usize = 10;
const ANCIENT: &str = "ancient-changes";

/// Fields that the server owns and nobody else can.
const UNOWNED: &[&[&str]] = &[
    &["f:apiVersion"],
    &["f:kind"],
    &["f:metadata", "f:name"],
    &["f:metadata", "f:namespace"],
    &["f:metadata", "f:uid"],
    &["f:metadata", "f:selfLink"],
    &["f:metadata", "f:generation"],
    &["f:metadata", "f:managedFields"],
    &["f:metadata", "f:resourceVersion"],
    &["f:metadata", "f:creationTimestamp"],
];

/// One field that another manager owns with another value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflict {
    /// How the message names the manager, such as `"kubectl" using apps/v1`.
    pub manager: String,
    /// The field's path, such as `.spec.replicas`.
    pub field: String,
}

/// Why an apply is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ApplyError {
    /// Other managers own fields: 409 Conflict.
    #[error("{}", conflict_text(.0))]
    Conflicts(Vec<Conflict>),
    /// The request is wrong: 400 BadRequest.
    #[error("{0}")]
    BadRequest(String),
}

fn conflict_text(conflicts: &[Conflict]) -> String {
    if let [one] = conflicts {
        return format!(
            "Apply failed with 1 conflict: conflict with {}: {}",
            one.manager, one.field
        );
    }
    let mut text = format!("Apply failed with {} conflicts:", conflicts.len());
    let mut last = "";
    for conflict in conflicts {
        if conflict.manager != last {
            text.push_str(if last.is_empty() { " " } else { "\n" });
            text.push_str(&format!("conflicts with {}:", conflict.manager));
            last = &conflict.manager;
        }
        text.push_str(&format!("\n- {}", conflict.field));
    }
    text
}

#[derive(Clone, Debug, PartialEq)]
struct Entry {
    manager: String,
    apply: bool,
    api_version: String,
    subresource: String,
    time: String,
    set: FieldSet,
}

impl Entry {
    fn is(&self, manager: &str, apply: bool, api_version: &str, subresource: &str) -> bool {
        self.manager == manager
            && self.apply == apply
            && self.api_version == api_version
            && self.subresource == subresource
    }

    /// How a conflict message names this manager.
    fn label(&self) -> String {
        let mut text = super::validate::quote(&self.manager);
        if !self.subresource.is_empty() {
            text.push_str(&format!(
                " with subresource {}",
                super::validate::quote(&self.subresource)
            ));
        }
        if !self.apply {
            text.push_str(&format!(" using {}", self.api_version));
        }
        text
    }
}

fn read(managed: &Value) -> Vec<Entry> {
    let text = |v: &Value| v.as_str().unwrap_or_default().to_owned();
    let entries = managed.as_array().into_iter().flatten();
    entries
        .filter(|e| e["fieldsV1"].is_object())
        .map(|e| Entry {
            manager: text(&e["manager"]),
            apply: e["operation"] == "Apply",
            api_version: text(&e["apiVersion"]),
            subresource: text(&e["subresource"]),
            time: text(&e["time"]),
            set: FieldSet::read(&e["fieldsV1"]),
        })
        .collect()
}

/// Writes the entries in the server's order; objects that nobody owns get none.
fn write(mut entries: Vec<Entry>, object: &mut Value) {
    entries.retain(|e| !e.set.is_empty());
    entries.sort_by(|a, b| {
        let key = |e: &Entry| {
            (
                !e.apply,
                e.time.clone(),
                e.manager.clone(),
                e.api_version.clone(),
                e.subresource.clone(),
            )
        };
        key(a).cmp(&key(b))
    });
    while entries.iter().filter(|e| !e.apply).count() > MAX_UPDATE_MANAGERS {
        fold_oldest(&mut entries);
    }
    let list: Vec<Value> = entries
        .iter()
        .map(|e| {
            let mut v = json!({
                "manager": e.manager,
                "operation": if e.apply { "Apply" } else { "Update" },
                "apiVersion": e.api_version,
                "fieldsType": "FieldsV1",
                "fieldsV1": e.set.write(),
            });
            if !e.time.is_empty() {
                v["time"] = e.time.as_str().into();
            }
            if !e.subresource.is_empty() {
                v["subresource"] = e.subresource.as_str().into();
            }
            v
        })
        .collect();
    let Some(metadata) = object.as_object_mut().and_then(|o| {
        o.entry("metadata")
            .or_insert_with(|| json!({}))
            .as_object_mut()
    }) else {
        return;
    };
    if list.is_empty() {
        metadata.remove("managedFields");
    } else {
        metadata.insert("managedFields".into(), list.into());
    }
}

fn fold_oldest(entries: &mut Vec<Entry>) {
    let position = |from: usize, entries: &[Entry]| {
        entries
            .iter()
            .skip(from)
            .position(|e| !e.apply)
            .map(|i| i + from)
    };
    let Some(first) = position(0, entries) else {
        return;
    };
    let Some(second) = position(first + 1, entries) else {
        return;
    };
    let newer = entries.remove(second);
    let oldest = &mut entries[first];
    oldest.set.union(&newer.set);
    oldest.manager = ANCIENT.into();
    oldest.time = newer.time;
    oldest.subresource = String::new();
}

fn strip(set: &mut FieldSet) {
    for path in UNOWNED {
        set.remove_tree(path);
    }
}

/// The object without what managed fields do not look at.
fn bare(object: &Value) -> Value {
    let mut o = object.clone();
    if let Some(m) = o.get_mut("metadata").and_then(Value::as_object_mut) {
        m.remove("managedFields");
    }
    o
}

/// Records who owns what after a write other than an apply. `new` should be the object as
/// it was sent and defaulted, before admission adds to it; `subresource` is empty for the
/// object itself; `time` is RFC 3339 in seconds.
pub fn update_managed_fields(
    schema: Schema<'_>,
    old: Option<&Value>,
    new: &mut Value,
    manager: &str,
    subresource: &str,
    time: &str,
) {
    let view = View::of(schema);
    let given = &new["metadata"]["managedFields"];
    let mut entries = match given.as_array() {
        Some(list) if list.is_empty() || list.iter().all(|e| e == &json!({})) => Vec::new(),
        Some(_) => read(given),
        None => old
            .map(|o| read(&o["metadata"]["managedFields"]))
            .unwrap_or_default(),
    };
    let zero = view.zero();
    let before = old.map_or(zero, bare);
    let mut difference = walk::compare(view, &before, &bare(new));
    for set in [
        &mut difference.removed,
        &mut difference.modified,
        &mut difference.added,
    ] {
        strip(set);
        // The main endpoint does not write the status, and the other way round.
        match subresource {
            "" if old.is_none() => set.remove_tree(&["f:status"]),
            "status" => set.remove_tree(&["f:spec"]),
            _ => {}
        }
    }
    let mut taken = difference.added;
    taken.union(&difference.modified);
    // Replicas that nobody has are nobody's after a scale either, and an entry
    // of a scale has no time: both are as the real server has them.
    let scale = subresource == "scale";
    let had = entries
        .iter()
        .any(|e| !e.set.intersection(&taken).is_empty());
    let time = if scale { "" } else { time };
    for entry in &mut entries {
        entry.set.subtract(&taken);
        entry.set.subtract(&difference.removed);
    }
    if !taken.is_empty() && (had || !scale) {
        let api_version = new["apiVersion"].as_str().unwrap_or_default().to_owned();
        match entries
            .iter_mut()
            .find(|e| e.is(manager, false, &api_version, subresource))
        {
            Some(entry) => {
                entry.set.union(&taken);
                entry.time = time.to_owned();
            }
            None => entries.push(Entry {
                manager: manager.to_owned(),
                apply: false,
                api_version,
                subresource: subresource.to_owned(),
                time: time.to_owned(),
                set: taken,
            }),
        }
    }
    write(entries, new);
}

/// The annotation in which client-side apply keeps what it applied.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// Server-side apply: the new object with its managed fields. `live` is absent on creation.
/// An apply that changes nothing returns the live object as it is.
///
/// The manager `kubectl` takes over without conflict what client-side apply left unchanged
/// since, and keeps that annotation in step.
pub fn server_side_apply(
    schema: Schema<'_>,
    live: Option<&Value>,
    applied: &Value,
    manager: &str,
    subresource: &str,
    force: bool,
    time: &str,
) -> Result<Value, ApplyError> {
    let once = |force: bool, live: Option<&Value>| {
        apply_once(schema, live, applied, manager, subresource, force, time)
    };
    let last = live.and_then(|l| l["metadata"]["annotations"][LAST_APPLIED].as_str());
    let (Some(live), Some(last), "kubectl") = (live, last, manager) else {
        return once(force, live);
    };
    let mut shown = live.clone();
    if let Ok(text) = serde_json::to_string(&bare(applied)) {
        shown["metadata"]["annotations"][LAST_APPLIED] = (text + "\n").into();
    }
    match once(force, Some(&shown)) {
        Err(ApplyError::Conflicts(conflicts)) => {
            let ours = left_unchanged(View::of(schema), last, live);
            let left: Vec<Conflict> = conflicts
                .into_iter()
                .filter(|c| !ours.contains(&c.field))
                .collect();
            if left.is_empty() {
                once(true, Some(&shown))
            } else {
                Err(ApplyError::Conflicts(left))
            }
        }
        other => other,
    }
}

/// The fields that client-side apply set and that still have the value it gave them.
fn left_unchanged(view: View<'_>, last: &str, live: &Value) -> Vec<String> {
    let Ok(last) = serde_json::from_str::<Value>(last) else {
        return Vec::new();
    };
    let mut set = walk::field_set(view, &last);
    let difference = walk::compare(view, &last, &bare(live));
    set.subtract(&difference.modified);
    set.subtract(&difference.added);
    set.subtract(&difference.removed);
    set.paths().iter().map(|p| display(p)).collect()
}

fn apply_once(
    schema: Schema<'_>,
    live: Option<&Value>,
    applied: &Value,
    manager: &str,
    subresource: &str,
    force: bool,
    time: &str,
) -> Result<Value, ApplyError> {
    if applied["metadata"]["managedFields"]
        .as_array()
        .is_some_and(|l| !l.is_empty())
    {
        return Err(ApplyError::BadRequest(
            "metadata.managedFields must be nil".into(),
        ));
    }
    let view = View::of(schema);
    let before = live.map(bare);
    let mut entries = live
        .map(|l| read(&l["metadata"]["managedFields"]))
        .unwrap_or_default();
    let old_entries = entries.clone();
    let applied = bare(applied);
    let api_version = applied["apiVersion"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    let mut set = walk::field_set(view, &applied);
    strip(&mut set);
    let mut merged = walk::merge(view, before.as_ref(), &applied);
    let mine = entries
        .iter()
        .position(|e| e.is(manager, true, &api_version, subresource));
    let last = mine.map(|i| entries.remove(i));
    if let Some(last) = &last {
        let gone = |path: &[String]| {
            last.set.has(path) && !set.touches(path) && !entries.iter().any(|e| e.set.touches(path))
        };
        walk::remove(view, &mut merged, &mut Vec::new(), &gone);
    }
    let zero = view.zero();
    let difference = walk::compare(view, before.as_ref().unwrap_or(&zero), &merged);
    let mut changed = difference.added.clone();
    changed.union(&difference.modified);
    let mut conflicts = Vec::new();
    for entry in &mut entries {
        let clash = entry.set.intersection(&changed);
        let label = entry.label();
        conflicts.extend(clash.paths().iter().map(|p| Conflict {
            manager: label.clone(),
            field: display(p),
        }));
        entry.set.subtract(&clash);
        entry.set.subtract(&difference.removed);
    }
    if !force && !conflicts.is_empty() {
        conflicts.sort_by(|a, b| (&a.manager, &a.field).cmp(&(&b.manager, &b.field)));
        return Err(ApplyError::Conflicts(conflicts));
    }
    let unchanged = difference.is_same() && last.as_ref().is_some_and(|l| l.set == set);
    if let (true, Some(live)) = (unchanged && entries.len() + 1 == old_entries.len(), live) {
        return Ok(live.clone());
    }
    // The time moves with values only; a mere claim has none.
    let time = match last {
        Some(last) if difference.is_same() => last.time,
        None if difference.is_same() => String::new(),
        _ => time.to_owned(),
    };
    let manager = manager.to_owned();
    let subresource = subresource.to_owned();
    entries.push(Entry {
        manager,
        apply: true,
        api_version,
        subresource,
        time,
        set,
    });
    write(entries, &mut merged);
    Ok(merged)
}
