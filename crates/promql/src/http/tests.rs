//! Requests and answers as a client sees them.

use super::*;
use crate::store::{ScrapeCache, Target};

const T0: i64 = 1_767_225_600_000; // 2026-01-01T00:00:00Z

fn store() -> Store {
    let s = Store::default();
    let target = [("job".to_owned(), "dcgm".to_owned())];
    let mut cache = ScrapeCache::new();
    for i in 0..13 {
        let page = format!(
            "# HELP gpu Load of a GPU.\n# TYPE gpu gauge\ngpu{{pod=\"a\"}} {}\ngpu{{pod=\"b\"}} 0.5\n",
            i * 10
        );
        s.ingest(&page, &target, T0 + i * 5_000, &mut cache);
    }
    s
}

fn get(path: &str, query: &str) -> (u16, Value) {
    let now = Timestamp::from_millisecond(T0 + 60_000).unwrap();
    let (code, body) = handle(&store(), "GET", path, query, b"", now);
    (
        code,
        serde_json::from_str(&body).unwrap_or(Value::String(body)),
    )
}

#[test]
fn an_instant_query_answers_as_keda_reads_it() {
    let (code, v) = get("/api/v1/query", "query=avg(gpu)&time=2026-01-01T00:00:30Z");
    assert_eq!(code, 200);
    let want = json!({"status": "success", "data": {"resultType": "vector", "result": [
        {"metric": {}, "value": [1_767_225_630, "30.25"]}]}});
    assert_eq!(v, want);
}

#[test]
fn post_forms_and_plus_signs_are_read() {
    let now = Timestamp::from_millisecond(T0 + 60_000).unwrap();
    let body = b"query=sum%28gpu%29+%2B+1";
    let (code, out) = handle(&store(), "POST", "/api/v1/query", "", body, now);
    assert_eq!(code, 200, "{out}");
    assert!(out.contains("\"121.5\""), "{out}");
}

#[test]
fn a_range_query_has_every_step() {
    let q = "query=gpu{pod=\"a\"}&start=1767225600&end=1767225615.5&step=7.5s";
    let (_, bad) = get("/api/v1/query_range", q);
    assert_eq!(
        bad["error"],
        "invalid parameter \"step\": cannot parse \"7.5s\" to a valid duration"
    );
    let (code, v) = get("/api/v1/query_range", &q.replace("7.5s", "7.5"));
    assert_eq!(code, 200, "{v}");
    let values = &v["data"]["result"][0]["values"];
    assert_eq!(
        *values,
        json!([[1767225600, "0"], [1767225607.5, "10"], [1767225615, "30"]])
    );
}

#[test]
fn errors_have_type_text_and_status() {
    for (query, code, kind, text) in [
        (
            "query=sum(",
            400,
            "bad_data",
            "invalid parameter \"query\": 1:5: parse error: unexpected end of input",
        ),
        (
            "",
            400,
            "bad_data",
            "invalid parameter \"query\": 1:1: parse error: no expression found in input",
        ),
        (
            "query=up&time=x",
            400,
            "bad_data",
            "invalid parameter \"time\": cannot parse \"x\" to a valid timestamp",
        ),
        (
            "query=gpu*on()gpu",
            422,
            "execution",
            "found duplicate series for the match group {} on the right hand-side of the operation",
        ),
    ] {
        let (status, v) = get("/api/v1/query", query);
        assert_eq!((status, v["errorType"].as_str()), (code, Some(kind)), "{v}");
        assert!(v["error"].as_str().unwrap().starts_with(text), "{v}");
    }
    let (code, v) = get("/api/v1/query_range", "query=up&start=0&end=20000&step=1");
    assert_eq!(code, 400);
    assert!(
        v["error"]
            .as_str()
            .unwrap()
            .starts_with("exceeded maximum resolution of 11,000")
    );
    assert_eq!(get("/api/v1/nope", "").0, 404);
}

#[test]
fn series_labels_and_values_are_listed() {
    let (_, v) = get("/api/v1/series", "match[]=gpu");
    assert_eq!(
        v["data"][1],
        json!({"__name__": "gpu", "job": "dcgm", "pod": "b"})
    );
    assert_eq!(get("/api/v1/series", "").0, 400);
    assert_eq!(
        get("/api/v1/labels", "").1["data"],
        json!(["__name__", "job", "pod"])
    );
    let (_, v) = get("/api/v1/label/pod/values", "match%5B%5D=gpu");
    assert_eq!(v["data"], json!(["a", "b"]));
    let (_, v) = get("/api/v1/label/pod/values", "limit=1");
    assert_eq!(v["warnings"], json!(["results truncated due to limit"]));
    let (_, v) = get("/api/v1/metadata", "metric=gpu");
    assert_eq!(v["data"]["gpu"][0]["help"], "Load of a GPU.");
}

#[test]
fn targets_show_both_lists() {
    let s = store();
    s.set_targets(vec![Target {
        scrape_pool: "dcgm".into(),
        up: Some(true),
        ..Target::default()
    }]);
    let (_, body) = handle(&s, "GET", "/api/v1/targets", "", b"", Timestamp::UNIX_EPOCH);
    let v: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(v["data"]["activeTargets"][0]["health"], "up");
    assert_eq!(v["data"]["droppedTargets"], json!([]));
    assert_eq!(
        get("/api/v1/status/buildinfo", "").1["data"]["version"],
        VERSION
    );
}
