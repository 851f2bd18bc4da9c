//! The Prometheus HTTP API as a pure function: request in, status and JSON out.

mod params;
mod render;
mod status;

use crate::eval::{self, EvalOptions, QueryError, Span};
use crate::labels::{Labels, Matcher};
use crate::parser::parse_selector;
use crate::store::Store;
use jiff::Timestamp;
use params::Params;
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// The version the API announces: that of the semantics it follows.
pub const VERSION: &str = "3.14.0";

/// Most steps of a range query.
const MAX_POINTS: i64 = 11_000;

/// An error as the API reports it.
pub(crate) struct ApiError {
    status: u16,
    kind: &'static str,
    message: String,
}

type Answer = Result<Reply, ApiError>;

pub(crate) struct Reply {
    data: Value,
    warnings: Vec<String>,
    infos: Vec<String>,
}

impl From<Value> for Reply {
    fn from(data: Value) -> Self {
        Self {
            data,
            warnings: Vec::new(),
            infos: Vec::new(),
        }
    }
}

fn bad_data(message: impl Into<String>) -> ApiError {
    ApiError {
        status: 400,
        kind: "bad_data",
        message: message.into(),
    }
}

fn invalid(name: &str, what: impl std::fmt::Display) -> ApiError {
    bad_data(format!("invalid parameter {name:?}: {what}"))
}

impl From<QueryError> for ApiError {
    fn from(e: QueryError) -> Self {
        match e {
            QueryError::Parse(m) => invalid("query", m),
            QueryError::Execution(m) => Self {
                status: 422,
                kind: "execution",
                message: m,
            },
            e @ QueryError::Unsupported(_) => Self {
                status: 422,
                kind: "execution",
                message: e.to_string(),
            },
        }
    }
}

/// Answers one request. `query` is the raw query string, `body` a form for POST; `now` is the
/// time that requests without one mean.
pub fn handle(
    store: &Store,
    method: &str,
    path: &str,
    query: &str,
    body: &[u8],
    now: Timestamp,
) -> (u16, String) {
    let path = path.trim_end_matches('/');
    match path {
        "/-/healthy" => return (200, "Prometheus Server is Healthy.\n".into()),
        "/-/ready" => return (200, "Prometheus Server is Ready.\n".into()),
        _ => {}
    }
    let Some(endpoint) = path.strip_prefix("/api/v1/") else {
        return (404, "404 page not found\n".into());
    };
    if !matches!(method, "GET" | "HEAD" | "POST") {
        return (405, String::new());
    }
    let params = Params::read(query, if method == "POST" { body } else { b"" });
    let answer = route(store, method, endpoint, &params, now);
    match answer {
        None => (404, "404 page not found\n".into()),
        Some(Ok(reply)) => {
            let mut out = json!({"status": "success", "data": reply.data});
            for (name, list) in [("warnings", reply.warnings), ("infos", reply.infos)] {
                if !list.is_empty() {
                    out[name] = json!(shortened(name, list));
                }
            }
            (200, out.to_string())
        }
        Some(Err(e)) => {
            let out = json!({"status": "error", "errorType": e.kind, "error": e.message});
            (e.status, out.to_string())
        }
    }
}

fn shortened(name: &str, mut list: Vec<String>) -> Vec<String> {
    const SHOWN: usize = 10;
    if list.len() > SHOWN {
        let more = list.len() - SHOWN;
        list.truncate(SHOWN);
        let word = name.trim_end_matches('s');
        list.push(format!("{more} more {word} annotations omitted"));
    }
    list
}

fn route(
    store: &Store,
    method: &str,
    endpoint: &str,
    p: &Params,
    now: Timestamp,
) -> Option<Answer> {
    let get = method != "POST";
    let now_ms = now.as_millisecond();
    Some(match endpoint {
        "query" => instant(store, p, now_ms),
        "query_range" => range(store, p),
        "series" => series(store, p),
        "labels" => labels(store, p),
        "metadata" if get => status::metadata(store, p),
        "targets" if get => status::targets(store, p),
        "scrape_pools" if get => status::scrape_pools(store),
        "rules" if get => Ok(json!({"groups": []}).into()),
        "alerts" if get => Ok(json!({"alerts": []}).into()),
        "status/buildinfo" if get => status::buildinfo(),
        "status/runtimeinfo" if get => status::runtimeinfo(store),
        "status/flags" if get => Ok(json!({}).into()),
        "status/config" if get => Ok(json!({"yaml": ""}).into()),
        _ => {
            let name = endpoint.strip_prefix("label/")?.strip_suffix("/values")?;
            if !get || name.contains('/') {
                return None;
            }
            label_values(store, p, &params::decode(name.as_bytes(), false))
        }
    })
}

fn options(p: &Params) -> Result<EvalOptions, ApiError> {
    let mut o = EvalOptions::default();
    if let Some(d) = p.duration_ms("lookback_delta")? {
        o.lookback_ms = d;
    }
    // The cost limit bounds the time a query takes, so the timeout is only checked for sense.
    p.duration_ms("timeout")?;
    Ok(o)
}

/// Applies `limit` and moves the annotations over; `render` turns the value into data.
fn finish(
    mut result: eval::QueryResult,
    limit: usize,
    render: impl FnOnce(&eval::QueryValue) -> Value,
) -> Reply {
    let found = match &mut result.value {
        eval::QueryValue::Vector(v) => {
            let n = v.len();
            v.truncate(if limit > 0 { limit } else { n });
            n
        }
        eval::QueryValue::Matrix(m) => {
            let n = m.len();
            m.truncate(if limit > 0 { limit } else { n });
            n
        }
        _ => 0,
    };
    let mut warnings = result.warnings;
    if limit > 0 && found > limit {
        warnings.push("results truncated due to limit".into());
    }
    Reply {
        data: render(&result.value),
        warnings,
        infos: result.infos,
    }
}

fn instant(store: &Store, p: &Params, now: i64) -> Answer {
    let t = p.time("time")?.unwrap_or(now);
    let limit = p.limit("limit")?;
    let result = eval::instant(store, p.get("query").unwrap_or(""), t, &options(p)?)?;
    Ok(finish(result, limit, |v| render::instant(v, t)))
}

fn range(store: &Store, p: &Params) -> Answer {
    let start = p.require_time("start")?;
    let end = p.require_time("end")?;
    if end < start {
        return Err(invalid(
            "end",
            "end timestamp must not be before start time",
        ));
    }
    let step = p.duration_ms("step")?.unwrap_or(0);
    if step <= 0 {
        return Err(invalid(
            "step",
            "zero or negative query resolution step widths are not accepted. Try a positive integer",
        ));
    }
    if (end - start) / step > MAX_POINTS {
        return Err(bad_data(
            "exceeded maximum resolution of 11,000 points per timeseries. Try decreasing the query \
             resolution (?step=XX)",
        ));
    }
    let limit = p.limit("limit")?;
    let query = p.get("query").unwrap_or("");
    let result = eval::range(store, query, Span { start, end, step }, &options(p)?)?;
    Ok(finish(result, limit, |v| render::instant(v, end)))
}

fn matchers(p: &Params) -> Result<Vec<Vec<Matcher>>, ApiError> {
    let parse = |s: &str| parse_selector(s).map_err(|e| invalid("match[]", e.render(s)));
    p.all("match[]").map(parse).collect()
}

fn matching(store: &Store, p: &Params) -> Result<Vec<Labels>, ApiError> {
    let start = p.time("start")?.unwrap_or(i64::MIN);
    let end = p.time("end")?.unwrap_or(i64::MAX);
    Ok(store.series(&matchers(p)?, start, end))
}

fn limited<T>(mut list: Vec<T>, p: &Params) -> Result<(Vec<T>, Vec<String>), ApiError> {
    let limit = p.limit("limit")?;
    let mut warnings = Vec::new();
    if limit > 0 && list.len() > limit {
        list.truncate(limit);
        warnings.push("results truncated due to limit".into());
    }
    Ok((list, warnings))
}

fn series(store: &Store, p: &Params) -> Answer {
    if p.get("match[]").is_none() {
        return Err(bad_data("no match[] parameter provided"));
    }
    let (list, warnings) = limited(matching(store, p)?, p)?;
    let data = list.iter().map(render::labels).collect::<Vec<_>>();
    Ok(Reply {
        data: json!(data),
        warnings,
        infos: Vec::new(),
    })
}

fn labels(store: &Store, p: &Params) -> Answer {
    let found = matching(store, p)?;
    let names: BTreeSet<&str> = found
        .iter()
        .flat_map(|l| l.iter().map(|(n, _)| n))
        .collect();
    let (list, warnings) = limited(names.into_iter().collect(), p)?;
    Ok(Reply {
        data: json!(list),
        warnings,
        infos: Vec::new(),
    })
}

fn label_values(store: &Store, p: &Params, name: &str) -> Answer {
    let name = params::unescape_label(name);
    if name.is_empty() {
        return Err(bad_data(format!("invalid label name: {name:?}")));
    }
    let found = matching(store, p)?;
    let values: BTreeSet<&str> = found
        .iter()
        .map(|l| l.get(&name))
        .filter(|v| !v.is_empty())
        .collect();
    let (list, warnings) = limited(values.into_iter().collect(), p)?;
    Ok(Reply {
        data: json!(list),
        warnings,
        infos: Vec::new(),
    })
}

#[cfg(test)]
mod tests;
