//! What people and programs get to read.

#![allow(clippy::unwrap_used)]

mod support;

use std::collections::BTreeSet;

use lint::{Assumptions, Text};
use support::{deployment, scaled, source};

fn example() -> (Vec<lint::Source>, lint::Report) {
    let query = "avg(DCGM_FI_DEV_GPU_UTIL{deployment=\"m\"})";
    let text = scaled(query, "80", "", "") + &deployment("x", 1, "", "");
    let sources = vec![source("dir with space/m.yaml", &text)];
    let report = lint::lint(&sources, &Assumptions::default()).unwrap();
    (sources, report)
}

#[test]
fn text_shows_the_line_with_a_caret_and_the_cure() {
    let (sources, report) = example();
    let plain = Text {
        colour: false,
        width: 200,
    };
    let text = lint::text(&report, &sources, plain);
    for part in [
        "error[label-not-exported]: `deployment=\"m\"` matches nothing",
        "--> dir with space/m.yaml:14:40",
        "      query: 'avg(DCGM_FI_DEV_GPU_UTIL{deployment=\"m\"})'",
        "^^^^^^^^^^^^^^",
        "help: Select by `exported_pod=~\"m-.*\"`",
        "patch: - op: add\n",
        " path: /spec/triggers/0/metadata/query\n",
        "assumed: the exporter is dcgm (--exporter dcgm|dcgm-4.9|rheostat)",
        "assumed: the scrape has honorLabels false (--honor-labels true|false)",
    ] {
        assert!(text.contains(part), "{part:?} not in\n{text}");
    }
    assert!(!text.contains('\u{1b}'));
    assert!(text.trim_end().ends_with("in 2 objects"), "{text}");
    let colour = Text {
        colour: true,
        ..plain
    };
    assert!(lint::text(&report, &sources, colour).contains('\u{1b}'));
}

#[test]
fn json_has_the_fields_that_scripts_read() {
    let (sources, report) = example();
    let json = lint::json(&report, &sources);
    let findings = json["findings"].as_array().unwrap();
    assert_eq!(findings.len(), report.findings.len());
    for finding in findings {
        for field in ["id", "severity", "file", "message", "fix", "object"] {
            assert!(!finding[field].as_str().unwrap().is_empty(), "{field}");
        }
        assert!(finding["line"].as_u64().unwrap() > 0 && finding["column"].as_u64().unwrap() > 0);
        assert!(finding["endLine"].as_u64() >= finding["line"].as_u64());
    }
    let ceiling = findings
        .iter()
        .find(|f| f["id"] == "bounded-metric-ceiling")
        .unwrap();
    let patch = api::yaml::parse(ceiling["patch"].as_str().unwrap()).unwrap();
    assert_eq!(patch[0]["path"], "/spec/triggers/0/metricType");
}

#[test]
fn sarif_refers_to_its_own_rules() {
    let (sources, report) = example();
    let sarif = lint::sarif(&report, &sources, "0.1.0");
    assert_eq!(sarif["version"], "2.1.0");
    let run = &sarif["runs"][0];
    let rules = run["tool"]["driver"]["rules"].as_array().unwrap();
    let ids: BTreeSet<&str> = rules.iter().map(|r| r["id"].as_str().unwrap()).collect();
    assert_eq!(ids.len(), rules.len());
    for result in run["results"].as_array().unwrap() {
        let index = result["ruleIndex"].as_u64().unwrap();
        assert_eq!(rules[index as usize]["id"], result["ruleId"]);
        assert!(["error", "warning", "note"].contains(&result["level"].as_str().unwrap()));
        let place = &result["locations"][0]["physicalLocation"];
        assert_eq!(
            place["artifactLocation"]["uri"],
            "dir%20with%20space/m.yaml"
        );
        let region = &place["region"];
        assert!(region["startLine"].as_u64().unwrap() >= 1);
        assert!(region["endColumn"].as_u64().unwrap() >= 1);
    }
}

/// The objects of SARIF 2.1.0 that are written here: required and further
/// properties, as the standard's schema names them. An object may have no other.
const SARIF: &[(&str, &[&str], &[&str])] = &[
    ("log", &["version", "runs"], &["$schema"]),
    ("run", &["tool"], &["columnKind", "results"]),
    ("tool", &["driver"], &[]),
    (
        "driver",
        &["name"],
        &["semanticVersion", "informationUri", "rules"],
    ),
    (
        "rule",
        &["id"],
        &[
            "shortDescription",
            "fullDescription",
            "help",
            "helpUri",
            "defaultConfiguration",
        ],
    ),
    ("text", &["text"], &[]),
    ("configuration", &[], &["level"]),
    (
        "result",
        &["message"],
        &["ruleId", "ruleIndex", "level", "locations"],
    ),
    ("location", &[], &["physicalLocation", "logicalLocations"]),
    ("physical", &["artifactLocation"], &["region"]),
    ("artifact", &[], &["uri"]),
    ("logical", &[], &["fullyQualifiedName"]),
    (
        "region",
        &["startLine"],
        &["startColumn", "endLine", "endColumn"],
    ),
];

/// An object of the log with its row's name.
fn shaped<'v>(value: &'v serde_json::Value, row: &str) -> &'v serde_json::Value {
    let (_, required, further) = SARIF.iter().find(|(name, ..)| *name == row).unwrap();
    let object = value.as_object().unwrap();
    for name in *required {
        assert!(object.contains_key(*name), "{row} lacks {name}");
    }
    for name in object.keys() {
        let known = required.contains(&name.as_str()) || further.contains(&name.as_str());
        assert!(known, "{row} has no {name}");
    }
    value
}

#[test]
fn sarif_has_the_structure_of_2_1_0() {
    let (sources, report) = example();
    let sarif = lint::sarif(&report, &sources, "0.1.0");
    assert_eq!(shaped(&sarif, "log")["version"], "2.1.0");
    let levels = ["error", "warning", "note", "none"];
    let list = |value: &serde_json::Value| value.as_array().unwrap().clone();
    for run in list(&sarif["runs"]) {
        assert_eq!(shaped(&run, "run")["columnKind"], "unicodeCodePoints");
        let driver = shaped(&shaped(&run["tool"], "tool")["driver"], "driver").clone();
        for rule in list(&driver["rules"]) {
            shaped(&rule, "rule");
            for text in ["shortDescription", "fullDescription", "help"] {
                assert!(shaped(&rule[text], "text")["text"].is_string());
            }
            let uri = rule["helpUri"].as_str().unwrap();
            let anchor = format!("/docs/lint.md#{}", rule["id"].as_str().unwrap());
            assert!(
                uri.starts_with("https://") && uri.ends_with(&anchor),
                "{uri}"
            );
            let level = &shaped(&rule["defaultConfiguration"], "configuration")["level"];
            assert!(levels.contains(&level.as_str().unwrap()));
        }
        let results = list(&run["results"]);
        assert_eq!(results.len(), report.findings.len());
        for result in results {
            shaped(&result, "result");
            assert!(shaped(&result["message"], "text")["text"].is_string());
            assert!(result["ruleIndex"].as_u64().is_some());
            for location in list(&result["locations"]) {
                shaped(&location, "location");
                let physical = shaped(&location["physicalLocation"], "physical");
                assert!(shaped(&physical["artifactLocation"], "artifact")["uri"].is_string());
                let region = shaped(&physical["region"], "region");
                let number = |name: &str| region[name].as_u64().unwrap();
                let start = (number("startLine"), number("startColumn"));
                let end = (number("endLine"), number("endColumn"));
                assert!(start >= (1, 1) && end >= start, "{region}");
                for logical in list(&location["logicalLocations"]) {
                    shaped(&logical, "logical");
                }
            }
        }
    }
}
