//! Kinds with a column or two of their own.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{Printer, age, or_none, pairs};
use crate::rest::scale::selector_text;
use crate::value::{at, condition, integer, list, name, strings, text};

fn count(value: Option<&Value>) -> usize {
    match value {
        Some(Value::Object(map)) => map.len(),
        Some(Value::Array(list)) => list.len(),
        _ => 0,
    }
}

pub(super) const LEASES: Printer = (
    &[
        ("Name", "string", 0),
        ("Holder", "string", 0),
        ("Age", "string", 0),
    ],
    |l, now| {
        vec![
            json!(name(l)),
            json!(text(l, &["spec", "holderIdentity"])),
            json!(age(l, now)),
        ]
    },
);

pub(super) const NAMESPACES: Printer = (
    &[
        ("Name", "string", 0),
        ("Status", "string", 0),
        ("Age", "string", 0),
    ],
    |n, now| {
        vec![
            json!(name(n)),
            json!(text(n, &["status", "phase"])),
            json!(age(n, now)),
        ]
    },
);

pub(super) const SERVICES: Printer = (
    &[
        ("Name", "string", 0),
        ("Type", "string", 0),
        ("Cluster-IP", "string", 0),
        ("External-IP", "string", 0),
        ("Port(s)", "string", 0),
        ("Age", "string", 0),
        ("Selector", "string", 1),
    ],
    |s, now| {
        let kind = text(s, &["spec", "type"]);
        let external = match kind {
            "ExternalName" => text(s, &["spec", "externalName"]).to_owned(),
            _ => {
                let mut all: Vec<&str> = list(s, &["status", "loadBalancer", "ingress"])
                    .iter()
                    .map(|i| match text(i, &["ip"]) {
                        "" => text(i, &["hostname"]),
                        ip => ip,
                    })
                    .collect();
                all.extend(strings(s, &["spec", "externalIPs"]));
                match (all.is_empty(), kind) {
                    (true, "LoadBalancer") => "<pending>".to_owned(),
                    (true, _) => "<none>".to_owned(),
                    _ => all.join(","),
                }
            }
        };
        let ports: Vec<String> = list(s, &["spec", "ports"])
            .iter()
            .map(|p| {
                let port = integer(p, &["port"]).unwrap_or(0);
                let protocol = text(p, &["protocol"]);
                match integer(p, &["nodePort"]).filter(|n| *n > 0) {
                    Some(node) => format!("{port}:{node}/{protocol}"),
                    None => format!("{port}/{protocol}"),
                }
            })
            .collect();
        vec![
            json!(name(s)),
            json!(kind),
            or_none(text(s, &["spec", "clusterIP"])),
            json!(external),
            or_none(&ports.join(",")),
            json!(age(s, now)),
            json!(pairs(&s["spec"]["selector"])),
        ]
    },
);

pub(super) const ENDPOINTS: Printer = (
    &[
        ("Name", "string", 0),
        ("Endpoints", "string", 0),
        ("Age", "string", 0),
    ],
    |e, now| {
        let mut all = Vec::new();
        for subset in list(e, &["subsets"]) {
            for address in list(subset, &["addresses"]) {
                for port in list(subset, &["ports"]) {
                    all.push(format!("{}:{}", text(address, &["ip"]), port["port"]));
                }
            }
        }
        let mut shown = all.iter().take(3).cloned().collect::<Vec<_>>().join(",");
        if all.len() > 3 {
            shown.push_str(&format!(" + {} more...", all.len() - 3));
        }
        vec![json!(name(e)), or_none(&shown), json!(age(e, now))]
    },
);

pub(super) const CONFIG_MAPS: Printer = (
    &[
        ("Name", "string", 0),
        ("Data", "string", 0),
        ("Age", "string", 0),
    ],
    |c, now| {
        let data = count(c.get("data")) + count(c.get("binaryData"));
        vec![json!(name(c)), json!(data), json!(age(c, now))]
    },
);

pub(super) const SECRETS: Printer = (
    &[
        ("Name", "string", 0),
        ("Type", "string", 0),
        ("Data", "string", 0),
        ("Age", "string", 0),
    ],
    |s, now| {
        vec![
            json!(name(s)),
            json!(text(s, &["type"])),
            json!(count(s.get("data"))),
            json!(age(s, now)),
        ]
    },
);

pub(super) const SERVICE_ACCOUNTS: Printer =
    (&[("Name", "string", 0), ("Age", "string", 0)], |s, now| {
        vec![json!(name(s)), json!(age(s, now))]
    });

pub(super) const QUOTAS: Printer = (
    &[
        ("Name", "string", 0),
        ("Request", "string", 0),
        ("Limit", "string", 0),
        ("Age", "string", 0),
    ],
    |q, now| {
        let mut requests = Vec::new();
        let mut limits = Vec::new();
        for (key, hard) in at(q, &["status", "hard"])
            .and_then(Value::as_object)
            .into_iter()
            .flatten()
        {
            let used = text(q, &["status", "used", key]);
            let used = if used.is_empty() { "0" } else { used };
            let entry = format!("{key}: {used}/{}", hard.as_str().unwrap_or(""));
            if key.starts_with("limits") {
                limits.push(entry);
            } else {
                requests.push(entry);
            }
        }
        vec![
            json!(name(q)),
            json!(requests.join(", ")),
            json!(limits.join(", ")),
            json!(age(q, now)),
        ]
    },
);

pub(super) const PRIORITY_CLASSES: Printer = (
    &[
        ("Name", "string", 0),
        ("Value", "integer", 0),
        ("Global-Default", "boolean", 0),
        ("Age", "string", 0),
        ("PreemptionPolicy", "string", 0),
    ],
    |p, now| {
        vec![
            json!(name(p)),
            json!(integer(p, &["value"]).unwrap_or(0)),
            json!(p["globalDefault"] == true),
            json!(age(p, now)),
            json!(text(p, &["preemptionPolicy"])),
        ]
    },
);

pub(super) const BUDGETS: Printer = (
    &[
        ("Name", "string", 0),
        ("Min Available", "string", 0),
        ("Max Unavailable", "string", 0),
        ("Allowed Disruptions", "integer", 0),
        ("Age", "string", 0),
    ],
    |b, now| {
        let bound = |key: &str| match &b["spec"][key] {
            Value::String(s) => s.clone(),
            Value::Number(n) => n.to_string(),
            _ => "N/A".to_owned(),
        };
        vec![
            json!(name(b)),
            json!(bound("minAvailable")),
            json!(bound("maxUnavailable")),
            json!(integer(b, &["status", "disruptionsAllowed"]).unwrap_or(0)),
            json!(age(b, now)),
        ]
    },
);

pub(super) const BINDINGS: Printer = (
    &[
        ("Name", "string", 0),
        ("Role", "string", 0),
        ("Age", "string", 0),
        ("Users", "string", 1),
        ("Groups", "string", 1),
        ("ServiceAccounts", "string", 1),
    ],
    |b, now| {
        let role = format!(
            "{}/{}",
            text(b, &["roleRef", "kind"]),
            text(b, &["roleRef", "name"])
        );
        let of = |kind: &str| {
            let all: Vec<String> = list(b, &["subjects"])
                .iter()
                .filter(|s| s["kind"] == kind)
                .map(|s| match text(s, &["namespace"]) {
                    "" => text(s, &["name"]).to_owned(),
                    ns => format!("{ns}/{}", text(s, &["name"])),
                })
                .collect();
            json!(all.join(", "))
        };
        vec![
            json!(name(b)),
            json!(role),
            json!(age(b, now)),
            of("User"),
            of("Group"),
            of("ServiceAccount"),
        ]
    },
);

pub(super) const DEFINITIONS: Printer = (
    &[
        ("Name", "string", 0),
        ("Scope", "string", 0),
        ("Versions", "string", 0),
        ("Created At", "date", 0),
        ("Group", "string", 1),
        ("Kind", "string", 1),
        ("ShortNames", "string", 1),
        ("Established", "boolean", 1),
    ],
    definition,
);

fn definition(d: &Value, _: Timestamp) -> Vec<Value> {
    let versions: Vec<String> = list(d, &["spec", "versions"])
        .iter()
        .map(|v| {
            let mut notes = Vec::new();
            if v["storage"] == true {
                notes.push("storage");
            }
            if v["served"] == false {
                notes.push("not served");
            }
            let name = text(v, &["name"]);
            if notes.is_empty() {
                name.to_owned()
            } else {
                format!("{name}({})", notes.join(","))
            }
        })
        .collect();
    let established = condition(d, "Established").is_some_and(|c| c["status"] == "True");
    vec![
        json!(name(d)),
        json!(text(d, &["spec", "scope"])),
        json!(versions.join(",")),
        json!(text(d, &["metadata", "creationTimestamp"])),
        json!(text(d, &["spec", "group"])),
        json!(text(d, &["spec", "names", "kind"])),
        json!(strings(d, &["spec", "names", "shortNames"]).join(",")),
        json!(established),
    ]
}

pub(super) const API_SERVICES: Printer = (
    &[
        ("Name", "string", 0),
        ("Service", "string", 0),
        ("Available", "string", 0),
        ("Age", "string", 0),
    ],
    |a, now| {
        let service = at(a, &["spec", "service"]).map_or_else(
            || "Local".to_owned(),
            |s| format!("{}/{}", text(s, &["namespace"]), text(s, &["name"])),
        );
        let available = condition(a, "Available").map_or_else(
            || "Unknown".to_owned(),
            |c| match (text(c, &["status"]), text(c, &["reason"])) {
                ("True", _) => "True".to_owned(),
                (status, reason) => format!("{status} ({reason})"),
            },
        );
        vec![
            json!(name(a)),
            json!(service),
            json!(available),
            json!(age(a, now)),
        ]
    },
);

pub(super) const WEBHOOKS: Printer = (
    &[
        ("Name", "string", 0),
        ("Webhooks", "integer", 0),
        ("Age", "string", 0),
    ],
    |w, now| {
        vec![
            json!(name(w)),
            json!(count(w.get("webhooks"))),
            json!(age(w, now)),
        ]
    },
);

pub(super) const NETWORK_POLICIES: Printer = (
    &[
        ("Name", "string", 0),
        ("Pod-Selector", "string", 0),
        ("Age", "string", 0),
    ],
    |n, now| {
        let selector = selector_text(&n["spec"]["podSelector"]);
        vec![json!(name(n)), or_none(&selector), json!(age(n, now))]
    },
);

pub(super) const INGRESS_CLASSES: Printer = (
    &[
        ("Name", "string", 0),
        ("Controller", "string", 0),
        ("Parameters", "string", 0),
        ("Age", "string", 0),
    ],
    |i, now| {
        let parameters = at(i, &["spec", "parameters"]).map_or_else(String::new, |p| {
            let group = text(p, &["apiGroup"]);
            let kind = text(p, &["kind"]);
            let dot = if group.is_empty() { "" } else { "." };
            format!("{kind}{dot}{group}/{}", text(p, &["name"]))
        });
        vec![
            json!(name(i)),
            json!(text(i, &["spec", "controller"])),
            or_none(&parameters),
            json!(age(i, now)),
        ]
    },
);

pub(super) const INGRESSES: Printer = (
    &[
        ("Name", "string", 0),
        ("Class", "string", 0),
        ("Hosts", "string", 0),
        ("Address", "string", 0),
        ("Ports", "string", 0),
        ("Age", "string", 0),
    ],
    |i, now| {
        let hosts: Vec<&str> = list(i, &["spec", "rules"])
            .iter()
            .map(|r| text(r, &["host"]))
            .filter(|h| !h.is_empty())
            .collect();
        let hosts = if hosts.is_empty() {
            "*".to_owned()
        } else {
            hosts.join(",")
        };
        let addresses: Vec<&str> = list(i, &["status", "loadBalancer", "ingress"])
            .iter()
            .map(|a| match text(a, &["ip"]) {
                "" => text(a, &["hostname"]),
                ip => ip,
            })
            .collect();
        let ports = if list(i, &["spec", "tls"]).is_empty() {
            "80"
        } else {
            "80, 443"
        };
        vec![
            json!(name(i)),
            or_none(text(i, &["spec", "ingressClassName"])),
            json!(hosts),
            json!(addresses.join(",")),
            json!(ports),
            json!(age(i, now)),
        ]
    },
);
