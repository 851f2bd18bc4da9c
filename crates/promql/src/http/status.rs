//! Endpoints about the server: metadata, targets, build and runtime.

use super::params::Params;
use super::{Answer, VERSION, invalid};
use crate::store::{Store, Target};
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;
use std::time::Duration;

pub(super) fn metadata(store: &Store, p: &Params) -> Answer {
    let only = p.get("metric").filter(|m| !m.is_empty());
    let limit = p.limit("limit")?;
    let mut out = Map::new();
    for (name, m) in store.metadata() {
        if only.is_some_and(|o| o != name) || (limit > 0 && out.len() >= limit) {
            continue;
        }
        out.insert(
            name,
            json!([{"type": m.kind, "unit": m.unit, "help": m.help}]),
        );
    }
    Ok(Value::Object(out).into())
}

pub(super) fn targets(store: &Store, p: &Params) -> Answer {
    let state = p.get("state").unwrap_or("").to_ascii_lowercase();
    if !matches!(state.as_str(), "" | "any" | "active" | "dropped") {
        return Err(invalid(
            "state",
            "state must be one of active, dropped, any",
        ));
    }
    let pool = p.get("scrapePool").unwrap_or("");
    let active: Vec<Value> = if state == "dropped" {
        Vec::new()
    } else {
        let mut list = store.targets();
        list.retain(|t| pool.is_empty() || t.scrape_pool == pool);
        list.iter().map(target).collect()
    };
    Ok(json!({"activeTargets": active, "droppedTargets": [], "droppedTargetCounts": {}}).into())
}

fn target(t: &Target) -> Value {
    let last = t
        .last_scrape_ms
        .and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok())
        .map_or_else(|| "0001-01-01T00:00:00Z".to_owned(), |t| t.to_string());
    json!({
        "discoveredLabels": t.discovered_labels,
        "labels": t.labels,
        "scrapePool": t.scrape_pool,
        "scrapeUrl": t.scrape_url,
        "globalUrl": t.scrape_url,
        "lastError": t.last_error,
        "lastScrape": last,
        "lastScrapeDuration": t.last_scrape_duration,
        "health": match t.up { Some(true) => "up", Some(false) => "down", None => "unknown" },
        "scrapeInterval": duration(t.interval),
        "scrapeTimeout": duration(t.timeout),
    })
}

/// A duration as configuration files write it: `1m30s`.
fn duration(d: Duration) -> String {
    let mut ms = d.as_millis();
    if ms == 0 {
        return "0s".into();
    }
    let mut out = String::new();
    for (unit, size) in [
        ("d", 86_400_000),
        ("h", 3_600_000),
        ("m", 60_000),
        ("s", 1_000),
        ("ms", 1),
    ] {
        if ms >= size {
            out += &format!("{}{unit}", ms / size);
            ms %= size;
        }
    }
    out
}

pub(super) fn scrape_pools(store: &Store) -> Answer {
    let pools: BTreeSet<String> = store.targets().into_iter().map(|t| t.scrape_pool).collect();
    Ok(json!({"scrapePools": pools}).into())
}

pub(super) fn buildinfo() -> Answer {
    Ok(json!({
        "version": VERSION,
        "revision": concat!("rheostat-", env!("CARGO_PKG_VERSION")),
        "branch": "",
        "buildUser": "",
        "buildDate": "",
        "goVersion": "",
    })
    .into())
}

pub(super) fn runtimeinfo(store: &Store) -> Answer {
    let stats = store.stats();
    Ok(json!({
        "reloadConfigSuccess": true,
        "storageRetention": "15d",
        "timeSeriesCount": stats.series,
        "sampleCount": stats.samples,
        "sampleBytes": stats.sample_bytes,
    })
    .into())
}
