//! Schedules and the cron trigger against recordings of KEDA's.

use std::collections::BTreeMap;

use decide::cron::{self, Schedule};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::Value;

use crate::Input;
use crate::cron::Config;

/// Morocco's rules as they were when the recordings were made (tzdata 2025b);
/// it has decided otherwise since, and the program follows the newer rules.
const CASABLANCA: &[u8] = include_bytes!("casablanca-2025b.tzif");

pub(super) fn check(case: &Value) -> Result<(), String> {
    let out = &case["out"];
    let given = |key: &str| case[key].as_str().unwrap_or_default();
    match given("kind") {
        "parse" => {
            let have = match Schedule::parse(given("expression")) {
                Ok(_) => "valid".to_owned(),
                Err(error) => error.to_string(),
            };
            same(&have, out["value"].as_str().or(out["error"].as_str()))
        }
        "next" => next(case),
        "scaler" => scaler(case),
        other => Err(format!("unknown kind {other:?}")),
    }
}

fn same(have: &str, want: Option<&str>) -> Result<(), String> {
    match want {
        // Go crashed: any error is right.
        Some(want) if want.starts_with("PANIC") && have != "valid" => Ok(()),
        Some(want) if want == have => Ok(()),
        want => Err(format!("want {want:?}, have {have:?}")),
    }
}

fn zone(name: &str) -> Result<TimeZone, String> {
    if name == "Africa/Casablanca" {
        return TimeZone::tzif(name, CASABLANCA).map_err(|error| error.to_string());
    }
    cron::zone(name).map_err(|error| error.to_string())
}

fn time(case: &Value) -> Result<Timestamp, String> {
    let text = case["at"].as_str().unwrap_or_default();
    text.parse().map_err(|error| format!("{text}: {error}"))
}

/// RFC 3339 in a zone, as Go prints it.
fn show(at: Option<Timestamp>, zone: &TimeZone) -> String {
    let Some(at) = at else {
        return "none".to_owned();
    };
    let offset = zone.to_offset(at);
    if offset.is_zero() {
        return at.to_string();
    }
    let minutes = offset.seconds().abs() / 60;
    let sign = if offset.is_negative() { '-' } else { '+' };
    let local = offset.to_datetime(at);
    format!("{local}{sign}{:02}:{:02}", minutes / 60, minutes % 60)
}

fn next(case: &Value) -> Result<(), String> {
    let out = &case["out"];
    let wanted = out["next"].as_array().cloned().unwrap_or_default();
    let mut have = Vec::new();
    let mut run = || -> Result<(), String> {
        let zone = zone(case["timezone"].as_str().unwrap_or_default())?;
        let text = case["expression"].as_str().unwrap_or_default();
        let schedule = Schedule::parse(text).map_err(|error| error.to_string())?;
        let mut at = time(case)?;
        while have.len() < wanted.len().max(1) {
            match schedule
                .next(at, &zone)
                .map_err(|error| error.to_string())?
            {
                Some(next) => at = next,
                None => break,
            }
            have.push(Value::from(show(Some(at), &zone)));
        }
        Ok(())
    };
    match run() {
        // The Go code never came back: an error is right.
        Err(_) if out["hang"] == true => Ok(()),
        Err(error) => same(&error, out["error"].as_str()),
        Ok(()) if have == wanted || (wanted.is_empty() && have.is_empty()) => Ok(()),
        Ok(()) => Err(format!("want {wanted:?}, have {have:?}")),
    }
}

fn scaler(case: &Value) -> Result<(), String> {
    let out = &case["out"];
    let keys = ["start", "end", "timezone", "desiredReplicas"];
    let metadata: BTreeMap<String, String> = keys
        .into_iter()
        .filter_map(|key| Some((key.to_owned(), case[key].as_str()?.to_owned())))
        .collect();
    let input = Input {
        metadata,
        metric_type: case["metricType"].as_str().map(str::to_owned),
        ..Input::default()
    };
    let config = match Config::parse(&input) {
        Ok(config) => config,
        Err(error) => return same(&error.to_string(), out["buildError"].as_str()),
    };
    if out["buildError"].is_string() {
        return Err(format!("want the error {}", out["buildError"]));
    }
    let run = || {
        let now = time(case)?;
        let text = |error: &dyn std::fmt::Display| error.to_string();
        let zone = match zone(&config.timezone) {
            Ok(zone) => zone,
            Err(_) => return config.edges(now).map(|_| Value::Null).map_err(|e| text(&e)),
        };
        let edges = config.window.at(now, &zone).map_err(|e| text(&e))?;
        let replicas = if edges.open {
            config.desired_replicas
        } else {
            0
        };
        Ok(serde_json::json!({
            "metricName": config.spec.metric_name,
            "nextStart": show(edges.start, &zone),
            "nextEnd": show(edges.end, &zone),
            "active": edges.open,
            "value": replicas.to_string(),
        }))
    };
    match run() {
        Err(_) if out["hang"] == true => Ok(()),
        Err(error) if out["metricName"] == config.spec.metric_name.as_str() => {
            same(&error, out["error"].as_str())
        }
        Err(error) => Err(error),
        Ok(have) => {
            for (key, want) in out.as_object().into_iter().flatten() {
                if key != "value" && have[key] != *want {
                    return Err(format!("{key}: want {want}, have {}", have[key]));
                }
            }
            let want = out["value"].as_str().and_then(|text| text.parse().ok());
            let have: Option<api::quantity::Quantity> =
                have["value"].as_str().and_then(|text| text.parse().ok());
            if have == want {
                Ok(())
            } else {
                Err(format!("value: want {want:?}, have {have:?}"))
            }
        }
    }
}
