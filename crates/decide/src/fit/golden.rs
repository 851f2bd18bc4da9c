//! Judges fit and the scheduler's sentences by recorded scenarios of the real
//! scheduler: one JSON scenario a line.
//!
//! A scenario passes when the same node is among the best (all recorded nodes,
//! where the draw between equals was recorded) or the same sentence results.

use std::collections::BTreeSet;

use api::golden::Report;
use serde_json::Value;

use super::{PodInfo, Snapshot, Verdict, schedule};

/// Runs every scenario of a file.
pub fn run(text: &str) -> Report {
    api::golden::run(text, |scenario, _| {
        replay(scenario).err().into_iter().collect()
    })
}

fn replay(scenario: &Value) -> Result<(), String> {
    let list = |field: &str| scenario[field].as_array().cloned().unwrap_or_default();
    let (nodes, existing) = (list("nodes"), list("existing"));
    let cluster = Snapshot::new(&nodes, &existing);
    let pod = PodInfo::parse(&scenario["pod"]);
    let result = &scenario["result"];
    let recorded: BTreeSet<&str> = result["chosenNodes"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    match schedule(&pod, &cluster) {
        Verdict::Fits(ours) => {
            let ours: BTreeSet<&str> = ours.iter().map(|n| &**n).collect();
            if !recorded.is_empty() && recorded.is_subset(&ours) {
                return Ok(());
            }
            Err(format!("recorded {recorded:?}, ours {ours:?}"))
        }
        Verdict::Waits(refusal) => {
            let sentence = result["condition"]["message"].as_str().unwrap_or("");
            if refusal.sentence == sentence {
                return Ok(());
            }
            Err(format!(
                "recorded {sentence:?}, {recorded:?}, ours {:?}",
                refusal.sentence
            ))
        }
    }
}
