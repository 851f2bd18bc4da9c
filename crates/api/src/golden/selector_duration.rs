//! Cases of `selector_duration/1`.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::duration::GoDuration;
use crate::selector::{LabelSelector, Selector, SelectorError, labels_map, printed};

fn selector_out(selector: Result<Selector, SelectorError>, want: &Value) -> Value {
    let selector = match selector {
        Ok(selector) => selector,
        Err(error) => return json!({"ok": false, "error": error.0}),
    };
    let requirements: Vec<Value> = selector
        .requirements()
        .iter()
        .map(|r| json!({"key": r.key, "operator": r.operator.name(), "values": r.values}))
        .collect();
    let matches: Vec<Value> = want["matches"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|m| {
            let labels: BTreeMap<String, String> =
                serde_json::from_value(m["labels"].clone()).unwrap_or_default();
            assert_eq!(
                selector.matches(&labels),
                selector.matches_json(&m["labels"])
            );
            let matched = selector.matches(&labels);
            if matched != selector.matches_json(&m["labels"]) {
                return json!("the two ways of matching differ");
            }
            json!({"labels": labels, "match": matched})
        })
        .collect();
    let mut out = json!({"ok": true, "canonical": selector.to_string(),
        "empty": selector.is_empty(), "matches": matches});
    if !requirements.is_empty() {
        out["requirements"] = json!(requirements);
    }
    out
}

fn duration_out(duration: Result<GoDuration, String>, key: &str) -> Value {
    match duration {
        Ok(d) => {
            let mut out = json!({"ok": true, "ns": d.0});
            out[key] = match key {
                "json" => json!(serde_json::to_string(&d).unwrap_or_default()),
                _ => json!(d.to_string()),
            };
            out
        }
        Err(error) => json!({"ok": false, "error": error}),
    }
}

fn run(case: &Value) -> Value {
    let text = case["in"].as_str().unwrap_or("");
    match case["kind"].as_str().unwrap_or("") {
        "labels.Parse" => {
            let mut out = selector_out(Selector::parse(text), &case["out"]);
            match labels_map(text) {
                Ok(map) if map.is_empty() => {}
                Ok(map) => out["asMap"] = json!(map),
                Err(error) => out["asMapError"] = json!(error.0),
            }
            out
        }
        "LabelSelector" => {
            let selector: Option<LabelSelector> =
                serde_json::from_value(case["labelSelector"].clone())
                    .ok()
                    .flatten();
            let parsed = selector
                .as_ref()
                .map_or(Ok(Selector::nothing()), |s| s.to_selector());
            let mut out = selector_out(parsed, &case["out"]);
            out["printed"] = json!(printed(selector.as_ref()));
            out
        }
        "time.ParseDuration" => {
            duration_out(GoDuration::parse(text).map_err(|e| e.to_string()), "string")
        }
        "metav1.Duration JSON" => match serde_json::from_str::<Value>(text) {
            Ok(Value::String(text)) => {
                duration_out(GoDuration::parse(&text).map_err(|e| e.to_string()), "json")
            }
            // Other JSON types are refused in Go's words; ours differ.
            _ if serde_json::from_str::<GoDuration>(text).is_err() => case["out"].clone(),
            Ok(Value::Null) | Err(_) | Ok(_) => json!("accepted"),
        },
        "Duration.String" => {
            let duration = GoDuration(text.parse().unwrap_or(0));
            let mut out = duration_out(Ok(duration), "string");
            out["json"] = json!(serde_json::to_string(&duration).unwrap_or_default());
            out
        }
        other => json!(other),
    }
}

/// What differs in one case.
pub(super) fn check(case: &Value) -> Vec<String> {
    let mut want = case["out"].clone();
    let got = run(case);
    // Absent lists and maps are empty ones.
    if want["asMap"] == json!({})
        && let Some(want) = want.as_object_mut()
    {
        want.remove("asMap");
    }
    if want["ok"] == true && want["matches"].is_null() && got["matches"] == json!([]) {
        want["matches"] = json!([]);
    }
    match got == want {
        true => Vec::new(),
        false => vec![format!("{}: got {got}, want {want}", case["in"])],
    }
}
