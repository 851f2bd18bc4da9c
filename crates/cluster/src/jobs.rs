//! What the server gives a new Job: the selector and labels by which its pods
//! are known as its own.

use serde_json::{Value, json};

use crate::value;

const UID: [&str; 2] = ["controller-uid", "batch.kubernetes.io/controller-uid"];
const NAME: [&str; 2] = ["job-name", "batch.kubernetes.io/job-name"];

/// Fills in selector and labels, unless the user chose his own selector.
pub(crate) fn select_own_pods(job: &mut Value) {
    if job["spec"]["manualSelector"] != true {
        let (uid, name) = (value::uid(job).to_owned(), value::name(job).to_owned());
        let labels = value::map_mut(job, &["spec", "template", "metadata", "labels"]);
        for (keys, text) in [(NAME, &name), (UID, &uid)] {
            for key in keys {
                labels.entry(key).or_insert_with(|| json!(text));
            }
        }
        value::map_mut(job, &["spec", "selector", "matchLabels"])
            .entry(UID[1])
            .or_insert_with(|| json!(uid));
    }
    let bare = job["metadata"]["labels"]
        .as_object()
        .is_none_or(serde_json::Map::is_empty);
    if bare {
        let labels = job["spec"]["template"]["metadata"]["labels"].clone();
        value::set_meta(job, "labels", Some(labels).filter(Value::is_object));
    }
}
