//! A deployment's replica sets: which is the new one, its name, revision and annotations.

use serde_json::{Map, Value, json};

use super::super::object::{annotation, int, name, set_annotation, text};
use crate::value::{at, map_mut};

pub(crate) const HASH_LABEL: &str = "pod-template-hash";
pub(crate) const REVISION: &str = "deployment.kubernetes.io/revision";
pub(crate) const HISTORY: &str = "deployment.kubernetes.io/revision-history";
pub(crate) const DESIRED: &str = "deployment.kubernetes.io/desired-replicas";
pub(crate) const MAX: &str = "deployment.kubernetes.io/max-replicas";

/// Annotations that stay with the deployment.
const NOT_COPIED: [&str; 6] = [
    "kubectl.kubernetes.io/last-applied-configuration",
    REVISION,
    HISTORY,
    DESIRED,
    MAX,
    "deprecated.deployment.rollback.to",
];

/// Longest revision history kept in an annotation, in bytes.
const HISTORY_BYTES: usize = 2000;

/// A text that is equal for two templates exactly if they mean the same: keys sorted, and what
/// is empty left out like what is absent.
pub(crate) fn canonical(template: &Value) -> String {
    let mut out = String::new();
    dump(template, &mut Vec::new(), &mut out);
    out
}

fn empty(v: &Value) -> bool {
    match v {
        Value::Null => true,
        Value::Array(a) => a.is_empty(),
        Value::Object(o) => o.is_empty(),
        _ => false,
    }
}

fn dump<'a>(v: &'a Value, path: &mut Vec<&'a str>, out: &mut String) {
    match v {
        Value::Object(fields) => {
            let mut keys: Vec<&str> = fields.keys().map(String::as_str).collect();
            keys.sort_unstable();
            out.push('{');
            for key in keys {
                if empty(&fields[key]) || (path == &["metadata", "labels"] && key == HASH_LABEL) {
                    continue;
                }
                out.push_str(key);
                out.push(':');
                path.push(key);
                dump(&fields[key], path, out);
                path.pop();
                out.push(',');
            }
            out.push('}');
        }
        Value::Array(items) => {
            out.push('[');
            for item in items {
                dump(item, path, out);
                out.push(',');
            }
            out.push(']');
        }
        other => out.push_str(&other.to_string()),
    }
}

/// The suffix of a replica set's name: a 32-bit hash in the letters Kubernetes uses.
pub(crate) fn hash(template: &str, collisions: i64) -> String {
    const LETTERS: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";
    let mut h: u32 = 0x811c_9dc5;
    let salt = if collisions > 0 {
        collisions.to_le_bytes().to_vec()
    } else {
        Vec::new()
    };
    for byte in template.bytes().chain(salt) {
        h = (h ^ u32::from(byte)).wrapping_mul(0x0100_0193);
    }
    h.to_string()
        .bytes()
        .map(|d| char::from(LETTERS[usize::from(d) % 27]))
        .collect()
}

/// The revision a replica set or deployment carries, 0 if none.
pub(crate) fn revision(v: &Value) -> i64 {
    annotation(v, REVISION)
        .and_then(|r| r.parse().ok())
        .unwrap_or(0)
}

/// The deployment's annotations that its replica sets share.
fn shared(d: &Value) -> Map<String, Value> {
    let mut out = at(d, &["metadata", "annotations"])
        .and_then(Value::as_object)
        .cloned()
        .unwrap_or_default();
    out.retain(|key, _| !NOT_COPIED.contains(&key.as_str()));
    out
}

/// Whether [`annotate`] would change anything on an existing set.
pub(crate) fn needs_annotating(rs: &Value, d: &Value, new_revision: i64) -> bool {
    revision(rs) < new_revision
        || shared(d)
            .iter()
            .any(|(k, v)| annotation(rs, k) != v.as_str())
}

/// Gives the new set the deployment's annotations and, if it is behind, the next revision.
pub(crate) fn annotate(rs: &mut Value, d: &Value, new_revision: i64) {
    map_mut(rs, &["metadata", "annotations"]).extend(shared(d));
    let old = revision(rs);
    if old >= new_revision {
        return;
    }
    if annotation(rs, REVISION).is_some() {
        let mut history = annotation(rs, HISTORY).unwrap_or("").to_owned();
        if history.is_empty() {
            history = old.to_string();
        } else {
            history = format!("{history},{old}");
        }
        while history.len() > HISTORY_BYTES {
            let Some((_, rest)) = history.split_once(',') else {
                break;
            };
            history = rest.to_owned();
        }
        set_annotation(rs, HISTORY, &history);
    }
    set_annotation(rs, REVISION, &new_revision.to_string());
}

/// Notes on a set what the deployment wanted when it was sized.
pub(crate) fn note_size(rs: &mut Value, desired: i64, max: i64) {
    set_annotation(rs, DESIRED, &desired.to_string());
    set_annotation(rs, MAX, &max.to_string());
}

/// Whether those notes are out of date.
pub(crate) fn size_note_differs(rs: &Value, desired: i64, max: i64) -> bool {
    annotation(rs, DESIRED) != Some(desired.to_string().as_str())
        || annotation(rs, MAX) != Some(max.to_string().as_str())
}

/// A new replica set for the deployment's template.
pub(crate) fn build(d: &Value, hash: &str, replicas: i64, owner: Value) -> Value {
    let mut template = d["spec"]["template"].clone();
    map_mut(&mut template, &["metadata", "labels"]).insert(HASH_LABEL.into(), json!(hash));
    let mut selector = d["spec"]["selector"].clone();
    map_mut(&mut selector, &["matchLabels"]).insert(HASH_LABEL.into(), json!(hash));
    let mut spec = json!({"replicas": replicas, "selector": selector, "template": template});
    let min_ready = int(d, &["spec", "minReadySeconds"]);
    if min_ready > 0 {
        spec["minReadySeconds"] = json!(min_ready);
    }
    json!({
        "apiVersion": "apps/v1",
        "kind": "ReplicaSet",
        "metadata": {
            "name": format!("{}-{hash}", name(d)),
            "namespace": text(d, &["metadata", "namespace"]),
            "labels": spec["template"]["metadata"]["labels"],
            "annotations": {},
            "ownerReferences": [owner],
        },
        "spec": spec,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_are_equal_whatever_is_empty_and_whatever_the_hash_label() {
        let a = json!({"metadata": {"labels": {"app": "w"}, "creationTimestamp": null},
                       "spec": {"containers": [{"name": "c", "resources": {}}]}});
        let b = json!({"metadata": {"labels": {"app": "w", "pod-template-hash": "x"}},
                       "spec": {"containers": [{"name": "c"}]}});
        assert_eq!(canonical(&a), canonical(&b));
        let c = json!({"metadata": {"labels": {"app": "w"}},
                       "spec": {"containers": [{"name": "d"}]}});
        assert_ne!(canonical(&a), canonical(&c));
    }

    #[test]
    fn names_use_the_letters_kubernetes_uses_and_collisions_change_them() {
        let h = hash("x", 0);
        assert!(
            h.chars().all(|c| "456789bcdf".contains(c)) && h.len() <= 10,
            "{h}"
        );
        assert_eq!(h, hash("x", 0));
        assert_ne!(h, hash("x", 1));
    }

    #[test]
    fn a_reused_set_remembers_its_older_revisions() {
        let d = json!({"metadata": {"annotations": {"a": "b", REVISION: "2"}}});
        let mut rs = json!({"metadata": {"annotations": {REVISION: "1"}}});
        assert!(needs_annotating(&rs, &d, 3));
        annotate(&mut rs, &d, 3);
        assert_eq!(annotation(&rs, REVISION), Some("3"));
        assert_eq!(annotation(&rs, HISTORY), Some("1"));
        assert_eq!(annotation(&rs, "a"), Some("b"));
        assert!(!needs_annotating(&rs, &d, 3));
    }
}
