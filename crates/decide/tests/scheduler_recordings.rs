//! Runs the recorded scenarios of the real scheduler through `decide::fit`.
//!
//! A scenario passes when the same node is among the best (all recorded nodes,
//! where the draw between equals was recorded) or the same sentence results.

use std::collections::BTreeSet;

use decide::fit::{PodInfo, Snapshot, Verdict, schedule};
use serde_json::Value;

/// Never goes down; 53 are recorded.
const AT_LEAST: usize = 53;

#[test]
fn recorded_scenarios_come_out_the_same() {
    let recorded = include_str!("golden/scheduler.jsonl");
    let (mut passed, mut total) = (0, 0);
    for line in recorded.lines() {
        let scenario: Value = serde_json::from_str(line).unwrap();
        total += 1;
        match replay(&scenario) {
            Ok(()) => passed += 1,
            Err(why) => println!("{}: {why}", scenario["name"]),
        }
    }
    println!("scheduler scenarios {passed}/{total}");
    assert!(
        passed >= AT_LEAST,
        "{passed}/{total} scenarios, at least {AT_LEAST} expected"
    );
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
